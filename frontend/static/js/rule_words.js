// What a rule's row says of where it stands, and what its form holds: words and values, nothing of the page.
import { ago, count } from "./format.js";

const STANDINGS = {
  armed: { word: "Armed", icon: "eye" },
  waiting: { word: "Waiting", icon: "hourglass" },
  fired: { word: "Fired", icon: "alert-triangle" },
  off: { word: "Off", icon: "ban" },
  over: { word: "Did not fire", icon: "check" },
  default: { word: "", icon: "" },
};

/** {word, icon, text}: the state as a badge shows it, and what the rule saw. */
export function standing(rule, now = Date.now()) {
  const known = STANDINGS[rule.state] ?? STANDINGS.default;
  if (rule.state === "fired") {
    const at = rule.fired_step === null ? "" : ` at step ${count(rule.fired_step)}`;
    return { ...known, word: `Fired${at}`, text: [rule.saw, ago(rule.fired_at, now)].filter(Boolean).join(" · ") };
  }
  if (rule.state === "over") return { ...known, text: "" };
  if (rule.state === "off" || rule.state === "default") return { ...known, text: rule.built_in ? "Comes with every account" : "" };
  return { ...known, text: rule.saw || (rule.state === "armed" ? "Nothing seen yet" : "") };
}

/** The texts of a form as parameters of a kind; `errors` maps a name to a sentence. A blank field takes its default. */
export function parametersOf(kind, texts) {
  const [parameters, errors] = [{}, {}];
  for (const field of kind.parameters) {
    const text = String(texts[field.name] ?? "").trim();
    if (text === "") continue;
    const isText = field.type === "metric" || field.type === "choice";
    const value = isText ? text : Number(text.replace(/(?<=\d),(?=\d{3}\b)/g, ""));
    if (!isText && !Number.isFinite(value)) errors[field.name] = "Give a number.";
    else parameters[field.name] = value;
  }
  return { parameters, errors };
}

/** What a form shows for a kind: the rule's own values where it is of that kind, else the usual ones. */
export function valuesOf(kind, rule = null) {
  const own = rule?.kind === kind.kind ? rule.parameters : {};
  return Object.fromEntries(kind.parameters.map((field) => [field.name, own[field.name] ?? field.default]));
}

/** What can be sent to make this rule again. */
export const givenOf = ({ kind, parameters, action, enabled }) => ({ kind, parameters, action, enabled });
