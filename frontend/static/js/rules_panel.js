// The rules of a job, changed while it runs, or those that new jobs get: the same list on both pages.
import { call, rows } from "./api.js";
import { confirmAction } from "./dialog.js";
import { $, announce, setText, show } from "./dom.js";
import { askForRule } from "./rule_dialog.js";
import { ruleRow } from "./rule_rows.js";
import { toast } from "./toasts.js";

const LOOK_AGAIN = 15_000; // rules are looked at this often

export class RulesPanel {
  /** `ended`: nothing can be changed any more. */
  constructor(root, { ended = false, hidden = false } = {}) {
    Object.assign(this, { root, ended, hidden, url: root.dataset.url, rules: null });
    $("[data-rules-add]", root).addEventListener("click", () => this.add());
    $("[data-rules-error] button", root).addEventListener("click", () => this.load());
    setInterval(() => {
      if (!this.hidden && !this.ended && root.dataset.live && document.visibilityState === "visible") this.load();
    }, LOOK_AGAIN);
    if (!hidden) this.load();
  }

  setHidden(hidden) {
    const opened = this.hidden && !hidden;
    this.hidden = hidden;
    if (opened) this.load();
  }

  setEnded(ended) {
    if (this.ended === ended) return;
    this.ended = ended;
    this.stale();
  }

  /** Something happened to the rules: look again, now or when they are shown. */
  stale() {
    if (!this.hidden) this.load();
  }

  async load() {
    try {
      this.take(rows(await call(this.url)));
      show($("[data-rules-error]", this.root), false);
    } catch (error) {
      setText($("[data-rules-error] p", this.root), `The rules could not be loaded. ${error.message}`);
      show($("[data-rules-error]", this.root), true);
    }
    show($("[data-rules-loading]", this.root), false);
  }

  take(rules) {
    this.rules = rules;
    const acts = this.ended ? {} : { arm: this.arm, toggle: this.toggle, edit: this.edit, remove: this.remove };
    // A list that is drawn anew gives the focus back to the same button.
    const at = document.activeElement?.closest?.("[data-rule]");
    const [id, act] = [at?.dataset.rule, document.activeElement?.dataset?.act];
    $("[data-rules-list]", this.root).replaceChildren(...rules.map((rule) => ruleRow(rule, acts)));
    if (id && act) ($(`[data-rule="${id}"] [data-act="${act}"]`, this.root) ?? $("[data-rules-add]", this.root)).focus();
    show($("[data-rules-none]", this.root), !rules.length);
    show($("[data-rules-add]", this.root), !this.ended);
  }

  async add() {
    await this.attempt(() => askForRule(null, (given) => call(this.url, { method: "POST", json: given })));
  }

  edit = (rule) =>
    this.attempt(() =>
      askForRule(rule, (given, seen) => call(`/api/rules/${rule.id}/`, { method: "PATCH", json: { ...given, version: seen.version } })),
    );

  toggle = (rule) => this.attempt(() => call(`/api/rules/${rule.id}/`, { method: "PATCH", json: { enabled: !rule.enabled, version: rule.version } }));

  arm = (rule) => this.attempt(() => call(`/api/rules/${rule.id}/arm/`, { method: "POST", json: {} }));

  remove = async (rule) => {
    const sure = await confirmAction({ title: "Delete this rule?", text: rule.sentence, yes: "Delete it", no: "Keep it" });
    if (!sure) return;
    await this.attempt(() => call(`/api/rules/${rule.id}/?version=${rule.version}`, { method: "DELETE" }));
  };

  async attempt(work) {
    try {
      const saved = await work();
      if (saved?.sentence) announce(`${saved.enabled ? "On" : "Off"}: ${saved.sentence}`);
    } catch (error) {
      toast("The rule was not changed", { text: error.sentence ?? error.message, kind: "bad" });
    }
    await this.load();
  }
}
