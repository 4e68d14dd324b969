import assert from "node:assert/strict";
import { test } from "node:test";

import { Metrics, Once, Series, decodeColumns, judgeFrame, keepOutline, lowerBoundX, reconnectDelay, smooth } from "../../frontend/static/js/series.js";

test("a frame is known, fits, or leaves a gap", () => {
  assert.equal(judgeFrame(10, { after: 10, seq: 12 }), "apply");
  assert.equal(judgeFrame(10, { after: 8, seq: 12 }), "apply");
  assert.equal(judgeFrame(10, { after: 8, seq: 10 }), "known");
  assert.equal(judgeFrame(10, { after: 11, seq: 12 }), "gap");
});

test("columns lose their nulls and whatever is no number", () => {
  const found = decodeColumns({ step: [1, 2, 3], loss: [2.5, null, 2.0], note: ["a", "b", "c"], eval_loss: [null, null, null] });
  assert.deepEqual(found, { loss: { steps: [1, 3], values: [2.5, 2.0] } });
  assert.deepEqual(decodeColumns(null), {});
});

test("points stay in order of their steps, each step once", () => {
  const series = new Series();
  series.putAll([5, 1, 3, 3, 5], [50, 10, 30, 31, 55]);
  assert.deepEqual(series.points, [{ x: 1, y: 10 }, { x: 3, y: 31 }, { x: 5, y: 55 }]);
});

test("storing the same value again changes nothing", () => {
  const series = new Series();
  assert.equal(series.put(1, 10), true);
  assert.equal(series.put(1, 10), false);
  assert.equal(series.put(1, 11), true);
});

test("a series that outgrows its limit keeps its ends and its extremes", () => {
  const series = new Series(1000);
  for (let step = 0; step < 20000; step += 1) series.put(step, step === 777 ? -99 : step === 12345 ? 99 : Math.sin(step / 50));
  assert.ok(series.points.length <= 1000);
  const values = series.points.map((point) => point.y);
  assert.equal(series.first.x, 0);
  assert.equal(series.last.x, 19999);
  assert.ok(values.includes(-99) && values.includes(99));
  for (let i = 1; i < series.points.length; i += 1) assert.ok(series.points[i].x > series.points[i - 1].x);
});

test("a snapshot replaces what is older than its end and keeps what arrived since", () => {
  const series = new Series();
  series.putAll([1, 2, 9, 10], [1, 2, 9, 10]);
  series.reset([2, 4, 8], [20, 40, 80]);
  assert.deepEqual(series.points.map((point) => point.x), [2, 4, 8, 9, 10]);
});

test("an outline has at most the wanted number of points", () => {
  const values = Array.from({ length: 5000 }, (_, i) => (i * 7919) % 1000);
  const kept = keepOutline(values, 300);
  assert.ok(kept.length <= 300);
  assert.equal(kept[0], 0);
  assert.equal(kept.at(-1), 4999);
  assert.deepEqual(kept, [...kept].sort((a, b) => a - b));
  assert.deepEqual(keepOutline([1, 2, 3], 10), [0, 1, 2]);
});

test("finding a step works at the edges", () => {
  const points = [{ x: 1 }, { x: 3 }, { x: 5 }];
  assert.deepEqual([0, 1, 2, 5, 6].map((step) => lowerBoundX(points, step)), [0, 0, 1, 2, 3]);
});

test("smoothing begins at the first value and goes on where it stopped", () => {
  const points = [4, 4, 4, 8].map((y, x) => ({ x, y }));
  const whole = smooth(points, 0.9);
  assert.equal(whole[0].y, 4);
  const state = { i: 0, sum: 0, norm: 0 };
  const parts = smooth(points.slice(0, 2), 0.9, [], state);
  smooth(points, 0.9, parts, state);
  assert.deepEqual(parts, whole);
});

test("metrics tell which series a frame changed, and take the same frame twice", () => {
  const metrics = new Metrics();
  const frame = { step: [1, 2], loss: [3, 2], eval_loss: [null, 2.5] };
  assert.deepEqual([...metrics.apply(frame)], ["loss", "eval_loss"]);
  assert.equal(metrics.apply(frame).size, 0);
  assert.equal(metrics.lastStep(), 2);
});

test("a flagged value is remembered once", () => {
  const metrics = new Metrics();
  assert.equal(metrics.flag([{ step: 3, name: "loss", value: "NaN" }]), true);
  assert.equal(metrics.flag([{ step: 3, name: "loss", value: "NaN" }]), false);
  assert.equal(metrics.flag(undefined), false);
});

test("things with a known identity pass once", () => {
  const once = new Once((event) => event.seq);
  assert.deepEqual(once.fresh([{ seq: 1 }, { seq: 2 }, { seq: 1 }]).map((event) => event.seq), [1, 2]);
  assert.deepEqual(once.fresh([{ seq: 2 }, { seq: 3 }]).map((event) => event.seq), [3]);
});

test("waits grow from half a second to thirty seconds, partly by chance", () => {
  assert.equal(reconnectDelay(0, () => 0), 500);
  assert.equal(reconnectDelay(3, () => 0), 2000);
  assert.equal(reconnectDelay(3, () => 1), 4000);
  assert.equal(reconnectDelay(50, () => 1), 30000);
});
