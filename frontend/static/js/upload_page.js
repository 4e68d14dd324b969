// The upload page: choose or drop a file, send it, go to its page.
import { csrfToken } from "./api.js";
import { $, $$, announce, setText, show } from "./dom.js";
import { duration, size } from "./format.js";
import { send } from "./upload.js";

const form = $("#upload");
const drop = $("#drop");
const input = $("#file");
const name = $("#u-name");
let file = null;
let running = null;

function nameFrom(filename) {
  return filename.replace(/\.[^.]+$/, "").replace(/[_]+/g, " ").trim().slice(0, 200);
}

function choose(found) {
  if (!found || running) return;
  file = found;
  setError("file", found.size ? "" : "This file is empty.");
  drop.classList.add("full");
  setText($("#drop-title"), found.name);
  setText($("#drop-text"), `${size(found.size)}. Choose or drop another to replace it.`);
  $("#send").disabled = !found.size;
  if (!name.value || name.value === name.dataset.auto) {
    name.value = nameFrom(found.name);
    name.dataset.auto = name.value;
  }
  announce(`${found.name} chosen, ${size(found.size)}`);
}

function setError(field, message) {
  setText($(`[data-error="${field}"]`, form), message);
  const control = { file: null, name, validation_for: $("#u-for") }[field];
  if (control) control.setAttribute("aria-invalid", String(Boolean(message)));
}

function clearErrors() {
  $$("[data-error]", form).forEach((place) => setError(place.dataset.error, ""));
  show($("#upload-error"), false);
}

function fail(error) {
  const other = error.errors?.filter((one) => !$(`[data-error="${CSS.escape(one.field ?? "")}"]`, form)) ?? [];
  for (const one of error.errors ?? []) if (!other.includes(one)) setError(one.field, one.message);
  if (!error.errors?.length || other.length) {
    setText($("#upload-error div"), other.length ? other.map((one) => one.message).join(" ") : error.message);
    show($("#upload-error"), true);
  }
}

function drawProgress({ sent, total, speed, left }) {
  const bar = $("progress", form);
  [bar.max, bar.value] = [total, sent];
  const all = sent >= total;
  setText($("#sent"), all ? "Sent. The server is storing it…" : `${size(sent)} of ${size(total)}`);
  setText($("#speed"), all || !speed ? "" : `${size(speed)}/s · ${duration(left)} left`);
}

function setRunning(on) {
  show($("#progress"), on);
  show($("#stop"), on);
  show($("#send"), !on);
  for (const control of [name, $("#u-for"), input]) control.disabled = on;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!file || running) return;
  clearErrors();
  const body = new FormData();
  if (name.value.trim()) body.append("name", name.value.trim());
  if ($("#u-for").value) body.append("validation_for", $("#u-for").value);
  body.append("file", file);
  running = send("/api/datasets/", body, csrfToken(), drawProgress);
  setRunning(true);
  announce("Upload started");
  $("#stop").focus();
  try {
    const dataset = await running.done;
    running = null;
    location.assign(`/datasets/${dataset.id}/`);
  } catch (error) {
    running = null;
    setRunning(false);
    if (error.name === "AbortError") announce("Upload cancelled");
    else fail(error);
    $("#send").focus();
  }
});

$("#stop").addEventListener("click", () => running?.cancel());
input.addEventListener("change", () => choose(input.files[0]));
for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  choose(event.dataTransfer?.files[0]);
});
addEventListener("beforeunload", (event) => running && event.preventDefault());
if (input.files[0]) choose(input.files[0]);
