// The page of a new job: choices become figures beside them while they are made, and nothing starts before a last check.
import { call } from "./api.js";
import { OffersQuestion } from "./ask_offers.js";
import { $, $$, dataOf, h, icon, setText, show } from "./dom.js";
import { Fallbacks } from "./fallbacks.js";
import { count, duration, money } from "./format.js";
import { HyperFields } from "./hyper_fields.js";
import { FormErrors } from "./job_form_errors.js";
import { askLast, warnings } from "./last_check.js";
import { ModelChoice, isModelId } from "./model_choice.js";
import { FITS, fitText, hoursText, priceText, rangeText, sureText, totalText } from "./offer_rows.js";
import { Offers } from "./offers.js";
import { mostCost, steps } from "./plan.js";
import { cutAt, cutText, facts } from "./preflight.js";
import { NewJobRules } from "./rules_form.js";

const form = $("#job-form");
const data = dataOf("form-data");
const field = (name) => form.elements[name];
const errors = new FormErrors(form);
const hyper = new HyperFields(form, data, () => changed());
const models = new ModelChoice(form, () => changed());
const question = new OffersQuestion({ body: () => asked(), answered, failed: (error) => failed(error), waiting: (yes) => offers.waiting(yes) });
const offers = new Offers($("#offers"), { changed: () => draw(), retry: () => question.ask({ again: true }), wanted: data.machine });
const fallbacks = new Fallbacks($("#fallbacks"), { changed: () => changed(), wanted: data.machine });
const rules = new NewJobRules($("#new-job-rules"), { preset: () => presetSlug() ?? "", given: data.rules });
let presetBefore = hyper.preset;
let answer = null; // of the last question about machines
let month = null; // what the owner's month leaves

// ---- what the fields say

const number = (text) => (String(text).trim() === "" ? null : Number(String(text).replace(",", ".").replace(/^\$/, "")));
const seconds = () => Math.round((number(field("hours").value) ?? NaN) * 3600);
const gpus = () => Math.max(1, Math.min(64, Math.round(Number(field("count").value)) || 1));
const dataset = () => data.datasets[field("dataset").value] ?? null;
const evaluation = () => data.datasets[field("eval_dataset").value] ?? null;
const modelId = () => field("base_model").value.trim();
const budget = () => number(field("budget_limit").value);

/** The question behind the table: what decides memory, time and price, and nothing else. */
function asked() {
  const model = modelId();
  return {
    dataset: field("dataset").value || null,
    base_model: isModelId(model) ? model : "",
    preset: presetSlug(),
    hyperparameters: hyper.overrides(),
    gpu_config: { count: gpus() },
    ...(seconds() >= 60 && seconds() <= 14 * 86400 ? { max_duration: seconds() } : {}),
  };
}

function presetSlug() {
  return $('input[name="preset"]:checked', form)?.value ?? null;
}

function body(start) {
  const row = offers.chosen;
  return {
    name: field("name").value.trim(),
    dataset: field("dataset").value || null,
    eval_dataset: field("eval_dataset").value || null,
    base_model: modelId(),
    preset: presetSlug(),
    hyperparameters: hyper.overrides(),
    ...(row ? { gpu_config: { provider: row.provider, type: row.type, count: gpus(), cloud: row.cloud ?? "", fallbacks: fallbacks.body() } } : {}),
    budget_limit: field("budget_limit").value.trim() === "" ? null : (budget() || field("budget_limit").value.trim()),
    max_duration: Number.isFinite(seconds()) ? seconds() : field("hours").value.trim(),
    priority: Number(field("priority").value),
    retry_policy: { max_attempts: Number(field("max_attempts").value) },
    rules: rules.value(),
    ...(start === undefined ? {} : { start }),
  };
}

/** Everything the last check speaks about. `limit`: what the server said that the job may cost in all. */
function chosen(limit = null) {
  const row = { ...offers.chosen };
  const price = Number(row.price_per_hour);
  let most = mostCost(price, 1, seconds(), budget());
  if (most && limit !== null && Number(limit) < most.amount - 0.005) most = { amount: Number(limit), by: "month" };
  return {
    name: field("name").value.trim(), dataset: dataset(), evaluation: evaluation(), model: modelId(), listed: models.listed,
    guessed: answer?.model.guessed, row, fallbacks: fallbacks.rows, values: hyper.values(), budget: budget(), most,
    seconds: seconds(), attempts: Number(field("max_attempts").value), rules: rules.rules.filter((one) => one.enabled).length,
  };
}

// ---- the summary

function put(name, main, small = "") {
  const place = $(`[data-plan="${name}"]`);
  const text = `${main}|${small}`;
  if (place.dataset.now === text) return;
  place.dataset.now = text;
  place.replaceChildren(main, ...(small ? [h("small", {}, small)] : []));
}

function draw() {
  const row = offers.chosen;
  const values = hyper.values();
  const kept = evaluation() ? `validated on ${evaluation().name}` : Number(values.validation_split) > 0 ? `${Math.round(Number(values.validation_split) * 1000) / 10} % kept apart for validation` : "no validation";
  put("data", dataset() ? `${dataset().name}, ${count(dataset().rows)} rows` : "Choose a dataset", dataset() ? kept : "");
  put("model", modelId() || "Choose a model", { "8bit": "loaded in 8 bits", "4bit": "loaded in 4 bits (QLoRA)" }[values.quantization] ?? "");
  const found = steps(dataset()?.rows, values, row?.count ?? 1, Boolean(evaluation()));
  const batch = found ? `${count(found.batch)} rows each` : "";
  put("steps", found?.total ? `about ${count(found.total)}` : "–", found?.perEpoch ? `${batch}, ${count(found.perEpoch)} an epoch${values.packing ? ", fewer with packing" : ""}` : batch);
  put("machine", row ? `${row.count > 1 ? `${row.count} × ` : ""}${row.label}` : "Choose a machine", row ? `${row.providerLabel}, ${Number(row.price_per_hour) ? `${priceText(row)} an hour` : "free"}` : "");
  put("memory", !row ? "–" : row.fits === "unknown" ? "Not known whether it fits" : FITS[row.fits], row ? fitText(row) : "");
  put("time", row?.hours != null ? hoursText(row.hours) : "No estimate yet", row?.hours != null ? [sureText(row), rangeText(row)].filter(Boolean).join(", ") : "");
  const price = row ? Number(row.price_per_hour) : null;
  put("total", row ? totalText(row) : "–");
  const most = row ? mostCost(price, 1, seconds(), budget()) : null;
  const why = most && price > 0 ? (most.by === "budget" ? "its budget" : `${duration(seconds())} at this price`) : seconds() > 0 ? `ends after ${duration(seconds())} at the latest` : "";
  put("cost", most ? (most.amount ? money(most.amount) : "Nothing") : "–", why);
  setText($('[data-plan="note"]'), row?.simulated ? "This provider only simulates: a loss curve is made up, nothing is trained." : row ? row.basis : "");
  setText($("#plan-short"), row ? [totalText(row) === "–" ? (price ? `${priceText(row)} an hour` : "Free") : totalText(row), row.hours == null ? "" : hoursText(row.hours)].filter(Boolean).join(" · ") : "Choose a machine");
  setText($("#plan-short-why"), row ? `${FITS[row.fits]} · ${sureText(row)}` : "");
  drawConcerns(row);
  drawFacts(Number(values.max_length));
  drawMonth();
  models.say(answer?.model);
  if (offers.providers) fallbacks.update(offers);
  drawCount(row);
}

function drawConcerns(row) {
  const found = row && dataset() && modelId() ? warnings(chosen()).filter((one) => !one.text.startsWith("This is a simulation")) : [];
  const place = $("#plan-concerns");
  const reads = JSON.stringify(found);
  if (place.dataset.now !== reads) {
    place.dataset.now = reads;
    place.replaceChildren(...found.map((one) => h("li", { class: `concern concern-${one.level}` }, icon("alert-circle"), h("span", {}, one.text))));
  }
  show(place, found.length);
}

function drawFacts(length) {
  const place = $("#data-facts");
  show(place, dataset());
  if (!dataset()) return;
  const shown = facts(dataset(), evaluation(), length);
  const reads = JSON.stringify([field("dataset").value, shown]);
  if (place.dataset.now === reads) return;
  place.dataset.now = reads;
  $("dl", place).replaceChildren(...shown.map((one) => h("div", { class: one.worry ? "worry" : "" }, h("dt", {}, one.label), h("dd", { class: "num" }, one.value, one.note ? h("small", {}, one.note) : null))));
  const { tokens } = dataset();
  const cut = cutAt(tokens, length);
  const suggested = tokens?.suggested_max_length;
  const better = cut?.rows > 0 && suggested > length;
  const words = [cutText(cut, length), better ? h("button", { type: "button", class: "text-button", onclick: () => hyper.set("max_length", suggested) }, `Use ${count(suggested)}`) : "", h("a", { href: dataset().url }, "See the full report")];
  $("p", place).replaceChildren(...words.filter(Boolean).flatMap((word) => [word, " "]));
}

function drawMonth() {
  if (!month) return;
  const left = month.left === null ? null : Math.max(0, Number(month.left));
  const help = left === null ? `This month has cost ${money(month.spent)} so far; there is no monthly limit.` : `This month leaves ${money(left)} of ${money(month.limit)}.`;
  setText($("#month-help"), help);
  $("#month-help").classList.toggle("over", left !== null && budget() !== null && budget() > left && !offers.chosen?.simulated);
}

function drawCount(row) {
  const most = Math.max(1, ...offers.rows.map((one) => one.max_count));
  show($("#count-field"), most > 1);
  field("count").max = most;
  const less = row && row.max_count < gpus();
  setText($("#count-help"), less ? `At most ${row.max_count} of the chosen machine.` : "");
}

// ---- changes

function changed() {
  draw();
  question.changed();
}

function answered(found) {
  answer = found;
  // What the table was reckoned without is named at its field, unless the person is typing there.
  for (const one of hyper.names) errors.clear(`hyperparameters.${one}`);
  for (const problem of found.problems) errors.at(problem.field, problem.message);
  offers.answer(found);
}

function failed(error) {
  for (const one of error.errors ?? []) errors.at(one.field, one.message);
  offers.fail(error.message);
}

/** Only a validation set made for the chosen dataset can measure it. */
function limitEvaluation() {
  const chosenSet = field("dataset").value;
  let any = false;
  for (const option of field("eval_dataset").options) {
    if (!option.value) continue;
    option.hidden = data.datasets[option.value].validation_for !== chosenSet;
    if (option.hidden && option.selected) field("eval_dataset").value = "";
    any ||= !option.hidden;
  }
  show($("#eval-none"), chosenSet && !any);
  show($('[data-hyper="validation_split"]'), !field("eval_dataset").value);
}

form.addEventListener("input", (event) => {
  const place = event.target.closest(".field")?.querySelector("[data-error]");
  if (place) errors.clear(place.dataset.error);
  if (event.target.name !== "offer" && event.target.id !== "model-search") changed();
});
form.addEventListener("change", (event) => {
  const { name } = event.target;
  if (name === "dataset" || name === "eval_dataset") limitEvaluation();
  if (name === "offer") errors.clear("gpu_config");
  if (name === "base_model" && modelId() && !isModelId(modelId())) errors.at("base_model", "Name the base model as on the Hugging Face Hub: organisation/model.");
  if (name === "preset") {
    hyper.follow(presetBefore);
    presetBefore = hyper.preset;
    rules.presetChanged();
  }
  if (name && name !== "offer") changed();
});

// ---- sending

/** What can be said without asking the server. */
function missing(start) {
  const found = [];
  if (!field("name").value.trim()) found.push({ field: "name", message: "Give the job a name." });
  if (!field("dataset").value) found.push({ field: "dataset", message: "Choose a dataset that is ready." });
  if (!modelId()) found.push({ field: "base_model", message: "Choose a model or type its id." });
  else if (!isModelId(modelId())) found.push({ field: "base_model", message: "Name the base model as on the Hugging Face Hub: organisation/model." });
  if (!offers.chosen) found.push({ field: "gpu_config", message: "Choose a machine." });
  else if (start && gpus() > offers.chosen.max_count) found.push({ field: "gpu_config.count", message: `Ask for 1 to ${offers.chosen.max_count} of this machine.` });
  return found;
}

function busy(yes) {
  form.setAttribute("aria-busy", String(yes));
  for (const button of $$("[data-start]", form)) button.disabled = yes;
}

async function send(start, headers) {
  const job = await call("/api/jobs/", { method: "POST", json: body(start), headers });
  location.assign(job.url ?? `/jobs/${job.id}/`);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const start = event.submitter?.dataset.start !== "no";
  errors.clearAll();
  const found = missing(start);
  if (found.length) return errors.show({ errors: found });
  busy(true);
  try {
    // However often it is sent, one job is made.
    const headers = globalThis.crypto?.randomUUID ? { "Idempotency-Key": crypto.randomUUID() } : {};
    if (!start) return await send(false, headers);
    const told = await call("/api/estimates/", { method: "POST", json: body() });
    const word = await askLast(chosen(told.holds), told.problem);
    if (word) return await send(word === "start", headers);
    busy(false);
    $('[data-start="yes"]', form).focus();
  } catch (error) {
    busy(false);
    errors.show(error);
  }
  return undefined;
});

// ---- the small screen's summary

const toggle = $("#plan-toggle");
function openPlan(open) {
  toggle.setAttribute("aria-expanded", String(open));
  $(".plan").classList.toggle("open", open);
}
toggle.addEventListener("click", () => openPlan(toggle.getAttribute("aria-expanded") !== "true"));
$(".plan").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || toggle.getAttribute("aria-expanded") !== "true") return;
  openPlan(false);
  toggle.focus();
});

async function loadMonth() {
  try {
    ({ month } = await call("/api/budget/"));
    draw();
  } catch {
    // The last check asks the server again.
  }
}

// Values that are kept only under “All settings” are not hidden from somebody who cloned or changed them.
if ($(".hyper.changed", $("#all-settings"))) $("#all-settings").open = true;
limitEvaluation();
hyper.markAll();
models.load();
loadMonth();
question.ask();
addEventListener("pageshow", (event) => event.persisted && busy(false));
