// The charts of several jobs: one chart a metric, one line a job.
import { describeMetric } from "./chart_specs.js";
import { ChartBoard } from "./charts.js";
import { AXES, onAxis } from "./compare_data.js";
import { decodeColumns, Metrics } from "./series.js";

const LIMIT = 3000; // points of one line
const DASHED_FROM = 5; // the second half of the colours is told apart by its dashes, too
const ALWAYS = ["loss", "eval_loss"];
const key = (name, job) => `${name}@${job.slot}`;

export class CompareBoard extends ChartBoard {
  constructor(root, jobs, options) {
    super(root, () => this.specsOf(), { detail: async () => null, ...options });
    this.jobs = jobs.map((job) => ({ ...job, hidden: false, began: null, series: new Metrics(LIMIT), axes: new Metrics(LIMIT) }));
    this.names = [...ALWAYS];
    this.axisName = "step";
  }

  job(id) {
    return this.jobs.find((job) => job.id === id);
  }

  specsOf() {
    return this.names.map((name, order) => ({
      id: name,
      order,
      main: name === "loss",
      size: name === "loss" ? "chart-main" : "chart-half",
      ...describeMetric(name),
      ...(name === "loss" ? { title: "Training loss" } : {}),
      lines: this.jobs.map((job) => ({ name: key(name, job), label: job.letter, swatch: `job-${job.slot}`, colour: `job-${job.slot}`, dash: job.slot >= DASHED_FROM ? [6, 3] : [] })),
    }));
  }

  /** Take the answer of the server: whole curves, thinned. */
  take(answer) {
    for (const told of answer.jobs) {
      const job = this.job(told.id);
      job.began = told.began;
      job.series.load(told.series);
      job.axes.load(told.axes);
    }
    this.rebuild();
  }

  /** Take the columns of a live frame; `moment`: when it came, seconds since 1970. */
  follow(id, columns, moment) {
    const job = this.job(id);
    job.began ??= moment;
    const wanted = new Set([...this.names, "epoch", "num_tokens"]);
    for (const [name, { steps, values }] of Object.entries(decodeColumns(columns))) {
      if (!wanted.has(name)) continue;
      if (this.names.includes(name)) job.series.get(name).putAll(steps, values);
      if (name in AXES) job.axes.get(name).putAll(steps, values);
    }
    const newest = columns.step?.at(-1);
    if (newest !== undefined) job.axes.get("seconds").put(newest, Math.max(0, moment - job.began));
    this.rebuild();
  }

  setAxis(name) {
    this.axisName = name;
    this.axis = AXES[name];
    this.view = null;
    this.viewChanged(null);
    this.rebuild();
    this.recolour();
  }

  setShown(id, shown) {
    this.job(id).hidden = !shown;
    this.rebuild();
  }

  setNames(extra) {
    this.names = [...ALWAYS, ...extra.filter((name) => !ALWAYS.includes(name))];
    for (const [id, chart] of this.charts) {
      if (this.names.includes(id)) continue;
      this.watcher.unobserve(chart.figure);
      chart.chart.destroy();
      chart.figure.remove();
      this.charts.delete(id);
    }
    this.rebuild();
  }

  /** The lines as they are drawn: of the jobs that are shown, over the axis that was chosen. */
  rebuild() {
    const metrics = new Metrics(LIMIT);
    for (const job of this.jobs.filter((one) => !one.hidden)) {
      for (const name of this.names) {
        if (!job.series.has(name)) continue;
        const points = job.series.get(name).points;
        metrics.get(key(name, job)).points = this.axis ? onAxis(points, job.axes.get(this.axisName).points) : points;
      }
    }
    this.metrics = metrics;
    this.request();
  }

  /** Letters of the jobs that have curves, but none over this axis. */
  withoutAxis() {
    if (!this.axis) return [];
    return this.jobs.filter((job) => job.series.names().length && !job.axes.has(this.axisName)).map((job) => job.letter);
  }

  get hasCurves() {
    return this.jobs.some((job) => job.series.names().length);
  }

  marks() {
    return {};
  }
}
