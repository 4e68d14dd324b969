// What is known of a job's cost beside what it is now. Pure, so that node can test it.
import { duration, money } from "./format.js";

const known = (value) => value !== null && value !== undefined;

/** The facts below the cost, as texts: what it will cost at this pace and when, what was estimated, and the limit with how much of it is used. */
export function costFacts(job, cost = Number(job.current_cost ?? 0)) {
  const facts = [];
  const final = known(job.final_cost);
  if (!final && known(job.projected_cost) && Number(job.price_per_hour) > 0) {
    facts.push(`${money(job.projected_cost)} at the end${known(job.eta_seconds) ? `, in ${duration(job.eta_seconds)}` : ""}`);
  }
  if (known(job.estimated_cost) && Number(job.price_per_hour) > 0) facts.push(`estimated ${money(job.estimated_cost)}`);
  const limit = job.cost_limit ?? job.budget_limit;
  if (limit) {
    const used = Math.floor((100 * (final ? Number(job.final_cost) : cost)) / Number(limit));
    facts.push(`${used} % of ${known(job.budget_limit) ? "the budget of " : "at most "}${money(limit)}`);
  }
  if (!facts.length && known(job.price_per_hour)) facts.push(`${money(job.price_per_hour)} per hour`);
  return facts;
}

/** Of what a job's cost is a part: its limit, or what it will come to. Empty when it is final. */
export function costBeside(job) {
  if (known(job.final_cost)) return "";
  const limit = job.cost_limit || job.budget_limit;
  if (limit) return `limit ${money(limit)}`;
  const whole = job.projected_cost || job.estimated_cost;
  return whole ? `of about ${money(whole)}` : "";
}
