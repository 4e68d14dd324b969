// Buttons that open a panel below them: click, Escape, a click elsewhere, or leaving with Tab closes it again.
import { $$ } from "./dom.js";

function set(menu, open) {
  const button = menu.querySelector("button[aria-expanded]");
  button.setAttribute("aria-expanded", String(open));
  document.getElementById(button.getAttribute("aria-controls")).hidden = !open;
  if (open) menu.dispatchEvent(new CustomEvent("menu:open", { bubbles: true }));
}

for (const menu of $$("[data-menu]")) {
  const button = menu.querySelector("button[aria-expanded]");
  const isOpen = () => button.getAttribute("aria-expanded") === "true";
  button.addEventListener("click", () => set(menu, !isOpen()));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !isOpen()) return;
    set(menu, false);
    button.focus();
  });
  menu.addEventListener("focusout", (event) => {
    if (isOpen() && event.relatedTarget && !menu.contains(event.relatedTarget)) set(menu, false);
  });
  document.addEventListener("pointerdown", (event) => {
    if (isOpen() && !menu.contains(event.target)) set(menu, false);
  });
}
