import assert from "node:assert/strict";
import { test } from "node:test";

import { givenOf, parametersOf, standing, valuesOf } from "../../frontend/static/js/rule_words.js";

const now = Date.parse("2026-05-01T12:00:00Z");
const rule = (more) => ({ state: "armed", saw: "", fired_step: null, fired_at: null, built_in: false, ...more });
const shown = (more) => {
  const { word, text } = standing(rule(more), now);
  return [word, text];
};

test("a rule says where it stands and what it saw", () => {
  assert.deepEqual(shown({ saw: "loss 1.2 at step 40, limit 5" }), ["Armed", "loss 1.2 at step 40, limit 5"]);
  assert.deepEqual(shown({}), ["Armed", "Nothing seen yet"]);
  assert.deepEqual(shown({ state: "waiting", saw: "This run has not logged eval_loss yet." }), ["Waiting", "This run has not logged eval_loss yet."]);
  assert.deepEqual(shown({ state: "fired", saw: "loss NaN at step 1,200", fired_step: 1200, fired_at: "2026-05-01T11:50:00Z" }), ["Fired at step 1,200", "loss NaN at step 1,200 · 10 min ago"]);
  assert.deepEqual(shown({ state: "fired", saw: "$12.00 spent", fired_at: "2026-05-01T11:59:50Z" }), ["Fired", "$12.00 spent · just now"]);
  assert.deepEqual(shown({ state: "over", saw: "loss 1.2 at step 40" }), ["Did not fire", ""]);
  assert.deepEqual(shown({ state: "off", saw: "loss 1.2 at step 40" }), ["Off", ""]);
  assert.deepEqual(shown({ state: "default", built_in: true }), ["", "Comes with every account"]);
});

const kind = {
  kind: "loss_above",
  parameters: [
    { name: "metric", type: "metric", default: "loss" },
    { name: "threshold", type: "number", default: 5 },
    { name: "after_step", type: "whole", default: 100 },
  ],
};

test("a form's texts become parameters, and a blank field takes its default", () => {
  assert.deepEqual(parametersOf(kind, { metric: " eval_loss ", threshold: "1e-3", after_step: "" }), { parameters: { metric: "eval_loss", threshold: 0.001 }, errors: {} });
  assert.deepEqual(parametersOf(kind, { threshold: "1,000.5" }).parameters, { threshold: 1000.5 });
});

test("what is no number is told beside its field", () => {
  for (const text of ["abc", "1,5", "Infinity", "5 %"]) assert.deepEqual(parametersOf(kind, { threshold: text }).errors, { threshold: "Give a number." });
});

test("a form begins with the rule's own values, or with the usual ones of another kind", () => {
  assert.deepEqual(valuesOf(kind), { metric: "loss", threshold: 5, after_step: 100 });
  assert.deepEqual(valuesOf(kind, { kind: "loss_above", parameters: { threshold: 7 } }), { metric: "loss", threshold: 7, after_step: 100 });
  assert.deepEqual(valuesOf(kind, { kind: "cost_above", parameters: { threshold: 7 } }).threshold, 5);
});

test("a rule can be made again from what was shown", () => {
  const made = { kind: "loss_above", parameters: {}, action: "stop", enabled: true };
  assert.deepEqual(givenOf({ ...made, id: "x", sentence: "Stop." }), made);
});
