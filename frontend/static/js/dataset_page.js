// A dataset's page: follows the check until it has ended, and acts on the buttons.
import { call, fragment } from "./api.js";
import { confirmAction } from "./dialog.js";
import { $, announce, copyText } from "./dom.js";
import { toast } from "./toasts.js";

const place = $("#dataset");
const { id, name } = place.dataset;
const SOON_MS = 700;
const LATER_MS = 5000;
let asks = 0;

const busy = () => $("[data-busy]", place).dataset.busy === "yes";

async function refresh() {
  const was = busy();
  place.innerHTML = await fragment(location.pathname);
  document.dispatchEvent(new CustomEvent("stoker:fragment"));
  if (was && !busy()) announce(`The check has ended: ${$(".status", place)?.textContent ?? ""}`);
}

/** Ask often at first, for most files take a second; then calmly. */
function follow() {
  if (!busy()) return;
  asks += 1;
  setTimeout(async () => {
    try {
      await refresh();
    } catch (error) {
      if (error.status === 404) return;
    }
    follow();
  }, Math.min(LATER_MS, SOON_MS * 1.15 ** asks));
}

const acts = {
  async link() {
    const answer = await call(`/api/datasets/${id}/link/`, { method: "POST", json: {} });
    const done = await copyText(answer.url);
    toast(done ? "Link copied" : "Here is the link", { text: done ? "Anyone who has it can read the file for 24 hours." : answer.url, kind: done ? "good" : "info" });
  },
  async check() {
    await call(`/api/datasets/${id}/check/`, { method: "POST", json: {} });
    asks = 0;
    await refresh();
    follow();
  },
  async delete() {
    const sure = await confirmAction({ title: `Delete “${name}”?`, text: "The file and its report are deleted. Adapters trained on it stay.", yes: "Delete", no: "Keep it" });
    if (!sure) return;
    await call(`/api/datasets/${id}/`, { method: "DELETE" });
    location.assign("/datasets/");
  },
};

place.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act]");
  if (!button || button.ariaDisabled) return;
  // Not `disabled`: such a button cannot get the focus back from the dialog.
  button.ariaDisabled = "true";
  try {
    await acts[button.dataset.act]();
  } catch (error) {
    toast("That did not work", { text: error.sentence ?? error.message, kind: "bad" });
  } finally {
    button.ariaDisabled = null;
  }
});

follow();
