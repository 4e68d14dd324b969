// The stretch of a log that is in the page: some thousand lines in their order, wherever in the log they are.
// Knows no page, so that node can test it.

export const identity = (line) => `${line.attempt}:${line.n}`;
export const compare = (a, b) => a.attempt - b.attempt || a.n - b.n;

/** The text in pieces, each with whether it is what was searched for. `words` is in lower case. */
export function pieces(text, words) {
  if (!words) return [{ text, found: false }];
  const parts = [];
  const low = text.toLowerCase();
  // Some letters have another length in lower case; then nothing is marked rather than the wrong thing.
  if (low.length !== text.length) return [{ text, found: false }];
  let at = 0;
  for (let next = low.indexOf(words); next >= 0; next = low.indexOf(words, at)) {
    if (next > at) parts.push({ text: text.slice(at, next), found: false });
    at = next + words.length;
    parts.push({ text: text.slice(next, at), found: true });
  }
  if (at < text.length || !parts.length) parts.push({ text: text.slice(at), found: false });
  return parts;
}

export class LogWindow {
  constructor(most) {
    this.most = most;
    this.reset([], { atStart: true, atEnd: true });
  }

  /** Begin again with these lines. `atStart`, `atEnd`: whether the log has nothing before, or nothing behind them. */
  reset(lines, { atStart, atEnd }) {
    this.lines = [...new Map(lines.map((line) => [identity(line), line])).values()].sort(compare);
    this.known = new Set(this.lines.map(identity));
    Object.assign(this, { atStart, atEnd });
    this.cutFront();
  }

  /** Lines that just came. They are kept only where the window reaches to the end; returns those that are new. */
  live(lines) {
    if (!this.atEnd) return [];
    const fresh = this.adopt(lines);
    this.cutFront();
    return fresh;
  }

  /** Earlier lines, fetched; the end of the window makes room for them. */
  before(lines, atStart) {
    this.adopt(lines);
    this.atStart = atStart;
    if (this.lines.length <= this.most) return;
    for (const line of this.lines.splice(this.most)) this.known.delete(identity(line));
    this.atEnd = false;
  }

  /** Later lines, fetched; the front of the window makes room for them. */
  after(lines, atEnd) {
    this.adopt(lines);
    this.atEnd = atEnd;
    this.cutFront();
  }

  adopt(lines) {
    const fresh = [];
    for (const line of lines) {
      const key = identity(line);
      if (this.known.has(key)) continue;
      this.known.add(key);
      fresh.push(line);
    }
    if (!fresh.length) return fresh;
    const sorted = !this.lines.length || compare(this.lines.at(-1), fresh[0]) < 0;
    this.lines.push(...fresh);
    // Repeated and late lines are rare, but an attempt's last words may arrive after the first ones of the next.
    if (!sorted || fresh.some((line, i) => i && compare(fresh[i - 1], line) > 0)) this.lines.sort(compare);
    return fresh;
  }

  cutFront() {
    const over = this.lines.length - this.most;
    if (over <= 0) return;
    for (const line of this.lines.splice(0, over)) this.known.delete(identity(line));
    this.atStart = false;
  }

  has(place) {
    return this.known.has(identity(place));
  }
}

/** The places where something was found, and which of them the reader is at. */
export class Places {
  constructor(found = [], more = false) {
    this.list = found;
    this.more = more;
    this.at = -1;
  }

  /** A line that came later and matches, too. */
  add(line) {
    if (this.more) return;
    const last = this.list.at(-1);
    if (!last || compare(last, line) < 0) this.list.push({ attempt: line.attempt, n: line.n });
  }

  /** The next place (1) or the one before (-1), round and round; null when there is none. */
  step(by) {
    if (!this.list.length) return null;
    const from = this.at < 0 && by < 0 ? 0 : this.at;
    this.at = (from + by + this.list.length) % this.list.length;
    return this.list[this.at];
  }

  /** Stand at the first place not before `line`, or at the last. */
  from(line) {
    const next = this.list.findIndex((place) => compare(place, line) >= 0);
    this.at = next < 0 ? this.list.length - 1 : next;
    return this.list[this.at] ?? null;
  }

  get sentence() {
    if (!this.list.length) return "Not found";
    const all = `${this.list.length.toLocaleString("en-US")}${this.more ? "+" : ""}`;
    return this.at < 0 ? `${all} found` : `${(this.at + 1).toLocaleString("en-US")} of ${all}`;
  }
}
