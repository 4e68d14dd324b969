// What every page of a signed-in person does: theme, menus, times that age, the bell.
import "./theme.js";
import "./menus.js";
import "./notifications.js";
import { $$, copyText, setText } from "./dom.js";
import { ago, full } from "./format.js";
import { toast } from "./toasts.js";

export function ageTimes() {
  for (const time of $$("time[data-ago]")) {
    setText(time, ago(time.dateTime));
    if (!time.dataset.titled) {
      time.title = full(time.dateTime);
      time.dataset.titled = "yes";
    }
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const done = await copyText(button.dataset.copy);
  toast(done ? "Copied" : "The browser did not allow copying", { kind: done ? "good" : "info" });
});

ageTimes();
setInterval(ageTimes, 15000);
document.addEventListener("stoker:fragment", ageTimes);
