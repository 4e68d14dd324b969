// The export menu of a job's page. Tables and logs come from the server; pictures are made here, of the charts as they stand.
import { pictureOf } from "./chart_image.js";
import { $, h } from "./dom.js";
import { fileStem } from "./format.js";
import { toast } from "./toasts.js";

export class JobExports {
  /** `openCharts()`: brings the metrics tab to the front, for what is not on the screen is not drawn. */
  constructor({ board, job, openCharts }) {
    Object.assign(this, { board, job, openCharts });
    this.menu = $("#export-panel");
    this.menu.addEventListener("click", (event) => {
      const item = event.target.closest(".menu-item");
      if (!item) return;
      this.close();
      if (item.dataset.picture) this.picture(item.dataset.picture === "all");
    });
    $("#export").closest("[data-menu]").addEventListener("keydown", (event) => this.keys(event));
  }

  close() {
    this.menu.hidden = true;
    const button = $("#export");
    button.setAttribute("aria-expanded", "false");
    button.focus();
  }

  /** Arrows move through the items, as in every menu. */
  keys(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || this.menu.hidden) return;
    event.preventDefault();
    const items = [...this.menu.querySelectorAll(".menu-item")];
    const at = items.indexOf(document.activeElement);
    const to = at < 0 ? (by > 0 ? 0 : -1) : (at + by) % items.length;
    items.at(to).focus();
  }

  async picture(all) {
    if (!this.board.metrics.names().length) {
      toast("There is no chart yet", { text: "It appears with the first training step." });
      return;
    }
    this.openCharts();
    const charts = await this.board.drawn();
    const chosen = all ? charts : charts.filter((one) => one.spec.main);
    const job = this.job();
    try {
      const blob = await pictureOf(chosen.length ? chosen : charts.slice(0, 1), { name: job.name, title: `${job.base_model} · ${job.status_label} · step ${job.current_step}` });
      save(blob, `${fileStem(job.name)}-${all ? "charts" : "loss"}.png`);
    } catch (error) {
      toast("The picture could not be made", { text: error.message, kind: "bad" });
    }
  }
}

function save(blob, name) {
  const href = URL.createObjectURL(blob);
  const link = h("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}
