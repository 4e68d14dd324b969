// Settings, Notifications: destinations are added, tested, changed and removed; ticks say what goes where.
import { call, fragment } from "./api.js";
import { confirmAction } from "./dialog.js";
import { $, announce, copyText, h, setText, show } from "./dom.js";
import { clearErrors, showErrors } from "./form_errors.js";
import { toast } from "./toasts.js";

const place = $("#notification-settings");
const addDialog = $("#add-dialog");
const changeDialog = $("#change-dialog");
const secretDialog = $("#secret-dialog");
const addForm = $("#add-form");
const changeForm = $("#change-form");
const address = (id, rest = "") => `/api/destinations/${encodeURIComponent(id)}/${rest}`;
const cardOf = (id) => $(`[data-destination-card="${CSS.escape(id)}"]`, place);

/** Draw everything as the server has it now, and put the focus back on the same button of the same card. */
async function refresh(id = "", act = "") {
  const fresh = h("div");
  fresh.innerHTML = await fragment(location.pathname);
  place.replaceChildren(...fresh.childNodes);
  document.dispatchEvent(new CustomEvent("stoker:fragment"));
  const card = id && cardOf(id);
  ($(`[data-act="${act}"]`, card || document) ?? $('.page-head [data-act="add"]'))?.focus();
}

/** While the server works: not `disabled`, which would throw the focus to the top of the page. */
async function busy(button, work) {
  if (button.ariaDisabled) return;
  button.ariaDisabled = "true";
  try {
    await work();
  } finally {
    button.ariaDisabled = null;
  }
}

function drawKind() {
  const { field, inputType, placeholder, help, unavailable, label } = $("input:checked", addForm).dataset;
  const input = addForm.elements.address;
  setText($("#add-address-label"), field);
  input.type = inputType;
  input.placeholder = placeholder;
  setText($("#add-address-help"), help);
  addForm.elements.name.placeholder = `For example: My ${label === "Another service" ? "phone" : label}`;
  show($("#add-unavailable"), Boolean(unavailable));
  setText($("#add-unavailable p"), unavailable);
}

function showSecret(secret, { old = false } = {}) {
  setText($("#secret-text"), secret);
  show($("#secret-old"), old);
  secretDialog.showModal();
}

async function add() {
  clearErrors(addForm);
  const fields = addForm.elements;
  const missing = [
    ...(fields.name.value.trim() ? [] : [{ field: "name", message: "Give it a name." }]),
    ...(fields.address.value.trim() ? [] : [{ field: "address", message: "Say where to." }]),
  ];
  if (missing.length) return showErrors(addForm, { errors: missing });
  try {
    const json = { kind: $("input:checked", addForm).value, name: fields.name.value.trim(), address: fields.address.value.trim() };
    const made = await call("/api/destinations/", { method: "POST", json });
    addForm.reset();
    addDialog.close();
    await refresh(made.id, "test");
    if (made.secret) showSecret(made.secret);
    else toast(`“${made.name}” added`, { text: "Send a test to see whether it works.", kind: "good" });
  } catch (error) {
    showErrors(addForm, error);
  }
}

async function change() {
  clearErrors(changeForm);
  const { name, address: where } = changeForm.elements;
  const id = changeForm.dataset.id;
  const json = { name: name.value.trim(), ...(where.value.trim() ? { address: where.value.trim() } : {}) };
  try {
    await call(address(id), { method: "PATCH", json });
    changeDialog.close();
    await refresh(id, "change");
  } catch (error) {
    showErrors(changeForm, error);
  }
}

const acts = {
  add() {
    addForm.reset();
    clearErrors(addForm);
    drawKind();
    addDialog.showModal();
  },
  close: (_, button) => button.closest("dialog").close(),
  async copy() {
    const done = await copyText($("#secret-text").textContent);
    toast(done ? "Secret copied" : "The browser did not allow copying", { text: done ? "" : "Select it and copy it by hand.", kind: done ? "good" : "info" });
  },
  async test({ destinationCard: id, name }, button) {
    announce("Sending a test message.");
    const label = [...button.childNodes].find((node) => node.nodeType === Node.TEXT_NODE);
    if (label) label.textContent = "Sending…";
    const found = await call(address(id, "test/"), { method: "POST" }).finally(() => label && (label.textContent = "Send test"));
    await refresh(id, "test");
    toast(found.delivered ? `The test to “${name}” was taken` : `The test to “${name}” failed`, { text: found.delivered ? "" : found.message, kind: found.delivered ? "good" : "bad" });
  },
  change({ destinationCard: id, name }) {
    changeForm.reset();
    clearErrors(changeForm);
    changeForm.dataset.id = id;
    changeForm.elements.name.value = name;
    setText($("#change-title"), `Change “${name}”`);
    changeDialog.showModal();
  },
  async new_secret({ destinationCard: id, name }) {
    const sure = await confirmAction({ title: `A new secret for “${name}”?`, text: "Messages are signed with both for 24 hours; change your program meanwhile.", yes: "Make a new one", no: "Keep it" });
    if (!sure) return;
    const { secret } = await call(address(id, "new-secret/"), { method: "POST" });
    showSecret(secret, { old: true });
  },
  async switch({ destinationCard: id, name }, button) {
    const enabled = button.dataset.enabled !== "1";
    await call(address(id), { method: "PATCH", json: { enabled } });
    await refresh(id, "switch");
    toast(`“${name}” is ${enabled ? "on" : "off"}`, { kind: enabled ? "good" : "info" });
  },
  async remove({ destinationCard: id, name }) {
    const sure = await confirmAction({ title: `Remove “${name}”?`, text: "Its address and the log of what was sent there are deleted. Messages that wait for it are not sent.", yes: "Remove", no: "Keep it" });
    if (!sure) return;
    await call(address(id), { method: "DELETE" });
    await refresh();
    toast(`“${name}” removed`);
  },
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("main [data-act]");
  if (!button || !(button.dataset.act in acts)) return;
  busy(button, async () => {
    try {
      await acts[button.dataset.act](button.closest("[data-destination-card]")?.dataset ?? {}, button);
    } catch (error) {
      toast("That did not work", { text: error.message, kind: "bad" });
    }
  });
});

for (const [form, work] of [[addForm, add], [changeForm, change]]) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy($('[type="submit"]', form), work);
  });
  form.addEventListener("input", (event) => {
    event.target.removeAttribute("aria-invalid");
    const error = event.target.closest(".field") && $("[data-error]", event.target.closest(".field"));
    if (error) setText(error, "");
  });
}
addForm.addEventListener("change", (event) => event.target.name === "kind" && drawKind());
// The secret leaves the page with its dialog.
secretDialog.addEventListener("close", () => setText($("#secret-text"), ""));

place.addEventListener("change", async (event) => {
  const { destination, type } = event.target.dataset;
  if (!destination) return;
  const wanted = event.target.checked;
  try {
    await call("/api/notification-settings/", { method: "PATCH", json: { choices: [{ destination, type, wanted }] } });
    announce(wanted ? "You are told." : "You are not told.");
  } catch (error) {
    event.target.checked = !wanted;
    toast("The choice was not kept", { text: error.message, kind: "bad" });
  }
});
