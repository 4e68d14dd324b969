// What the spending page draws and sends. Pure, so that node can test it.

/** What somebody typed as a limit -> {limit: "25.00"}, {limit: null} for none, or {problem: a sentence}. */
export function readLimit(text) {
  const typed = text.trim().replace(/^\$\s*/, "");
  if (!typed) return { limit: null };
  const plain = /^\d{1,3}(,\d{3})+(\.\d*)?$/.test(typed) ? typed.replaceAll(",", "") : typed.replace(/^(\d+),(\d{1,2})$/, "$1.$2");
  if (!/^\d{1,10}(\.\d{0,2})?$|^\.\d{1,2}$/.test(plain)) return { problem: "Write an amount such as 25 or 49.50, or leave it empty for no limit." };
  return { limit: Number(plain).toFixed(2) };
}

/** 2026-03-05 as "Mar 5", or as "Mar 2026" where a bar is a month. */
export function barLabel(day, unit) {
  const at = new Date(`${day}T00:00:00Z`);
  const options = unit === "month" ? { month: "short", year: "numeric" } : { month: "short", day: "numeric" };
  return at.toLocaleString("en-US", { ...options, timeZone: "UTC" });
}

/** The bars of one provider after the other, for a stacked chart; `colour(i)`: of the provider number i. */
export function barSets(providers, colour) {
  return providers.map(({ name, amounts }, i) => ({ label: name, data: amounts, backgroundColor: colour(i), stack: "money" }));
}
