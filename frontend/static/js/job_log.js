// The log tab: a live tail, and any other stretch of the log, fetched as the reader scrolls or searches.
import { call, rows } from "./api.js";
import { $, announce, h, perFrame, setText, settle, show } from "./dom.js";
import { clock, full } from "./format.js";
import { LogWindow, Places, compare, identity, pieces } from "./log_window.js";
import { toast } from "./toasts.js";

const KEPT = 3000; // lines in the page
const PAGE = 600; // lines of one answer
const AROUND = 250; // lines before a place that is jumped to
const NEAR = 400; // pixels to an edge at which the next lines are fetched

export class JobLog {
  constructor(job) {
    Object.assign(this, { job, words: "", following: true, loaded: false, hidden: true, busy: false, waiting: 0 });
    this.box = $("#log");
    this.window = new LogWindow(KEPT);
    this.drawn = new Map(); // identity -> row
    this.places = new Places();
    this.attempts = Math.max(1, job.attempt ?? 1);
    this.draw = perFrame(() => this.drawNow());
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    const search = $("#log-search");
    search.addEventListener("input", settle(() => this.search(search.value), 250));
    search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.step(event.shiftKey ? -1 : 1);
    });
    $("#log-next").addEventListener("click", () => this.step(1));
    $("#log-previous").addEventListener("click", () => this.step(-1));
    $("#log-follow").addEventListener("click", () => this.follow(!this.following));
    $("#log-newest").addEventListener("click", () => this.follow(true));
    $("#log-problem").addEventListener("click", () => this.firstProblem());
    $("#log-wrap").addEventListener("click", (event) => this.wrap(event.currentTarget.getAttribute("aria-pressed") !== "true"));
    for (const select of [$("#log-attempt"), $("#log-stream")]) select.addEventListener("change", () => this.narrow());
    this.drawAttempts();
  }

  // ---- what is asked for

  /** The query of the lines that are meant, with `more` of its own. */
  query(more = {}) {
    const chosen = { attempt: $("#log-attempt").value, stream: $("#log-stream").value };
    const given = Object.entries({ ...chosen, ...more }).filter(([, value]) => value !== "" && value !== undefined);
    return new URLSearchParams(given);
  }

  ask(more) {
    return call(`/api/jobs/${this.job.id}/logs/?${this.query({ limit: PAGE, ...more })}`);
  }

  isMeant(line) {
    const [attempt, stream] = [$("#log-attempt").value, $("#log-stream").value];
    return (!attempt || line.attempt === Number(attempt)) && (!stream || line.stream === stream);
  }

  /** Run one fetch at a time. Scrolling asks far more often than that and is not `patient`. Returns whether it was done. */
  async once(work, { patient = false } = {}) {
    while (patient && this.busy) await this.running;
    if (this.busy) return false;
    this.busy = true;
    let done;
    this.running = new Promise((resolve) => (done = resolve));
    this.box.setAttribute("aria-busy", "true");
    try {
      await work();
      return true;
    } catch (error) {
      toast("The log could not be loaded", { text: error.message, kind: "bad" });
      return false;
    } finally {
      this.busy = false;
      this.box.removeAttribute("aria-busy");
      done();
    }
  }

  // ---- loading

  async load() {
    if (this.loaded) return;
    this.loaded = true;
    this.loaded = await this.once(() => this.toNewest(), { patient: true });
  }

  async toNewest() {
    this.early = [];
    const tail = rows(await this.ask());
    // What arrived while the answer was under way stands behind it.
    this.window.reset([...tail, ...this.early.filter((line) => this.isMeant(line))], { atStart: tail.length < PAGE, atEnd: true });
    this.early = null;
    this.waiting = 0;
    this.drawNow();
  }

  async earlier() {
    const first = this.window.lines[0];
    if (this.window.atStart || !first) return;
    await this.once(async () => {
      const answer = await this.ask({ before_attempt: first.attempt, before_n: first.n });
      this.window.before(rows(answer), answer.next === null);
      this.drawNow();
    });
  }

  async later() {
    const last = this.window.lines.at(-1);
    if (this.window.atEnd || !last) return;
    await this.once(async () => {
      const answer = await this.ask({ after_attempt: last.attempt, after_n: last.n });
      this.window.after(rows(answer), answer.next === null);
      if (this.window.atEnd) this.waiting = 0;
      this.drawNow();
    });
  }

  /** Show a line and its neighbours, fetched where the page does not have them. */
  async show(place) {
    this.follow(false);
    if (!this.window.has(place)) {
      const done = await this.once(async () => {
        const at = { attempt: place.attempt, n: place.n };
        const [before, after] = await Promise.all([
          this.ask({ before_attempt: at.attempt, before_n: at.n, limit: AROUND }),
          this.ask({ after_attempt: at.attempt, after_n: at.n - 1 }),
        ]);
        this.window.reset([...rows(before), ...rows(after)], { atStart: before.next === null, atEnd: after.next === null });
        this.drawNow();
      }, { patient: true });
      if (!done) return;
    }
    const row = this.drawn.get(identity(place));
    if (!row) return;
    this.box.querySelector(".log-here")?.classList.remove("log-here");
    row.classList.add("log-here");
    this.box.scrollTop = row.offsetTop - this.box.offsetTop - this.box.clientHeight / 3;
  }

  // ---- live lines

  take(lines) {
    const meant = (lines ?? []).filter((line) => this.isMeant(line));
    if (lines?.some((line) => line.attempt > this.attempts)) {
      this.attempts = Math.max(...lines.map((line) => line.attempt));
      this.drawAttempts();
    }
    if (!this.loaded || !meant.length) return;
    if (this.early) this.early.push(...meant);
    const fresh = this.window.atEnd ? this.window.live(meant) : meant;
    if (!fresh.length) return;
    if (!this.following) this.waiting += fresh.length;
    if (this.words) fresh.filter((line) => line.text.toLowerCase().includes(this.words)).forEach((line) => this.places.add(line));
    this.draw();
  }

  // ---- drawing

  drawNow() {
    if (this.hidden) return;
    const { lines } = this.window;
    const any = lines.length > 0;
    show($("#log-empty"), !any && this.loaded);
    show(this.box, any);
    const narrowed = $("#log-attempt").value || $("#log-stream").value;
    setText($("#log-empty h2"), narrowed ? "No such lines" : "No lines yet");
    setText($("#log-empty p"), narrowed ? "Choose another attempt or all streams." : "What the training program prints appears here as it happens, and stays after it has ended.");
    this.drawRows(lines);
    if (this.following) this.toEnd();
    this.drawFound();
    this.drawWaiting();
  }

  /** Bring the rows to the window's lines; what stays keeps its place under the reader's eyes. */
  drawRows(lines) {
    const anchor = this.following ? null : this.anchor();
    const wanted = new Set(lines.map(identity));
    for (const [key, row] of this.drawn) {
      if (wanted.has(key)) continue;
      row.remove();
      this.drawn.delete(key);
    }
    for (const heading of this.box.querySelectorAll(".log-attempt")) heading.remove();
    const several = lines.length > 0 && (lines[0].attempt !== lines.at(-1).attempt || lines[0].attempt > 1);
    let next = this.box.firstElementChild;
    lines.forEach((line, i) => {
      if (several && line.attempt !== lines[i - 1]?.attempt) this.box.insertBefore(h("div", { class: "log-attempt" }, `Attempt ${line.attempt}`), next);
      const key = identity(line);
      const row = this.drawn.get(key);
      if (row && row === next) {
        next = row.nextElementSibling;
        return;
      }
      const fresh = row ?? this.row(line);
      this.drawn.set(key, fresh);
      this.box.insertBefore(fresh, next);
    });
    if (anchor?.row.isConnected) this.box.scrollTop += anchor.row.getBoundingClientRect().top - anchor.top;
  }

  /** The topmost row in sight, and where it is. */
  anchor() {
    const top = this.box.getBoundingClientRect().top;
    const row = [...this.box.children].find((one) => one.classList.contains("log-line") && one.getBoundingClientRect().bottom > top);
    return row ? { row, top: row.getBoundingClientRect().top } : null;
  }

  row(line) {
    return h("div", { class: `log-line log-${line.stream || "stdout"}` }, h("span", { class: "log-time", title: full(line.at) }, clock(line.at)), this.text(line));
  }

  text(line) {
    const parts = pieces(line.text, this.words).map((part) => (part.found ? h("mark", {}, part.text) : part.text));
    return h("span", { class: "log-text" }, ...parts);
  }

  drawAttempts() {
    const select = $("#log-attempt");
    for (let n = select.options.length; n <= this.attempts; n += 1) select.append(h("option", { value: n }, `Attempt ${n}`));
    show($("#log-attempt-box"), this.attempts > 1);
  }

  drawWaiting() {
    const button = $("#log-newest");
    show(button, !this.following && (this.waiting > 0 || !this.window.atEnd));
    setText(button.lastElementChild, this.waiting ? `${this.waiting.toLocaleString("en-US")} new ${this.waiting === 1 ? "line" : "lines"}` : "Newest lines");
  }

  drawFound() {
    setText($("#log-found"), this.words ? this.places.sentence : this.said ?? "");
    const none = !this.words || !this.places.list.length;
    for (const button of [$("#log-next"), $("#log-previous")]) {
      show(button, this.words);
      button.disabled = none;
    }
  }

  // ---- what the reader does

  narrow() {
    this.loaded = false;
    this.following = true;
    $("#log-follow").setAttribute("aria-pressed", "true");
    $("#log-download").href = `/api/jobs/${this.job.id}/logs/?${this.query({ download: "true" })}`;
    this.load().then(() => this.search($("#log-search").value));
  }

  async search(text) {
    const words = text.trim().toLowerCase();
    this.said = "";
    this.words = words;
    this.places = new Places();
    for (const line of this.window.lines) this.drawn.get(identity(line))?.replaceChild(this.text(line), this.drawn.get(identity(line)).lastElementChild);
    if (!words) {
      this.drawFound();
      return;
    }
    setText($("#log-found"), "Searching…");
    try {
      const answer = await call(`/api/jobs/${this.job.id}/logs/places/?${this.query({ q: text.trim() })}`);
      if (this.words !== words) return;
      this.places = new Places(rows(answer), answer.more);
    } catch (error) {
      if (this.words === words) setText($("#log-found"), error.message);
      return;
    }
    this.drawFound();
    const top = this.window.lines.find((line) => this.drawn.get(identity(line)) === this.anchor()?.row);
    const place = top ? this.places.from(top) : this.places.step(1);
    if (place) await this.show(place);
    this.drawFound();
  }

  async step(by) {
    const place = this.places.step(by);
    if (!place) return;
    await this.show(place);
    this.drawFound();
  }

  async firstProblem() {
    this.follow(false);
    setText($("#log-found"), "Searching…");
    try {
      const [first] = rows(await call(`/api/jobs/${this.job.id}/logs/places/?${this.query({ problems: "true" })}`)).sort(compare);
      this.said = first ? "" : "No line looks like an error.";
      if (!first) announce(this.said);
      this.drawFound();
      if (first) await this.show(first);
    } catch (error) {
      this.drawFound();
      toast("The log could not be searched", { text: error.message, kind: "bad" });
    }
  }

  wrap(on) {
    $("#log-wrap").setAttribute("aria-pressed", String(on));
    this.box.classList.toggle("log-nowrap", !on);
    if (this.following) this.toEnd();
  }

  setHidden(hidden) {
    this.hidden = hidden;
    if (hidden) return;
    this.load();
    this.drawNow();
  }

  toEnd() {
    this.box.scrollTop = this.box.scrollHeight;
  }

  follow(on) {
    this.following = on;
    $("#log-follow").setAttribute("aria-pressed", String(on));
    if (on && this.window.atEnd) {
      this.waiting = 0;
      this.drawWaiting();
      this.toEnd();
    } else if (on) this.once(() => this.toNewest(), { patient: true });
    else this.drawWaiting();
  }

  /** Scrolling up stops following, scrolling back to the end follows again; near an edge the next lines are fetched. */
  scrolled() {
    if (this.busy) return; // rows are being exchanged; where that leaves the view says nothing of the reader's wish
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    const below = scrollHeight - scrollTop - clientHeight;
    const atEnd = below < 24 && this.window.atEnd;
    if (atEnd !== this.following) this.follow(atEnd);
    if (scrollTop < NEAR) this.earlier();
    else if (below < NEAR) this.later();
  }
}
