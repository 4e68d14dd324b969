// How values are written for people; the server's frontend/show.py writes the same values the same way.

export const MISSING = "–";

const isNumber = (value) => value !== null && value !== undefined && value !== "" && Number.isFinite(Number(value));

export function money(value) {
  if (!isNumber(value)) return MISSING;
  const amount = Number(value);
  if (amount === 0 || Math.abs(amount) >= 0.1) {
    return "$" + amount.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  }
  return Math.abs(amount) >= 0.0001 ? "$" + amount.toFixed(4) : "<$0.0001";
}

export function duration(seconds) {
  if (!isNumber(seconds) || seconds < 0) return MISSING;
  const whole = Math.floor(Number(seconds) + 0.5);
  const two = (n) => String(n).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
  if (hours) return `${hours} h ${two(minutes)} min`;
  return minutes ? `${minutes} min ${two(whole % 60)} s` : `${whole % 60} s`;
}

export function size(bytes) {
  if (!isNumber(bytes)) return MISSING;
  let amount = Number(bytes);
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (amount < 1000 || unit === "GB") return `${unit === "B" || amount >= 100 ? amount.toFixed(0) : amount.toFixed(1)} ${unit}`;
    amount /= 1000;
  }
  return MISSING;
}

export function count(value) {
  return isNumber(value) ? Math.round(Number(value)).toLocaleString("en-US") : MISSING;
}

export function decimals(value, places = 4) {
  return isNumber(value) ? Number(value).toFixed(places) : MISSING;
}

/** A number of any size in few characters: 0.0002 as 2.00e-4, 12345 as 12,345. */
export function compact(value) {
  if (!isNumber(value)) return MISSING;
  const amount = Number(value);
  const size_ = Math.abs(amount);
  if (size_ !== 0 && size_ < 0.001) return amount.toExponential(2);
  return size_ >= 1000 ? count(amount) : String(Number(amount.toPrecision(4)));
}

export function epoch(value) {
  return isNumber(value) ? String(Number(Number(value).toFixed(2))) : MISSING;
}

export function percent(share, places = 1) {
  return isNumber(share) ? `${(Number(share) * 100).toFixed(places)} %` : MISSING;
}

/** "just now", "3 min ago", "2 h ago", and after a day the date and time in the reader's own zone. */
export function ago(moment, now = Date.now()) {
  const at = new Date(moment);
  if (Number.isNaN(at.getTime())) return MISSING;
  const seconds = (now - at.getTime()) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 3570) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  const year = at.getFullYear() === new Date(now).getFullYear() ? undefined : "numeric";
  return at.toLocaleString("en-US", { month: "short", day: "numeric", year, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

/** A name for a file, as the server makes it: plain letters, digits and dashes. */
export function fileStem(name) {
  const plain = name.normalize("NFKD").replace(/[^\x00-\x7f]/g, "").toLowerCase();
  return plain.replace(/[^\w\s-]/g, "").replace(/[-\s]+/g, "-").replace(/^[-_]+|[-_]+$/g, "").slice(0, 80) || "job";
}

export function clock(moment) {
  const at = new Date(moment);
  return Number.isNaN(at.getTime()) ? MISSING : at.toLocaleTimeString("en-GB");
}

export function full(moment) {
  const at = new Date(moment);
  return Number.isNaN(at.getTime()) ? MISSING : at.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}
