// The form beside the upload: a dataset made of a file that lies in the object store already.
import { call } from "./api.js";
import { $, $$, setText, show } from "./dom.js";

const form = $("#bring-in");
const button = $("button", form);

function setError(control, message) {
  setText($(`[data-error="${control.name}"]`, form), message);
  control.setAttribute("aria-invalid", String(Boolean(message)));
}

function fail(error) {
  const known = (error.errors ?? []).filter((one) => form.elements[one.field]);
  for (const one of known) setError(form.elements[one.field], one.message);
  if (known.length) form.elements[known[0].field].focus();
  setText($("#bring-in-error div"), error.sentence ?? error.message);
  show($("#bring-in-error"), !known.length);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.ariaDisabled) return;
  $$("input", form).forEach((control) => setError(control, ""));
  show($("#bring-in-error"), false);
  button.ariaDisabled = "true";
  const json = { path: form.elements.path.value.trim(), name: form.elements.name.value.trim() };
  try {
    const dataset = await call("/api/datasets/import/", { method: "POST", json });
    location.assign(`/datasets/${dataset.id}/`);
  } catch (error) {
    fail(error);
  } finally {
    button.ariaDisabled = null;
  }
});
