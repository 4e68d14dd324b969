// The settings page's provider accounts: a key is checked and saved, checked again, removed. Its text leaves the page once.
import { call, fragment } from "./api.js";
import { confirmAction } from "./dialog.js";
import { $, $$, h, setText } from "./dom.js";
import { toast } from "./toasts.js";

const place = $("#accounts");
const cardOf = (name) => $(`[data-account="${CSS.escape(name)}"]`, place);
const address = (card, rest = "") => `/api/credentials/${encodeURIComponent(card.dataset.account)}/${rest}`;

/** Draw one card as the server has it now; what is being typed into the others stays. The focus comes along. */
async function refresh(name, act) {
  const fresh = h("div");
  fresh.innerHTML = await fragment(location.pathname);
  cardOf(name).replaceWith($(`[data-account="${CSS.escape(name)}"]`, fresh));
  document.dispatchEvent(new CustomEvent("stoker:fragment"));
  ($(`[data-act="${act}"]`, cardOf(name)) ?? $('[data-act="form"]', cardOf(name))).focus();
}

function body(form) {
  const options = {};
  for (const field of $$("[data-option]", form)) options[field.dataset.option] = field.type === "checkbox" ? field.checked : field.value.trim();
  return { secret: form.elements.secret.value.trim(), ...(form.elements.base_url ? { base_url: form.elements.base_url.value.trim() } : {}), options };
}

function clear(form) {
  for (const error of $$("[data-error]", form)) setText(error, "");
  for (const field of $$("[aria-invalid]", form)) field.removeAttribute("aria-invalid");
}

function showErrors(form, error) {
  const loose = [];
  let first = null;
  for (const one of error.errors.length ? error.errors : [{ field: "", message: error.message }]) {
    const beside = one.field && $(`[data-error="${CSS.escape(one.field)}"]`, form);
    if (!beside) {
      loose.push(one.message);
      continue;
    }
    setText(beside, one.message);
    const field = $("input", beside.closest(".field"));
    field.setAttribute("aria-invalid", "true");
    first ??= field;
  }
  setText($('[data-error=""]', form), loose.join(" "));
  (first ?? form.elements.secret).focus();
}

/** While the provider is asked: not `disabled`, which would throw the focus to the top of the page. */
async function busy(button, work) {
  if (button.ariaDisabled) return;
  button.ariaDisabled = "true";
  try {
    await work();
  } finally {
    button.ariaDisabled = null;
  }
}

async function save(card, form) {
  clear(form);
  const { account, label } = card.dataset;
  if (!form.elements.secret.value.trim()) return showErrors(form, { errors: [{ field: "secret", message: "Paste the key." }] });
  const button = $('[type="submit"]', form);
  return busy(button, async () => {
    setText(button, "Checking…");
    try {
      await call(address(card), { method: "PUT", json: body(form) });
      form.reset();
      await refresh(account, "form");
      toast(`${label} key saved`, { text: "The provider accepted it.", kind: "good" });
    } catch (error) {
      showErrors(form, error);
    } finally {
      setText(button, "Check and save");
    }
  });
}

function openForm(card, open) {
  const form = $("form", card);
  form.hidden = !open;
  $('[data-act="form"]', card).setAttribute("aria-expanded", String(open));
  if (open) form.elements.secret.focus({ preventScroll: true });
}

const acts = {
  form: (card) => openForm(card, $("form", card).hidden),
  async check(card) {
    const { account, label } = card.dataset;
    const found = await call(address(card, "check/"), { method: "POST" });
    await refresh(account, "check");
    toast(found.problem ? `The ${label} key does not work` : `The ${label} key works`, { text: found.problem, kind: found.problem ? "bad" : "good" });
  },
  async remove(card) {
    const { account, label } = card.dataset;
    const sure = await confirmAction({ title: `Remove the ${label} key?`, text: "It is deleted here; at the provider it stays valid until you revoke it there. Jobs that still wait for a machine there will fail.", yes: "Remove", no: "Keep it" });
    if (!sure) return;
    await call(address(card), { method: "DELETE" });
    await refresh(account, "form");
    toast(`${label} key removed`);
  },
};

place.addEventListener("submit", (event) => {
  event.preventDefault();
  save(event.target.closest("[data-account]"), event.target);
});

place.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  busy(button, async () => {
    try {
      await acts[button.dataset.act](button.closest("[data-account]"));
    } catch (error) {
      toast("Nothing was changed", { text: error.message, kind: "bad" });
    }
  });
});

place.addEventListener("input", (event) => {
  const error = $("[data-error]", event.target.closest(".field"));
  event.target.removeAttribute("aria-invalid");
  setText(error, "");
});

/** The link on the new-job page leads to one account's form. */
function openLinked() {
  const card = location.hash.startsWith("#account-") ? document.getElementById(location.hash.slice(1)) : null;
  if (!card) return;
  openForm(card, true);
  card.scrollIntoView({ block: "center" });
}

window.addEventListener("hashchange", openLinked);
// Not before: when a page has loaded, the browser takes the focus away to where the link leads.
if (document.readyState === "complete") openLinked();
else window.addEventListener("load", openLinked);
