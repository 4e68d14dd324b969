// Curves of several jobs over a common axis. Pure: no page, no network, so that node can test it.
import { compact, count, decimals, duration, money } from "./format.js";
import { lowerBoundX } from "./series.js";

const trimmed = (value, places) => String(Number(Number(value).toFixed(places)));

/** What may stand on the x axis, and how it is written there. */
export const AXES = {
  step: undefined, // as on a job's own page
  epoch: { over: "epochs", title: (x) => `Epoch ${trimmed(x, 3)}`, point: (x) => `epoch ${trimmed(x, 2)}`, tick: (x) => trimmed(x, 2) },
  num_tokens: { over: "tokens", title: (x) => `${count(x)} tokens`, point: (x) => `${short(x)} tokens`, tick: (x) => short(x) },
  seconds: { over: "time", title: (x) => `After ${duration(x)}`, point: (x) => `after ${duration(x)}`, tick: (x) => clock(x) },
};

function short(value) {
  if (value >= 1e9) return `${trimmed(value / 1e9, 2)} B`;
  if (value >= 1e6) return `${trimmed(value / 1e6, 2)} M`;
  return value >= 1e4 ? `${trimmed(value / 1e3, 1)} k` : compact(value);
}

/** 0:45, 12:30, 3:07:00 */
function clock(seconds) {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** The value of a curve at a step: between two points on the line between them, outside at the nearest end. */
export function valueAt(points, step) {
  if (!points.length) return null;
  const i = lowerBoundX(points, step);
  if (i === 0) return points[0].y;
  if (i === points.length) return points[i - 1].y;
  const [before, after] = [points[i - 1], points[i]];
  if (after.x === step) return after.y;
  return before.y + ((after.y - before.y) * (step - before.x)) / (after.x - before.x);
}

/** Points over steps -> points over an axis that is itself known over steps. Never backwards; none where the axis is not known. */
export function onAxis(points, axis) {
  if (!axis.length) return [];
  let reached = -Infinity;
  return points.map(({ x, y }) => {
    reached = Math.max(reached, valueAt(axis, x));
    return { x: reached, y };
  });
}

/** How a result is written; as the server writes it in the template. */
export const RESULTS = {
  loss: (value) => decimals(value),
  best_loss: (value) => decimals(value),
  eval_loss: (value) => decimals(value),
  best_eval_loss: (value) => decimals(value),
  seconds: (value) => duration(value),
  tokens: (value) => count(value),
  tokens_per_second: (value) => count(value),
  cost: (value) => money(value),
  cost_per_million_tokens: (value) => money(value),
};

/** Which of several values are the best ("low" or "high"). None when fewer than two are known, or all are equal. */
export function bestOf(values, sense) {
  const known = values.filter((value) => value !== null && value !== undefined).map(Number);
  const [least, most] = [Math.min(...known), Math.max(...known)];
  if (known.length < 2 || least === most) return values.map(() => false);
  const best = sense === "low" ? least : most;
  return values.map((value) => value !== null && value !== undefined && Number(value) === best);
}

/** What the page's address says beside the jobs: {axis, names, smooth (null: not said), log}. */
export function readAddress(search) {
  const given = new URLSearchParams(search);
  const axis = given.get("x");
  const names = (given.get("names") ?? "").split(",").filter((name) => /^[A-Za-z_][\w./:-]{0,63}$/.test(name));
  return { axis: Object.hasOwn(AXES, axis) ? axis : "step", names: [...new Set(names)].slice(0, 12), smooth: given.has("smooth") ? given.get("smooth") === "1" : null, log: given.get("log") === "1" };
}

export function writeAddress(search, { axis, names, smooth, log }) {
  const given = new URLSearchParams(search);
  const put = (name, value) => (value ? given.set(name, value) : given.delete(name));
  put("x", axis === "step" ? "" : axis);
  put("names", names.join(","));
  put("smooth", smooth === null ? "" : smooth ? "1" : "0");
  put("log", log ? "1" : "");
  return `?${given.toString().replaceAll("%2C", ",")}`;
}
