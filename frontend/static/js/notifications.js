// The bell: unread count, the latest notifications, marking them read. Live over the socket, over REST without it.
import { call, rows } from "./api.js";
import { $, h, icon, setText, show } from "./dom.js";
import { ago } from "./format.js";
import { TopicFeed } from "./live.js";
import { connection } from "./page_live.js";
import { toast } from "./toasts.js";

const ICONS = {
  job_started: "rocket",
  job_completed: "circle-check",
  job_failed: "alert-triangle",
  job_cancelled: "ban",
};
const SHOWN = 20;
let items = [];
let unread = 0;
let knownIds = null; // null until the first answer
let opened = 0; // when the newest notification in it was made: what is older is no news, whichever answer brings it

const isUnread = (item) => (item.read === undefined ? !item.read_at : !item.read);

function drawCount() {
  const count = $("#bell-count");
  show(count, unread > 0);
  setText(count, unread > 99 ? "99+" : String(unread));
  setText($("#bell-label"), unread ? `Notifications, ${unread} unread` : "Notifications");
  show($("#bell-read-all"), unread > 0);
}

function row(item) {
  return h(
    "a",
    { class: `bell-item${isUnread(item) ? " unread" : ""}`, href: item.action_url || "#", "data-id": item.id },
    icon(ICONS[item.type] ?? "bell"),
    h("span", { class: "bell-title" }, item.title, isUnread(item) ? h("span", { class: "visually-hidden" }, " (unread)") : null),
    item.message ? h("span", { class: "bell-text" }, item.message) : null,
    h("time", { class: "bell-when", datetime: item.created_at }, ago(item.created_at)),
  );
}

function drawList() {
  const list = $("#bell-list");
  if (items.length) list.replaceChildren(...items.map(row));
  else list.replaceChildren(h("p", { class: "empty-line" }, "Nothing yet. You hear here when a job starts, ends or needs you."));
}

function take({ unread: count, items: latest }) {
  if (Array.isArray(latest)) {
    const byId = new Map([...latest, ...items].reverse().map((item) => [item.id, item]));
    for (const item of latest) byId.set(item.id, item);
    items = [...byId.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1)).slice(0, SHOWN);
    if (knownIds) latest.filter((item) => Date.parse(item.created_at) > opened && !knownIds.has(item.id) && isUnread(item)).slice(0, 3).forEach(tell);
    else opened = items.length ? Date.parse(items[0].created_at) : 0;
    knownIds = new Set([...(knownIds ?? []), ...items.map((item) => item.id)]);
  }
  if (typeof count === "number") unread = count;
  drawCount();
  if (!$("#bell-panel").hidden) drawList();
  document.dispatchEvent(new CustomEvent("stoker:notifications"));
}

function tell(item) {
  // The page of a job says by itself what happens to it.
  if (item.action_url && new URL(item.action_url, location.href).pathname === location.pathname) return;
  const kind = item.type === "job_failed" || item.priority === "high" ? "bad" : item.type === "job_completed" ? "good" : "info";
  toast(item.title, { text: item.message, kind, href: item.action_url, stays: false });
}

async function load() {
  const answer = await call("/api/notifications/");
  const list = rows(answer).slice(0, SHOWN);
  take({ items: list, unread: answer?.unread ?? list.filter(isUnread).length });
}

async function markRead(path, change) {
  try {
    await call(path, { method: "POST", json: {} });
    change();
    drawCount();
    drawList();
  } catch (error) {
    toast("Could not mark it read", { text: error.message, kind: "bad" });
  }
}

$("[data-menu]:has(#bell)")?.addEventListener("menu:open", async () => {
  if (knownIds) drawList();
  try {
    await load();
    drawList();
  } catch (error) {
    if (!knownIds) $("#bell-list").replaceChildren(h("p", { class: "empty-line" }, error.message));
  }
});

$("#bell-read-all")?.addEventListener("click", () =>
  markRead("/api/notifications/read-all/", () => {
    items = items.map((item) => ({ ...item, read: true, read_at: item.read_at ?? new Date().toISOString() }));
    unread = 0;
  }),
);

$("#bell-list")?.addEventListener("click", (event) => {
  const link = event.target.closest("[data-id]");
  const item = link && items.find((one) => String(one.id) === link.dataset.id);
  if (!item) return;
  if (link.getAttribute("href") === "#") event.preventDefault();
  if (!isUnread(item)) return;
  // keepalive lets the call finish while the link's page is already loading.
  const change = () => {
    item.read = true;
    item.read_at ??= new Date().toISOString();
    unread = Math.max(0, unread - 1);
  };
  markRead(`/api/notifications/${item.id}/read/`, change);
});

connection().add(new TopicFeed({ topic: "notifications", take, poll: load }));
load().catch(() => {});
