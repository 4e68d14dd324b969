import { h, icon } from "./dom.js";

const KINDS = { good: "circle-check", bad: "alert-triangle", info: "info-circle" };
const LASTING_MS = 7000;

/** A short message in the corner. Bad news stays until it is closed. */
export function toast(title, { text = "", kind = "info", href = "" } = {}) {
  const place = document.getElementById("toasts");
  const close = h("button", { type: "button", class: "toast-close", onclick: () => item.remove() }, icon("x"), h("span", { class: "visually-hidden" }, "Close"));
  const item = h(
    "div",
    { class: `toast-item toast-${kind}`, role: kind === "bad" ? "alert" : "status" },
    icon(KINDS[kind]),
    href ? h("a", { class: "toast-title", href }, title) : h("div", { class: "toast-title" }, title),
    close,
    text ? h("div", { class: "toast-text" }, text) : null,
  );
  place.append(item);
  while (place.children.length > 4) place.firstElementChild.remove();
  if (kind === "bad") return;
  let timer = setTimeout(() => item.remove(), LASTING_MS);
  item.addEventListener("pointerenter", () => clearTimeout(timer));
  item.addEventListener("pointerleave", () => (timer = setTimeout(() => item.remove(), LASTING_MS / 2)));
}
