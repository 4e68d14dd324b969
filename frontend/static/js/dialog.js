// One confirmation dialog for every page: the element is in base.html, the browser keeps the focus inside and gives it back.

/** Ask before something that cannot be undone, or with `plain` before something that begins; resolves to true or false. */
export function confirmAction({ title, text, yes, no = "Back", plain = false }) {
  const dialog = document.getElementById("confirm");
  dialog.querySelector("#confirm-title").textContent = title;
  dialog.querySelector("#confirm-text").textContent = text;
  dialog.querySelector("#confirm-yes").textContent = yes;
  dialog.querySelector("#confirm-no").textContent = no;
  // What destroys nothing need not look as if it did.
  dialog.querySelector("#confirm-yes").className = plain ? "button button-primary" : "button button-danger";
  dialog.returnValue = "";
  dialog.showModal();
  dialog.querySelector("#confirm-no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
