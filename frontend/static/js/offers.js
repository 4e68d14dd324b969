// The table of machines on the new-job form: each provider with its offers, prices and what is free.
import { h, icon } from "./dom.js";
import { money } from "./format.js";

const keyOf = (provider, offer) => `${provider.name}|${offer.type}|${offer.cloud ?? ""}`;

function free(offer) {
  if (offer.stock) return offer.stock === "none" ? "none free now" : `${offer.stock} stock`;
  if (offer.available === null || offer.available === undefined) return "not told";
  return offer.available > 0 ? `${offer.available} free` : "none free now";
}

function offerRow(provider, offer, chosen) {
  const id = `o-${keyOf(provider, offer)}`.replace(/[^\w-]+/g, "-");
  const price = Number(offer.price_per_hour) === 0 ? "free" : `${money(offer.price_per_hour)} / h`;
  const radio = h("input", { type: "radio", name: "offer", id, value: keyOf(provider, offer), checked: chosen });
  return h(
    "tr",
    { class: offer.available === 0 ? "taken" : "" },
    h("td", {}, h("label", { for: id }, radio, h("span", {}, offer.label || offer.type, offer.note ? h("span", { class: "offer-note small muted" }, offer.note) : null))),
    h("td", { class: "right offer-memory" }, offer.memory_gb ? `${Number(offer.memory_gb).toFixed(0)} GB` : "–"),
    h("td", { class: "right" }, free(offer)),
    h("td", { class: "right" }, price),
  );
}

/** Why there is nothing to choose, and where to go: a key is missing or refused, or the provider does not answer. */
function nothing(provider) {
  const text = provider.problem || "No machines are offered right now.";
  if (!provider.needs_account) return h("p", { class: "empty-line" }, text);
  const link = h("a", { href: `/settings/#account-${provider.name}` }, provider.has_account ? `See your ${provider.label} account` : `Add your ${provider.label} key`);
  return h("p", { class: "empty-line offer-account" }, h("span", {}, provider.has_account ? text : `Machines of ${provider.label} are rented in an account of yours.`), link);
}

function providerBox(provider, chosenKey) {
  const head = h("div", { class: "provider-head" }, h("h3", {}, provider.label || provider.name), provider.simulated ? h("span", { class: "tag tag-simulated" }, "Simulated") : provider.has_account ? null : h("span", { class: "tag" }, icon("key"), "No key yet"));
  if (provider.simulated) head.append(h("span", { class: "small muted" }, "Nothing is trained; for trying the pages."));
  const body = provider.offers.length
    ? h(
        "table",
        { class: "offer-table" },
        h("caption", { class: "visually-hidden" }, `Machines of ${provider.label || provider.name}`),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Machine"), h("th", { scope: "col", class: "right offer-memory" }, "Memory"), h("th", { scope: "col", class: "right" }, "Available"), h("th", { scope: "col", class: "right" }, "Price"))),
        h("tbody", {}, ...provider.offers.map((offer) => offerRow(provider, offer, keyOf(provider, offer) === chosenKey))),
      )
    : nothing(provider);
  return h("div", { class: "provider" }, head, body);
}

/** Draws the providers and remembers which offer is chosen. */
export class Offers {
  constructor(place, changed) {
    Object.assign(this, { place, changed });
    this.byKey = new Map();
    place.addEventListener("change", () => changed());
  }

  draw(providers, wanted) {
    this.byKey.clear();
    for (const provider of providers) for (const offer of provider.offers) this.byKey.set(keyOf(provider, offer), { provider, offer });
    const chosen = this.choose(providers, wanted);
    this.place.replaceChildren(...providers.map((provider) => providerBox(provider, chosen)));
    this.changed();
  }

  choose(providers, wanted) {
    if (wanted) {
      const key = `${wanted.provider}|${wanted.type}|${wanted.cloud ?? ""}`;
      if (this.byKey.has(key)) return key;
    }
    // A real machine first: nobody should get a simulation without asking for it.
    const first = providers.find((provider) => !provider.simulated && provider.offers.length) ?? providers.find((provider) => provider.offers.length);
    return first ? keyOf(first, first.offers[0]) : "";
  }

  fail(message, again) {
    const button = h("button", { type: "button", class: "button button-small", onclick: again }, "Try again");
    this.place.replaceChildren(h("div", { class: "notice notice-error" }, icon("alert-circle"), h("div", {}, h("p", {}, `The offers could not be loaded. ${message}`), button)));
  }

  get chosen() {
    const radio = this.place.querySelector('input[name="offer"]:checked');
    return radio ? this.byKey.get(radio.value) : null;
  }
}
