// The list of jobs: rows that follow their jobs, filters without a reload, cancelling from a row.
import { call, fragment, rows } from "./api.js";
import { costBeside } from "./costs.js";
import { $, $$, setText, settle, show } from "./dom.js";
import { count, decimals, duration, money } from "./format.js";
import { cancelJob } from "./job_actions.js";
import { JobsBulk } from "./jobs_bulk.js";
import { TopicFeed } from "./live.js";
import { connection, showLinkState } from "./page_live.js";
import { drawSpark } from "./spark.js";
import { drawBadge, hasEnded, isActive, stageBeside } from "./status.js";
import { toast } from "./toasts.js";

const list = $("#job-list");
const tools = $("#list-tools");
const sparks = new Map(); // job id -> the losses of its small line
const SPARK_POINTS = 40;
let loading = null;
let bulk = null;

// ---- one row

function drawRow(row, job) {
  const part = (name) => $(`[data-f="${name}"]`, row);
  row.dataset.status = job.status;
  row.dataset.stage = job.current_stage;
  drawBadge(part("status"), job);
  setText(part("stage"), stageBeside(job));
  part("progress").value = job.progress ?? 0;
  setText(part("percent"), `${Math.floor(job.progress ?? 0)}%`);
  const steps = job.total_steps ? `${count(job.current_step)} / ${count(job.total_steps)}` : job.current_step ? `step ${count(job.current_step)}` : "";
  setText(part("steps"), steps);
  const loss = job.current_metrics?.loss;
  if (loss !== undefined && loss !== null) {
    part("loss").lastChild.textContent = decimals(loss);
    addToSpark(row, job.id, Number(loss));
  }
  setText(part("cost"), money(job.final_cost ?? job.current_cost));
  setText(part("of"), costBeside(job));
  setText(part("eta"), job.eta_seconds !== null && job.eta_seconds !== undefined ? `${duration(job.eta_seconds)} left` : "");
  show($("[data-cancel]", row), job.can_cancel);
}

function addToSpark(row, id, loss) {
  const values = sparks.get(id);
  if (!values || !Number.isFinite(loss) || values[values.length - 1] === loss) return;
  values.push(loss);
  if (values.length > 2 * SPARK_POINTS) values.splice(1, values.length - 2 * SPARK_POINTS);
  drawSpark($('[data-f="spark"]', row), values);
}

/** The small lines of all rows that show one, with one request. */
async function loadSparks() {
  const shown = $$(".job-row", list).filter((row) => row.dataset.started && $('[data-f="spark"]', row).getClientRects().length);
  const draw = (row) => drawSpark($('[data-f="spark"]', row), sparks.get(row.dataset.job));
  shown.filter((row) => sparks.has(row.dataset.job)).forEach(draw);
  const missing = shown.filter((row) => !sparks.has(row.dataset.job));
  if (!missing.length) return;
  try {
    const answer = await call(`/api/jobs/compare/?ids=${missing.map((row) => row.dataset.job).join(",")}&names=loss&points=${SPARK_POINTS}`);
    for (const job of answer.jobs) sparks.set(job.id, job.series.loss?.value ?? []);
    missing.filter((row) => sparks.has(row.dataset.job)).forEach(draw);
  } catch {
    // The line is an extra; the row says everything without it.
  }
}

// ---- the list

/** Where the focus is in the list, so that it can be put there again; null elsewhere. */
function focusIn(element) {
  if (!element || !list.contains(element)) return null;
  const row = element.closest(".job-row");
  const of = row ? `[data-job="${CSS.escape(row.dataset.job)}"] ` : "";
  if (element.matches("a[href]")) return `${of}a[href="${CSS.escape(element.getAttribute("href"))}"]`;
  return element.id ? `#${element.id}` : ["[data-pick]", "[data-cancel]"].filter((one) => element.matches(one)).map((one) => of + one)[0];
}

async function reload(url = location.href, { push = false } = {}) {
  loading?.abort();
  loading = new AbortController();
  const signal = loading.signal;
  try {
    const html = await fragment(url, signal);
    const focused = focusIn(document.activeElement);
    list.innerHTML = html;
    if (focused) $(focused, list)?.focus();
    bulk?.draw();
    if (push) history.pushState(null, "", url);
    document.dispatchEvent(new CustomEvent("stoker:fragment"));
    loadSparks();
  } catch (error) {
    if (error.name !== "AbortError") toast("The list could not be loaded", { text: error.message, kind: "bad" });
  }
}

const refresh = settle(() => reload(), 600);

function take({ jobs }) {
  let [counts, changed] = [false, false];
  for (const job of jobs ?? []) {
    const row = $(`[data-job="${CSS.escape(job.id)}"]`, list);
    if (!row) counts = true;
    else {
      counts ||= row.dataset.status !== job.status;
      drawRow(row, job);
      changed = true;
    }
  }
  // A job that is new here, or has changed its status, changes the chips and perhaps what belongs on this page.
  if (counts) refresh();
  if (changed) bulk?.draw();
}

const anyActive = () => $$(".job-row", list).some((row) => isActive({ status: row.dataset.status }));

async function poll() {
  const shown = $$(".job-row", list).filter((row) => !hasEnded({ status: row.dataset.status })).map((row) => row.dataset.job);
  if (!shown.length) return;
  take({ jobs: rows(await call(`/api/jobs/?ids=${shown.join(",")}&page_size=${shown.length}`)) });
}

list.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-list-link]");
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault();
    const url = new URL(link.href);
    toTools(url);
    reload(url.href, { push: true });
    return;
  }
  const button = event.target.closest("[data-cancel]");
  if (!button) return;
  const row = button.closest(".job-row");
  const answer = await cancelJob({ id: row.dataset.job, name: $(".job-link", row).textContent });
  if (answer?.status) drawRow(row, { ...answer, id: row.dataset.job });
});

const FIELDS = ["q", "sort", "provider", "model", "dataset", "from", "to"];
const FOLDED = FIELDS.slice(2);
const NEWEST = "-created_at";

function fromTools() {
  const url = new URL(location.href);
  for (const name of FIELDS) {
    const value = tools.elements[name].value.trim();
    if (value && !(name === "sort" && value === NEWEST)) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  url.searchParams.delete("page");
  countFilters();
  if (url.href === location.href) return;
  history.replaceState(null, "", url);
  reload(url.href);
}

/** The fields say what the address says: after going back, or a link of the list. */
function toTools(url) {
  if (!tools) return;
  for (const name of FIELDS) tools.elements[name].value = url.searchParams.get(name) ?? (name === "sort" ? NEWEST : "");
  countFilters();
}

function countFilters() {
  const n = FOLDED.filter((name) => tools.elements[name].value).length;
  setText($("#filter-count"), String(n));
  show($("#filter-count"), n);
  show($("#filters-clear"), n);
}

if (tools) {
  tools.addEventListener("input", settle(fromTools, 250));
  tools.addEventListener("submit", (event) => {
    event.preventDefault();
    fromTools();
  });
  $("#filters-clear").addEventListener("click", () => {
    for (const name of FOLDED) tools.elements[name].value = "";
    fromTools();
    $("#f-provider").focus();
  });
  countFilters();
}
addEventListener("popstate", () => {
  toTools(new URL(location.href));
  reload();
});
addEventListener("pageshow", (event) => event.persisted && reload());

if ($("#bulk")) bulk = new JobsBulk(list, $("#bulk"), () => reload());
connection().add(new TopicFeed({ topic: "jobs", take, poll, wanted: anyActive }));
showLinkState();
loadSparks();
