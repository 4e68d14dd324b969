// What a note at the top of a job's page says of time. Pure, so that node can test it.
import { duration } from "./format.js";

/** "Goes on in 12 s", counted down; "any moment" when the time is over and nothing was heard yet. */
export function goesOn(until, now) {
  if (!until) return "";
  const left = (Date.parse(until) - now) / 1000;
  if (Number.isNaN(left)) return "";
  return left > 0.5 ? `Next try in ${duration(left)}.` : "Next try at any moment.";
}

/** Whether the notes may be other ones after this frame. */
export function mayHaveChanged(before, job, events) {
  const told = (events ?? []).some((event) => ["status", "stage", "attempt", "stop", "warning", "budget"].includes(event.kind));
  const moved = ["status", "current_stage", "stage_label", "attempt", "cost_limit"].some((name) => before[name] !== job[name]);
  return told || moved || share(before) !== share(job);
}

/** Full tenths of the limit that are used. */
function share(job) {
  return job.cost_limit ? Math.floor((10 * Number(job.current_cost ?? 0)) / Number(job.cost_limit)) : 0;
}
