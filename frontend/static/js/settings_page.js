// The settings page: API tokens are made, shown once, and revoked.
import { call } from "./api.js";
import { confirmAction } from "./dialog.js";
import { $, copyText, h, setText, show } from "./dom.js";
import { RulesPanel } from "./rules_panel.js";
import { toast } from "./toasts.js";

new RulesPanel($("#rules"));

const form = $("#token-form");
const list = $("#token-list");

function row(token) {
  return h(
    "li",
    { "data-token": token.id },
    h("div", {}, h("b", {}, token.name), " ", h("span", { class: "mono muted" }, `…${token.hint}`), h("div", { class: "small muted" }, "Created just now · never used")),
    h("button", { type: "button", class: "button button-small button-danger", "data-revoke": token.name }, "Revoke", h("span", { class: "visually-hidden" }, ` ${token.name}`)),
  );
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = form.elements.name;
  const button = form.querySelector("button");
  setText($("#token-name-error"), "");
  button.disabled = true;
  try {
    const token = await call("/api/tokens/", { method: "POST", json: { name: input.value.trim() } });
    setText($("#token-text"), token.token);
    show($("#token-new"), true);
    list.prepend(row(token));
    show($("#token-none"), false);
    form.reset();
    $("#token-text").focus();
  } catch (error) {
    setText($("#token-name-error"), error.sentence ?? error.message);
    input.setAttribute("aria-invalid", "true");
    input.focus();
  } finally {
    button.disabled = false;
  }
});

form.addEventListener("input", () => {
  form.elements.name.removeAttribute("aria-invalid");
  setText($("#token-name-error"), "");
});

$("#token-copy").addEventListener("click", async () => {
  const done = await copyText($("#token-text").textContent);
  toast(done ? "Token copied" : "The browser did not allow copying", { text: done ? "" : "Select it and copy it by hand.", kind: done ? "good" : "info" });
});

list.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-revoke]");
  if (!button) return;
  const name = button.dataset.revoke;
  const sure = await confirmAction({ title: `Revoke “${name}”?`, text: "Programs that use this token are refused from now on. This cannot be undone.", yes: "Revoke", no: "Keep it" });
  if (!sure) return;
  const item = button.closest("[data-token]");
  try {
    await call(`/api/tokens/${item.dataset.token}/`, { method: "DELETE" });
    item.remove();
    show($("#token-none"), !list.childElementCount);
    toast("Token revoked", { text: name });
    $("#token-name").focus();
  } catch (error) {
    toast("The token was not revoked", { text: error.message, kind: "bad" });
  }
});
