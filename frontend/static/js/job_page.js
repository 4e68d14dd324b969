// The monitor page of one job: puts its parts together and feeds them from the live connection.
import { call } from "./api.js";
import { chartSpecs, GPU_METRICS } from "./chart_specs.js";
import { ChartBoard } from "./charts.js";
import { $, $$, copyText, dataOf, setText, show } from "./dom.js";
import { cancelJob, resumeJob, retryJob, saveCheckpoint, startJob } from "./job_actions.js";
import { JobAttempts } from "./job_attempts.js";
import { JobEvents } from "./job_events.js";
import { JobExports } from "./job_exports.js";
import { JobFiles } from "./job_files.js";
import { JobHead } from "./job_head.js";
import { JobLimits } from "./job_limits.js";
import { JobLog } from "./job_log.js";
import { JobSamples } from "./job_samples.js";
import { JobSituation } from "./job_situation.js";
import { JobFeed } from "./live.js";
import { connection, showLinkState } from "./page_live.js";
import { RulesPanel } from "./rules_panel.js";
import { hasEnded } from "./status.js";
import { makeTabs } from "./tabs.js";
import { toast } from "./toasts.js";

const POINTS = 1500;
const DENSE = 1000; // points of a line from which a noisy one is a mere band: smoothing then begins switched on
const start = dataOf("job-data");
const metricsUrl = (extra = "") => `/api/jobs/${start.id}/metrics/?points=${POINTS}${extra}`;

const board = new ChartBoard($("#charts"), chartSpecs, {
  detail: (from, to) => call(metricsUrl(`&from=${from}&to=${to}`)).catch(() => null),
  viewChanged: (view) => show($("#zoom-reset"), view),
});
const head = new JobHead($("#job"), start, board.metrics);
const log = new JobLog(start);
const samples = new JobSamples(start);
const events = new JobEvents(start, (marks) => {
  board.setEvents(marks);
  drawMetricsState();
});

const files = new JobFiles(start);
const rules = new RulesPanel($("#rules"), { ended: hasEnded(start), hidden: true });
const attempts = new JobAttempts(start, { now: () => head.now(), marked: (marks) => board.setAttempts(marks) });
const limits = new JobLimits({ job: () => head.job, changed: () => catchUp() });
const situation = new JobSituation(start, {
  now: () => head.now(),
  act: (name) => (name === "limits" ? limits.open() : tabs.open(name)),
});

// ---- what a frame brings

function take(frame) {
  if (frame.metrics) board.apply(frame.metrics, frame.nonfinite);
  events.take(frame.events);
  log.take(frame.logs);
  if (frame.job) {
    head.take(frame.job);
    feed.ended = hasEnded(head.job) && feed.seq >= feed.head;
    situation.take(head.job, frame.events);
    limits.draw();
  } else if (frame.metrics) head.drawCards();
  files.take(head.job, frame.events);
  rules.setEnded(hasEnded(head.job));
  if (frame.events?.some((event) => event.kind === "rule")) rules.stale();
  attempts.take(head.job, frame);
  drawMetricsState();
  if (frame.samples?.length) samples.stale();
  if (tabs.current() === "samples") samples.load(head.job);
}

const feed = new JobFeed({
  id: start.id,
  seq: start.event_seq,
  ask: (after) => call(`/api/jobs/${start.id}/live/?after=${after}`),
  take,
  gone: () => {
    toast("This job was deleted", { kind: "bad", href: "/jobs/" });
    $$("#start, #cancel").forEach((button) => show(button, false));
  },
});
feed.ended = hasEnded(start);

// ---- metrics tab

function drawMetricsState() {
  const names = board.metrics.names();
  const has = names.length > 0;
  const job = head.job;
  show($("#charts"), has);
  show($("#metrics-empty"), !has);
  show($(".chart-tools"), has);
  if (!has) {
    const words = hasEnded(job) ? "This run ended before its first training step" : job.status === "pending" ? "Not started yet" : "Waiting for training data...";
    setText($('[data-f="waiting_title"]'), words);
    const text = hasEnded(job) ? "What happened is told above, and in the events." : job.status === "pending" ? "Start the training, and the curves appear here within seconds of the first step." : (job.current_stage === "waiting_to_retry" && events.whyAgain()) || job.stage_label;
    setText($('[data-f="waiting_text"]'), text);
  }
  show($("#no-gpu"), has && !names.some((name) => GPU_METRICS.includes(name)));
  const odd = [...board.metrics.odd.values()];
  show($("#nonfinite"), odd.length);
  if (odd.length) {
    const first = odd[0];
    const rest = odd.length > 1 ? ` and ${odd.length - 1} more` : "";
    setText($("#nonfinite span"), `${first.name} was ${first.value} at step ${first.step}${rest}. They are marked on the charts. A lower learning rate usually helps.`);
  }
}

async function loadMetrics() {
  show($("#metrics-error"), false);
  try {
    const answer = await call(metricsUrl());
    board.load(answer.series, answer.nonfinite);
    if (board.metrics.get("loss").points.length >= DENSE) setOption("smooth", true);
    head.drawCards();
    drawMetricsState();
  } catch (error) {
    setText($("#metrics-error p"), `The curves could not be loaded. ${error.message}`);
    show($("#metrics-error"), true);
  }
}

$("#metrics-error button").addEventListener("click", loadMetrics);

const SWITCHES = { smooth: $("#smooth"), log: $("#log-scale") };

function setOption(name, on) {
  SWITCHES[name].setAttribute("aria-pressed", String(on));
  board.setOption(name, on);
}

for (const [name, button] of Object.entries(SWITCHES)) {
  button.addEventListener("click", () => setOption(name, button.getAttribute("aria-pressed") !== "true"));
}
$(".chart-zoom").addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  if (button) board.move(button.dataset.zoom);
});
if (matchMedia("(pointer: coarse)").matches) setText($("#chart-hint"), "Pinch a chart to zoom.");

// ---- tabs, buttons, start

const tabs = makeTabs($('[role="tablist"]'), (name) => {
  board.setHidden(name !== "metrics");
  log.setHidden(name !== "logs");
  rules.setHidden(name !== "rules");
  if (name === "samples") samples.load(head.job);
  files.setOpen(name === "files");
  attempts.setOpen(name === "info");
});

async function act(button, work) {
  if (button.ariaDisabled) return;
  // Not `disabled`: such a button cannot get the focus back from the dialog.
  button.ariaDisabled = "true";
  const answer = await work(head.job);
  button.ariaDisabled = null;
  if (answer) catchUp();
}

/** Something was changed here: see it at once, not with the next frame. */
function catchUp() {
  feed.ended = false;
  feed.catchUp().catch(() => {});
}
$("#start").addEventListener("click", (event) => act(event.currentTarget, startJob));
$("#cancel").addEventListener("click", (event) => act(event.currentTarget, cancelJob));
$("#save").addEventListener("click", (event) => act(event.currentTarget, saveCheckpoint));
$("#retry").addEventListener("click", (event) => act(event.currentTarget, retryJob));
$("#resume").addEventListener("click", (event) => act(event.currentTarget, resumeJob));

new JobExports({ board, job: () => head.job, openCharts: () => tabs.open("metrics") });

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) toast((await copyText(button.dataset.copy)) ? "Copied" : "The browser did not allow copying");
});

connection().add(feed);
showLinkState();
drawMetricsState();
loadMetrics();
events.load();
