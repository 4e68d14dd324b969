// Small helpers around the page.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** An element with attributes and children; text is always text, never markup. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A copy of an icon that the server put into the page. */
export function icon(name) {
  for (const template of document.querySelectorAll("#icons, #form-icons")) {
    const found = template.content.querySelector(`[data-icon="${name}"] svg`);
    if (found) return found.cloneNode(true);
  }
  return document.createTextNode("");
}

/** Write text only when it differs: an unchanged text needs no layout and no announcement. */
export function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  if (element) element.hidden = !visible;
}

export const dataOf = (id) => JSON.parse(document.getElementById(id).textContent);

/** Say something to screen readers without moving the focus. */
export function announce(text) {
  const place = $("#announcer");
  if (place) place.textContent = text;
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https the clipboard is closed; selecting the text by hand still works.
    const area = h("textarea", { class: "visually-hidden", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Call `work` once, `wait` ms after the last of several calls. */
export function settle(work, wait) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(work, wait, ...values);
  };
}

/** Call `work` at most once a frame. */
export function perFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
