import assert from "node:assert/strict";
import { test } from "node:test";

import { candidates, earlier, without } from "../../frontend/static/js/fallbacks.js";
import { sentences, warnings } from "../../frontend/static/js/last_check.js";
import { isModelId, matching } from "../../frontend/static/js/model_choice.js";
import { filtered, firstChoice, fitText, hoursText, keyOf, marks, rangeText, sharedNotes, sorted, stockText, sureText, totalText } from "../../frontend/static/js/offer_rows.js";
import { cutAt, cutText, facts, short } from "../../frontend/static/js/preflight.js";

const row = (type, changes = {}) => ({
  provider: "runpod", providerLabel: "RunPod", type, cloud: "", label: type, note: "", simulated: false, memory_gb: 24, needs_gb: 12, fits: "yes",
  available: null, stock: "high", in_stock: true, max_count: 4, count: 1, price_per_hour: "1.000000", hours: "2.0000", low_hours: "1.0000", high_hours: "4.0000",
  total: "2.000000", confidence: "rough", basis: "Rough.", runs: 0, ...changes,
});
const names = (rows) => rows.map((one) => one.type);

// ---- which rows stand out

test("cheapest and fastest are among those that fit and are in stock", () => {
  const rows = [
    row("slow", { hours: "4", total: "1.5" }),
    row("fast", { hours: "1", total: "3" }),
    row("too small", { fits: "no", hours: "0.1", total: "0.1" }),
    row("tight", { fits: "tight", hours: "0.1", total: "0.1" }),
    row("sold out", { in_stock: false, hours: "0.1", total: "0.1" }),
  ];
  const found = marks(rows);
  assert.deepEqual([found.cheapest, found.fastest], [keyOf(rows[0]), keyOf(rows[1])]);
});

test("a simulated machine is never the best of real ones, and the best where there are no others", () => {
  const fake = [row("sim a", { simulated: true, total: "0.01", hours: "0.01" }), row("sim b", { simulated: true })];
  assert.equal(marks([row("real"), row("other", { total: "5" }), ...fake]).cheapest, "runpod|real|");
  assert.equal(marks(fake).fastest, "runpod|sim a|");
});

test("nothing is marked where there is nothing to compare", () => {
  assert.deepEqual(marks([row("only")]), { cheapest: null, fastest: null });
  const unknown = [row("a", { hours: null, total: null }), row("b", { hours: null, total: null, price_per_hour: "0.5" })];
  assert.deepEqual(marks(unknown), { cheapest: "runpod|b|", fastest: null }, "by price where no time is known");
  const free = row("free", { hours: null, total: "0", price_per_hour: "0" });
  assert.equal(marks([free, row("a"), row("b", { total: "3" })]).cheapest, "runpod|a|", "a machine that may take for ever is not called cheap");
});

// ---- order and filters

test("the best come first: real, in stock, fitting, cheap", () => {
  const rows = [row("sim", { simulated: true }), row("gone", { in_stock: false }), row("small", { fits: "no" }), row("dear", { total: "9" }), row("good"), row("tight", { fits: "tight", total: "0.1" })];
  assert.deepEqual(names(sorted(rows)), ["good", "dear", "tight", "small", "gone", "sim"]);
});

test("a column sorts both ways and leaves what is not known at the end", () => {
  const rows = [row("b", { hours: "2" }), row("?", { hours: null }), row("a", { hours: "1" })];
  assert.deepEqual(names(sorted(rows, "time", 1)), ["a", "b", "?"]);
  assert.deepEqual(names(sorted(rows, "time", -1)), ["b", "a", "?"]);
  assert.deepEqual(names(sorted([row("x", { stock: "low" }), row("y", { stock: "none", in_stock: false }), row("z")], "stock")), ["z", "x", "y"]);
  assert.deepEqual(names(sorted([row("x", { needs_gb: 20 }), row("y", { needs_gb: null }), row("z", { memory_gb: 80 })], "fits")), ["z", "x", "y"]);
  assert.deepEqual(names(sorted(rows)), ["b", "?", "a"], "without a column, equal rows keep their order");
});

test("filters never hide the chosen row", () => {
  const rows = [row("a"), row("b", { fits: "no" }), row("c", { provider: "local" })];
  assert.deepEqual(names(filtered(rows, { fitsOnly: true })), ["a", "c"]);
  assert.deepEqual(names(filtered(rows, { provider: "local" })), ["c"]);
  assert.deepEqual(names(filtered(rows, { provider: "local", fitsOnly: true }, keyOf(rows[1]))), ["b", "c"]);
});

test("the first choice is what a clone wants, else the best", () => {
  const rows = [row("a", { total: "5" }), row("b"), row("c", { cloud: "secure" })];
  assert.equal(firstChoice(rows, { provider: "runpod", type: "c", cloud: "" }).type, "c");
  assert.equal(firstChoice(rows, { provider: "runpod", type: "gone" }).type, "b");
  assert.equal(firstChoice([], null), null);
});

test("a note that all machines of a provider bear is said once", () => {
  assert.deepEqual([...sharedNotes([row("a", { note: "x" }), row("b", { note: "x" }), row("c", { provider: "local", note: "y" })])], [["runpod", "x"]]);
  assert.equal(sharedNotes([row("a", { note: "x" }), row("b", { note: "z" })]).size, 0);
});

test("figures in words", () => {
  assert.deepEqual([fitText(row("a")), fitText(row("a", { needs_gb: 3.21 })), fitText(row("a", { needs_gb: null })), fitText(row("a", { memory_gb: null }))], ["12 of 24 GB", "3.2 of 24 GB", "24 GB", "needs 12 GB"]);
  assert.deepEqual([stockText(row("a")), stockText(row("a", { stock: "none" })), stockText(row("a", { stock: "", available: 2 })), stockText(row("a", { stock: "" }))], ["High", "None free", "2 free", "Not told"]);
  assert.deepEqual(["0.0028", "0.1117", "0.75", "2.0044", "30.02", null].map(hoursText), ["10 s", "6 min 40 s", "45 min", "2 h", "1 d 6 h", "–"]);
  assert.deepEqual([rangeText(row("a")), rangeText(row("a", { low_hours: null })), rangeText(row("a", { high_hours: "1" }))], ["1 h to 4 h", "", ""]);
  assert.deepEqual([sureText(row("a")), sureText(row("a", { confidence: "measured", runs: 1 })), sureText(row("a", { confidence: "measured", runs: 7 })), sureText(row("a", { hours: null }))], ["rough", "from 1 job", "from 7 jobs", "no estimate yet"]);
  assert.deepEqual([totalText(row("a")), totalText(row("a", { total: "0", hours: null })), totalText(row("a", { total: null, hours: null }))], ["$2.00", "Free", "–"]);
});

// ---- fallbacks

test("fallbacks are of the same provider, in an order that can be changed", () => {
  const rows = [row("a"), row("b"), row("c"), row("d", { provider: "cluster" }), row("e", { count: 2 })];
  assert.deepEqual(names(candidates(rows, rows[0], [keyOf(rows[1])])), ["c"]);
  assert.deepEqual(candidates(rows, null, []), []);
  assert.deepEqual(earlier(["x", "y", "z"], "z"), ["x", "z", "y"]);
  assert.deepEqual(earlier(["x", "y"], "x"), ["x", "y"]);
  assert.deepEqual(without(["x", "y"], "x"), ["y"]);
});

// ---- models

test("models are found by every word, by size and by what they are", () => {
  const models = [
    { id: "meta-llama/Llama-3.1-8B-Instruct", label: "Llama 3.1 8B Instruct", parameters: 8030261248, licence: "Llama 3.1 Community", note: "", gated: true, on_this_machine: false },
    { id: "Qwen/Qwen3-8B", label: "Qwen3 8B", parameters: 8190735360, licence: "Apache-2.0", note: "", gated: false, on_this_machine: true },
  ];
  const found = (text) => matching(models, text).map((one) => one.label);
  assert.deepEqual(found("8b"), ["Llama 3.1 8B Instruct", "Qwen3 8B"]);
  assert.deepEqual([found("llama instruct"), found("apache"), found("gated"), found("this machine"), found("8.2 b"), found("gpt")], [["Llama 3.1 8B Instruct"], ["Qwen3 8B"], ["Llama 3.1 8B Instruct"], ["Qwen3 8B"], ["Qwen3 8B"], []]);
  assert.equal(found("").length, 2);
});

test("an id has two plain parts", () => {
  assert.deepEqual(["org/model", "org/model-1.5_x", "model", "org/", "../x", "org/a..b", "a/b/c", "org/ m"].map(isModelId), [true, true, false, false, false, false, false, false]);
});

// ---- the dataset's check

const TOKENS = {
  total: 12_345_678, median: 90, max: 700,
  histogram: [{ from: 0, to: 64, rows: 40 }, { from: 64, to: 128, rows: 40 }, { from: 128, to: 256, rows: 0 }, { from: 256, to: 512, rows: 10 }, { from: 512, to: 1024, rows: 10 }],
  truncation: [{ max_length: 256, rows: 20, share: 0.2 }, { max_length: 512, rows: 9, share: 0.09 }],
};

test("what a length cuts is exact where it was counted and about right between", () => {
  assert.deepEqual(cutAt(TOKENS, 256), { rows: 20, share: 0.2, exact: true });
  assert.deepEqual(cutAt(TOKENS, 700), { rows: 0, share: 0, exact: true });
  const between = cutAt(TOKENS, 384);
  assert.ok(between.rows >= 14 && between.rows <= 16 && !between.exact);
  assert.equal(cutAt(TOKENS, 10).rows > 80, true);
  assert.equal(cutAt(null, 10), null);
  assert.equal(cutAt(TOKENS, NaN), null);
  let before = Infinity;
  for (let length = 8; length < 800; length += 7) {
    const { rows } = cutAt({ ...TOKENS, truncation: [] }, length);
    assert.ok(rows <= before, `a longer length cuts no more: ${length}`);
    before = rows;
  }
});

test("it is said in words", () => {
  assert.equal(cutText({ rows: 20, share: 0.2, exact: true }, 256), "20 rows (20.0 %) will be cut at 256 tokens.");
  assert.equal(cutText({ rows: 1, share: 0.0001, exact: false }, 300), "About 1 row (less than 0.1 %) will be cut at 300 tokens.");
  assert.equal(cutText({ rows: 0, share: 0, exact: true }, 2048), "No row is longer than 2,048 tokens.");
  assert.equal(cutText(null, 1), "");
});

test("facts of a dataset worry where they should", () => {
  const dataset = { rows: 100, pairs: 140, tokens: TOKENS, duplicates: { rows: 30, share: 0.3 } };
  const found = facts(dataset, { overlap: { rows: 2 } }, 512);
  assert.deepEqual(found.map((one) => [one.label, one.value, Boolean(one.worry)]), [
    ["Rows", "100", false], ["Tokens", "12 M", false], ["Cut rows", "9.0 %", true], ["Duplicates", "30", true], ["Overlap", "2", true],
  ]);
  assert.equal(found[0].note, "140 training pairs");
  assert.deepEqual(facts({ rows: 5, pairs: 5, tokens: null, duplicates: null }, null, 512).map((one) => one.label), ["Rows"]);
  assert.deepEqual([135e6, 1_234_567, 999, 7.6e9].map(short), ["135 M", "1.2 M", "999", "7.6 B"]);
});

// ---- the last check

const chosen = (changes = {}, rowChanges = {}) => ({
  name: "a job", dataset: { name: "paints", rows: 400, size: 3_200_000, tokens: TOKENS, duplicates: { rows: 0, share: 0 } }, evaluation: null, model: "org/model", listed: null, guessed: false,
  row: row("A40", rowChanges), fallbacks: [], values: { max_length: 700 }, budget: 5, most: { amount: 5, by: "budget" }, seconds: 86400, attempts: 3, rules: 0, ...changes,
});
const text = (what) => sentences(what).map((one) => `${one.title}: ${one.text}`).join("\n");

test("a rented machine: where data goes, what it costs, when it is stopped", () => {
  const said = text(chosen({ fallbacks: [row("L4", { price_per_hour: "0.5" })], rules: 2 }));
  for (const words of ["copied to the machine at RunPod", "400 rows, 3.2 MB", "downloads org/model", "rented in your RunPod account", "$1.00 per hour", "If there is none: L4 ($0.50 per hour).", "probably take 2 h and cost $2.00; 1 h to 4 h", "at most $5.00, its budget", "2 more attempts", "80 % and 90 %", "2 rules watch"]) assert.ok(said.includes(words), `${words}\n${said}`);
});

test("the machine of this server, a simulation, and no estimate", () => {
  const local = text(chosen({ listed: { on_this_machine: true }, most: { amount: 0, by: "duration" } }, { provider: "local", price_per_hour: "0", total: "0", hours: null, basis: "No job of this kind has run yet." }));
  for (const words of ["does not leave it", "loaded from this machine", "It costs nothing.", "Nobody knows how long it will take. No job", "It ends after 1 d at the latest, with a checkpoint."]) assert.ok(local.includes(words), `${words}\n${local}`);
  const fake = text(chosen({ attempts: 1 }, { simulated: true }));
  for (const words of ["Nothing is uploaded", "is not loaded", "nobody is charged", "nothing is tried again"]) assert.ok(fake.includes(words), `${words}\n${fake}`);
  assert.ok(text(chosen({ most: { amount: 3, by: "month" } })).includes("at most $3.00, what your month leaves"));
  assert.ok(text(chosen({ most: { amount: 24, by: "duration" } })).includes("Until then it can cost $24.00."));
});

const warned = (changes, rowChanges) => warnings(chosen(changes, rowChanges)).map((one) => `${one.level}: ${one.text}`).join("\n");

test("nothing is warned of where nothing is wrong", () => assert.equal(warned(), ""));

test("what speaks against a start is said", () => {
  assert.match(warned({}, { fits: "no", needs_gb: 40 }), /^error: It does not fit: about 40 of 24 GB/);
  assert.match(warned({}, { fits: "tight" }), /Memory is tight/);
  assert.match(warned({}, { fits: "unknown" }), /Nobody can say whether it fits/);
  assert.match(warned({ guessed: true }), /read off its name alone/);
  assert.match(warned({}, { in_stock: false }), /The job waits/);
  assert.match(warned({ listed: { gated: true, on_this_machine: false } }), /HF_TOKEN/);
  assert.equal(warned({ listed: { gated: true, on_this_machine: true } }), "");
  assert.match(warned({ values: { max_length: 256 } }), /20.0 % of the rows are longer than 256 tokens/);
  assert.match(warned({ evaluation: { overlap: { rows: 1 } } }), /1 validation row is also trained on/);
  assert.match(warned({ budget: null, most: { amount: 24, by: "duration" } }), /It has no budget.*\$24.00/);
  assert.equal(warned({ budget: null, most: { amount: 0, by: "duration" } }, { price_per_hour: "0" }), "");
  assert.match(warned({ budget: null }, { simulated: true, fits: "no" }), /^warning: This is a simulation[^\n]*$/);
});
