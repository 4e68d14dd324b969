// What a job's limits may be changed to. Pure, so that node can test it.

const LONGEST = 14 * 24; // hours

/** What the month lets this job cost in all: what is left, and what the job holds already. Null: nothing limits it. */
export function mostForJob(job, month) {
  if (month.left === null || month.left === undefined || job.simulated || !Number(job.price_per_hour)) return null;
  const holds = job.cost_limit === null || job.cost_limit === undefined ? Number(job.current_cost ?? 0) : Number(job.cost_limit);
  return Math.max(0, Number(month.left) + holds);
}

/** The body of the PATCH from what was typed, or what is wrong with it by field. Unchanged fields are left out. */
export function changes(job, { budget, hours }) {
  const errors = {};
  const body = {};
  const money = budget.trim().replace(/^\$/, "");
  if (money === "") {
    if (job.budget_limit !== null) body.budget_limit = null;
  } else if (!/^\d+([.,]\d{1,2})?$/.test(money) || Number(money.replace(",", ".")) <= 0) errors.budget_limit = "An amount in US dollars such as 12.50, or nothing for no budget.";
  else if (Number(money.replace(",", ".")) !== job.budget_limit) body.budget_limit = money.replace(",", ".");
  const time = Number(hours.trim().replace(",", "."));
  const seconds = Math.round(time * 3600);
  if (hours.trim() === "" || !Number.isFinite(time) || seconds < 60 || time > LONGEST) errors.max_duration = `Hours from 0.02 (a minute) to ${LONGEST} (14 days).`;
  else if (hoursOf(seconds) !== hoursOf(job.max_duration)) body.max_duration = seconds;
  return { body, errors, wrong: Object.keys(errors).length > 0, same: Object.keys(body).length === 0 };
}

/** Seconds as a person types hours. */
export const hoursOf = (seconds) => String(Number((seconds / 3600).toPrecision(4)));
