// The list of attempts in the info tab: each one's machine, times, end and cost; and their marks on the charts.
import { call, rows } from "./api.js";
import { attemptMarks, seconds, stateWords, waitsForPoints } from "./attempts.js";
import { $, h, setText } from "./dom.js";
import { count, duration, full, money } from "./format.js";
import { hasEnded } from "./status.js";

const AGAIN_MS = 5000;

export class JobAttempts {
  /** `marked(marks)` hears where on the charts attempts began. `now()`: the time by the server's clock. */
  constructor(job, { now, marked }) {
    Object.assign(this, { job, now, marked, all: null, open: false, askedAt: 0 });
    this.list = $("#attempt-list");
    if ((job.attempt ?? 0) > 1) this.load();
  }

  take(job, { events, metrics } = {}) {
    const before = this.job;
    this.job = { ...before, ...job };
    const told = (events ?? []).some((event) => event.kind === "attempt");
    const moved = before.attempt !== this.job.attempt || hasEnded(before) !== hasEnded(this.job);
    const aged = Date.now() - this.askedAt > AGAIN_MS;
    const first = metrics && this.all && aged && waitsForPoints(this.all);
    if ((told || moved) && (this.open || this.job.attempt > 1)) this.load();
    else if (first || (this.open && aged && !hasEnded(this.job))) this.load();
  }

  setOpen(open) {
    this.open = open;
    if (open) this.load();
  }

  async load() {
    this.askedAt = Date.now();
    try {
      this.all = rows(await call(`/api/jobs/${this.job.id}/attempts/`));
      this.draw();
      this.marked(attemptMarks(this.all));
    } catch (error) {
      if (!this.all) setText($("#attempt-none"), `The attempts could not be listed. ${error.message}`);
    }
  }

  draw() {
    const key = JSON.stringify(this.all);
    if (key === this.key) return;
    this.key = key;
    if (!this.all.length) {
      setText($("#attempt-none"), this.job.status === "pending" ? "The job was not started yet." : "No machine was asked for.");
      return;
    }
    // An opened error stays open when the costs beside it move on.
    const opened = new Set([...this.list.querySelectorAll("details[open]")].map((box) => box.dataset.attempt));
    this.list.replaceChildren(...[...this.all].reverse().map((attempt) => this.row(attempt, opened)));
  }

  row(attempt, opened) {
    const fact = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));
    const lasted = seconds(attempt, this.now());
    const steps = attempt.first_step === null ? "none" : `${count(attempt.first_step)} to ${count(attempt.last_step)}`;
    const invoiced = attempt.invoiced === null ? "no bill yet" : `${money(attempt.invoiced)}${attempt.invoice_settled ? "" : ", may change"}`;
    return h(
      "li",
      { class: "attempt", "data-attempt": attempt.n },
      h("div", { class: "attempt-head" }, h("h4", {}, `Attempt ${attempt.n}`), h("span", { class: "tag" }, stateWords(attempt)), lasted === null ? null : h("span", { class: "muted small num" }, duration(lasted))),
      h(
        "dl",
        { class: "attempt-facts num" },
        fact("Machine", h("span", { class: "mono" }, attempt.external_id || "none")),
        fact("GPU given", attempt.gpu_type || "not told"),
        fact("Price", `${money(attempt.price_per_hour)} per hour`),
        fact("Asked for", full(attempt.created_at)),
        fact("There", attempt.machine_seen_at ? full(attempt.machine_seen_at) : "never seen"),
        fact("First call", attempt.first_contact_at ? full(attempt.first_contact_at) : "none"),
        fact("Gone", attempt.gone_at ? full(attempt.gone_at) : "–"),
        fact("Steps kept", steps),
        fact("Metered", money(attempt.metered)),
        fact("Invoiced", invoiced),
      ),
      attempt.reason ? h("p", { class: "attempt-why" }, attempt.reason_text, " ", h("span", { class: "muted" }, `Evidence: ${attempt.gone_evidence}`)) : null,
      attempt.error_message && attempt.reason !== "completed"
        ? h("details", { "data-attempt": attempt.n, open: opened.has(String(attempt.n)) }, h("summary", {}, "What it said"), h("pre", { class: "code-block", tabindex: 0 }, attempt.error_message))
        : null,
    );
  }
}
