// The rules of the new-job form: those that would apply, which may be changed for this one job.
import { call } from "./api.js";
import { $, setText, show } from "./dom.js";
import { askForRule } from "./rule_dialog.js";
import { ruleRow } from "./rule_rows.js";
import { givenOf } from "./rule_words.js";

export class NewJobRules {
  /** `preset()`: the chosen preset's slug, or "". `given`: rules to begin with (of a job that is cloned), or null. */
  constructor(root, { preset = () => "", given = null, changed = () => {} } = {}) {
    Object.assign(this, { root, preset, changed, rules: [], own: given !== null });
    $("[data-rules-add]", root).addEventListener("click", () => this.add());
    $("[data-rules-reset]", root).addEventListener("click", () => this.reset());
    $("[data-rules-error] button", root).addEventListener("click", () => this.load(given));
    this.load(given);
  }

  /** What the API takes as `rules`: null as long as the defaults apply. */
  value() {
    return this.own ? this.rules.map(givenOf) : null;
  }

  /** Another preset was chosen: its rules apply, unless the person has rules of their own here. */
  presetChanged() {
    return this.own ? undefined : this.load();
  }

  reset() {
    this.own = false;
    return this.load();
  }

  async load(given = null) {
    const asked = (this.asked = Symbol("the newest question"));
    try {
      const rules = given === null ? await call(`/api/rules/for-new-job/?preset=${encodeURIComponent(this.preset())}`) : await Promise.all(given.map((one) => this.check(one)));
      if (this.asked !== asked) return;
      this.draw(rules);
      show($("[data-rules-error]", this.root), false);
    } catch (error) {
      setText($("[data-rules-error] p", this.root), `The rules could not be loaded. ${error.message}`);
      show($("[data-rules-error]", this.root), true);
    }
    show($("[data-rules-loading]", this.root), false);
  }

  check(given) {
    return call("/api/rules/check/", { method: "POST", json: given });
  }

  draw(rules) {
    this.rules = rules;
    const acts = { edit: (_, button) => this.edit(this.at(button)), remove: (_, button) => this.remove(this.at(button)) };
    const rows = rules.map((rule) => ruleRow({ ...rule, id: "new", state: rule.enabled ? "default" : "off" }, acts));
    $("[data-rules-list]", this.root).replaceChildren(...rows);
    show($("[data-rules-none]", this.root), !rules.length);
    show($("[data-rules-reset]", this.root), this.own);
    this.changed(this.value());
  }

  at(button) {
    const row = button.closest("[data-rule]");
    return [...row.parentElement.children].indexOf(row);
  }

  set(rules) {
    this.own = true;
    this.draw(rules);
  }

  async add() {
    const rule = await askForRule(null, (given) => this.check(given));
    if (rule) this.set([...this.rules, rule]);
  }

  async edit(index) {
    const rule = await askForRule(this.rules[index], (given) => this.check(given));
    if (rule) this.set(this.rules.with(index, rule));
    editButton(this.root, index)?.focus();
  }

  remove(index) {
    this.set(this.rules.filter((_, i) => i !== index));
    (editButton(this.root, Math.min(index, this.rules.length - 1)) ?? $("[data-rules-add]", this.root)).focus();
  }
}

const editButton = (root, index) => root.querySelectorAll('[data-act="edit"]')[index];
