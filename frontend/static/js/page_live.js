// The one connection of this page, and the dot in the header that tells how it is.
import { $, announce, setText } from "./dom.js";
import { LiveConnection } from "./live.js";

const WORDS = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  polling: "Updating every 5 s",
  offline: "Server not reachable",
  "signed-out": "Signed out",
};
let shared = null;
let shown = false;

function tell(state) {
  const place = $("#link-state");
  if (!place) return;
  place.dataset.state = state;
  setText($(".link-text", place), WORDS[state]);
  place.hidden = !shown;
  if (shown && state !== "live" && state !== "connecting") announce(`Connection: ${WORDS[state]}`);
  if (state === "signed-out") document.dispatchEvent(new CustomEvent("stoker:signed-out"));
}

export function connection() {
  if (!shared) {
    const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/`;
    shared = new LiveConnection({ url, onState: tell }).start();
    addEventListener("online", () => shared.hurry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && shared.hurry());
    addEventListener("pageshow", (event) => event.persisted && shared.hurry());
  }
  return shared;
}

/** Pages whose content is live show how fresh it is. */
export function showLinkState() {
  shown = true;
  tell(connection().state);
}

document.addEventListener("stoker:signed-out", async () => {
  const { toast } = await import("./toasts.js");
  const next = encodeURIComponent(location.pathname + location.hash);
  toast("You are signed out", { text: "This page no longer updates. Sign in again to go on.", kind: "bad", href: `/sign-in/?next=${next}` });
});
