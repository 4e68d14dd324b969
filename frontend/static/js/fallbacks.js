// “If there is none, take …”: other machines of the same provider, in the order in which they are tried.
import { $, announce, h, icon, show } from "./dom.js";
import { FITS, keyOf, priceText } from "./offer_rows.js";

const MOST = 10;

/** What may still be added: of the same provider, with as many GPUs, not chosen already. Pure. */
export function candidates(rows, chosen, keys) {
  if (!chosen) return [];
  return rows.filter((row) => row.provider === chosen.provider && keyOf(row) !== keyOf(chosen) && row.count === chosen.count && !keys.includes(keyOf(row)));
}

/** The keys without `key`, or with it one place earlier. Pure. */
export const without = (keys, key) => keys.filter((one) => one !== key);

export function earlier(keys, key) {
  const at = keys.indexOf(key);
  if (at < 1) return keys;
  return [...keys.slice(0, at - 1), key, keys[at - 1], ...keys.slice(at + 1)];
}

export class Fallbacks {
  constructor(place, { changed, wanted }) {
    Object.assign(this, { place, changed });
    this.keys = (wanted?.fallbacks ?? []).map((one) => `${wanted.provider}|${one.type}|${one.cloud ?? wanted.cloud ?? ""}`);
    this.select = $("#f-fallback", place);
    this.select.addEventListener("change", () => this.add(this.select.value));
  }

  /** Those that the chosen machine can really fall back to. */
  get rows() {
    return this.keys.map((key) => this.offers?.byKey.get(key)).filter((row) => row && row.provider === this.offers.chosen?.provider && keyOf(row) !== this.offers.key);
  }

  update(offers) {
    this.offers = offers;
    const { chosen } = offers;
    const able = chosen && offers.providers.get(chosen.provider)?.takes_fallbacks;
    const free = able ? candidates(offers.rows, chosen, this.keys) : [];
    show(this.place, able && (free.length || this.rows.length));
    const reads = JSON.stringify([offers.key, this.keys, free.map((row) => [keyOf(row), row.fits, row.price_per_hour])]);
    if (this.reads === reads) return;
    this.reads = reads;
    const order = { yes: 0, tight: 1, unknown: 2, no: 3 };
    free.sort((a, b) => order[a.fits] - order[b.fits] || Number(a.price_per_hour) - Number(b.price_per_hour));
    this.select.replaceChildren(h("option", { value: "" }, this.rows.length ? "Then …" : "Wait until there is one"), ...free.map((row) => h("option", { value: keyOf(row) }, `${row.label} (${priceText(row)}, ${FITS[row.fits].toLowerCase()})`)));
    show(this.select, free.length && this.rows.length < MOST);
    $("ol", this.place).replaceChildren(...this.rows.map((row, at) => this.chip(row, at)));
  }

  chip(row, at) {
    const key = keyOf(row);
    const up = h("button", { type: "button", class: "chip-button", "aria-label": `${row.label} one place earlier`, onclick: () => this.set(earlier(this.keys, key), `${row.label} is now number ${at}.`) }, icon("arrow-up"));
    const off = h("button", { type: "button", class: "chip-button", "aria-label": `Do not fall back to ${row.label}`, onclick: () => this.set(without(this.keys, key), `${row.label} was taken out.`) }, icon("x"));
    return h("li", { class: "chip fallback" }, h("span", { class: "num muted" }, `${at + 1}.`), h("span", {}, row.label), h("span", { class: "num muted" }, priceText(row)), at > 0 ? up : "", off);
  }

  add(key) {
    if (key) this.set([...this.keys, key], `${this.offers.byKey.get(key).label} was added.`);
  }

  set(keys, words) {
    this.keys = keys;
    this.update(this.offers);
    announce(words);
    (this.select.hidden ? $("button", this.place) : this.select)?.focus();
    this.changed();
  }

  body() {
    return this.rows.map((row) => ({ type: row.type, cloud: row.cloud }));
  }
}
