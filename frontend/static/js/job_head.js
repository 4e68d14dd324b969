// The upper half of a job's page: badge, progress, times, cards, how it ended. `JobHead.take` gets every new state of the job.
import { costFacts } from "./costs.js";
import { $, announce, setText, show } from "./dom.js";
import { count, decimals, duration, epoch, full, money, percent } from "./format.js";
import { drawBadge, hasEnded, isActive } from "./status.js";
import { toast } from "./toasts.js";

const STALE_AFTER = 40; // seconds; the program speaks every 15
const TITLES = { completed: "Training completed", failed: "Training failed", cancelled: "Training cancelled" };
const ACCURACY = ["mean_token_accuracy", "eval_mean_token_accuracy"];

export class JobHead {
  constructor(root, job, metrics) {
    Object.assign(this, { root, metrics });
    this.part = (name) => $(`[data-f="${name}"]`, root);
    this.favicon = $("#favicon");
    this.accept(job, performance.now());
    this.draw();
    setInterval(() => this.tick(), 1000);
  }

  accept(job, at) {
    this.job = job;
    this.at = at;
    this.serverAt = job.server_time ? Date.parse(job.server_time) : Date.now();
  }

  /** Now by the server's clock: the reader's own may be wrong. */
  now() {
    return this.serverAt + (performance.now() - this.at);
  }

  take(job) {
    const before = this.job;
    this.accept({ ...before, ...job }, performance.now());
    this.draw();
    if (before.status !== this.job.status) this.moved();
  }

  moved() {
    const { job } = this;
    if (job.status === "running") toast("Training started", { text: job.name, kind: "good" });
    if (job.status === "completed") toast("Training completed", { text: job.reason_text, kind: "good" });
    if (job.status === "failed") toast("Training failed", { text: job.reason_text || job.error_message, kind: "bad" });
    if (job.status === "cancelled") toast("Cancelled", { text: job.reason_text });
    announce(`${job.name}: ${job.status_label}`);
  }

  draw() {
    const { job, part } = this;
    this.root.dataset.status = job.status;
    drawBadge(part("status"), job);
    setText(part("stage"), hasEnded(job) ? "" : job.stage_label);
    part("progress").value = job.progress ?? 0;
    setText(part("percent"), `${Math.floor(job.progress ?? 0)}%`);
    setText(part("epoch"), epoch(job.current_epoch) + (job.total_epochs ? ` / ${epoch(job.total_epochs)}` : ""));
    setText(part("step"), count(job.current_step) + (job.total_steps ? ` / ${count(job.total_steps)}` : ""));
    show($("#start"), job.can_start);
    show($("#cancel"), job.can_cancel);
    show($("#save"), job.can_save);
    show($("#retry"), job.can_retry);
    show($("#resume"), job.can_resume);
    $("#retry").classList.toggle("button-primary", !job.can_resume);
    const adapter = $("#download-adapter");
    show(adapter, job.artifact_id);
    if (job.artifact_id) adapter.href = `/api/artifacts/${job.artifact_id}/download/`;
    this.drawInfo();
    this.drawCards();
    this.drawEnd();
    this.tick();
    this.drawTab();
  }

  drawInfo() {
    const { job, part } = this;
    setText(part("external_job_id"), job.external_job_id || "–");
    if (job.attempt) setText(part("attempt"), `${job.attempt}${job.max_attempts ? ` of at most ${job.max_attempts}` : ""}`);
    for (const name of ["queued_at", "started_at", "completed_at"]) if (job[name]) setText(part(name), full(job[name]));
  }

  drawCards() {
    const { job, metrics, part } = this;
    const current = job.current_metrics ?? {};
    const value = (name) => current[name] ?? metrics.series.get(name)?.last?.y;
    setText(part("loss"), decimals(value("loss")));
    this.delta("loss_delta", "loss", 4);
    setText(part("eval_loss"), decimals(value("eval_loss")));
    this.delta("eval_loss_delta", "eval_loss", 4);
    const accuracy = ACCURACY.find((name) => value(name) !== undefined && value(name) !== null);
    setText(part("accuracy"), accuracy ? percent(value(accuracy), 1) : "–");
    if (accuracy) this.delta("accuracy_delta", accuracy, 1, 100, " points", 1);
    setText(part("throughput"), count(value("tokens_per_second")));
    const samples = value("samples_per_second");
    setText(part("samples_rate"), samples === undefined || samples === null ? "" : `${decimals(samples, 2)} samples/s`);
  }

  /** How far a value has come since its first point. `better` is the direction that is good: -1 down, 1 up. */
  delta(place, name, places, factor = 1, unit = "", better = -1) {
    const series = this.metrics.series.get(name);
    const element = this.part(place);
    if (!series || series.points.length < 2) return;
    const change = (series.last.y - series.first.y) * factor;
    const flat = Math.abs(change) < 0.5 * 10 ** -places;
    const sign = flat ? "±" : change < 0 ? "−" : "+";
    setText(element, `${sign}${Math.abs(change).toFixed(places)}${unit} since step ${count(series.first.x)}`);
    element.className = `stat-sub num ${flat ? "" : change * better > 0 ? "better" : "worse"}`;
  }

  /** What moves by itself between two messages. */
  tick() {
    const { job, part } = this;
    const since = (this.now() - this.serverAt) / 1000;
    const began = job.started_at ?? job.queued_at;
    const end = job.completed_at ? Date.parse(job.completed_at) : this.now();
    setText(part("elapsed"), began && job.status !== "pending" ? duration(Math.max(0, (end - Date.parse(began)) / 1000)) : "–");
    const left = job.eta_seconds === null || job.eta_seconds === undefined || hasEnded(job) ? null : Math.max(0, job.eta_seconds - since);
    setText(part("eta"), duration(left));
    this.tickCost(since);
    const silent = job.last_seen_at ? (this.now() - Date.parse(job.last_seen_at)) / 1000 : 0;
    const stale = isActive(job) && silent > STALE_AFTER;
    show(part("stale"), stale);
    if (stale) setText(part("stale").lastElementChild, `No data for ${duration(silent)}`);
  }

  tickCost(since) {
    const { job, part } = this;
    const final = job.final_cost !== null && job.final_cost !== undefined;
    setText(part("cost_title"), final ? "Final cost" : "Cost so far");
    const running = job.status === "running" || job.status === "initializing" || job.status === "cancelling";
    const grown = running ? (Number(job.price_per_hour ?? 0) * since) / 3600 : 0;
    setText(part("cost"), money(final ? job.final_cost : Number(job.current_cost ?? 0) + grown));
    setText(part("cost_sub"), costFacts(job, Number(job.current_cost ?? 0) + grown).join(" · "));
  }

  drawEnd() {
    const { job, part } = this;
    const banner = $("#end-banner");
    show(banner, hasEnded(job));
    if (!hasEnded(job)) return;
    banner.dataset.end = job.status;
    setText(part("end_title"), TITLES[job.status]);
    setText(part("reason_text"), job.reason_text || "");
    const message = job.status === "completed" ? "" : job.error_message;
    show(part("saw"), message);
    setText(part("error_message"), message || "");
    show(part("stack_box"), job.error_stack);
    setText(part("error_stack"), job.error_stack || "");
    show(part("see_samples"), job.status === "completed" && !job.simulated);
    show(part("see_logs"), job.status === "failed");
    show(part("see_events"), job.status !== "completed");
  }

  /** The browser's tab tells how far the job is, for a person who is elsewhere. */
  drawTab() {
    const { job } = this;
    const whole = Math.floor(job.progress ?? 0);
    const mark = { completed: "✓ ", failed: "✗ ", cancelled: "", pending: "" }[job.status] ?? `${whole} % · `;
    document.title = `${mark}${job.name} · Stoker`;
    const state = hasEnded(job) ? `&state=${job.status}` : "";
    const shown = hasEnded(job) ? 100 : whole - (whole % 2);
    const href = job.status === "pending" ? this.favicon.dataset.base : `${this.favicon.dataset.base}?progress=${shown}${state}`;
    if (this.favicon.getAttribute("href") !== href) this.favicon.setAttribute("href", href);
  }
}
