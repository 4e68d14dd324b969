import assert from "node:assert/strict";
import { test } from "node:test";

import { costFacts } from "../../frontend/static/js/costs.js";

const running = { current_cost: 1, final_cost: null, estimated_cost: null, projected_cost: null, price_per_hour: 2, budget_limit: null, cost_limit: null, eta_seconds: null };

test("the price is said while nothing better is known", () => {
  assert.deepEqual(costFacts(running), ["$2.00 per hour"]);
  assert.deepEqual(costFacts({ ...running, price_per_hour: null }), []);
});

test("projection, estimate and limit stand apart", () => {
  const job = { ...running, projected_cost: 3, eta_seconds: 3600, estimated_cost: 2.5, budget_limit: 4, cost_limit: 4 };
  assert.deepEqual(costFacts(job), ["$3.00 at the end, in 1 h 00 min", "estimated $2.50", "25 % of the budget of $4.00"]);
  assert.deepEqual(costFacts(job, 3.999), ["$3.00 at the end, in 1 h 00 min", "estimated $2.50", "99 % of the budget of $4.00"]);
});

test("a limit that is not the person's own is no budget, and an ended job has no projection", () => {
  assert.deepEqual(costFacts({ ...running, cost_limit: 10 }), ["10 % of at most $10.00"]);
  assert.deepEqual(costFacts({ ...running, final_cost: 2, projected_cost: 3, budget_limit: 4 }), ["50 % of the budget of $4.00"]);
});
