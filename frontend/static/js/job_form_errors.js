// What the API refuses of a new job, beside the fields it is about.
import { $, $$, setText, show } from "./dom.js";

const ALIASES = { "retry_policy.max_attempts": "retry_policy", "gpu_config.provider": "gpu_config", "gpu_config.type": "gpu_config", "gpu_config.cloud": "gpu_config" };

export class FormErrors {
  constructor(form) {
    this.form = form;
    this.box = $("#form-error");
  }

  place(name) {
    const known = ALIASES[name] ?? (["gpu_config.fallbacks", "rules"].find((list) => name?.startsWith(`${list}.`)) ?? name);
    return known ? $(`[data-error="${CSS.escape(known)}"]`, this.form) : null;
  }

  clear(name) {
    const place = this.place(name);
    if (!place || !place.textContent) return;
    setText(place, "");
    controlOf(place)?.removeAttribute("aria-invalid");
  }

  clearAll() {
    for (const place of $$("[data-error]", this.form)) this.clear(place.dataset.error);
    show(this.box, false);
  }

  /** One sentence at its field, without moving the focus. False: there is no such field. */
  at(name, message) {
    const place = this.place(name);
    if (!place) return false;
    setText(place, message);
    const control = controlOf(place);
    if (control) {
      control.setAttribute("aria-invalid", "true");
      describe(control, place, name);
    }
    return true;
  }

  /** All sentences; the first field that is wrong gets the focus. */
  show(error) {
    const loose = [];
    let first = null;
    for (const one of error.errors ?? []) {
      if (!this.at(one.field, one.message)) {
        loose.push(one.message);
        continue;
      }
      const place = this.place(one.field);
      for (let box = place.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
      first ??= controlOf(place);
    }
    const shown = (error.errors?.length ?? 0) - loose.length;
    const text = loose.length ? loose.join(" ") : shown ? `${shown === 1 ? "One value needs" : `${shown} values need`} another look. Nothing was started.` : error.message;
    setText($("div", this.box), text);
    show(this.box, true);
    (first ?? this.box).focus();
    (first ?? this.box).scrollIntoView({ block: "center" });
  }
}

const controlOf = (place) => $("input, select", place.closest(".field") ?? place.parentElement);

/** The error is read with the control, after the help that stands there already. */
function describe(control, place, name) {
  place.id ||= `e-${name.replace(/\W+/g, "-")}`;
  const ids = (control.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && id !== place.id);
  control.setAttribute("aria-describedby", [...ids, place.id].join(" "));
}
