// The log tab: a live tail with search, follow and download. Only the last lines are in the page; earlier ones are fetched on demand.
import { call, rows } from "./api.js";
import { $, h, perFrame, setText, settle, show } from "./dom.js";
import { clock } from "./format.js";
import { toast } from "./toasts.js";

const KEPT = 5000; // lines in the page

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
    $("#log-download").addEventListener("click", () => this.download());
    $("#log-earlier").addEventListener("click", () => this.earlier());
  }

  async load() {
    if (this.loaded) return;
    this.loaded = true;
    try {
      const answer = await call(`/api/jobs/${this.job.id}/logs/?tail=1000`);
      const before = this.lines;
      this.lines = [];
      this.known.clear();
      this.take([...rows(answer), ...before]);
      this.more(answer);
      this.redraw();
    } catch (error) {
      this.loaded = false;
      toast("The log could not be loaded", { text: error.message, kind: "bad" });
    }
  }

  more(answer) {
    const first = this.lines[0];
    this.before = answer?.previous ?? (answer?.more && first ? `/api/jobs/${this.job.id}/logs/?before=${first.id ?? first.seq ?? first.n}` : null);
    show($("#log-earlier"), this.before);
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

  async earlier() {
    try {
      const answer = await call(this.before);
      const fresh = rows(answer).filter((line) => !this.known.has(identity(line)));
      for (const line of fresh) this.known.add(identity(line));
      this.lines = [...fresh, ...this.lines];
      this.more(answer);
      this.follow(false);
      this.redraw();
    } catch (error) {
      toast("Earlier lines could not be loaded", { text: error.message, kind: "bad" });
    }
  }

  download() {
    const text = this.lines.map((line) => `${line.at} ${line.stream} ${line.text}`).join("\n");
    const link = h("a", { href: URL.createObjectURL(new Blob([text, "\n"], { type: "text/plain" })), download: `stoker-${this.job.id}.log` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}
