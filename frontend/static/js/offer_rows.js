// The table of machines without its drawing: what is shown, in which order, and which rows stand out. Pure.
import { duration, MISSING, money } from "./format.js";

export const keyOf = (row) => `${row.provider}|${row.type}|${row.cloud ?? ""}`;

const FIT_ORDER = { yes: 0, tight: 1, unknown: 2, no: 3 };
const number = (value) => (value === null || value === undefined || value === "" ? null : Number(value));

/** Could a person take this row without thinking? It fits, and nobody says that there is none. */
export const isGood = (row) => row.fits === "yes" && row.in_stock !== false;

/** {cheapest, fastest}: keys among the machines that fit and are in stock. Real ones, unless there are only simulated ones. */
export function marks(rows) {
  const fitting = rows.filter(isGood);
  const real = fitting.filter((row) => !row.simulated);
  const pool = real.length ? real : fitting;
  const least = (value) => {
    const known = pool.filter((row) => value(row) !== null);
    return known.length > 1 ? keyOf(known.reduce((best, row) => (value(row) < value(best) ? row : best))) : null;
  };
  // A total is known for free machines whatever they take, so it decides only where the time is known.
  const timed = pool.some((row) => number(row.hours) !== null);
  const cost = (row) => (timed ? (number(row.hours) === null ? null : number(row.total)) : number(row.price_per_hour));
  return { cheapest: least(cost), fastest: least((row) => number(row.hours)) };
}

const SORTS = {
  machine: (row) => row.label.toLowerCase(),
  fits: (row) => number(row.needs_gb) === null || !row.memory_gb ? null : row.needs_gb / row.memory_gb,
  stock: (row) => (row.in_stock === false ? 3 : { high: 0, medium: 1, low: 2 }[row.stock] ?? (row.in_stock ? 0 : 2.5)),
  price: (row) => number(row.price_per_hour),
  time: (row) => number(row.hours),
  total: (row) => (number(row.hours) === null && number(row.total) !== 0 ? null : number(row.total)),
};

/** By a column, what is not known last in both directions; without one, the best first. */
export function sorted(rows, column = "", direction = 1) {
  const by = SORTS[column];
  const order = by ? (a, b) => compare(by(a), by(b), direction) : best;
  return rows.map((row, at) => [row, at]).sort((a, b) => order(a[0], b[0]) || a[1] - b[1]).map(([row]) => row);
}

function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  return (a < b ? -1 : a > b ? 1 : 0) * direction;
}

function best(a, b) {
  return (
    a.simulated - b.simulated ||
    (a.in_stock === false) - (b.in_stock === false) ||
    FIT_ORDER[a.fits] - FIT_ORDER[b.fits] ||
    compare(number(a.total), number(b.total), 1) ||
    compare(number(a.price_per_hour), number(b.price_per_hour), 1)
  );
}

export function filtered(rows, { provider = "", fitsOnly = false } = {}, keep = "") {
  return rows.filter((row) => keyOf(row) === keep || ((!provider || row.provider === provider) && (!fitsOnly || row.fits === "yes" || row.fits === "tight")));
}

/** The row to begin with: the one that was wanted, else a real machine that is good and costs least. */
export function firstChoice(rows, wanted) {
  const asked = wanted && rows.find((row) => row.provider === wanted.provider && row.type === wanted.type && (!wanted.cloud || row.cloud === wanted.cloud));
  return asked ?? sorted(rows)[0] ?? null;
}

/** Map of provider -> the note that all of its rows bear: said once. */
export function sharedNotes(rows) {
  const found = new Map();
  for (const name of new Set(rows.map((row) => row.provider))) {
    const notes = new Set(rows.filter((row) => row.provider === name).map((row) => row.note));
    const [note] = notes;
    if (notes.size === 1 && note && rows.filter((row) => row.provider === name).length > 1) found.set(name, note);
  }
  return found;
}

// ---- words

export const FITS = { yes: "Fits", tight: "Tight", no: "Too large", unknown: "Not known" };

export function fitText(row) {
  if (row.needs_gb === null) return row.memory_gb ? `${Math.round(row.memory_gb)} GB` : "";
  const need = row.needs_gb < 10 ? row.needs_gb.toFixed(1) : Math.round(row.needs_gb);
  return row.memory_gb ? `${need} of ${Math.round(row.memory_gb)} GB` : `needs ${need} GB`;
}

export function stockText(row) {
  if (row.stock) return row.stock === "none" ? "None free" : row.stock[0].toUpperCase() + row.stock.slice(1);
  if (row.available === null) return "Not told";
  return row.available > 0 ? `${row.available} free` : "None free";
}

export const priceText = (row) => (Number(row.price_per_hour) === 0 ? "Free" : money(row.price_per_hour));

export const hoursText = (hours) => (number(hours) === null ? MISSING : duration(roundly(Number(hours) * 3600)).replace(/ 00 (s|min)$/, ""));

/** An estimate is not said to the second. */
function roundly(seconds) {
  const step = seconds < 60 ? 1 : seconds < 600 ? 10 : seconds < 36000 ? 60 : seconds < 172800 ? 600 : 3600;
  return Math.max(step, Math.round(seconds / step) * step);
}

export function rangeText(row) {
  if (number(row.low_hours) === null || number(row.high_hours) === null) return "";
  const [low, high] = [hoursText(row.low_hours), hoursText(row.high_hours)];
  return low === high ? "" : `${low} to ${high}`;
}

/** How sure an estimate is, in two or three words. */
export function sureText(row) {
  if (number(row.hours) === null) return "no estimate yet";
  if (row.confidence === "measured") return row.runs === 1 ? "from 1 job" : `from ${row.runs} jobs`;
  return "rough";
}

export function totalText(row) {
  if (number(row.total) === 0) return "Free";
  return number(row.hours) === null ? MISSING : money(row.total);
}
