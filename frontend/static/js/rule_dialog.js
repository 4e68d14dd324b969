// The dialog in which a rule is made or changed. Its fields come from the server's table of kinds.
import { call } from "./api.js";
import { $, $$, h, setText, show } from "./dom.js";
import { parametersOf, valuesOf } from "./rule_words.js";

let kinds = null; // asked for once, when a dialog is first opened

async function loadKinds() {
  kinds ??= await call("/api/rules/kinds/");
  return kinds;
}

function control(field, value) {
  const id = `rule-p-${field.name}`;
  if (field.type === "choice") {
    return h("select", { class: "select", id, name: field.name }, field.choices.map((one) => h("option", { value: one, selected: one === value }, one)));
  }
  const isName = field.type === "metric";
  const input = h("input", { class: "input", id, name: field.name, value, autocomplete: "off", autocapitalize: "none", spellcheck: "false", inputmode: isName ? "text" : field.type === "whole" ? "numeric" : "decimal", "aria-describedby": `${id}-error` });
  return field.unit ? h("div", { class: "input-unit" }, input, h("span", { class: "unit" }, field.unit)) : input;
}

function fieldRow(field, value) {
  const id = `rule-p-${field.name}`;
  return h("div", { class: "field" }, h("label", { for: id }, field.label), control(field, value), field.help ? h("p", { class: "help" }, field.help) : null, h("p", { class: "field-error", id: `${id}-error`, "data-error": `parameters.${field.name}` }));
}

class RuleDialog {
  constructor(dialog) {
    this.dialog = dialog;
    this.form = $("form", dialog);
    this.kindBox = $("#rule-kind");
    this.kindBox.addEventListener("change", () => this.drawFields());
    this.form.addEventListener("submit", (event) => this.submit(event));
    $("#rule-theirs").addEventListener("click", () => this.take(this.stale));
    this.form.addEventListener("input", (event) => event.target.removeAttribute("aria-invalid"));
  }

  get kind() {
    return kinds.find((one) => one.kind === this.kindBox.value);
  }

  /** Show a rule, or a new one with null; resolves to what `save(given)` came back with, or to null. */
  async open(rule, save) {
    Object.assign(this, { rule, save, saved: null });
    await loadKinds();
    setText($("#rule-title"), rule ? "Change the rule" : "Add a rule");
    this.kindBox.replaceChildren(...kinds.map((one) => h("option", { value: one.kind }, one.label)));
    this.kindBox.disabled = Boolean(rule?.built_in);
    this.fill(rule ?? { kind: kinds[0].kind, action: "notify" });
    this.dialog.showModal();
    return new Promise((resolve) => this.dialog.addEventListener("close", () => resolve(this.saved), { once: true }));
  }

  fill(rule) {
    this.stale = null;
    show($("#rule-stale"), false);
    this.kindBox.value = rule.kind;
    $(`input[name="action"][value="${rule.action}"]`, this.form).checked = true;
    this.drawFields(rule);
  }

  drawFields(rule = this.rule) {
    const values = valuesOf(this.kind, rule);
    setText($("#rule-kind-help"), this.kind.help);
    $("#rule-fields").replaceChildren(...this.kind.parameters.map((field) => fieldRow(field, values[field.name])));
    this.clear();
  }

  clear() {
    for (const place of $$("[data-error]", this.form)) setText(place, "");
  }

  /** Somebody else changed it: show their version, from which this person may go on. */
  take(rule) {
    this.rule = rule;
    this.fill(rule);
    this.kindBox.focus();
  }

  fail(errors) {
    let first = null;
    const loose = [];
    for (const one of errors) {
      const place = $(`[data-error="${CSS.escape(one.field)}"]`, this.form);
      if (!place || !one.field) {
        loose.push(one.message);
        continue;
      }
      setText(place, one.message);
      const input = $("input, select", place.closest(".field"));
      input?.setAttribute("aria-invalid", "true");
      first ??= input;
    }
    setText($('[data-error=""]', this.form), loose.join(" "));
    first?.focus();
  }

  async submit(event) {
    // “Back” closes; whatever else sends the form saves.
    if (event.submitter?.value === "back") return;
    event.preventDefault();
    if (this.busy) return;
    this.clear();
    const texts = Object.fromEntries($$("#rule-fields [name]", this.form).map((input) => [input.name, input.value]));
    const { parameters, errors } = parametersOf(this.kind, texts);
    const wrong = Object.entries(errors).map(([name, message]) => ({ field: `parameters.${name}`, message }));
    if (wrong.length) return this.fail(wrong);
    this.busy = true;
    try {
      const action = $('input[name="action"]:checked', this.form).value;
      this.saved = await this.save({ kind: this.kindBox.value, parameters, action }, this.stale ?? this.rule);
      this.dialog.close();
    } catch (error) {
      if (error.code === "stale_version" && error.current) this.showStale(error.current);
      else this.fail(error.errors?.length ? error.errors : [{ field: "", message: error.message }]);
    } finally {
      this.busy = false;
    }
  }

  showStale(current) {
    this.stale = current;
    setText($("#rule-stale-text"), `It says now: “${current.sentence}”${current.enabled ? "" : " It is switched off."} Save again to replace that with what you see below.`);
    show($("#rule-stale"), true);
    $("#rule-theirs").focus();
  }
}

let dialog = null;

/** Open the page's one dialog; see RuleDialog.open. */
export function askForRule(rule, save) {
  dialog ??= new RuleDialog($("#rule-dialog"));
  return dialog.open(rule, save);
}
