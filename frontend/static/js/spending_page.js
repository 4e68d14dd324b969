// The spending page: bars by day, and the month's limit changed in place.
import { call, fragment } from "./api.js";
import { $, announce, dataOf, h, setText, show } from "./dom.js";
import { money } from "./format.js";
import { barLabel, barSets, readLimit } from "./spending_data.js";
import { toast } from "./toasts.js";

const COLOURS = 8;
const MONTH_EVERY = 20000;
const month = $("#month");
const data = dataOf("spending-data");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const slot = (i) => (i % COLOURS) + 1;

// ---- bars

let chart = null;

function drawChart() {
  const canvas = $("#spending-chart");
  if (!canvas) return;
  chart?.destroy();
  const font = { family: '"Inter Variable", system-ui, sans-serif', size: 11.5 };
  const ticks = { color: css("--text-2"), font, maxRotation: 0, padding: 6 };
  chart = new window.Chart(canvas, {
    type: "bar",
    data: { labels: data.days.map((day) => barLabel(day, data.unit)), datasets: barSets(data.providers, (i) => css(`--chart-job-${slot(i)}`)) },
    options: {
      responsive: true,
      maintainAspectRatio: false,
      animation: false,
      interaction: { mode: "index", intersect: false },
      datasets: { bar: { borderRadius: 2, maxBarThickness: 34, categoryPercentage: 0.85, barPercentage: 0.92 } },
      scales: {
        x: { stacked: true, border: { display: false }, grid: { display: false }, ticks: { ...ticks, autoSkipPadding: 14 } },
        y: { stacked: true, min: 0, border: { display: false }, grid: { color: css("--chart-grid"), drawTicks: false }, ticks: { ...ticks, maxTicksLimit: 5, callback: (value) => money(value) } },
      },
      plugins: {
        legend: { display: false },
        tooltip: {
          animation: false,
          backgroundColor: css("--surface"),
          titleColor: css("--text-2"),
          bodyColor: css("--text"),
          footerColor: css("--text"),
          borderColor: css("--line-strong"),
          borderWidth: 1,
          padding: 10,
          cornerRadius: 8,
          usePointStyle: true,
          boxWidth: 7,
          boxHeight: 7,
          filter: (item) => item.parsed.y > 0,
          callbacks: {
            label: (item) => ` ${item.dataset.label}  ${money(item.parsed.y)}`,
            footer: (items) => (items.length > 1 ? `In all  ${money(items.reduce((sum, item) => sum + item.parsed.y, 0))}` : ""),
            labelPointStyle: () => ({ pointStyle: "circle", rotation: 0 }),
          },
        },
      },
    },
  });
}

const legend = $("#chart-legend");
if (legend) legend.replaceChildren(...data.providers.map(({ name }, i) => h("span", {}, h("i", { class: `dot dot-${slot(i)}` }), name)));
document.addEventListener("stoker:theme", drawChart);
drawChart();

// ---- this month

const editing = () => !$("#limit-form", month).hidden;

async function refresh() {
  const html = await fragment(location.href);
  if (!editing()) month.innerHTML = html;
}

function edit(on) {
  show($("#limit-form", month), on);
  show($("#limit-line", month), !on);
  if (on) $("#limit", month).select();
  else $("#limit-change", month).focus();
}

function say(problem) {
  setText($("#limit-error", month), problem);
  if (problem) $("#limit", month).setAttribute("aria-invalid", "true");
  else $("#limit", month).removeAttribute("aria-invalid");
}

async function save(event) {
  event.preventDefault();
  const { limit, problem } = readLimit($("#limit", month).value);
  say(problem ?? "");
  if (problem) return;
  const button = $("[type=submit]", month);
  button.ariaDisabled = "true";
  try {
    await call("/api/budget/", { method: "PUT", json: { monthly_limit: limit } });
    edit(false);
    await refresh();
    $("#limit-change", month).focus();
    toast(limit === null ? "The monthly limit was removed" : `The monthly limit is ${money(limit)}`, { kind: "good" });
  } catch (error) {
    if (editing()) say(error.sentence ?? error.message);
    else announce("The limit is saved. The page could not be updated.");
  } finally {
    button.ariaDisabled = null;
  }
}

month.addEventListener("submit", (event) => event.target.id === "limit-form" && save(event));
month.addEventListener("click", (event) => {
  if (event.target.closest("#limit-change")) edit(true);
  if (event.target.closest("#limit-back")) edit(false);
});
month.addEventListener("keydown", (event) => event.key === "Escape" && editing() && edit(false));
// Live jobs spend while the page is open.
setInterval(() => {
  const busy = month.contains(document.activeElement) && document.activeElement !== document.body;
  if (document.visibilityState === "visible" && !editing() && !busy) refresh().catch(() => {});
}, MONTH_EVERY);
