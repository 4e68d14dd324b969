// The new-job form: choices become a plan beside them, the API checks everything, its errors stand beside their fields.
import { call, rows } from "./api.js";
import { $, $$, dataOf, h, setText, show } from "./dom.js";
import { count, duration, money } from "./format.js";
import { HyperFields } from "./hyper_fields.js";
import { Offers } from "./offers.js";
import { mostCost, steps } from "./plan.js";

const form = $("#job-form");
const data = dataOf("form-data");
const field = (name) => form.elements[name];
const plan = (name) => $(`[data-plan="${name}"]`);
const hyper = new HyperFields(form, data, () => drawPlan());
const offers = new Offers($("#offers"), () => drawPlan());
let presetBefore = hyper.preset;
const SHOWN_MODELS = 8; // the style sheet folds away the rest

// ---- the plan

const number = (text) => (String(text).trim() === "" ? null : Number(String(text).replace(",", ".")));
const seconds = () => Math.round((number(field("hours").value) ?? NaN) * 3600);
const gpus = () => Math.max(1, Number(field("count").value) || 1);

function put(name, main, small = "") {
  const place = plan(name);
  const text = `${main}|${small}`;
  if (place.dataset.now === text) return;
  place.dataset.now = text;
  place.replaceChildren(main, ...(small ? [h("small", {}, small)] : []));
}

function drawPlan() {
  const dataset = data.datasets[field("dataset").value];
  const evaluation = data.datasets[field("eval_dataset").value];
  const values = hyper.values();
  const chosen = offers.chosen;
  const kept = evaluation ? `validated on ${evaluation.name}` : Number(values.validation_split) > 0 ? `${Math.round(Number(values.validation_split) * 1000) / 10} % kept apart for validation` : "no validation";
  put("data", dataset ? `${dataset.name}, ${count(dataset.rows)} rows` : "Choose a dataset", dataset ? kept : "");
  put("model", field("base_model").value.trim() || "Choose a model", { none: "", "8bit": "loaded in 8 bits", "4bit": "loaded in 4 bits (QLoRA)" }[values.quantization] ?? "");
  const machines = chosen ? gpus() : 1;
  const found = steps(dataset?.rows, values, machines, Boolean(evaluation));
  put("batch", found ? `${count(found.batch)} rows` : "–", found ? `${values.per_device_train_batch_size} × ${values.gradient_accumulation_steps}${machines > 1 ? ` × ${machines} GPUs` : ""}` : "");
  put("steps", found?.total ? `about ${count(found.total)}` : "–", found?.perEpoch ? `${count(found.perEpoch)} an epoch${values.packing ? ", fewer with packing" : ""}` : "");
  put("machine", chosen ? `${machines > 1 ? `${machines} × ` : ""}${chosen.offer.label || chosen.offer.type}` : "Choose a machine", chosen ? chosen.provider.label || chosen.provider.name : "");
  const price = chosen ? Number(chosen.offer.price_per_hour) : null;
  put("price", price === null ? "–" : price === 0 ? "Free" : `${money(price * machines)} per hour`);
  const most = mostCost(price, machines, seconds(), number(field("budget_limit").value));
  const why = most && price > 0 ? (most.by === "budget" ? "its budget" : `${duration(seconds())} at this price`) : seconds() > 0 ? `ends after ${duration(seconds())} at the latest` : "";
  put("cost", most ? money(most.amount) : "–", why);
  const text = chosen?.provider.simulated ? "This provider only simulates: a loss curve is made up, nothing is trained." : "The adapter is stored before the job counts as completed.";
  setText(plan("note"), text);
}

// ---- choices

/** Only a validation set made for the chosen dataset can measure it. */
function limitEvaluation() {
  const dataset = field("dataset").value;
  for (const option of field("eval_dataset").options) {
    if (!option.value) continue;
    option.hidden = data.datasets[option.value].validation_for !== dataset;
    if (option.hidden && option.selected) field("eval_dataset").value = "";
  }
}

function drawCount() {
  const most = offers.chosen?.offer.max_count ?? 1;
  show($("#count-field"), most > 1);
  field("count").max = most;
  if (most === 1) field("count").value = 1;
  setText($("#count-help"), `Up to ${most} of this machine.`);
}

function modelCard(model) {
  const facts = [model.parameters ? `${compactCount(model.parameters)} parameters` : "", model.licence, model.on_this_machine ? "on this machine" : "", model.gated ? "gated" : ""].filter(Boolean);
  const radio = h("input", { type: "radio", name: "model_pick", value: model.id, checked: field("base_model").value === model.id });
  radio.addEventListener("change", () => {
    field("base_model").value = model.id;
    clear("base_model");
    drawPlan();
  });
  return h("label", { class: "pick" }, radio, h("span", { class: "pick-body" }, h("b", {}, model.label || model.id), h("span", { class: "small muted pick-facts" }, ...facts.map((fact) => h("span", {}, fact))), model.note ? h("span", { class: "small muted" }, model.note) : null));
}

const compactCount = (n) => (n >= 9.95e8 ? `${Number((n / 1e9).toFixed(1))} B` : n >= 1e6 ? `${Math.round(n / 1e6)} M` : count(n));

async function loadModels() {
  try {
    const models = rows(await call("/api/base-models/"));
    $("#models").replaceChildren(...models.map(modelCard));
    show($("#models"), models.length);
    const at = models.findIndex((model) => model.id === field("base_model").value);
    if (models.length <= SHOWN_MODELS || at >= SHOWN_MODELS) return;
    $("#models").classList.add("folded");
    setText($("#models-more"), `Show all ${models.length} models`);
    show($("#models-more"), true);
  } catch {
    show($("#models"), false); // The id can still be typed.
  }
}

async function loadOffers() {
  try {
    offers.draw(rows(await call("/api/providers/")), data.machine);
    drawCount();
  } catch (error) {
    offers.fail(error.message, loadOffers);
  }
}

form.addEventListener("input", (event) => {
  if (event.target.name === "base_model") for (const radio of $$('input[name="model_pick"]')) radio.checked = radio.value === event.target.value.trim();
  const place = event.target.closest(".field")?.querySelector("[data-error]");
  if (place) clear(place.dataset.error);
  drawPlan();
});
form.addEventListener("change", (event) => {
  if (event.target.name === "dataset") limitEvaluation();
  if (event.target.name === "offer") {
    clear("gpu_config");
    drawCount();
  }
  if (event.target.name === "preset") {
    hyper.follow(presetBefore);
    presetBefore = hyper.preset;
  }
  drawPlan();
});

// ---- sending

const ALIASES = { "retry_policy.max_attempts": "retry_policy", "gpu_config.provider": "gpu_config", "gpu_config.type": "gpu_config", "gpu_config.count": "gpu_config", "gpu_config.cloud": "gpu_config" };

function placeFor(name) {
  const known = ALIASES[name] ?? name;
  return known ? $(`[data-error="${CSS.escape(known)}"]`, form) : null;
}

function controlOf(place) {
  return $("input, select", place.closest(".field") ?? place.parentElement);
}

function clear(name) {
  const place = placeFor(name);
  if (!place || !place.textContent) return;
  setText(place, "");
  controlOf(place)?.removeAttribute("aria-invalid");
}

/** The error is read with the control, after the help that stands there already. */
function describe(control, place, name) {
  place.id ||= `e-${name.replace(/\W+/g, "-")}`;
  const ids = (control.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && id !== place.id);
  control.setAttribute("aria-describedby", [...ids, place.id].join(" "));
}

function showErrors(error) {
  const loose = [];
  let first = null;
  for (const one of error.errors ?? []) {
    const place = placeFor(one.field);
    if (!place) {
      loose.push(one.message);
      continue;
    }
    setText(place, one.message);
    place.closest("details")?.setAttribute("open", "");
    const control = controlOf(place);
    control?.setAttribute("aria-invalid", "true");
    if (control) describe(control, place, one.field);
    first ??= control;
  }
  const shown = (error.errors?.length ?? 0) - loose.length;
  const text = loose.length ? loose.join(" ") : shown ? `${shown === 1 ? "One value needs" : `${shown} values need`} another look. Nothing was started.` : error.message;
  setText($("#form-error div"), text);
  show($("#form-error"), true);
  (first ?? $("#form-error")).focus();
  (first ?? $("#form-error")).scrollIntoView({ block: "center" });
}

function body(start) {
  const chosen = offers.chosen;
  return {
    name: field("name").value.trim(),
    dataset: field("dataset").value || null,
    eval_dataset: field("eval_dataset").value || null,
    base_model: field("base_model").value.trim(),
    preset: $('input[name="preset"]:checked', form)?.value ?? null,
    hyperparameters: hyper.overrides(),
    ...(chosen ? { gpu_config: { provider: chosen.provider.name, type: chosen.offer.type, count: gpus(), cloud: chosen.offer.cloud ?? "" } } : {}),
    budget_limit: field("budget_limit").value.trim() === "" ? null : (number(field("budget_limit").value) || field("budget_limit").value.trim()),
    max_duration: Number.isFinite(seconds()) ? seconds() : field("hours").value.trim(),
    priority: Number(field("priority").value),
    retry_policy: { max_attempts: Number(field("max_attempts").value) },
    start,
  };
}

/** What can be said without asking the server. */
function missing() {
  const errors = [];
  if (!field("name").value.trim()) errors.push({ field: "name", message: "Give the job a name." });
  if (!field("dataset").value) errors.push({ field: "dataset", message: "Choose a dataset that is ready." });
  if (!field("base_model").value.trim()) errors.push({ field: "base_model", message: "Choose a model or type its id." });
  if (!offers.chosen) errors.push({ field: "gpu_config", message: "Choose a machine." });
  return errors;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const start = event.submitter?.dataset.start !== "no";
  for (const place of $$("[data-error]", form)) clear(place.dataset.error);
  show($("#form-error"), false);
  const errors = missing();
  if (errors.length) return showErrors({ errors });
  const buttons = $$(".plan-actions button", form);
  buttons.forEach((button) => (button.disabled = true));
  try {
    const job = await call("/api/jobs/", { method: "POST", json: body(start) });
    location.assign(job.url ?? `/jobs/${job.id}/`);
  } catch (error) {
    buttons.forEach((button) => (button.disabled = false));
    showErrors(error);
  }
  return undefined;
});

$("#models-more").addEventListener("click", (event) => {
  $("#models").classList.remove("folded");
  show(event.currentTarget, false);
  $$(".pick input", $("#models"))[SHOWN_MODELS].focus();
});

// On a phone the groups begin closed: the presets are what most people want, and the page stays short.
if (matchMedia("(max-width: 720px)").matches) $$("[data-group]", form).forEach((group) => (group.open = false));
limitEvaluation();
hyper.markAll();
loadModels();
loadOffers();
