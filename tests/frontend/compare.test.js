import assert from "node:assert/strict";
import { test } from "node:test";

import { AXES, bestOf, onAxis, readAddress, valueAt, writeAddress } from "../../frontend/static/js/compare_data.js";
import { describeMetric } from "../../frontend/static/js/chart_specs.js";

const AXIS = [{ x: 10, y: 1 }, { x: 20, y: 3 }];

test("between two points a curve is a line, outside it stays at its ends", () => {
  assert.equal(valueAt(AXIS, 15), 2);
  assert.equal(valueAt(AXIS, 20), 3);
  assert.equal(valueAt(AXIS, 5), 1);
  assert.equal(valueAt(AXIS, 99), 3);
  assert.equal(valueAt([], 1), null);
});

test("points move to another axis, never backwards", () => {
  assert.deepEqual(onAxis([{ x: 10, y: 9 }, { x: 15, y: 8 }], AXIS), [{ x: 1, y: 9 }, { x: 2, y: 8 }]);
  const back = [{ x: 1, y: 5 }, { x: 2, y: 4 }, { x: 3, y: 6 }];
  assert.deepEqual(onAxis([{ x: 1, y: 0 }, { x: 2, y: 0 }, { x: 3, y: 0 }], back).map((point) => point.x), [5, 5, 6]);
  assert.deepEqual(onAxis([{ x: 1, y: 0 }], []), []);
});

test("the best value is told only where there is a choice", () => {
  assert.deepEqual(bestOf([2, 1, null], "low"), [false, true, false]);
  assert.deepEqual(bestOf(["1.5", "0.5"], "high"), [true, false]);
  assert.deepEqual(bestOf([1, 1], "low"), [false, false]);
  assert.deepEqual(bestOf([1, null], "low"), [false, false]);
});

test("the address keeps what is shown, and forgets nonsense", () => {
  const state = { axis: "epoch", names: ["grad_norm", "eval/x"], smooth: false, log: true };
  const address = writeAddress("?ids=a,b", state);
  assert.equal(address, "?ids=a,b&x=epoch&names=grad_norm,eval%2Fx&smooth=0&log=1");
  assert.deepEqual(readAddress(address), state);
  assert.deepEqual(readAddress("?x=toString&names=a b,,ok,ok"), { axis: "step", names: ["ok"], smooth: null, log: false });
  assert.equal(writeAddress("?ids=a&x=epoch", { axis: "step", names: [], smooth: null, log: false }), "?ids=a");
});

test("each axis writes its values", () => {
  assert.equal(AXES.num_tokens.tick(2_500_000), "2.5 M");
  assert.equal(AXES.seconds.tick(3725), "1:02:05");
  assert.equal(AXES.epoch.title(1.5), "Epoch 1.5");
});

test("a metric is called by its own name on a chart of its own", () => {
  assert.equal(describeMetric("eval_loss").title, "Validation loss");
  assert.equal(describeMetric("gpu_memory_reserved_gb").title, "Reserved GPU memory");
  assert.equal(describeMetric("my_metric").title, "My metric");
});
