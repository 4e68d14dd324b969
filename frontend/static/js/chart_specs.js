// Which charts a job's page has: known metrics in a fixed order, then whatever else the program sends.
import { compact, decimals, percent } from "./format.js";

const line = (name, label, swatch, colour, area = false) => ({ name, label, swatch, colour, area });
const four = (value) => decimals(value, 4);
const share = (value) => percent(value, 2);
const isWhole = (value) => Math.abs(value - Math.round(value)) < 1e-6;
const whole = (value) => `${decimals(value, 0)} %`;
const gigabytes = (value) => `${decimals(value, 2)} GB`;

const KNOWN = [
  { id: "loss", title: "Loss", main: true, size: "chart-main", format: four, lines: [line("loss", "Training", 1, "train", true), line("eval_loss", "Validation", 2, "eval", true)] },
  { id: "learning_rate", title: "Learning rate", format: (value) => (value ? Number(value).toExponential(3) : "0"), least: 0, lines: [line("learning_rate", "Learning rate", 3, "third", true)] },
  { id: "accuracy", title: "Accuracy", format: share, tick: (value) => percent(value, isWhole(value * 100) ? 0 : 1), ceiling: 1, lines: [line("mean_token_accuracy", "Training", 4, "fourth"), line("eval_mean_token_accuracy", "Validation", 2, "eval")] },
  { id: "grad_norm", title: "Gradient norm", format: four, least: 0, lines: [line("grad_norm", "Gradient norm", 5, "fifth")] },
  { id: "throughput", title: "Throughput, tokens/s", format: (value) => compact(value), least: 0, lines: [line("tokens_per_second", "Tokens/s", 1, "train", true)] },
  { id: "gpu_use", title: "GPU utilisation", format: whole, tick: (value) => `${value} %`, least: 0, most: 100, gpu: true, lines: [line("gpu_utilization", "Utilisation", 4, "fourth", true)] },
  { id: "gpu_memory", title: "GPU memory", format: gigabytes, tick: (value) => `${compact(value)} GB`, least: 0, gpu: true, lines: [line("gpu_memory_allocated_gb", "Allocated", 2, "eval", true), line("gpu_memory_reserved_gb", "Reserved", 5, "fifth")] },
];

// Numbers that the page shows elsewhere, that only count upwards, or that come once, at the end.
const ELSEWHERE = new Set(["epoch", "progress", "elapsed_seconds", "remaining_seconds", "samples_per_second", "num_tokens", "total_flos", "step", "train_loss"]);
const TAKEN = new Set(KNOWN.flatMap((spec) => spec.lines.map((one) => one.name)));
const MOST_OTHERS = 12;

const title = (name) => name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

export const GPU_METRICS = KNOWN.filter((spec) => spec.gpu).flatMap((spec) => spec.lines.map((one) => one.name));

/** How any one metric is called and written, wherever it has a chart of its own. */
export function describeMetric(name) {
  const known = KNOWN.find((spec) => spec.lines.some((one) => one.name === name));
  if (!known) return { title: title(name), format: (value) => compact(value) };
  const { format, tick, least, most, ceiling } = known;
  const of = known.lines.find((one) => one.name === name);
  return { title: known.lines.length > 1 ? `${of.label} ${known.title.toLowerCase().replace("gpu", "GPU")}` : known.title, format, tick, least, most, ceiling };
}

/** A metric that is also measured on the validation rows has both lines on one chart. */
function otherLines(name) {
  return [line(name, "Training", 5, "fifth"), line(`eval_${name}`, "Validation", 2, "eval")];
}

export function chartSpecs(names) {
  const isOther = (name) => !TAKEN.has(name) && !ELSEWHERE.has(name) && !/_(runtime|samples_per_second|steps_per_second|num_tokens)$/.test(name);
  const others = [...new Set(names.filter(isOther).map((name) => name.replace(/^eval_/, "")))].sort().slice(0, MOST_OTHERS);
  return [
    ...KNOWN.map((spec, order) => ({ ...spec, order })),
    ...others.map((name, i) => ({ id: `other-${name}`, title: title(name), order: 100 + i, format: (value) => compact(value), lines: otherLines(name) })),
  ];
}
