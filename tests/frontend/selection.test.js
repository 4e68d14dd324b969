import assert from "node:assert/strict";
import { test } from "node:test";

import { coverage, eligible, listed, question, Selection } from "../../frontend/static/js/selection.js";
import { costBeside } from "../../frontend/static/js/costs.js";
import { stageBeside } from "../../frontend/static/js/status.js";

const ORDER = ["a", "b", "c", "d", "e"];

test("a range goes from the row chosen last, in both directions, and can take rows away", () => {
  const selection = new Selection();
  selection.set("d", true);
  selection.set("b", true, { range: true, order: ORDER });
  assert.deepEqual([...selection.ids].sort(), ["b", "c", "d"]);
  selection.set("c", false, { range: true, order: ORDER });
  assert.deepEqual([...selection.ids], ["d"]);
});

test("a range without a beginning is one row", () => {
  const selection = new Selection();
  selection.set("c", true, { range: true, order: ORDER });
  assert.deepEqual([...selection.ids], ["c"]);
});

test("rows that are gone are no longer selected, and no range begins at them", () => {
  const selection = new Selection();
  selection.set("a", true);
  selection.set("e", true);
  selection.keep(["a", "b", "c"]);
  assert.deepEqual([...selection.ids], ["a"]);
  selection.set("c", true, { range: true, order: ["a", "b", "c"] });
  assert.deepEqual([...selection.ids], ["a", "c"]);
});

test("the box above the rows knows all, some and none", () => {
  const selection = new Selection();
  assert.equal(coverage(selection, ORDER), "none");
  selection.set("a", true);
  assert.equal(coverage(selection, ORDER), "some");
  selection.setAll(ORDER, true);
  assert.equal(coverage(selection, ORDER), "all");
});

const job = (status, name = status) => ({ id: name, name, status });

test("each action takes the jobs it can", () => {
  const statuses = ["pending", "queued", "initializing", "running", "cancelling", "completed", "failed", "cancelled"];
  const takes = eligible(statuses.map((status) => job(status)));
  const names = (jobs) => jobs.map((one) => one.name);
  assert.deepEqual(names(takes.cancel), ["queued", "initializing", "running"]);
  assert.deepEqual(names(takes.retry), ["failed", "cancelled"]);
  assert.deepEqual(names(takes.delete), ["pending", "completed", "failed", "cancelled"]);
  assert.equal(takes.compare.length, 8);
  assert.deepEqual(eligible([job("running")]).compare, []);
  assert.deepEqual(eligible(Array.from({ length: 9 }, () => job("running"))).compare, []);
});

test("the question says how many, which, and what is left as it is", () => {
  const asked = question("cancel", [job("running", "x"), job("queued", "y")], 3);
  assert.equal(asked.title, "Cancel 2 jobs?");
  assert.match(asked.text, /^“x” and “y”\. .*1 of the 3 selected is left as it is: cannot be cancelled\.$/);
  assert.equal(question("retry", [job("failed")], 1).yes, "Start 1 new job");
  assert.doesNotMatch(question("delete", [job("failed")], 1).text, /selected/);
});

test("many names are cut, but never for the sake of one", () => {
  assert.equal(listed(["a"]), "“a”");
  assert.equal(listed(["a", "b", "c", "d", "e"]), "“a”, “b”, “c”, “d” and “e”");
  assert.equal(listed(["a", "b", "c", "d", "e", "f"]), "“a”, “b”, “c”, “d” and 2 more");
});

test("what stands beside status and cost", () => {
  const running = { status: "running", current_stage: "training", stage_label: "Training", attempt: 2, max_attempts: 3 };
  assert.equal(stageBeside(running), "Attempt 2 of 3");
  assert.equal(stageBeside({ ...running, attempt: 1 }), "");
  assert.equal(stageBeside({ ...running, current_stage: "saving", stage_label: "Saving the adapter" }), "Saving the adapter, attempt 2 of 3");
  assert.equal(stageBeside({ ...running, status: "failed" }), "");
  const cost = { final_cost: null, cost_limit: null, budget_limit: null, projected_cost: 2, estimated_cost: 3 };
  assert.equal(costBeside(cost), "of about $2.00");
  assert.equal(costBeside({ ...cost, cost_limit: 5 }), "limit $5.00");
  assert.equal(costBeside({ ...cost, final_cost: 1 }), "");
});
