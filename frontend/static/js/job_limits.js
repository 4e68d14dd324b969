// The dialog in which a live job's budget and longest duration are changed, with what the month leaves.
import { call } from "./api.js";
import { $, setText, show } from "./dom.js";
import { duration, money } from "./format.js";
import { changes, hoursOf, mostForJob } from "./limits.js";
import { hasEnded } from "./status.js";
import { toast } from "./toasts.js";

export class JobLimits {
  /** `job()`: the job as it is now; `changed(job)`: it has other limits. */
  constructor({ job, changed }) {
    Object.assign(this, { job, changed });
    this.dialog = $("#limits");
    this.form = $("#limits-form");
    this.form.addEventListener("submit", (event) => this.submit(event));
    this.form.addEventListener("input", () => this.drawErrors({}));
    $("#limits-back").addEventListener("click", () => this.dialog.close());
    $("#change-limits").addEventListener("click", () => this.open());
    this.draw();
  }

  /** What the info tab says of the limits. */
  draw() {
    const job = this.job();
    const budget = job.budget_limit === null ? "none" : money(job.budget_limit);
    const less = job.budget_limit === null && job.cost_limit !== null && !job.simulated;
    setText($('[data-f="budget"]'), less ? `none, at most ${money(job.cost_limit)}` : budget);
    setText($('[data-f="max_duration"]'), duration(job.max_duration));
    show($("#change-limits"), !hasEnded(job) && job.status !== "cancelling");
  }

  open() {
    const job = this.job();
    this.form.elements.budget.value = job.budget_limit === null ? "" : Number(job.budget_limit).toFixed(2);
    this.form.elements.hours.value = hoursOf(job.max_duration);
    setText($("#limits-cost"), `So far it has cost ${money(job.current_cost)}.`);
    setText($("#limits-month"), "");
    this.drawErrors({});
    this.dialog.showModal();
    this.form.elements.budget.focus();
    this.tellMonth();
  }

  async tellMonth() {
    try {
      const { month } = await call("/api/budget/");
      const most = mostForJob(this.job(), month);
      setText($("#limits-month"), most === null ? "No monthly limit holds it back." : `Your month leaves this job ${money(most)} in all.`);
    } catch {
      setText($("#limits-month"), "What the month leaves is not known now; it is checked when you save.");
    }
  }

  async submit(event) {
    event.preventDefault();
    const { budget, hours } = this.form.elements;
    const wanted = changes(this.job(), { budget: budget.value, hours: hours.value });
    this.drawErrors(wanted.errors);
    if (wanted.wrong) return;
    if (wanted.same) {
      this.dialog.close();
      return;
    }
    const button = $("#limits-save");
    button.disabled = true;
    try {
      const job = await call(`/api/jobs/${this.job().id}/`, { method: "PATCH", json: wanted.body });
      this.dialog.close();
      this.changed(job);
      toast("The limits are changed", { text: "A running program hears of them within seconds.", kind: "good" });
    } catch (error) {
      const fields = Object.fromEntries(error.errors.map((one) => [one.field, one.message]));
      this.drawErrors(fields, fields.budget_limit || fields.max_duration ? "" : error.message);
    } finally {
      button.disabled = false;
    }
  }

  drawErrors(errors, whole = "") {
    for (const [field, input] of [["budget_limit", this.form.elements.budget], ["max_duration", this.form.elements.hours]]) {
      setText($(`[data-error="${field}"]`, this.form), errors[field] ?? "");
      if (errors[field]) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    setText($("#limits-error"), whole);
    const first = this.form.querySelector('[aria-invalid="true"]');
    if (first) first.focus();
  }
}
