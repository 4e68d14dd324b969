// The base model: the catalogue of this server, searched while typing, or any id of the Hugging Face Hub.
import { call, rows } from "./api.js";
import { $, $$, h, icon, setText, show } from "./dom.js";
import { short } from "./preflight.js";

const SHOWN = 6;
const ID = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9_][\w.-]{0,95}$/;

export const isModelId = (text) => ID.test(text) && !text.includes("..");

/** The models of which every word of `text` says something. Pure. */
export function matching(models, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return models.filter((model) => {
    const all = [model.id, model.label, model.licence, model.note, model.parameters ? `${short(model.parameters)} ${short(model.parameters).replace(" ", "")}` : "", model.on_this_machine ? "this machine local" : "", model.gated ? "gated" : ""].join(" ").toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

export class ModelChoice {
  constructor(form, changed) {
    this.field = form.elements.base_model;
    this.search = $("#model-search");
    this.models = [];
    this.changed = changed;
    this.cards = new Map();
    this.search.addEventListener("input", () => this.draw());
    this.search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // it searches; the form is not sent
      const only = matching(this.models, this.search.value);
      if (only.length === 1) this.pick(only[0].id);
      else if (isModelId(this.search.value.trim())) this.pick(this.search.value.trim());
    });
    $("#models-more").addEventListener("click", () => this.showAll());
    this.field.addEventListener("input", () => this.mark());
  }

  get listed() {
    return this.models.find((model) => model.id === this.field.value.trim()) ?? null;
  }

  async load() {
    try {
      this.models = rows(await call("/api/base-models/"));
    } catch {
      this.models = []; // the id can still be typed
    }
    show($("#model-catalogue"), this.models.length);
    this.draw();
    this.changed();
  }

  pick(id) {
    this.field.value = id;
    this.field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  mark() {
    for (const radio of $$('input[name="model_pick"]')) radio.checked = radio.value === this.field.value.trim();
  }

  showAll() {
    this.all = true;
    this.draw();
    $$(".pick input", $("#models"))[SHOWN]?.focus();
  }

  draw() {
    const text = this.search.value.trim();
    const found = matching(this.models, text);
    const open = this.all || text || found.length <= SHOWN + 2;
    const shown = found.filter((model, at) => open || at < SHOWN || model === this.listed);
    $("#models").replaceChildren(...shown.map((model) => this.card(model)));
    show($("#models"), shown.length);
    show($("#models-more"), shown.length < found.length);
    setText($("#models-more"), `Show all ${found.length} models`);
    const none = $("#models-none");
    show(none, text && !found.length);
    if (text && !found.length) {
      none.replaceChildren(
        isModelId(text) ? `“${text}” is not in the catalogue of this server. ` : "No model of the catalogue has these words. Any model of the Hub can be used by its id, organisation/model.",
        isModelId(text) ? h("button", { type: "button", class: "text-button", onclick: () => this.pick(text) }, `Use ${text}`) : "",
      );
    }
    setText($("#models-found"), text ? `${found.length} of ${this.models.length} models` : "");
    this.mark();
  }

  card(model) {
    if (this.cards.has(model.id)) return this.cards.get(model.id);
    const radio = h("input", { type: "radio", name: "model_pick", value: model.id });
    radio.addEventListener("change", () => this.pick(model.id));
    const facts = [model.parameters ? `${short(model.parameters)} parameters` : "", model.licence].filter(Boolean);
    const tags = [model.on_this_machine ? h("span", { class: "tag" }, "On this machine") : "", model.gated ? h("span", { class: "tag" }, icon("lock"), "Gated") : ""].filter(Boolean);
    const body = h("span", { class: "pick-body" }, h("b", {}, model.label || model.id), h("span", { class: "small muted pick-facts" }, ...facts.map((fact) => h("span", {}, fact))), model.note && !model.on_this_machine ? h("span", { class: "small muted" }, model.note) : null, tags.length ? h("span", { class: "pick-tags" }, ...tags) : null);
    const card = h("label", { class: "pick" }, radio, body);
    this.cards.set(model.id, card);
    return card;
  }

  /** What is said below the id: its size and terms, or why it cannot be an id. */
  say(facts) {
    const id = this.field.value.trim();
    const model = this.listed;
    const size = model?.parameters ?? facts?.parameters;
    const known = size ? `${short(size)} parameters${facts?.guessed && !model ? ", by its name" : ""}` : id && facts ? "Its size is not known, so neither memory nor time can be estimated" : "";
    const words = [known, model?.licence, model?.on_this_machine ? "on this machine" : ""].filter(Boolean).join(" · ");
    setText($("#model-facts"), words || "Pick one above, or type the id of any causal language model on the Hugging Face Hub.");
    const gated = model?.gated && !model.on_this_machine;
    show($("#model-gated"), gated);
    if (gated) $("#model-gated a").href = `https://huggingface.co/${model.id}`;
  }
}
