// The files tab: adapter, checkpoints and logs of a run, new ones as they come, and going on from a checkpoint.
import { call, rows } from "./api.js";
import { confirmAction } from "./dialog.js";
import { $, copyText, h, icon, setText, show } from "./dom.js";
import { count, decimals, full, size } from "./format.js";
import { resumeJob } from "./job_actions.js";
import { hasEnded } from "./status.js";
import { toast } from "./toasts.js";

const AGAIN_MS = 10000; // how often a live job is asked for uploads that have begun; stored files say so themselves
const KINDS = { adapter: "Adapter", checkpoint: "Checkpoint", log: "Log" };

export class JobFiles {
  constructor(job) {
    Object.assign(this, { job, files: null, open: false, askedAt: 0 });
    this.list = $("#file-list");
    this.list.addEventListener("click", (event) => this.clicked(event));
    $("#file-error button").addEventListener("click", () => this.load());
  }

  /** Hear of a frame: `events` of it may tell of a new file. */
  take(job, events) {
    const ended = hasEnded(job) !== hasEnded(this.job);
    this.job = job;
    const told = (events ?? []).some((event) => event.kind === "artifact" || event.kind === "checkpoint");
    if (told || ended) this.stale = true;
    const due = !hasEnded(job) && Date.now() - this.askedAt > AGAIN_MS;
    if (this.open && (this.stale || due)) this.load();
    else if (!this.open && told) this.load(); // for the count on the tab
  }

  setOpen(open) {
    this.open = open;
    if (open && (this.stale || this.files === null || !hasEnded(this.job))) this.load();
  }

  async load() {
    this.askedAt = Date.now();
    this.stale = false;
    try {
      this.files = rows(await call(`/api/jobs/${this.job.id}/artifacts/`));
      show($("#file-error"), false);
      this.draw();
    } catch (error) {
      this.stale = true;
      setText($("#file-error p"), `The files could not be listed. ${error.message}`);
      show($("#file-error"), true);
      show($("#file-loading"), false);
    }
  }

  draw() {
    const { files, job } = this;
    show($("#file-loading"), false);
    show($("#file-empty"), !files.length);
    show($("#file-help"), files.some((file) => file.state === "stored"));
    const kept = files.filter((file) => file.state === "stored").length;
    show($("#file-count"), kept);
    setText($("#file-count"), String(kept));
    const ended = hasEnded(job);
    const simulated = job.simulated ? "A simulated run leaves no files." : ended ? "The run ended before it stored anything." : "Checkpoints and the adapter appear here as soon as they are stored and verified.";
    setText($("#file-empty p"), simulated);
    const key = JSON.stringify([files, ended]);
    if (key === this.key) return;
    this.key = key;
    const focused = document.activeElement?.closest("[data-file]")?.dataset.file;
    const label = document.activeElement?.getAttribute("data-do");
    // The adapter is what most come for; the others follow, newest first.
    const sorted = [...files].sort((a, b) => (b.kind === "adapter") - (a.kind === "adapter"));
    this.list.replaceChildren(...sorted.map((file) => this.row(file)));
    if (focused && label) this.list.querySelector(`[data-file="${focused}"] [data-do="${label}"]`)?.focus();
    const first = sorted.find((file) => file.state === "stored");
    // The browser saves it under this job's name; what is compared is the bytes, whatever the file is called.
    if (first) setText($("#file-command"), `echo "${first.sha256}  <file>" | sha256sum --check`);
  }

  row(file) {
    const stored = file.state === "stored";
    const facts = [
      ["Step", file.step ? count(file.step) : "–"],
      ["Loss", file.loss === null ? "–" : decimals(file.loss)],
      ["Validation", file.eval_loss === null ? "–" : decimals(file.eval_loss)],
      ["Size", size(file.size_bytes)],
      ["Attempt", String(file.attempt)],
    ];
    const stamp = stored ? file.stored_at : file.created_at;
    return h(
      "li",
      { class: "file", "data-file": file.id, "data-state": file.state },
      h("div", { class: "file-head" }, h("h3", {}, KINDS[file.kind] ?? file.kind), h("span", { class: "file-name" }, file.name), this.state(stored)),
      h("dl", { class: "file-facts num" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      h(
        "p",
        { class: "file-sum small muted" },
        stored ? "Stored " : "Begun ",
        h("time", { datetime: stamp }, full(stamp)),
        h("span", { class: "file-hash" }, h("span", {}, "SHA-256 "), h("code", { class: "mono" }, file.sha256)),
        h("button", { type: "button", class: "text-button", "data-do": "copy" }, "Copy", h("span", { class: "visually-hidden" }, ` SHA-256 of ${file.name}`)),
      ),
      h("div", { class: "file-actions" }, this.actions(file, stored)),
    );
  }

  state(stored) {
    return stored ? h("span", { class: "mark mark-yes", title: "Size and SHA-256 of the stored bytes were compared" }, icon("check"), "Stored and verified") : h("span", { class: "mark mark-busy" }, h("span", { class: "spinner" }), "Uploading");
  }

  actions(file, stored) {
    if (!stored) return [];
    const resume = file.kind === "checkpoint" && hasEnded(this.job);
    return [
      resume ? h("button", { type: "button", class: "button button-small", "data-do": "resume" }, icon("player-play"), "Resume from here") : null,
      h("a", { class: "button button-small", href: file.download_url, "data-do": "download" }, icon("download"), "Download", h("span", { class: "visually-hidden" }, ` ${file.name}`)),
    ];
  }

  async clicked(event) {
    const button = event.target.closest("button[data-do]");
    const file = button && this.files.find((one) => one.id === button.closest("[data-file]").dataset.file);
    if (!file) return;
    if (button.dataset.do === "copy") {
      const done = await copyText(file.sha256);
      toast(done ? "SHA-256 copied" : "The browser did not allow copying", { text: done ? file.name : "Select it and copy it by hand.", kind: done ? "good" : "info" });
    } else if (button.dataset.do === "resume") await this.resume(file, button);
  }

  async resume(file, button) {
    const sure = await confirmAction({
      title: `Resume at step ${count(file.step)}?`,
      text: "A new job with the same settings and limits starts at once and goes on at this checkpoint. This job and its files stay as they are.",
      yes: "Start a new job",
      no: "Back",
      plain: true,
    });
    if (!sure) return;
    button.ariaDisabled = "true";
    await resumeJob(this.job, file.id);
    button.ariaDisabled = null;
  }
}
