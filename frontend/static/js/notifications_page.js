// The page of all notifications: filters without a reload, marking read, sending again, and news as they come.
import { call, fragment } from "./api.js";
import { $, h, settle } from "./dom.js";
import { toast } from "./toasts.js";

const place = $("#notification-list");
const WATCH_MS = 3000; // while a delivery is on its way
let asked = 0;
let timer = 0;

async function refresh({ focus = null } = {}) {
  const number = ++asked;
  const html = await fragment(location.pathname + location.search);
  if (number !== asked) return; // another one was asked for since
  const fresh = h("div");
  fresh.innerHTML = html;
  place.replaceChildren(...fresh.childNodes);
  document.dispatchEvent(new CustomEvent("stoker:fragment"));
  if (focus) ($(focus, place) ?? $(".chip[aria-current]", place))?.focus();
  watch();
}

function watch() {
  clearTimeout(timer);
  if ($("[data-waiting]", place)) timer = setTimeout(() => document.hidden ? watch() : refreshUnlessUsed().catch(watch), WATCH_MS);
}

/** What a person has under their fingers stays as it is: the next round will do. */
const refreshUnlessUsed = async () => (place.contains(document.activeElement) ? watch() : refresh());

async function go(url, focus) {
  history.pushState(null, "", url);
  await refresh({ focus });
}

const acts = {
  async read(note) {
    await call(`/api/notifications/${note.dataset.note}/read/`, { method: "POST" });
    await refresh({ focus: `[data-note="${note.dataset.note}"] a` });
  },
  async read_all() {
    await call("/api/notifications/read-all/", { method: "POST" });
    await refresh({ focus: ".chip[aria-current]" });
  },
  async send_again(note, button) {
    const id = button.closest("[data-delivery]").dataset.delivery;
    await call(`/api/deliveries/${id}/send-again/`, { method: "POST" });
    await refresh({ focus: `[data-note="${note.dataset.note}"] a` });
    toast("It is sent as soon as possible");
  },
};

place.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-list-link]");
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    const focus = link.classList.contains("chip") ? ".chip[aria-current]" : null;
    return go(link.href, focus).catch(() => location.assign(link.href));
  }
  const title = event.target.closest(".note.unread .note-title");
  // A call that is lost to the next page leaves it unread, which does no harm.
  if (title) return void call(`/api/notifications/${title.closest("[data-note]").dataset.note}/read/`, { method: "POST" }).catch(() => {});
  const button = event.target.closest("[data-act]");
  if (!button || button.ariaDisabled) return;
  button.ariaDisabled = "true";
  try {
    await acts[button.dataset.act](button.closest("[data-note]"), button);
  } catch (error) {
    toast("That did not work", { text: error.message, kind: "bad" });
  } finally {
    button.ariaDisabled = null;
  }
});

place.addEventListener("change", (event) => {
  const name = event.target.dataset.listSelect;
  if (!name) return;
  const url = new URL(location.href);
  if (event.target.value) url.searchParams.set(name, event.target.value);
  else url.searchParams.delete(name);
  url.searchParams.delete("page");
  go(url, `[data-list-select="${name}"]`).catch(() => location.assign(url));
});

window.addEventListener("popstate", () => refresh().catch(() => location.reload()));
document.addEventListener("stoker:notifications", settle(() => refreshUnlessUsed().catch(() => {}), 300));
watch();
