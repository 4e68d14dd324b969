// The list of jobs: rows that follow their jobs, filters without a reload, cancelling from a row.
import { call, fragment, rows } from "./api.js";
import { $, $$, setText, settle, show } from "./dom.js";
import { count, decimals, duration, money } from "./format.js";
import { cancelJob } from "./job_actions.js";
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

// ---- one row

function drawRow(row, job) {
  const part = (name) => $(`[data-f="${name}"]`, row);
  row.dataset.status = job.status;
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
  setText(part("of"), job.final_cost === null && (job.projected_cost ?? job.estimated_cost) ? `of ${money(job.projected_cost ?? job.estimated_cost)}` : "");
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

async function loadSparks() {
  for (const row of $$(".job-row", list)) {
    const id = row.dataset.job;
    const place = $('[data-f="spark"]', row);
    if (sparks.has(id)) drawSpark(place, sparks.get(id));
    else if (row.dataset.started && place.getClientRects().length) {
      try {
        const answer = await call(`/api/jobs/${id}/metrics/?points=${SPARK_POINTS}&names=loss`);
        sparks.set(id, answer.series?.loss?.value ?? []);
        drawSpark(place, sparks.get(id));
      } catch {
        return; // The line is an extra; the row says everything without it.
      }
    }
  }
}

// ---- the list

async function reload(url = location.href, { push = false } = {}) {
  loading?.abort();
  loading = new AbortController();
  const signal = loading.signal;
  try {
    const html = await fragment(url, signal);
    const focused = document.activeElement?.closest("#job-list a")?.getAttribute("href");
    list.innerHTML = html;
    if (focused) $$("a", list).find((link) => link.getAttribute("href") === focused)?.focus();
    if (push) history.pushState(null, "", url);
    document.dispatchEvent(new CustomEvent("stoker:fragment"));
    loadSparks();
  } catch (error) {
    if (error.name !== "AbortError") toast("The list could not be loaded", { text: error.message, kind: "bad" });
  }
}

const refresh = settle(() => reload(), 600);

function take({ jobs }) {
  let counts = false;
  for (const job of jobs ?? []) {
    const row = $(`[data-job="${CSS.escape(job.id)}"]`, list);
    if (!row) counts = true;
    else {
      counts ||= row.dataset.status !== job.status;
      drawRow(row, job);
    }
  }
  // A job that is new here, or has changed its status, changes the chips and perhaps what belongs on this page.
  if (counts) refresh();
}

const anyActive = () => $$(".job-row", list).some((row) => isActive({ status: row.dataset.status }));

async function poll() {
  const shown = $$(".job-row", list).filter((row) => !hasEnded({ status: row.dataset.status })).length;
  const answer = await call(`/api/jobs/?ordering=-created_at&page_size=${Math.max(20, shown)}`);
  take({ jobs: rows(answer).filter((job) => $(`[data-job="${CSS.escape(job.id)}"]`, list)) });
}

list.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-list-link]");
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault();
    const url = new URL(link.href);
    if (tools) tools.elements.q.value = url.searchParams.get("q") ?? "";
    reload(url.href, { push: true });
    return;
  }
  const button = event.target.closest("[data-cancel]");
  if (!button) return;
  const row = button.closest(".job-row");
  const answer = await cancelJob({ id: row.dataset.job, name: $(".job-link", row).textContent });
  if (answer?.status) drawRow(row, { ...answer, id: row.dataset.job });
});

function fromTools() {
  const url = new URL(location.href);
  for (const name of ["q", "sort"]) {
    const value = tools.elements[name].value.trim();
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  url.searchParams.delete("page");
  if (url.href === location.href) return;
  history.replaceState(null, "", url);
  reload(url.href);
}

if (tools) {
  tools.addEventListener("input", settle(fromTools, 250));
  tools.addEventListener("submit", (event) => {
    event.preventDefault();
    fromTools();
  });
}
addEventListener("popstate", () => reload());
addEventListener("pageshow", (event) => event.persisted && reload());

connection().add(new TopicFeed({ topic: "jobs", take, poll, wanted: anyActive }));
showLinkState();
loadSparks();
