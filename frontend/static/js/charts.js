// All charts of a page: they share the stretch of steps shown, scale and smoothing, and are drawn without ever holding up the page.
import { axisOf, lineOptions } from "./chart_options.js";
import { MetricChart, css } from "./metric_chart.js";
import { Metrics } from "./series.js";

const LIMIT = 3000; // points of one line; the server's snapshot has at most half of it
const BUSY_SHARE = 0.25; // drawing may take at most this share of the time
const SLICE_MS = 8; // of one frame; what is left is drawn in the next

export class ChartBoard {
  /** `specs`: what charts there are; `detail(from, to)`: fetches finer points of a stretch; `viewChanged(view)`: hears about zooms. */
  constructor(root, specs, { detail, viewChanged = () => {} }) {
    Object.assign(this, { root, specs, fetchDetail: detail, viewChanged });
    this.metrics = new Metrics(LIMIT);
    this.detail = null;
    this.view = null;
    this.smooth = false;
    this.log = false;
    this.events = []; // checkpoints
    this.attempts = []; // later ones, where they began
    this.charts = new Map();
    this.hidden = false;
    this.asked = false;
    this.restUntil = 0;
    this.watcher = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: "120px" });
    document.addEventListener("stoker:theme", () => this.recolour());
  }

  shown() {
    return this.detail ?? this.metrics;
  }

  bounds() {
    let [from, to] = [Infinity, -Infinity];
    for (const name of this.metrics.names()) {
      const series = this.metrics.get(name);
      from = Math.min(from, series.first.x);
      to = Math.max(to, series.last.x);
    }
    return from <= to ? [from, to > from ? to : from + 1] : [0, 1];
  }

  range() {
    return this.view ? [this.view.from, this.view.to] : this.bounds();
  }

  // ---- data

  load(series, nonfinite) {
    this.metrics.load(series);
    this.metrics.flag(nonfinite);
    this.request();
  }

  apply(columns, nonfinite) {
    const changed = this.metrics.apply(columns);
    const odd = this.metrics.flag(nonfinite);
    if (this.detail && changed.size) this.detail.apply(columns);
    if (changed.size || odd) this.request();
    return changed;
  }

  setEvents(events) {
    this.events = events;
    this.request();
  }

  setAttempts(marks) {
    this.attempts = marks;
    this.request();
  }

  // ---- view

  setOption(name, value) {
    this[name] = value;
    this.request();
  }

  setHidden(hidden) {
    this.hidden = hidden;
    if (!hidden) this.request();
  }

  /** Show the steps {from, to} on every chart, or everything with null; then ask for finer points of that stretch. */
  setView(view) {
    const [low, high] = this.bounds();
    const whole = !view || (view.from <= low && view.to >= high);
    this.view = whole ? null : { from: Math.max(low, view.from), to: Math.min(high, view.to) };
    if (!this.view) this.detail = null;
    this.request();
    this.viewChanged(this.view);
    clearTimeout(this.detailTimer);
    if (this.view) this.detailTimer = setTimeout(() => this.sharpen(), 250);
  }

  async sharpen() {
    const view = this.view;
    // One point more on each side, so that the lines run to the edges.
    const margin = Math.ceil((view.to - view.from) * 0.05) + 1;
    const answer = await this.fetchDetail(Math.max(0, Math.floor(view.from) - margin), Math.ceil(view.to) + margin);
    if (this.view !== view || !answer) return;
    this.detail = new Metrics(LIMIT);
    this.detail.load(answer.series);
    this.request();
  }

  /** The zoom buttons: the same as the gestures, for a keyboard. */
  move(how) {
    if (how === "reset") return this.setView(null);
    const [from, to] = this.range();
    const width = to - from;
    const [low, high] = this.bounds();
    if (how === "in" && width > (axisOf(this).whole ? 8 : (high - low) / 100)) return this.setView({ from: from + width / 4, to: to - width / 4 });
    if (how === "out") return this.setView({ from: from - width / 2, to: to + width / 2 });
    if (how === "left" || how === "right") {
      const by = how === "left" ? -Math.min(width / 2, from - low) : Math.min(width / 2, high - to);
      if (this.view) return this.setView({ from: from + by, to: to + by });
    }
    return undefined;
  }

  // ---- drawing

  /** Draw soon: once a frame at most, and never more than a quarter of the time. */
  request() {
    if (this.asked || this.hidden) return;
    this.asked = true;
    const wait = Math.max(0, this.restUntil - performance.now());
    const go = () => requestAnimationFrame(() => this.drawNow());
    if (wait > 0) setTimeout(go, wait);
    else go();
  }

  drawNow() {
    this.asked = false;
    if (this.hidden) return;
    this.grow();
    this.waiting = new Set(this.charts.values());
    this.spent = 0;
    if (!this.drawing) this.drawSlice();
  }

  drawSlice() {
    const began = performance.now();
    this.drawing = true;
    for (const chart of this.waiting) {
      this.waiting.delete(chart);
      if (chart.visible || !chart.drawn) chart.draw();
      else chart.stale = true;
      if (performance.now() - began > SLICE_MS) break;
    }
    const now = performance.now();
    this.spent += now - began;
    this.drawing = this.waiting.size > 0;
    if (this.drawing) requestAnimationFrame(() => this.drawSlice());
    else this.restUntil = now + this.spent * (1 / BUSY_SHARE - 1);
  }

  /** All charts, in their order on the page, each drawn as it is now whether it is in sight or not. */
  async drawn() {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    this.grow();
    const charts = [...this.charts.values()].sort((a, b) => a.spec.order - b.spec.order);
    for (const chart of charts) {
      chart.chart.resize();
      chart.draw();
    }
    return charts;
  }

  /** Make the charts whose data has come, each at its place in the order of the specs. */
  grow() {
    const names = this.metrics.names();
    for (const spec of this.specs(names)) {
      if (this.charts.has(spec.id) || !spec.lines.some((line) => this.metrics.has(line.name))) continue;
      this.charts.set(spec.id, new MetricChart(this, spec, (figure) => this.insert(figure, spec)));
    }
  }

  insert(figure, spec) {
    figure.dataset.order = spec.order;
    const after = [...this.root.children].find((other) => Number(other.dataset.order) > spec.order);
    this.root.insertBefore(figure, after ?? null);
  }

  seen(entries) {
    for (const entry of entries) {
      const chart = [...this.charts.values()].find((one) => one.figure === entry.target);
      if (!chart) continue;
      chart.visible = entry.isIntersecting;
      if (chart.visible && chart.stale) {
        chart.stale = false;
        chart.draw();
      }
    }
  }

  recolour() {
    for (const chart of this.charts.values()) {
      chart.gradientKey = "";
      chart.chart.options = lineOptions(chart).options;
      // Until this update Chart.js goes on handing out the old options, and what draw() sets would be lost.
      chart.chart.update("none");
      chart.draw();
    }
  }

  /** Lines across a chart: new attempts, checkpoints, and values that were not numbers. */
  marks(spec) {
    const found = {};
    const line = (id, step, text, colour, dashed, position = "start") => {
      found[id] = {
        type: "line",
        scaleID: "x",
        value: step,
        borderColor: colour,
        borderWidth: 1,
        borderDash: dashed ? [3, 4] : [],
        label: { display: spec.main && text !== "", content: text, position, backgroundColor: css("--surface"), color: css("--text-2"), font: { size: 11 }, padding: 3, yAdjust: -2 },
      };
    };
    const quiet = css("--line-strong");
    const checkpoints = this.events.filter((event) => event.kind === "checkpoint");
    const every = Math.max(1, Math.ceil(checkpoints.length / 12));
    if (spec.main) checkpoints.forEach((event, i) => i % every || line(`c${event.step}`, event.step, "", quiet, true));
    for (const event of this.events) if (event.kind === "rule") line(`r${event.step}`, event.step, "Rule fired", css("--warn"), false, "end");
    for (const mark of this.attempts) line(`a${mark.attempt}`, mark.step, mark.text, css("--chart-mark"), false);
    const odd = [...this.metrics.odd.values()].filter((item) => spec.lines.some((one) => one.name === item.name));
    const shownOdd = odd.length > 20 ? odd.filter((_, i) => i % Math.ceil(odd.length / 20) === 0) : odd;
    for (const item of shownOdd) line(`n${item.step}`, item.step, String(item.value), css("--bad"), true);
    return found;
  }
}
