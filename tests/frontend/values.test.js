import assert from "node:assert/strict";
import { test } from "node:test";

import { toProblem, rows } from "../../frontend/static/js/api.js";
import { ago, compact, count, decimals, duration, epoch, money, percent, size } from "../../frontend/static/js/format.js";
import { mostCost, parseValue, sameValue, steps, trainingRows, typed } from "../../frontend/static/js/plan.js";
import { sparkPath } from "../../frontend/static/js/spark.js";
import { Pace } from "../../frontend/static/js/upload.js";
import { chartSpecs } from "../../frontend/static/js/chart_specs.js";

test("money keeps small amounts readable", () => {
  assert.deepEqual([0, 1234.5, 0.1, 0.0931, 0.00001, null, "x"].map(money), ["$0.00", "$1,234.50", "$0.10", "$0.0931", "<$0.0001", "–", "–"]);
});

test("durations have two parts at most", () => {
  assert.deepEqual([0, 59.6, 65, 3600, 86400, 90061, -1, null].map(duration), ["0 s", "1 min 00 s", "1 min 05 s", "1 h 00 min", "1 d", "1 d 1 h", "–", "–"]);
});

test("sizes, counts, decimals and shares", () => {
  assert.deepEqual([12, 1500, 35_200_000, 812e6, 2.5e9].map(size), ["12 B", "1.5 kB", "35.2 MB", "812 MB", "2.5 GB"]);
  assert.deepEqual([count(1234567), decimals(0.12345), decimals(null), epoch(1.5), epoch(3), percent(0.8612)], ["1,234,567", "0.1235", "–", "1.5", "3", "86.1 %"]);
  assert.deepEqual([0.0002, 12345, 0, 1.23456].map(compact), ["2.00e-4", "12,345", "0", "1.235"]);
});

test("times get older in words", () => {
  const now = Date.parse("2026-03-01T12:00:00Z");
  assert.equal(ago("2026-03-01T11:59:40Z", now), "just now");
  assert.equal(ago("2026-03-01T11:57:00Z", now), "3 min ago");
  assert.equal(ago("2026-03-01T09:00:00Z", now), "3 h ago");
  assert.match(ago("2026-02-20T09:00:00Z", now), /Feb 20/);
  assert.equal(ago("nonsense", now), "–");
});

test("steps follow rows, batch, epochs and the limit", () => {
  const values = { per_device_train_batch_size: 2, gradient_accumulation_steps: 4, num_train_epochs: 3, max_steps: -1, validation_split: 0.1, held_out_samples: 0 };
  assert.deepEqual(steps(1000, values, 1, false), { batch: 8, perEpoch: 113, total: 339 });
  assert.deepEqual(steps(1000, values, 2, true), { batch: 16, perEpoch: 63, total: 189 });
  assert.equal(steps(1000, { ...values, max_steps: 40 }, 1, false).total, 40);
  assert.equal(steps(undefined, values, 1, false).total, null);
  assert.equal(steps(10, { ...values, per_device_train_batch_size: "x" }, 1, false), null);
  assert.equal(trainingRows(100, { held_out_samples: 4, validation_split: 0.05 }, false), 92);
});

test("the most a job can cost is its time or its budget", () => {
  assert.deepEqual(mostCost(2, 2, 3600, null), { amount: 4, by: "duration" });
  assert.deepEqual(mostCost(2, 2, 3600, 3), { amount: 3, by: "budget" });
  assert.equal(mostCost(null, 1, 3600, null), null);
});

test("field texts become values, and nonsense is left for the server to name", () => {
  assert.equal(parseValue({ type: "float" }, " 2e-4 "), 0.0002);
  assert.equal(parseValue({ type: "float" }, "0,5"), 0.5);
  assert.equal(parseValue({ type: "int" }, "many"), "many");
  assert.equal(parseValue({ type: "bool" }, "true"), true);
  assert.ok(sameValue("q_proj, v_proj", ["q_proj", "v_proj"]));
  assert.ok(!sameValue(1, 2));
  assert.equal(typed(["a", "b"]), "a, b");
});

test("a problem has a sentence whatever the server sent", () => {
  assert.equal(toProblem(400, { detail: "The name is missing.", errors: [{ field: "name", message: "Give a name." }] }).sentence, "The name is missing. Give a name.");
  assert.match(toProblem(502, "<html>").message, /answered with an error \(502\)/);
  assert.match(toProblem(401, { detail: "Send an API token." }).message, /not signed in/);
  assert.deepEqual([rows([1]), rows({ results: [2] }), rows(null)], [[1], [2], []]);
});

test("a small line needs two numbers", () => {
  assert.equal(sparkPath([1]).line, "");
  assert.equal(sparkPath([2, 1, NaN], 10, 10, 0).line, "M0.0 0.0L10.0 10.0");
});

test("the pace of an upload looks back a few seconds", () => {
  const pace = new Pace(5000);
  assert.equal(pace.bytesPerSecond, null);
  for (let second = 0; second <= 20; second += 1) pace.add(second * 1000, second < 10 ? second * 100 : 900 + (second - 9) * 1000);
  assert.equal(Math.round(pace.bytesPerSecond), 1000);
  assert.equal(Math.round(pace.remaining(12900 + 0)), 1);
});

test("unknown metrics get charts of their own, counters do not", () => {
  const ids = chartSpecs(["loss", "reward_margin", "epoch", "eval_runtime", "num_tokens", "train_loss"]).map((spec) => spec.id);
  assert.ok(ids.includes("other-reward_margin"));
  assert.ok(!ids.some((id) => /epoch|runtime|num_tokens|train_loss/.test(id)));
});

test("an unknown metric and its twin of the validation rows share a chart", () => {
  const others = chartSpecs(["entropy", "eval_entropy", "eval_margin"]).filter((spec) => spec.id.startsWith("other-"));
  assert.deepEqual(others.map((spec) => spec.title), ["Entropy", "Margin"]);
  assert.deepEqual(others[0].lines.map((line) => line.name), ["entropy", "eval_entropy"]);
});
