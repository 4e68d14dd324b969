// Tabs by the WAI-ARIA pattern: arrows move, Home and End jump, and the address says which is open (#logs).
import { $$ } from "./dom.js";

export function makeTabs(list, opened = () => {}) {
  const tabs = $$('[role="tab"]', list);
  const nameOf = (tab) => tab.id.replace(/^tab-/, "");
  const panelOf = (tab) => document.getElementById(tab.getAttribute("aria-controls"));

  function open(tab, { focus = false, address = true } = {}) {
    for (const one of tabs) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", String(chosen));
      one.tabIndex = chosen ? 0 : -1;
      panelOf(one).hidden = !chosen;
    }
    if (focus) tab.focus();
    // Sideways only: the page itself stays where the reader left it.
    if (tab.offsetLeft < list.scrollLeft || tab.offsetLeft + tab.offsetWidth > list.scrollLeft + list.clientWidth) list.scrollLeft = tab.offsetLeft - 16;
    if (address) history.replaceState(null, "", `#${nameOf(tab)}`);
    opened(nameOf(tab));
  }

  const byName = (name) => tabs.find((tab) => nameOf(tab) === name);
  list.addEventListener("click", (event) => {
    const tab = event.target.closest('[role="tab"]');
    if (tab) open(tab);
  });
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    open(tabs[(to + tabs.length) % tabs.length], { focus: true });
  });
  addEventListener("hashchange", () => {
    const tab = byName(location.hash.slice(1));
    if (tab) open(tab, { address: false });
  });
  open(byName(location.hash.slice(1)) ?? tabs[0], { address: false });
  return { open: (name) => byName(name) && open(byName(name)), current: () => nameOf(tabs.find((tab) => tab.getAttribute("aria-selected") === "true")) };
}
