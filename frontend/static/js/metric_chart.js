// One line chart: the figure, its legend with the newest values, and the points it is given from series.js.
import { h, setText } from "./dom.js";
import { axisOf, lineOptions } from "./chart_options.js";
import { smooth } from "./series.js";

const SMOOTHING = 0.9;
const FEW = 30; // lines with fewer points show each of them

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const faded = (colour, percent) => `color-mix(in srgb, ${colour} ${percent}%, transparent)`;

export class MetricChart {
  constructor(board, spec, place) {
    this.board = board;
    this.spec = spec;
    this.now = h("div", { class: "chart-legend" });
    this.canvas = h("canvas", { role: "img", "aria-label": `${spec.title}, a line chart over ${axisOf(board).over}` });
    this.figure = h(
      "figure",
      { class: `chart ${spec.size ?? ""}` },
      h("figcaption", {}, h("h3", {}, spec.title), this.now),
      h("div", { class: "chart-canvas" }, this.canvas),
    );
    place(this.figure);
    this.datasets = new Map(); // Chart.js knows a line by its object: each line keeps its own
    this.visible = true;
    this.drawn = false; // out of sight it is drawn once, then only when somebody scrolls to it
    this.chart = new window.Chart(this.canvas, lineOptions(this));
    // Chart and hammer would take every touch; a finger that moves up or down must still scroll the page.
    this.canvas.style.touchAction = "pan-y";
    board.watcher.observe(this.figure);
    this.canvas.addEventListener("dblclick", () => board.setView(null));
  }

  colour(line) {
    return css(`--chart-${line.colour}`);
  }

  /** Give Chart.js the points of now. Cheap: the arrays are shared, only smoothing makes new ones. */
  feed() {
    const metrics = this.board.shown();
    const shown = [];
    for (const line of this.spec.lines) {
      if (!metrics.has(line.name)) continue;
      const points = this.points(metrics, line.name);
      const softened = this.board.smooth && points.length > 10;
      shown.push(this.dataset(line.name, this.rawLine(line, points, softened)));
      if (softened) shown.push(this.dataset(`${line.name} smoothed`, this.softLine(line, points)));
    }
    const kept = this.chart.data.datasets;
    if (kept.length !== shown.length || kept.some((one, i) => one !== shown[i])) kept.splice(0, kept.length, ...shown);
  }

  dataset(key, values) {
    if (!this.datasets.has(key)) this.datasets.set(key, {});
    return Object.assign(this.datasets.get(key), values);
  }

  rawLine(line, points, softened) {
    const colour = this.colour(line);
    return {
      label: line.label,
      data: points,
      borderColor: softened ? faded(colour, 28) : colour,
      backgroundColor: line.area ? (context) => this.gradient(context, colour) : colour,
      fill: line.area && !softened ? "start" : false,
      borderWidth: softened ? 1 : 1.75,
      borderDash: line.dash ?? [],
      pointRadius: points.length < FEW && !softened ? 2.5 : 0,
      pointBackgroundColor: colour,
      pointBorderWidth: 0,
      pointHoverRadius: 4.5,
      // Few points lie on top of many: the validation line would vanish under a noisy training line.
      order: softened ? 1e9 : points.length,
    };
  }

  points(metrics, name) {
    const points = metrics.get(name).points;
    return this.board.log ? points.filter((point) => point.y > 0) : points;
  }

  softLine(line, points) {
    return { ...this.rawLine(line, smooth(points, SMOOTHING), false), label: `${line.label}, smoothed`, borderWidth: 2, pointRadius: 0 };
  }

  gradient({ chart }, colour) {
    const area = chart.chartArea;
    if (!area) return "transparent";
    const key = `${colour}${area.top}${area.bottom}`;
    if (this.gradientKey !== key) {
      const fill = chart.ctx.createLinearGradient(0, area.top, 0, area.bottom);
      fill.addColorStop(0, faded(colour, 26));
      fill.addColorStop(1, faded(colour, 1));
      [this.gradientKey, this.gradientFill] = [key, fill];
    }
    return this.gradientFill;
  }

  legend() {
    const metrics = this.board.metrics;
    const lines = this.spec.lines.filter((line) => metrics.has(line.name));
    if (this.now.childElementCount !== lines.length) {
      const parts = lines.map((line) => h("span", {}, h("i", { class: `swatch swatch-${line.swatch}` }), lines.length > 1 ? line.label : "", h("b")));
      this.now.replaceChildren(...parts);
    }
    lines.forEach((line, i) => setText(this.now.children[i].querySelector("b"), this.spec.format(metrics.get(line.name).last.y)));
  }

  draw() {
    const { board, chart } = this;
    this.drawn = true;
    this.feed();
    this.legend();
    const [from, to] = board.range();
    Object.assign(chart.options.scales.x, { min: from, max: to });
    chart.options.scales.y.type = board.log ? "logarithmic" : "linear";
    // A logarithmic scale has no zero.
    chart.options.scales.y.min = board.log ? undefined : this.spec.least;
    const bounds = board.bounds();
    chart.options.plugins.zoom.limits.x = { min: bounds[0], max: bounds[1], minRange: axisOf(board).whole ? Math.min(4, Math.max(1, bounds[1] - bounds[0])) : (bounds[1] - bounds[0]) / 200 };
    chart.options.plugins.annotation.annotations = board.marks(this.spec);
    chart.update("none");
  }
}
