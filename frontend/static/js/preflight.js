// What the check of a dataset means for the settings chosen: how much is cut, what repeats. Pure.
import { count, percent } from "./format.js";

/** {rows, share, exact}: rows longer than `length` tokens. Between the lengths that were counted it is interpolated. */
export function cutAt(tokens, length) {
  const total = (tokens?.histogram ?? []).reduce((sum, bin) => sum + bin.rows, 0);
  if (!total || !Number.isFinite(length)) return null;
  const counted = tokens.truncation?.find((one) => one.max_length === length);
  if (counted) return { rows: counted.rows, share: counted.share, exact: true };
  if (length >= tokens.max) return { rows: 0, share: 0, exact: true };
  let rows = 0;
  for (const bin of tokens.histogram) {
    const end = Math.min(bin.to ?? tokens.max + 1, tokens.max + 1);
    if (bin.from > length) rows += bin.rows;
    else if (end > length + 1 && end > bin.from) rows += (bin.rows * (end - 1 - length)) / (end - bin.from);
  }
  return { rows: Math.round(rows), share: rows / total, exact: false };
}

export function cutText(cut, length) {
  if (!cut) return "";
  if (cut.rows === 0) return `No row is longer than ${count(length)} tokens.`;
  const share = cut.share < 0.001 ? "less than 0.1 %" : percent(cut.share);
  return `${cut.exact ? "" : "About "}${count(cut.rows)} ${cut.rows === 1 ? "row" : "rows"} (${share}) will be cut at ${count(length)} tokens.`.trim();
}

/** [{label, value, note, worry}] of a dataset, to be shown in a row. */
export function facts(dataset, evaluation, length) {
  const tokens = dataset.tokens;
  const found = [{ label: "Rows", value: count(dataset.rows), note: dataset.pairs !== dataset.rows ? `${count(dataset.pairs)} training pairs` : "" }];
  if (tokens) {
    const cut = cutAt(tokens, length);
    found.push({ label: "Tokens", value: short(tokens.total), note: `median ${count(tokens.median)}, longest ${count(tokens.max)}` });
    if (cut) found.push({ label: "Cut rows", value: cut.rows ? percent(cut.share, cut.share < 0.001 ? 2 : 1) : "None", note: `at ${count(length)} tokens${cut.exact ? "" : ", about"}`, worry: cut.share > WORRY });
  }
  if (dataset.duplicates) found.push({ label: "Duplicates", value: dataset.duplicates.rows ? count(dataset.duplicates.rows) : "None", note: dataset.duplicates.rows ? percent(dataset.duplicates.share) : "", worry: dataset.duplicates.share > WORRY });
  if (evaluation?.overlap) found.push({ label: "Overlap", value: evaluation.overlap.rows ? count(evaluation.overlap.rows) : "None", note: "of the validation rows", worry: evaluation.overlap.rows > 0 });
  return found;
}

export const WORRY = 0.05; // of the rows cut or repeated is worth a word

/** 12,345,678 as 12.3 M. */
export function short(value) {
  const amount = Number(value);
  if (amount >= 9.95e8) return `${Number((amount / 1e9).toFixed(1))} B`;
  if (amount >= 1e6) return `${Number((amount / 1e6).toFixed(amount >= 1e7 ? 0 : 1))} M`;
  return count(amount);
}
