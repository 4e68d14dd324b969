import assert from "node:assert/strict";
import { test } from "node:test";

import { barLabel, barSets, readLimit } from "../../frontend/static/js/spending_data.js";

test("a limit is read as people write it", () => {
  assert.deepEqual(readLimit("25"), { limit: "25.00" });
  assert.deepEqual(readLimit(" $ 1,250.50 "), { limit: "1250.50" });
  assert.deepEqual(readLimit("49,5"), { limit: "49.50" });
  assert.deepEqual(readLimit("0"), { limit: "0.00" });
  assert.deepEqual(readLimit(""), { limit: null });
});

test("what is no amount is answered with a sentence", () => {
  for (const text of ["abc", "-5", "1e3", "1.234", "1,2,3", "99999999999"]) assert.match(readLimit(text).problem, /Write an amount/, text);
});

test("bars are named by their day or month, in UTC, and stacked by provider", () => {
  assert.equal(barLabel("2026-03-01", "day"), "Mar 1");
  assert.equal(barLabel("2026-03-01", "month"), "Mar 2026");
  const sets = barSets([{ name: "runpod", amounts: [1, 2] }], (i) => `colour ${i}`);
  assert.deepEqual(sets, [{ label: "runpod", data: [1, 2], backgroundColor: "colour 0", stack: "money" }]);
});
