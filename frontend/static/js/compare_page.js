// The page that compares jobs: curves from one request, kept live while some of the jobs run.
import { call } from "./api.js";
import { CompareBoard } from "./compare_board.js";
import { bestOf, readAddress, RESULTS, writeAddress } from "./compare_data.js";
import { $, $$, announce, dataOf, h, icon, setText, show } from "./dom.js";
import { JobFeed } from "./live.js";
import { connection, showLinkState } from "./page_live.js";
import { describeMetric } from "./chart_specs.js";
import { drawBadge, hasEnded, isActive } from "./status.js";

const POINTS = 800;
const DENSE = 600; // points of a line from which smoothing begins switched on
const MANY = 100; // steps at once: after a long silence the curves are fetched anew, with their times
const RESULTS_EVERY = 15000;
const data = dataOf("compare-data");
const ids = data.jobs.map((job) => job.id).join(",");
const state = readAddress(location.search);

const board = new CompareBoard($("#charts"), data.jobs, { viewChanged: (view) => show($("#zoom-reset"), view) });
const feeds = new Map();

// ---- curves

const curvesUrl = () => `/api/jobs/compare/?ids=${ids}&names=${board.names.join(",")}&points=${POINTS}`;

async function load() {
  show($("#metrics-error"), false);
  try {
    const answer = await call(curvesUrl());
    board.take(answer);
    if (state.smooth === null && answer.jobs.some((job) => (job.series.loss?.step.length ?? 0) >= DENSE)) setOption("smooth", true);
    for (const job of answer.jobs) follow(job);
    drawResults(answer);
  } catch (error) {
    setText($("#metrics-error p"), `The curves could not be loaded. ${error.message}`);
    show($("#metrics-error"), true);
  }
  drawState();
}

function drawState() {
  show($("#metrics-empty"), !board.hasCurves && $("#metrics-error").hidden);
  const without = board.withoutAxis();
  show($("#no-axis"), without.length);
  if (without.length) setText($("#no-axis div"), `${without.join(", ")}: not on the charts, because ${without.length === 1 ? "this job does" : "these jobs do"} not tell ${$("#axis").selectedOptions[0].text}.`);
}

$("#metrics-error button").addEventListener("click", load);

// ---- live

function follow({ id, seq, status }) {
  if (feeds.has(id) || !isActive({ status })) return;
  const feed = new JobFeed({ id, seq, ask: (after) => call(`/api/jobs/${id}/live/?after=${after}`), take: (frame) => take(id, frame) });
  feeds.set(id, feed);
  connection().add(feed);
}

function take(id, frame) {
  if (frame.metrics?.step?.length > MANY) load();
  else if (frame.metrics) board.follow(id, frame.metrics, Date.parse(frame.job?.server_time ?? new Date()) / 1000);
  if (frame.job) {
    const item = $(`.compare-job[data-job="${CSS.escape(id)}"]`);
    item.dataset.status = frame.job.status;
    drawBadge($('[data-f="status"]', item), frame.job);
    const words = frame.job.reason ? (frame.job.status === "completed" ? frame.job.status_label : `${frame.job.status_label}: ${frame.job.reason_text}`) : `${frame.job.status_label}, ${Math.round(frame.job.progress)} %`;
    setText(cell("ended", id), words);
    const feed = feeds.get(id);
    feed.ended = hasEnded(frame.job) && feed.seq >= feed.head;
    if (feed.ended) refreshResults();
  }
  drawState();
}

// ---- results

const cell = (name, id) => $(`#results td[data-r="${name}"][data-job="${CSS.escape(id)}"]`);

function drawResults({ jobs }) {
  for (const job of jobs) {
    for (const [name, written] of Object.entries(RESULTS)) setText(cell(name, job.id), written(job.results[name]));
  }
  for (const row of $$("#results tr[data-best]")) {
    const cells = $$("td", row);
    const values = cells.map((one) => jobs.find((job) => job.id === one.dataset.job).results[one.dataset.r]);
    bestOf(values, row.dataset.best).forEach((best, i) => {
      cells[i].classList.toggle("best", best);
      if (best) cells[i].append(h("span", { class: "best-word" }, "best"));
    });
  }
}

async function refreshResults() {
  try {
    drawResults(await call(`/api/jobs/compare/?ids=${ids}&names=loss&points=10`));
  } catch {
    // They are asked for again; the connection's state is shown in the header.
  }
}

setInterval(() => document.visibilityState === "visible" && [...feeds.values()].some((feed) => !feed.ended) && refreshResults(), RESULTS_EVERY);

// ---- tools

const SWITCHES = { smooth: $("#smooth"), log: $("#log-scale") };

/** The address says what is shown, so that it can be kept and sent to somebody. */
function keepAddress() {
  const address = writeAddress(location.search, state);
  history.replaceState(null, "", address);
  // Adding or removing a job keeps the rest as it is.
  for (const link of $$("a[data-keep]")) {
    const url = new URL(link.href);
    if (url.searchParams.has("ids")) link.href = writeAddress(`?ids=${url.searchParams.get("ids")}`, state);
  }
}

function setOption(name, on) {
  SWITCHES[name].setAttribute("aria-pressed", String(on));
  board.setOption(name, on);
}

for (const [name, button] of Object.entries(SWITCHES)) {
  button.addEventListener("click", () => {
    state[name] = button.getAttribute("aria-pressed") !== "true";
    setOption(name, state[name]);
    keepAddress();
  });
}
$("#axis").addEventListener("change", (event) => {
  state.axis = event.target.value;
  board.setAxis(state.axis);
  drawState();
  keepAddress();
});
$("#metric").addEventListener("change", (event) => {
  const name = event.target.value;
  event.target.value = "";
  if (!name) return;
  setNames([...state.names, name]);
  announce(`${describeMetric(name).title} added`);
  load();
});
$(".chart-zoom").addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  if (button) board.move(button.dataset.zoom);
});

function setNames(names) {
  state.names = [...new Set(names)];
  board.setNames(state.names);
  for (const option of $$("#metric option")) option.disabled = option.value !== "" && state.names.includes(option.value);
  show($("#metric").closest(".tool-select"), $$("#metric option").some((option) => option.value && !option.disabled) || state.names.length);
  keepAddress();
}

// Charts that were added can be taken away again.
new MutationObserver(() => {
  for (const figure of $$("#charts .chart")) {
    const name = board.names[Number(figure.dataset.order)];
    if (!state.names.includes(name) || $(".chart-remove", figure)) continue;
    const remove = h("button", { type: "button", class: "icon-button chart-remove", title: "Remove this chart" }, icon("x"), h("span", { class: "visually-hidden" }, `Remove ${describeMetric(name).title}`));
    remove.addEventListener("click", () => {
      setNames(state.names.filter((one) => one !== name));
      $("#metric").focus();
    });
    $("figcaption", figure).append(remove);
  }
}).observe($("#charts"), { childList: true });

$("#compare-jobs").addEventListener("click", (event) => {
  const button = event.target.closest("[data-toggle]");
  if (!button) return;
  const shown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(shown));
  board.setShown(button.closest(".compare-job").dataset.job, shown);
});

$("form.compare-add")?.addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(writeAddress(`?ids=${ids},${$("#add").value}`, state));
});

// ---- configuration

const table = $("#configuration");
const segments = $$("[data-values]");
function showValues(which) {
  for (const button of segments) button.setAttribute("aria-pressed", String(button.dataset.values === which));
  table.classList.toggle("only-differing", which === "differing");
  const same = which === "differing" && !$("tbody:not([data-same])", table);
  show($("#all-same"), same);
  show(table.closest(".table-wrap"), !same);
}
for (const button of segments) button.addEventListener("click", () => showValues(button.dataset.values));
if (segments.length) showValues("differing");

// ---- start

$("#axis").value = state.axis;
if (state.axis !== "step") board.setAxis(state.axis);
if (state.smooth) setOption("smooth", true);
if (state.log) setOption("log", true);
setNames(state.names);
if (data.jobs.some(isActive)) showLinkState();
load();
