// The log tab: a live tail with search and follow. Only the last lines are in the page at first; the earlier ones are fetched on demand.
import { call, rows } from "./api.js";
import { $, h, perFrame, setText, settle, show } from "./dom.js";
import { clock } from "./format.js";
import { toast } from "./toasts.js";

const KEPT = 5000; // lines in the page
const PAGE = 1000; // lines of one answer
const MOST = 50000; // lines kept for the search; longer logs are for the download

const identity = (line) => `${line.attempt}:${line.n}`;

function parts(text, words) {
  if (!words) return [text];
  const found = [];
  const low = text.toLowerCase();
  let at = 0;
  for (let next = low.indexOf(words); next >= 0; next = low.indexOf(words, at)) {
    found.push(text.slice(at, next), h("mark", {}, text.slice(next, next + words.length)));
    at = next + words.length;
  }
  return [...found, text.slice(at)];
}

export class JobLog {
  constructor(job) {
    this.job = job;
    this.box = $("#log");
    this.lines = [];
    this.known = new Set();
    this.waiting = [];
    this.words = "";
    this.following = true;
    this.loaded = false;
    this.hidden = true;
    this.flush = perFrame(() => this.drawWaiting());
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    $("#log-search").addEventListener("input", settle((event) => this.search(event.target.value), 150));
    $("#log-follow").addEventListener("click", () => this.follow(!this.following));
    $("#log-earlier").addEventListener("click", () => this.earlier());
  }

  async load() {
    if (this.loaded) return;
    this.loaded = true;
    try {
      const tail = rows(await call(`/api/jobs/${this.job.id}/logs/?limit=${PAGE}`));
      this.adopt([...tail, ...this.lines]);
      show($("#log-earlier"), tail.length === PAGE);
    } catch (error) {
      this.loaded = false;
      toast("The log could not be loaded", { text: error.message, kind: "bad" });
    }
  }

  /** Begin again with these lines, in the order of attempts and numbers. */
  adopt(lines) {
    const byKey = new Map(lines.map((line) => [identity(line), line]));
    this.known = new Set(byKey.keys());
    this.lines = [...byKey.values()].sort((a, b) => a.attempt - b.attempt || a.n - b.n);
    this.redraw();
  }

  take(lines) {
    for (const line of lines ?? []) {
      const key = identity(line);
      if (this.known.has(key)) continue;
      this.known.add(key);
      this.lines.push(line);
      this.waiting.push(line);
    }
    if (this.waiting.length) this.flush();
  }

  drawWaiting() {
    if (this.hidden) return;
    const fresh = this.waiting.splice(0).filter((line) => this.matches(line));
    show($("#log-empty"), this.lines.length === 0);
    show(this.box, this.lines.length > 0);
    this.box.append(...fresh.map((line) => this.row(line)));
    while (this.box.childElementCount > KEPT) this.box.firstElementChild.remove();
    if (this.following) this.toEnd();
    if (this.words) this.tellFound();
  }

  row(line) {
    return h("div", { class: `log-line log-${line.stream || "stdout"}` }, h("span", { class: "log-time" }, clock(line.at)), h("span", { class: "log-text" }, ...parts(line.text, this.words)));
  }

  matches(line) {
    return !this.words || line.text.toLowerCase().includes(this.words);
  }

  redraw() {
    this.waiting = this.lines.slice(-KEPT);
    this.box.replaceChildren();
    this.drawWaiting();
  }

  search(text) {
    this.words = text.trim().toLowerCase();
    this.redraw();
    this.tellFound();
  }

  tellFound() {
    const found = this.words ? this.lines.filter((line) => this.matches(line)).length : 0;
    setText($("#log-found"), this.words ? `${found} of ${this.lines.length} lines` : "");
  }

  setHidden(hidden) {
    this.hidden = hidden;
    if (hidden) return;
    this.load();
    this.drawWaiting();
  }

  toEnd() {
    this.box.scrollTop = this.box.scrollHeight;
  }

  follow(on) {
    this.following = on;
    $("#log-follow").setAttribute("aria-pressed", String(on));
    if (on) this.toEnd();
  }

  /** Scrolling up stops following, scrolling back to the end follows again. */
  scrolled() {
    const atEnd = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 24;
    if (atEnd !== this.following) this.follow(atEnd);
  }

  /** Everything from the first line on, page by page. */
  async earlier() {
    const button = $("#log-earlier");
    button.disabled = true;
    try {
      const found = [];
      let cursor = { after_attempt: 1, after_n: 0 };
      while (cursor && found.length < MOST) {
        const answer = await call(`/api/jobs/${this.job.id}/logs/?limit=${PAGE}&${new URLSearchParams(cursor)}`);
        found.push(...rows(answer));
        cursor = rows(answer).length ? answer.next : null;
      }
      this.follow(false);
      this.adopt([...found, ...this.lines]);
      show(button, false);
      this.box.scrollTop = 0;
    } catch (error) {
      toast("Earlier lines could not be loaded", { text: error.message, kind: "bad" });
    } finally {
      button.disabled = false;
    }
  }
}
