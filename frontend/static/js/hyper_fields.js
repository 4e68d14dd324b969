// The hyperparameters of the new-job form: what the preset gives, what the person changed, and the way back.
import { $, $$, setText, show } from "./dom.js";
import { parseValue, sameValue, typed } from "./plan.js";

/** A value as it is read, not as it is typed: a switch is on or off. */
const shown = (value) => (typeof value === "boolean" ? (value ? "On" : "Off") : typed(value));

export class HyperFields {
  constructor(form, data, changed) {
    Object.assign(this, { form, data, changed });
    this.boxes = $$("[data-hyper]", form);
    this.fields = new Map(data.fields.map((field) => [field.name, field]));
    this.boxes.forEach((box) => {
      box.addEventListener("input", () => this.mark(box, true));
      $("[data-reset]", box).addEventListener("click", () => this.reset(box));
    });
    $("#reset-all").addEventListener("click", () => {
      this.boxes.forEach((box) => this.reset(box, false));
      this.tell();
    });
  }

  get names() {
    return this.fields.keys();
  }

  /** Write a value as if a person had typed it. */
  set(name, value) {
    const box = this.boxes.find((one) => one.dataset.hyper === name);
    this.control(box).value = typed(value);
    this.mark(box, true);
    this.control(box).focus();
  }

  control(box) {
    return $("input, select", box);
  }

  get preset() {
    const slug = $('input[name="preset"]:checked', this.form)?.value;
    return { ...this.data.defaults, ...(this.data.presets[slug] ?? {}) };
  }

  value(box) {
    return parseValue(this.fields.get(box.dataset.hyper), this.control(box).value);
  }

  /** Everything as it stands in the form. */
  values() {
    return Object.fromEntries(this.boxes.map((box) => [box.dataset.hyper, this.value(box)]));
  }

  /** Only what differs from the preset: what the API is sent. */
  overrides() {
    const given = this.preset;
    return Object.fromEntries(Object.entries(this.values()).filter(([name, value]) => !sameValue(value, given[name])));
  }

  /** Another preset was chosen: values that were not changed by hand follow it, the others stay and stay marked. */
  follow(before) {
    const now = this.preset;
    for (const box of this.boxes) {
      const name = box.dataset.hyper;
      if (sameValue(this.value(box), before[name])) this.control(box).value = typed(now[name]);
      this.mark(box, false);
    }
    this.tell();
  }

  reset(box, alone = true) {
    this.control(box).value = typed(this.preset[box.dataset.hyper]);
    this.mark(box, alone);
    if (alone) this.control(box).focus();
  }

  mark(box, tell) {
    const differs = !sameValue(this.value(box), this.preset[box.dataset.hyper]);
    box.classList.toggle("changed", differs);
    show($("[data-reset]", box), differs);
    setText($("[data-preset-value]", box), differs ? `Preset: ${shown(this.preset[box.dataset.hyper])}` : "");
    if (tell) this.tell();
  }

  markAll() {
    this.boxes.forEach((box) => this.mark(box, false));
    this.tell();
  }

  tell() {
    const total = $$(".hyper.changed", this.form).length;
    for (const tag of $$("[data-preset-changed]", this.form)) {
      const own = $("input", tag.closest(".pick")).checked;
      show(tag, own && total);
      setText(tag, `${total} changed`);
    }
    setText($("#changed-count"), total ? `${total} ${total === 1 ? "value differs" : "values differ"} from the preset` : "");
    show($("#reset-all"), total);
    for (const group of $$("[data-group]", this.form)) {
      const n = $$(".hyper.changed", group).length;
      const tag = $("[data-group-changed]", group);
      show(tag, n);
      setText(tag, `${n} changed`);
    }
    this.changed();
  }
}
