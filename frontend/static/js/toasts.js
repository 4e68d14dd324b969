import { h, icon } from "./dom.js";

const KINDS = { good: "circle-check", bad: "alert-triangle", info: "info-circle" };
const LASTING_MS = 7000;
const MOST = 2;

/** A short message in the header. Bad news stays until it is closed, unless it can be read elsewhere, too. */
export function toast(title, { text = "", kind = "info", href = "", stays = kind === "bad" } = {}) {
  const place = document.getElementById("toasts");
  const close = h("button", { type: "button", class: "toast-close", onclick: () => item.remove() }, icon("x"), h("span", { class: "visually-hidden" }, "Close"));
  const item = h(
    "div",
    { class: `toast-item toast-${kind}${stays ? "" : " toast-brief"}`, role: kind === "bad" ? "alert" : "status" },
    icon(KINDS[kind]),
    h("div", { class: "toast-words" }, href ? h("a", { class: "toast-title", href }, title) : h("span", { class: "toast-title" }, title), " ", text ? h("span", { class: "toast-text" }, text) : null),
    close,
  );
  place.append(item);
  while (place.children.length > MOST) place.firstElementChild.remove();
  if (stays) return;
  let timer = setTimeout(() => item.remove(), LASTING_MS);
  item.addEventListener("pointerenter", () => clearTimeout(timer));
  item.addEventListener("pointerleave", () => (timer = setTimeout(() => item.remove(), LASTING_MS / 2)));
}
