// The samples tab: held-out prompts, answered by the base model and by the adapter, side by side.
import { call, rows } from "./api.js";
import { $, h, icon } from "./dom.js";

const known = (value) => value === true || value === false;

function mark(valid, exact) {
  if (exact === true) return h("span", { class: "mark mark-yes" }, icon("check"), "As expected");
  if (!known(valid)) return exact === false ? h("span", { class: "mark" }, "Differs") : null;
  return valid ? h("span", { class: "mark mark-yes" }, icon("check"), "Valid JSON") : h("span", { class: "mark mark-no" }, icon("x"), "Not valid JSON");
}

function pretty(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}

function answer(title, text, badge, waiting) {
  const body = text === null || text === undefined ? h("p", { class: "muted" }, waiting) : h("pre", { class: "mono", tabindex: "0" }, text === "" ? "(empty)" : pretty(text));
  return h("section", { class: "answer" }, h("h4", {}, title, badge), body);
}

function sample(one) {
  const turns = (one.prompt ?? []).map((turn) => h("div", { class: "turn" }, h("span", { class: "turn-role" }, turn.role), h("div", { class: "turn-text" }, turn.content ?? "")));
  return h(
    "article",
    { class: "sample" },
    h("div", { class: "sample-prompt" }, h("h3", {}, `Prompt ${one.index + 1}`), ...turns),
    h(
      "div",
      { class: "answers" },
      answer("Base model", one.before, mark(one.valid_before, one.exact_before), "Not answered yet."),
      answer("With the adapter", one.after, mark(one.valid_after, one.exact_after), "Answered when training has ended."),
      answer("Expected", one.expected, null, ""),
    ),
  );
}

function score(label, list, before, after) {
  const n = list.length;
  const has = (name) => list.some((one) => known(one[name]));
  if (!has(before) && !has(after)) return null;
  const tally = (name) => (has(name) ? `${list.filter((one) => one[name] === true).length}/${n}` : "–");
  return [
    h("div", { class: "score" }, h("b", { class: "num" }, tally(before)), h("span", {}, `${label} before`)),
    h("span", { class: "score-arrow", "aria-hidden": "true" }, "→"),
    h("div", { class: "score" }, h("b", { class: "num" }, tally(after)), h("span", {}, `${label} after`)),
  ];
}

export class JobSamples {
  constructor(job) {
    this.job = job;
    this.place = $("#sample-list");
    this.loaded = false;
  }

  /** Answers came: they are fetched when somebody looks at them. */
  stale() {
    this.loaded = false;
  }

  async load(state) {
    if (this.loaded) return;
    this.loaded = true;
    try {
      this.draw(rows(await call(`/api/jobs/${this.job.id}/samples/`)), state);
    } catch (error) {
      this.loaded = false;
      this.place.replaceChildren(h("div", { class: "notice notice-error" }, icon("alert-circle"), h("div", {}, error.message)));
    }
  }

  draw(list, state) {
    if (!list.length) {
      const text = state.simulated
        ? "A simulated run trains nothing, so there is nothing to compare."
        : "Some rows are held out of training. The base model answers them before, the adapter after, and both stand here side by side.";
      this.place.replaceChildren(h("div", { class: "empty" }, h("h2", {}, "No answers to compare yet"), h("p", {}, text)));
      return;
    }
    const valid = list.filter((one) => known(one.valid_before) || known(one.valid_after));
    const scores = [score("valid JSON", valid, "valid_before", "valid_after"), score("as expected", list, "exact_before", "exact_after")].filter(Boolean);
    const summary = scores.length ? h("div", { class: "sample-score" }, ...scores.map((parts, i) => [i ? h("span", { class: "score-gap" }) : null, ...parts]).flat()) : null;
    this.place.replaceChildren(...[summary, ...list.map(sample)].filter(Boolean));
  }
}
