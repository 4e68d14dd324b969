// What the charts are drawn from. Pure: no page, no network, so that node can test it.

/** What to do with a frame that carries the changes (after, seq] when everything up to `have` is already here. */
export function judgeFrame(have, frame) {
  if (frame.seq <= have) return "known";
  return frame.after > have ? "gap" : "apply";
}

/** Columns with null where a step has no such value -> {name: {steps, values}} without the nulls. */
export function decodeColumns(columns) {
  const steps = columns?.step ?? [];
  const found = {};
  for (const [name, column] of Object.entries(columns ?? {})) {
    if (name === "step" || !Array.isArray(column)) continue;
    const series = { steps: [], values: [] };
    for (let i = 0; i < steps.length; i += 1) {
      const value = column[i];
      if (typeof value === "number" && Number.isFinite(value)) {
        series.steps.push(steps[i]);
        series.values.push(value);
      }
    }
    if (series.steps.length) found[name] = series;
  }
  return found;
}

/** The first index whose `x` is at least `step`, in points ascending by x. */
export function lowerBoundX(points, step) {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].x < step) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Which indexes to keep so that at most about `target` points show the same outline: in each of equal stretches the least and the
 * greatest value, and the two ends.
 */
export function keepOutline(values, target) {
  const n = values.length;
  if (n <= target) return Array.from({ length: n }, (_, i) => i);
  const buckets = Math.max(1, Math.floor((target - 2) / 2));
  const kept = [0];
  for (let b = 0; b < buckets; b += 1) {
    const from = 1 + Math.floor((b * (n - 2)) / buckets);
    const to = 1 + Math.floor(((b + 1) * (n - 2)) / buckets);
    if (to <= from) continue;
    let least = from;
    let greatest = from;
    for (let i = from + 1; i < to; i += 1) {
      if (values[i] < values[least]) least = i;
      if (values[i] > values[greatest]) greatest = i;
    }
    kept.push(Math.min(least, greatest));
    if (least !== greatest) kept.push(Math.max(least, greatest));
  }
  kept.push(n - 1);
  return kept;
}

/**
 * One metric by ascending step, as points {x, y} that a chart draws directly. A new last step costs nothing more than a push; a step
 * that is here already is replaced; when the points outgrow `limit` they are thinned to half of it, keeping the outline.
 */
export class Series {
  constructor(limit = 4000) {
    this.limit = limit;
    this.points = [];
    this.thinned = false;
  }

  get last() {
    return this.points.length ? this.points[this.points.length - 1] : null;
  }

  get first() {
    return this.points.length ? this.points[0] : null;
  }

  /** Store one value; true when it changed something. */
  put(step, value) {
    const points = this.points;
    const last = this.last;
    if (!last || step > last.x) {
      points.push({ x: step, y: value });
      if (points.length > this.limit) this.thin(Math.floor(this.limit / 2));
      return true;
    }
    const at = lowerBoundX(points, step);
    if (points[at].x === step) {
      if (points[at].y === value) return false;
      points[at].y = value;
      return true;
    }
    points.splice(at, 0, { x: step, y: value });
    return true;
  }

  putAll(steps, values) {
    let changed = false;
    for (let i = 0; i < steps.length; i += 1) {
      if (typeof values[i] === "number" && Number.isFinite(values[i])) changed = this.put(steps[i], values[i]) || changed;
    }
    return changed;
  }

  /** Begin again with a snapshot, then keep what arrived live since: points past the snapshot's end stay. */
  reset(steps, values) {
    const end = steps.length ? steps[steps.length - 1] : -Infinity;
    const newer = this.points.filter((point) => point.x > end);
    this.points.length = 0;
    this.putAll(steps, values);
    for (const point of newer) this.put(point.x, point.y);
  }

  thin(target) {
    const kept = keepOutline(this.points.map((point) => point.y), target).map((i) => this.points[i]);
    this.points.length = 0;
    for (const point of kept) this.points.push(point);
    this.thinned = true;
  }
}

/**
 * An exponential moving average over points, begun without the pull towards zero. `state` goes on where the last call ended, so that a
 * live point costs one multiplication.
 */
export function smooth(points, weight, into = [], state = { i: 0, sum: 0, norm: 0 }) {
  for (; state.i < points.length; state.i += 1) {
    state.sum = state.sum * weight + points[state.i].y * (1 - weight);
    state.norm = state.norm * weight + (1 - weight);
    into.push({ x: points[state.i].x, y: state.sum / state.norm });
  }
  return into;
}

/** All series of a job. */
export class Metrics {
  constructor(limit = 4000) {
    this.limit = limit;
    this.series = new Map();
    this.odd = new Map();
  }

  get(name) {
    if (!this.series.has(name)) this.series.set(name, new Series(this.limit));
    return this.series.get(name);
  }

  has(name) {
    return Boolean(this.series.get(name)?.points.length);
  }

  names() {
    return [...this.series.keys()].filter((name) => this.has(name));
  }

  lastStep() {
    return Math.max(0, ...this.names().map((name) => this.series.get(name).last.x));
  }

  /** Take the columns of a live frame; the names of the series that changed. */
  apply(columns) {
    const changed = new Set();
    for (const [name, { steps, values }] of Object.entries(decodeColumns(columns))) {
      if (this.get(name).putAll(steps, values)) changed.add(name);
    }
    return changed;
  }

  /** Take a snapshot {name: {step: [], value: []}}. */
  load(series) {
    for (const [name, { step, value }] of Object.entries(series ?? {})) this.get(name).reset(step, value);
  }

  /** Remember values that were not numbers; true when one is new. */
  flag(list) {
    let fresh = false;
    for (const item of list ?? []) {
      const key = `${item.step}:${item.name}`;
      if (!this.odd.has(key)) {
        this.odd.set(key, item);
        fresh = true;
      }
    }
    return fresh;
  }
}

/** Things that arrive numbered, possibly twice: keeps each once. `key` makes the identity of an item. */
export class Once {
  constructor(key) {
    this.key = key;
    this.seen = new Set();
  }

  fresh(items) {
    const found = [];
    for (const item of items ?? []) {
      const key = this.key(item);
      if (this.seen.has(key)) continue;
      this.seen.add(key);
      found.push(item);
    }
    return found;
  }
}

/** Milliseconds to wait before connection attempt `attempt` (0, 1, ...): doubling from 0.5 s to 30 s, the upper half of it by chance. */
export function reconnectDelay(attempt, random = Math.random) {
  const whole = Math.min(30000, 500 * 2 ** Math.min(attempt, 10));
  return Math.max(500, whole / 2 + (whole / 2) * random());
}
