// Refusals of the API beside the fields they are about, for forms with `data-error` places.
import { $, $$, setText } from "./dom.js";

export function clearErrors(form) {
  for (const place of $$("[data-error]", form)) setText(place, "");
  for (const field of $$("[aria-invalid]", form)) field.removeAttribute("aria-invalid");
}

/** Show each sentence at its field, those without one below, and move the focus to the first field that is wrong. */
export function showErrors(form, error) {
  const loose = [];
  let first = null;
  for (const one of error.errors?.length ? error.errors : [{ field: "", message: error.message }]) {
    const beside = one.field && $(`[data-error="${CSS.escape(one.field)}"]`, form);
    if (!beside) {
      loose.push(one.message);
      continue;
    }
    setText(beside, one.message);
    const field = $("input", beside.closest(".field"));
    field.setAttribute("aria-invalid", "true");
    first ??= field;
  }
  setText($('[data-error=""]', form), loose.join(" "));
  first?.focus();
}
