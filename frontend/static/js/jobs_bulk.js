// Selecting rows of the list of jobs, and doing one thing with all of them.
import { call } from "./api.js";
import { confirmAction } from "./dialog.js";
import { $, $$, announce, setText, show } from "./dom.js";
import { coverage, eligible, question, Selection } from "./selection.js";
import { toast } from "./toasts.js";

const LABELS = { cancel: "Cancel", retry: "Try again", delete: "Delete", compare: "Compare" };
const DONE = { retry: ["started again", "tried again"], delete: ["deleted", "deleted"] };

export class JobsBulk {
  /** `changed()` hears that jobs of the list were changed. */
  constructor(list, bar, changed) {
    Object.assign(this, { list, bar, changed });
    this.selection = new Selection();
    this.busy = false;
    list.addEventListener("click", (event) => this.picked(event));
    bar.addEventListener("click", (event) => {
      const button = event.target.closest("[data-bulk]");
      if (button && button.ariaDisabled !== "true") this.act(button.dataset.bulk);
    });
    $("#bulk-clear", bar).addEventListener("click", () => this.clear());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.selection.size && !document.querySelector("dialog[open], [data-menu] [aria-expanded=true]")) this.clear();
    });
    this.draw();
  }

  rows() {
    return $$(".job-row", this.list);
  }

  order() {
    return this.rows().map((row) => row.dataset.job);
  }

  jobs() {
    const chosen = this.rows().filter((row) => this.selection.has(row.dataset.job));
    return chosen.map((row) => ({ id: row.dataset.job, status: row.dataset.status, name: $(".job-link", row).textContent }));
  }

  picked(event) {
    const box = event.target.closest("input[type=checkbox]");
    if (!box) return;
    if (box.id === "pick-all") this.selection.setAll(this.order(), box.checked);
    else this.selection.set(box.closest(".job-row").dataset.job, box.checked, { range: event.shiftKey, order: this.order() });
    this.draw();
    announce(this.selection.size ? `${this.selection.size} selected` : "Nothing is selected");
  }

  clear() {
    const inBar = this.bar.contains(document.activeElement);
    this.selection.clear();
    this.draw();
    if (inBar) $("#pick-all", this.list)?.focus();
  }

  /** After the rows have changed: what is gone is no longer selected, the rest is ticked again. */
  draw() {
    const order = this.order();
    this.selection.keep(order);
    for (const row of this.rows()) {
      const on = this.selection.has(row.dataset.job);
      $("[data-pick]", row).checked = on;
      row.classList.toggle("picked", on);
    }
    const all = $("#pick-all", this.list);
    if (all) {
      const covered = coverage(this.selection, order);
      all.checked = covered === "all";
      all.indeterminate = covered === "some";
    }
    show(this.bar, this.selection.size);
    document.body.classList.toggle("has-bulk", this.selection.size > 0);
    setText($("#bulk-count", this.bar), `${this.selection.size} selected`);
    const takes = eligible(this.jobs());
    for (const button of $$("[data-bulk]", this.bar)) {
      const { bulk } = button.dataset;
      const n = takes[bulk].length;
      setText($("span", button), n && bulk !== "compare" && n !== this.selection.size ? `${LABELS[bulk]} (${n})` : LABELS[bulk]);
      button.ariaDisabled = n && !this.busy ? null : "true";
      if (bulk === "compare") button.title = n ? "" : "Select two to eight jobs to compare them";
    }
  }

  async act(action) {
    const takes = eligible(this.jobs())[action];
    if (action === "compare") {
      location.assign(`/jobs/compare/?ids=${takes.map((job) => job.id).join(",")}`);
      return;
    }
    if (!(await confirmAction(question(action, takes, this.selection.size)))) return;
    this.busy = true;
    this.draw();
    try {
      if (action === "cancel") await this.cancel(takes);
      else await this.each(action, takes);
    } finally {
      this.busy = false;
      this.selection.clear();
      this.draw();
      this.changed();
    }
  }

  async cancel(takes) {
    try {
      const answer = await call("/api/jobs/cancel/", { method: "POST", json: { ids: takes.map((job) => job.id) } });
      const refused = answer.results.filter((one) => one.result === "refused" || one.result === "not_found");
      const going = answer.results.length - refused.length;
      if (going) toast(going === 1 ? "1 job is cancelling" : `${going} jobs are cancelling`, { text: "Each is cancelled when its machine is gone." });
      this.tell(refused.map((one) => one.message), "cancelled");
    } catch (error) {
      toast("Nothing was cancelled", { text: error.sentence ?? error.message, kind: "bad" });
    }
  }

  /** One request a job, one after the other: a refusal for one stops no other. */
  async each(action, takes) {
    const problems = [];
    for (const job of takes) {
      try {
        if (action === "delete") await call(`/api/jobs/${job.id}/`, { method: "DELETE" });
        else await call(`/api/jobs/${job.id}/retry/`, { method: "POST", json: {}, headers: { "Idempotency-Key": crypto.randomUUID?.() ?? `${job.id}-${Date.now()}` } });
      } catch (error) {
        problems.push(`${job.name}: ${error.sentence ?? error.message}`);
      }
    }
    const done = takes.length - problems.length;
    if (done) toast(`${done === 1 ? "1 job was" : `${done} jobs were`} ${DONE[action][0]}`, { kind: "good" });
    this.tell(problems, DONE[action][1]);
  }

  tell(problems, what) {
    if (!problems.length) return;
    const rest = problems.length > 2 ? ` And ${problems.length - 2} more.` : "";
    toast(`${problems.length === 1 ? "1 job was" : `${problems.length} jobs were`} not ${what}`, { text: problems.slice(0, 2).join(" ") + rest, kind: "bad" });
  }
}
