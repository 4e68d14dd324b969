// The notes at the top of a live job's page: a machine that does not go, an account that fails, money that runs out.
import { call, rows } from "./api.js";
import { $, announce, dataOf, h, icon, setText, show } from "./dom.js";
import { goesOn, mayHaveChanged } from "./situation.js";
import { hasEnded, isActive } from "./status.js";

const AGAIN_MS = 8000; // while there is a note: how often a machine was told to end is no event
const ICONS = { error: "alert-circle", warning: "alert-triangle", info: "hourglass" };

export class JobSituation {
  /** `now()`: the time by the server's clock; `act(name)`: a person wants to do what a note offers. */
  constructor(job, { now, act }) {
    Object.assign(this, { job, now, act, notes: [], running: null });
    this.place = $("#situation");
    this.show(dataOf("situation-data"));
    setInterval(() => this.tick(), 1000);
    setInterval(() => this.notes.length && !document.hidden && this.load(), AGAIN_MS);
  }

  take(job, events) {
    const before = this.job;
    this.job = { ...before, ...job };
    if (hasEnded(this.job)) this.show([]);
    else if (mayHaveChanged(before, this.job, events)) this.load();
  }

  /** Ask for the notes of now. Calls that come while one is under way lead to one more. */
  async load() {
    if (!isActive(this.job)) return;
    if (this.running) {
      this.again = true;
      return;
    }
    this.running = true;
    try {
      const notes = rows(await call(`/api/jobs/${this.job.id}/situation/`));
      this.show(hasEnded(this.job) ? [] : notes);
    } catch {
      // The notes that stand stay; they are asked for again soon.
    } finally {
      this.running = false;
      if (this.again) {
        this.again = false;
        this.load();
      }
    }
  }

  show(notes) {
    const key = JSON.stringify(notes);
    if (key === this.key) return;
    const known = new Set(this.notes.map((note) => note.title));
    const fresh = notes.filter((note) => note.level !== "info" && !known.has(note.title));
    const first = this.key === undefined;
    Object.assign(this, { notes, key });
    this.place.replaceChildren(...notes.map((note) => this.row(note)));
    show(this.place, notes.length);
    this.tick();
    if (!first && fresh.length) announce(fresh.map((note) => `${note.title}. ${note.text}`).join(" "));
  }

  row(note) {
    const look = { error: "notice-error", warning: "notice-warning" }[note.level] ?? "notice-info";
    return h(
      "div",
      { class: `notice ${look}`, "data-note": note.kind },
      icon(ICONS[note.level] ?? "info-circle"),
      h("div", { class: "note-words" }, h("h2", {}, note.title), h("p", {}, note.text, note.until ? h("span", { class: "note-until num" }) : null)),
      this.action(note.action),
    );
  }

  action(name) {
    const button = (text) => h("button", { type: "button", class: "button button-small", onclick: () => this.act(name) }, text);
    if (name === "limits") return button("Change limits");
    if (name === "logs") return button("Read the log");
    if (name === "settings") return h("a", { class: "button button-small", href: "/settings/" }, "Open settings");
    return null;
  }

  tick() {
    const now = this.now();
    this.notes.forEach((note, i) => {
      if (note.until) setText(this.place.children[i]?.querySelector(".note-until"), ` ${goesOn(note.until, now)}`);
    });
  }
}
