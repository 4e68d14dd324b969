// One rule as a row of a list: its sentence, where it stands, and what can be done with it.
import { h, icon } from "./dom.js";
import { standing } from "./rule_words.js";

const hidden = (text) => h("span", { class: "visually-hidden" }, text);

function badge({ word, icon: name }, state) {
  return word ? h("span", { class: `status rule-state rule-${state}` }, icon(name), word) : null;
}

/** `acts`: which of {toggle, edit, arm, remove} are offered, each called with the rule and the button. */
export function ruleRow(rule, acts = {}) {
  const now = standing(rule);
  const small = (text, act, extra = {}) => h("button", { type: "button", class: "button button-small", onclick: (event) => act(rule, event.currentTarget), ...extra }, text, hidden(`: ${rule.sentence}`));
  const remove = () =>
    h("button", { type: "button", class: "icon-button", title: "Delete", "data-act": "remove", onclick: (event) => acts.remove(rule, event.currentTarget) }, icon("trash"), hidden(`Delete: ${rule.sentence}`));
  return h(
    "li",
    { class: "rule", "data-rule": rule.id, "data-state": rule.state },
    h(
      "div",
      { class: "rule-words" },
      h("p", { class: "rule-sentence" }, rule.sentence),
      now.word || now.text ? h("p", { class: "rule-standing" }, badge(now, rule.state), now.text ? h("span", { class: "small muted" }, now.text) : null) : null,
    ),
    h(
      "div",
      { class: "rule-acts" },
      acts.arm && rule.state === "fired" ? small("Arm again", acts.arm, { "data-act": "arm" }) : null,
      acts.toggle
        ? h("button", { type: "button", class: "switch", role: "switch", "aria-checked": String(rule.enabled), "data-act": "toggle", title: rule.enabled ? "Switch off" : "Switch on", onclick: (event) => acts.toggle(rule, event.currentTarget) }, h("span", { class: "switch-knob" }), hidden(`On: ${rule.sentence}`))
        : null,
      acts.edit ? small("Edit", acts.edit, { "data-act": "edit" }) : null,
      acts.remove && !rule.built_in ? remove() : null,
    ),
  );
}
