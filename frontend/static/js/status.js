// What a status looks like where the browser draws it; templatetags/stoker.py draws the same on the server.
import { h, icon } from "./dom.js";

export const ICONS = {
  pending: "bookmark",
  queued: "hourglass",
  initializing: "rocket",
  running: "flame",
  cancelling: "hand-stop",
  completed: "circle-check",
  failed: "alert-triangle",
  cancelled: "ban",
};
const ENDED = new Set(["completed", "failed", "cancelled"]);

export const hasEnded = (job) => ENDED.has(job.status);
export const isActive = (job) => !hasEnded(job) && job.status !== "pending";

export function drawBadge(badge, job) {
  if (badge.dataset.now === job.status) return;
  badge.dataset.now = job.status;
  badge.className = `status status-${job.status}`;
  badge.replaceChildren(icon(ICONS[job.status] ?? "help"), h("span", {}, job.status_label));
}

/** What is being done, and at which attempt, where the status alone does not say it. */
export function stageBeside(job) {
  if (!isActive(job)) return "";
  const stage = job.status === "running" && job.current_stage === "training" ? "" : job.stage_label;
  const again = (job.attempt ?? 1) > 1 ? `attempt ${job.attempt} of ${job.max_attempts}` : "";
  const words = [stage, again].filter(Boolean).join(", ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
