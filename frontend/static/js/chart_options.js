// How every chart looks and behaves: Chart.js options in the page's own colours.
import { compact, count } from "./format.js";
import { lowerBoundX } from "./series.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const FONT = { family: '"Inter Variable", system-ui, sans-serif', size: 11.5 };

/** What stands on the x axis of a job's own charts; a board may have another `axis`. */
const STEPS = {
  over: "steps",
  whole: true, // there is nothing between two steps
  title: (x) => `Step ${count(x)}`,
  point: (x) => `step ${count(x)}`,
  tick: (x) => (Number.isInteger(x) ? count(x) : ""),
};

export const axisOf = (board) => board.axis ?? STEPS;

function scales(chart) {
  const axis = axisOf(chart.board);
  const ticks = { color: css("--text-2"), font: FONT, maxRotation: 0, padding: 6 };
  const grid = { color: css("--chart-grid"), drawTicks: false };
  return {
    x: {
      type: "linear",
      border: { display: false },
      grid: { display: false },
      ticks: { ...ticks, maxTicksLimit: chart.spec.main ? 10 : 5, ...(axis.whole ? { precision: 0 } : {}), callback: axis.tick },
    },
    y: {
      type: "linear",
      border: { display: false },
      grid,
      ...(chart.spec.least === undefined ? { afterDataLimits: (axis) => air(axis, chart.spec.ceiling) } : { min: chart.spec.least, suggestedMax: chart.spec.most }),
      ticks: { ...ticks, maxTicksLimit: 5, callback: (value) => (chart.spec.tick ?? compact)(value) },
    },
  };
}

/** A little room around the line, but none below zero where nothing is below zero, nor above what cannot be exceeded. */
function air(axis, ceiling = Infinity) {
  if (axis.type === "logarithmic") return;
  const room = (axis.max - axis.min) * 0.04;
  axis.min = axis.min >= 0 ? Math.max(0, axis.min - room) : axis.min - room;
  axis.max = axis.max <= ceiling ? Math.min(ceiling, axis.max + room) : axis.max + room;
}

const REACH = 40; // pixels: a line whose nearest point is farther away has nothing to say here

/** The nearest point of every line; Chart.js's own "nearest" leaves out lines that have no point at that very step. */
function perLine(chart, event) {
  const found = [];
  const step = chart.scales.x.getValueForPixel(event.x);
  chart.getSortedVisibleDatasetMetas().forEach((meta) => {
    const points = chart.data.datasets[meta.index].data;
    let i = Math.min(lowerBoundX(points, step), points.length - 1);
    if (i > 0 && Math.abs(points[i - 1].x - step) < Math.abs(points[i].x - step)) i -= 1;
    const element = meta.data[i];
    if (element && Math.abs(element.x - event.x) <= REACH) found.push({ element, datasetIndex: meta.index, index: i });
  });
  return found.sort((a, b) => a.datasetIndex - b.datasetIndex);
}

function tooltip(chart) {
  return {
    mode: "perLine",
    intersect: false,
    animation: false,
    backgroundColor: css("--surface"),
    titleColor: css("--text-2"),
    bodyColor: css("--text"),
    borderColor: css("--line-strong"),
    borderWidth: 1,
    padding: 10,
    cornerRadius: 8,
    usePointStyle: true,
    boxWidth: 7,
    boxHeight: 7,
    titleFont: { ...FONT, weight: 500 },
    bodyFont: { ...FONT, size: 12.5 },
    callbacks: {
      title: (items) => (items.length ? axisOf(chart.board).title(items[0].parsed.x) : ""),
      // Where lines have different steps, each says its own.
      label: (item) => {
        const first = item.chart.tooltip?.dataPoints?.[0]?.parsed.x ?? item.parsed.x;
        return ` ${item.dataset.label}  ${chart.spec.format(item.parsed.y)}${item.parsed.x === first ? "" : `  (${axisOf(chart.board).point(item.parsed.x)})`}`;
      },
      labelPointStyle: () => ({ pointStyle: "circle", rotation: 0 }),
      labelColor: (item) => ({ borderColor: item.dataset.borderColor, backgroundColor: item.dataset.borderColor }),
    },
  };
}

function zoom(chart) {
  const moved = ({ chart: drawn }) => chart.board.setView({ from: drawn.scales.x.min, to: drawn.scales.x.max });
  const touch = matchMedia("(pointer: coarse)").matches;
  return {
    limits: { x: {} },
    pan: { enabled: !touch, mode: "x", modifierKey: "shift", onPanComplete: moved },
    zoom: {
      mode: "x",
      drag: { enabled: !touch, backgroundColor: `color-mix(in srgb, ${css("--accent")} 14%, transparent)`, threshold: 8 },
      wheel: { enabled: true, modifierKey: "ctrl" },
      pinch: { enabled: true },
      onZoomComplete: moved,
    },
  };
}

export function lineOptions(chart) {
  window.Chart.Interaction.modes.perLine ??= perLine;
  return {
    type: "line",
    data: { datasets: [] },
    options: {
      responsive: true,
      maintainAspectRatio: false,
      animation: false,
      parsing: false,
      normalized: true,
      spanGaps: true,
      events: ["mousemove", "mouseout", "click", "touchstart", "touchmove"],
      interaction: { mode: "perLine", intersect: false },
      elements: { line: { tension: 0, borderJoinStyle: "round" } },
      scales: scales(chart),
      plugins: { legend: { display: false }, tooltip: tooltip(chart), zoom: zoom(chart), annotation: { annotations: {} } },
    },
  };
}
