import assert from "node:assert/strict";
import { test } from "node:test";

import { attemptMarks, seconds, stateWords, waitsForPoints } from "../../frontend/static/js/attempts.js";
import { fileStem } from "../../frontend/static/js/format.js";
import { changes, hoursOf, mostForJob } from "../../frontend/static/js/limits.js";
import { LogWindow, Places, pieces } from "../../frontend/static/js/log_window.js";
import { goesOn, mayHaveChanged } from "../../frontend/static/js/situation.js";

const line = (n, attempt = 1) => ({ attempt, n, text: `line ${n}` });
const lines = (from, to, attempt = 1) => Array.from({ length: to - from + 1 }, (_, i) => line(from + i, attempt));
const held = (window) => window.lines.map((one) => `${one.attempt}:${one.n}`);

test("a window keeps live lines once, in their order, and never too many", () => {
  const window = new LogWindow(4);
  window.reset(lines(1, 3), { atStart: true, atEnd: true });
  assert.deepEqual(window.live([line(3), line(5), line(4)]).map((one) => one.n), [5, 4]);
  assert.deepEqual(held(window), ["1:2", "1:3", "1:4", "1:5"]);
  assert.equal(window.atStart, false);
  assert.equal(window.has(line(1)), false);
  assert.equal(window.has(line(5)), true);
});

test("a window that was scrolled away from the end takes no live lines and leaves no gap", () => {
  const window = new LogWindow(4);
  window.reset(lines(7, 10), { atStart: false, atEnd: true });
  window.before(lines(5, 6), false);
  assert.deepEqual(held(window), ["1:5", "1:6", "1:7", "1:8"]);
  assert.equal(window.atEnd, false);
  assert.deepEqual(window.live([line(11)]), []);
  window.after(lines(9, 11), true);
  assert.deepEqual(held(window), ["1:8", "1:9", "1:10", "1:11"]);
  assert.deepEqual(window.live([line(12)]), [line(12)]);
});

test("last words of an attempt that come late stand before the next attempt", () => {
  const window = new LogWindow(10);
  window.reset([line(1), line(1, 2)], { atStart: true, atEnd: true });
  window.live([line(2)]);
  assert.deepEqual(held(window), ["1:1", "1:2", "2:1"]);
});

test("what was searched for is told from the rest, whatever its case", () => {
  const shown = (text, words) => pieces(text, words).map((part) => (part.found ? `[${part.text}]` : part.text)).join("|");
  assert.equal(shown("Loss, loss and LOSS", "loss"), "[Loss]|, |[loss]| and |[LOSS]");
  assert.equal(shown("<b>x</b>", "<b>"), "[<b>]|x</b>");
  assert.equal(shown("nothing here", "loss"), "nothing here");
  assert.equal(shown("", "x"), "");
  assert.equal(shown("İstanbul loss", "loss"), "İstanbul loss");
});

test("places are gone through round and round, in both directions", () => {
  const places = new Places([line(2), line(5), line(9)].map(({ attempt, n }) => ({ attempt, n })));
  assert.equal(places.sentence, "3 found");
  assert.equal(places.from(line(4)).n, 5);
  assert.equal(places.sentence, "2 of 3");
  assert.equal(places.step(1).n, 9);
  assert.equal(places.step(1).n, 2);
  assert.equal(places.step(-1).n, 9);
  places.add(line(7));
  places.add(line(12));
  assert.equal(places.sentence, "3 of 4");
  assert.equal(new Places().step(1), null);
  assert.equal(new Places().sentence, "Not found");
  assert.equal(new Places([line(1)], true).sentence, "1+ found");
});

test("a first step backwards begins at the last place", () => {
  assert.equal(new Places([line(2), line(5)]).step(-1).n, 5);
});

const attempt = (n, fields = {}) => ({ n, first_step: n * 10, gone_at: null, reason_label: "", state: "live", ...fields });

test("a later attempt is marked where it began, with why the one before ended", () => {
  const marks = attemptMarks([attempt(1, { reason_label: "Preempted" }), attempt(2, { reason_label: "No capacity", first_step: null }), attempt(3)]);
  assert.deepEqual(marks, [{ kind: "attempt", attempt: 3, step: 30, text: "Attempt 3, after: no capacity" }]);
});

test("marks are asked for again only while a later attempt may still begin", () => {
  assert.equal(waitsForPoints([attempt(1, { first_step: null })]), false);
  assert.equal(waitsForPoints([attempt(1), attempt(2, { first_step: null })]), true);
  assert.equal(waitsForPoints([attempt(1), attempt(2, { first_step: null, gone_at: "2026-01-01T00:00:00Z" })]), false);
});

test("an attempt tells how long its machine was there", () => {
  const now = Date.parse("2026-01-01T00:10:00Z");
  assert.equal(seconds(attempt(1, { machine_seen_at: null }), now), null);
  assert.equal(seconds(attempt(1, { machine_seen_at: "2026-01-01T00:00:00Z" }), now), 600);
  assert.equal(seconds(attempt(1, { machine_seen_at: "2026-01-01T00:00:00Z", gone_at: "2026-01-01T00:01:00Z" }), now), 60);
  assert.equal(stateWords(attempt(1)), "Running");
  assert.equal(stateWords(attempt(1, { state: "intent" })), "Being asked for");
});

const job = { budget_limit: 5, max_duration: 7200, price_per_hour: 2, cost_limit: 5, current_cost: 1, simulated: false };

test("only what was changed of the limits is sent", () => {
  assert.deepEqual(changes(job, { budget: "5.00", hours: "2" }).same, true);
  assert.deepEqual(changes(job, { budget: "7,50", hours: "2" }).body, { budget_limit: "7.50" });
  assert.deepEqual(changes(job, { budget: "", hours: "3.5" }).body, { budget_limit: null, max_duration: 12600 });
  assert.deepEqual(changes({ ...job, budget_limit: null }, { budget: " ", hours: "2" }).same, true);
});

test("a limit of an odd number of seconds is not changed by looking at it", () => {
  const odd = { ...job, max_duration: 86399 };
  assert.equal(changes(odd, { budget: "5", hours: hoursOf(86399) }).same, true);
});

test("limits that cannot be are named by their field", () => {
  for (const budget of ["0", "-1", "abc", "1.234", "1e9"]) assert.ok(changes(job, { budget, hours: "2" }).errors.budget_limit, budget);
  for (const hours of ["", "0", "x", "337", "-2"]) assert.ok(changes(job, { budget: "5", hours }).errors.max_duration, hours);
});

test("what the month leaves a job includes what the job holds already", () => {
  assert.equal(mostForJob(job, { left: "10.5" }), 15.5);
  assert.equal(mostForJob(job, { left: "-20" }), 0);
  assert.equal(mostForJob(job, { left: null }), null);
  assert.equal(mostForJob({ ...job, simulated: true }, { left: "1" }), null);
});

test("a note counts down to the next try", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  assert.equal(goesOn("2026-01-01T00:01:05Z", now), "Next try in 1 min 05 s.");
  assert.equal(goesOn("2025-12-31T23:59:59Z", now), "Next try at any moment.");
  assert.equal(goesOn(null, now), "");
});

test("notes are asked for again when something they speak of has moved", () => {
  const before = { status: "running", current_stage: "training", cost_limit: 10, current_cost: 7.9 };
  assert.equal(mayHaveChanged(before, { ...before, current_cost: 7.95 }, []), false);
  assert.equal(mayHaveChanged(before, { ...before, current_cost: 8 }, []), true);
  assert.equal(mayHaveChanged(before, { ...before, current_stage: "still_billed" }, []), true);
  assert.equal(mayHaveChanged(before, before, [{ kind: "checkpoint" }]), false);
  assert.equal(mayHaveChanged(before, before, [{ kind: "warning" }]), true);
});

test("a file is named as the server would name it", () => {
  assert.equal(fileStem("Rünning job #2"), "running-job-2");
  assert.equal(fileStem("__a  -b__"), "a-b");
  assert.equal(fileStem("日本"), "job");
});
