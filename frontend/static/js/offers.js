// The table of machines on the page of a new job. New figures are written into the rows that are there: nothing flickers.
import { $, $$, h, icon, setText, show } from "./dom.js";
import { MISSING } from "./format.js";
import { FITS, filtered, firstChoice, fitText, hoursText, isGood, keyOf, marks, priceText, rangeText, sharedNotes, sorted, stockText, sureText, totalText } from "./offer_rows.js";

const SHOWN = 8; // rows before “Show all”
const FIT_ICONS = { yes: "check", tight: "alert-circle", no: "x", unknown: "help" };

export class Offers {
  /** `changed()` hears of another choice. `wanted` is the gpu_config of the job that is cloned. */
  constructor(place, { changed, retry, wanted }) {
    Object.assign(this, { place, changed, retry, wanted });
    this.rows = [];
    this.byKey = new Map();
    this.drawn = new Map(); // key -> row of the table
    this.sort = { column: "", direction: 1 };
    this.all = false;
    this.touched = Boolean(wanted);
    this.body = $("tbody", place);
    this.body.addEventListener("change", (event) => {
      this.touched = true;
      this.choose(event.target.value);
    });
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row && !event.target.closest("label, a, button, input")) $("input", row)?.click();
    });
    for (const button of $$("[data-sort]", place)) button.addEventListener("click", () => this.sortBy(button.dataset.sort));
    $("#fits-only", place).addEventListener("change", () => this.draw());
    $("#offers-more", place).addEventListener("click", () => this.showAll());
    this.chips = $("#offer-providers", place);
    this.chips.addEventListener("click", (event) => {
      const chip = event.target.closest("[data-provider]");
      if (chip) this.only(chip.dataset.provider);
    });
  }

  get chosen() {
    return this.byKey.get(this.key) ?? null;
  }

  answer({ offers, providers }) {
    this.providers = new Map(providers.map((one) => [one.name, one]));
    const notes = sharedNotes(offers);
    this.rows = offers.map((row) => ({ ...row, providerLabel: this.providers.get(row.provider)?.label ?? row.provider, note: notes.has(row.provider) ? "" : row.note }));
    this.notes = [...notes].map(([name, note]) => ({ label: this.providers.get(name)?.label ?? name, note }));
    this.byKey = new Map(this.rows.map((row) => [keyOf(row), row]));
    // What nobody chose by hand gives way to something better when it turns out not to fit.
    if (!this.byKey.has(this.key) || (!this.touched && !isGood(this.chosen))) {
      const first = firstChoice(this.rows, this.wanted);
      this.key = first ? keyOf(first) : "";
    }
    this.wanted = null;
    show($(".offers-loading", this.place), false);
    show($(".offers-failed", this.place), false);
    this.drawProviders();
    this.draw();
    this.changed();
  }

  fail(message) {
    show($(".offers-loading", this.place), false);
    const place = $(".offers-failed", this.place);
    const button = h("button", { type: "button", class: "button button-small", onclick: this.retry }, "Try again");
    const text = this.rows.length ? "The figures below are old: they could not be asked for again." : "The machines could not be loaded.";
    place.replaceChildren(h("div", { class: "notice notice-error" }, icon("alert-circle"), h("div", {}, h("p", {}, `${text} ${message}`), button)));
    show(place, true);
  }

  /** An answer is long in coming: the figures that stand there belong to what was asked before. */
  waiting(yes) {
    this.place.setAttribute("aria-busy", String(yes));
    show($(".offers-asking", this.place), yes && this.rows.length);
  }

  choose(key) {
    this.key = key;
    this.draw();
    this.changed();
  }

  sortBy(column) {
    const { sort } = this;
    if (sort.column !== column) this.sort = { column, direction: 1 };
    else this.sort = sort.direction === 1 ? { column, direction: -1 } : { column: "", direction: 1 };
    for (const head of $$("th", this.place)) {
      const now = $("[data-sort]", head)?.dataset.sort === this.sort.column && this.sort.column;
      if (now) head.setAttribute("aria-sort", this.sort.direction === 1 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    this.draw();
  }

  only(provider) {
    this.provider = provider;
    for (const chip of $$("[data-provider]", this.chips)) chip.setAttribute("aria-pressed", String(chip.dataset.provider === provider));
    this.draw();
  }

  showAll() {
    this.all = true;
    const before = document.activeElement;
    this.draw();
    if (before?.id === "offers-more") $$("input", this.body)[SHOWN]?.focus();
  }

  // ---- drawing

  draw() {
    const fitsOnly = $("#fits-only", this.place).checked;
    const found = filtered(this.rows, { provider: this.provider, fitsOnly }, this.key);
    const ordered = sorted(found, this.sort.column, this.sort.direction);
    const shown = this.all || ordered.length <= SHOWN + 2 ? ordered : ordered.filter((row, at) => at < SHOWN || keyOf(row) === this.key);
    const noted = marks(this.rows);
    const focused = document.activeElement;
    const rows = shown.map((row) => this.rowOf(row, noted));
    // Moving a row takes the focus from it, so only what stands elsewhere is moved.
    if (rows.some((row, at) => this.body.children[at] !== row) || rows.length !== this.body.children.length) {
      this.body.replaceChildren(...rows);
      if (focused !== document.activeElement && this.body.contains(focused)) focused.focus();
    }
    show($("table", this.place), rows.length);
    show($(".offers-none", this.place), !rows.length);
    setText($(".offers-none", this.place), this.rows.length ? "No machine passes these filters." : "No machine is offered right now.");
    const more = $("#offers-more", this.place);
    show(more, shown.length < ordered.length);
    setText(more, `Show all ${ordered.length} machines`);
  }

  rowOf(row, noted) {
    const key = keyOf(row);
    let line = this.drawn.get(key);
    if (!line) {
      const id = `o-${key}`.replace(/[^\w-]+/g, "-");
      line = h(
        "tr",
        {},
        h("td", { class: "offer-machine" }, h("label", { for: id }, h("input", { type: "radio", name: "offer", id, value: key }), h("span", { class: "offer-label" }, row.label)), h("div", { class: "offer-about small muted" })),
        ...["fit", "stock", "price", "time", "total"].map((name) => h("td", { "data-cell": name, class: name === "fit" || name === "stock" ? "" : "right" })),
      );
      this.drawn.set(key, line);
    }
    $("input", line).checked = key === this.key;
    line.classList.toggle("chosen", key === this.key);
    line.classList.toggle("taken", row.in_stock === false || row.fits === "no");
    put($(".offer-about", line), `${row.providerLabel}|${row.note}|${row.count}|${key === noted.cheapest}|${key === noted.fastest}|${row.max_count}`, () => about(row, key, noted));
    put(cell(line, "fit"), `${row.fits}|${fitText(row)}`, () => fitCell(row));
    put(cell(line, "stock"), stockText(row), () => [stockText(row)]);
    put(cell(line, "price"), priceText(row), () => [priceText(row), Number(row.price_per_hour) === 0 ? "" : h("small", {}, "an hour")]);
    put(cell(line, "time"), `${row.hours}|${rangeText(row)}|${sureText(row)}`, () => [row.hours === null ? "" : hoursText(row.hours), h("small", { title: rangeText(row) }, sureText(row))]);
    put(cell(line, "total"), totalText(row), () => [totalText(row)]);
    return line;
  }

  drawProviders() {
    const here = [...this.providers.values()].filter((one) => this.rows.some((row) => row.provider === one.name));
    put(this.chips, here.map((one) => one.name).join("|"), () =>
      [{ name: "", label: "All" }, ...here].map((one) => h("button", { type: "button", class: "chip", "data-provider": one.name, "aria-pressed": String((this.provider ?? "") === one.name) }, one.label)),
    );
    show(this.chips, here.length > 1);
    const empty = [...this.providers.values()].filter((one) => one.problem);
    const lines = () => [...this.notes.map((one) => h("li", { class: "offer-problem" }, icon("info-circle"), h("span", {}, h("b", {}, one.label), `: ${one.note}`))), ...empty.map((one) => nothing(one, this.retry))];
    put($("#offer-problems", this.place), JSON.stringify([this.notes, empty]), lines);
  }
}

const cell = (line, name) => $(`[data-cell="${name}"]`, line);

/** Where nothing is known of the fit, the size alone is said. */
function fitCell(row) {
  if (row.fits === "unknown") return [fitText(row) || MISSING];
  return [h("span", { class: `fit fit-${row.fits}` }, icon(FIT_ICONS[row.fits]), FITS[row.fits]), h("small", {}, fitText(row))];
}

/** Draw again only what reads differently. */
function put(place, reads, draw) {
  if (place.dataset.now === reads) return;
  place.dataset.now = reads;
  place.replaceChildren(...draw());
}

function about(row, key, noted) {
  return [
    h("span", {}, row.providerLabel),
    row.simulated ? h("span", { class: "tag tag-simulated" }, "Nothing is trained") : "",
    key === noted.cheapest ? h("span", { class: "tag tag-best" }, icon("coin"), "Cheapest") : "",
    key === noted.fastest ? h("span", { class: "tag tag-best" }, icon("bolt"), "Fastest") : "",
    row.count > 1 ? h("span", { class: "num" }, `${row.count} GPUs`) : row.max_count > 1 ? h("span", { class: "num" }, `up to ${row.max_count} GPUs`) : "",
    row.note ? h("span", { class: "offer-note" }, row.note) : "",
  ];
}

/** Why there is nothing to choose, and where to go: a key is missing or refused, or the provider does not answer. */
function nothing(provider, retry) {
  const words = provider.needs_account && !provider.has_account ? `Machines of ${provider.label} are rented in an account of yours.` : provider.problem;
  const way = provider.needs_account
    ? h("a", { href: `/settings/#account-${provider.name}` }, provider.has_account ? `See your ${provider.label} account` : `Add your ${provider.label} key`)
    : h("button", { type: "button", class: "text-button", onclick: retry }, "Ask again");
  return h("li", { class: "offer-problem" }, icon(provider.has_account ? "alert-circle" : "key"), h("span", {}, words), way);
}
