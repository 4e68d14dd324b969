// The last look before a job starts: what will happen in plain sentences, and what speaks against it. The words are pure.
import { $, h, icon, setText, show } from "./dom.js";
import { count, duration, money, percent, size } from "./format.js";
import { fitText, hoursText, priceText, rangeText } from "./offer_rows.js";
import { cutAt, WORRY } from "./preflight.js";

const several = (n, what) => (n === 1 ? `one ${what}` : `${n} ${what}s`);

/** [{icon, title, text}] from everything that was chosen; see `chosen()` in new_job.js for its shape. */
export function sentences(chosen) {
  return [data(chosen), model(chosen), machine(chosen), time(chosen), limit(chosen), loss(chosen), told(chosen)];
}

function data({ dataset, evaluation, row }) {
  const what = `“${dataset.name}” (${count(dataset.rows)} rows${dataset.size ? `, ${size(dataset.size)}` : ""})`;
  const beside = evaluation ? ` “${evaluation.name}” goes with it and is only measured on.` : "";
  if (row.simulated) return { icon: "database", title: "Data", text: `Nothing is uploaded. ${what} only tells the simulation how many steps to pretend.` };
  if (row.provider === "local") return { icon: "database", title: "Data", text: `${what} is read on this server and does not leave it.${beside}` };
  return { icon: "database", title: "Data", text: `${what} is copied to the machine at ${row.providerLabel} and is gone with it.${beside}` };
}

function model({ model: id, listed, row }) {
  if (row.simulated) return { icon: "cpu", title: "Model", text: `${id} is not loaded.` };
  const here = row.provider === "local" && listed?.on_this_machine;
  return { icon: "cpu", title: "Model", text: here ? `${id} is loaded from this machine.` : `The machine downloads ${id} from the Hugging Face Hub.` };
}

function machine({ row, fallbacks }) {
  const what = row.count > 1 ? `${row.count} × ${row.label}` : row.label;
  const price = priceText(row);
  const cost = price === "Free" ? "It costs nothing." : `${price} per hour, from the moment it is there until it is surely gone.`;
  const instead = fallbacks.length ? ` If there is none: ${fallbacks.map((one) => `${one.label} (${priceText(one)} per hour)`).join(", then ")}.` : "";
  const where = row.provider === "local" ? "" : row.simulated ? " (simulated)" : `, rented in your ${row.providerLabel} account`;
  return { icon: "server", title: "Machine", text: `${what}${where}. ${row.simulated && price !== "Free" ? `${price} per hour are counted, and nobody is charged.` : cost}${instead}` };
}

function time({ row }) {
  if (row.hours === null) return { icon: "clock", title: "Time", text: `Nobody knows how long it will take. ${row.basis}` };
  const range = rangeText(row);
  const cost = Number(row.total) === 0 ? "" : ` and cost ${money(row.total)}`;
  return { icon: "clock", title: "Time", text: `It will probably take ${hoursText(row.hours)}${cost}${range ? `; ${range} would be no surprise` : ""}. ${row.basis}` };
}

function limit({ most, seconds, row }) {
  const free = Number(row.price_per_hour) === 0 || !most;
  const latest = `It ends after ${duration(seconds)} at the latest`;
  if (free) return { icon: "hand-stop", title: "At most", text: `${latest}, with a checkpoint.` };
  if (most.by === "duration") return { icon: "hand-stop", title: "At most", text: `${latest}, with a checkpoint. Until then it can cost ${money(most.amount)}.` };
  const by = most.by === "month" ? "what your month leaves" : "its budget";
  return { icon: "hand-stop", title: "At most", text: `It costs at most ${money(most.amount)}, ${by}: then it saves a checkpoint and stops.` };
}

function loss({ attempts, row }) {
  const retry = attempts > 1 ? `If the machine is lost, ${several(attempts - 1, "more attempt")} may go on from the last checkpoint.` : "If the machine is lost, nothing is tried again.";
  return { icon: "rocket", title: "If something breaks", text: row.simulated ? retry : `${retry} The adapter is stored here before the job counts as completed.` };
}

function told({ most, rules }) {
  const money_ = most && most.by !== "duration" ? ", and when 80 % and 90 % of its budget are spent" : "";
  const watched = rules ? ` ${count(rules)} ${rules === 1 ? "rule watches" : "rules watch"} over it.` : "";
  return { icon: "bell", title: "You are told", text: `When it starts and when it ends${money_}: on these pages, and wherever else you asked for in the settings.${watched}` };
}

/** [{level: "error" | "warning", text}]: what a person should have read before. Nothing here forbids to start. */
export function warnings({ dataset, evaluation, row, values, model: id, listed, budget, most, guessed }) {
  const found = [];
  const add = (level, text) => found.push({ level, text });
  if (row.simulated) add("warning", "This is a simulation: a loss curve is made up and there will be no adapter.");
  if (row.fits === "no" && !row.simulated) add("error", `It does not fit: about ${fitText(row)} are needed. Most likely it runs out of memory. Take a larger machine, 4-bit quantization, a smaller batch or shorter sequences.`);
  if (row.fits === "tight" && !row.simulated) add("warning", `Memory is tight: about ${fitText(row)}, and the estimate errs by up to 15 %.`);
  if (row.fits === "unknown" && !row.simulated) add("warning", "Nobody can say whether it fits into the machine's memory: the size of the model or of the machine is not known.");
  if (guessed && row.fits === "yes" && !row.simulated) add("warning", `The size of ${id} is read off its name alone, so whether it fits is a guess.`);
  if (row.in_stock === false) add("warning", "None of these machines is free now. The job waits until there is one.");
  if (listed?.gated && !listed.on_this_machine && !row.simulated) add("warning", `${id} is gated: the Hub hands it out only to who has accepted its licence, and the machine needs an HF_TOKEN that has. Without one the job ends with an error.`);
  const cut = cutAt(dataset.tokens, Number(values.max_length));
  if (cut && cut.share > WORRY) add("warning", `${percent(cut.share)} of the rows are longer than ${count(values.max_length)} tokens; what is beyond is not learnt.`);
  if (dataset.duplicates?.share > WORRY) add("warning", `${percent(dataset.duplicates.share)} of the rows repeat another one.`);
  if (evaluation?.overlap?.rows) add("warning", `${count(evaluation.overlap.rows)} validation ${evaluation.overlap.rows === 1 ? "row is" : "rows are"} also trained on: the validation loss will look too good.`);
  if (!budget && Number(row.price_per_hour) > 0 && !row.simulated && most?.by === "duration") add("warning", `It has no budget: only its longest duration keeps it from costing more than ${money(most.amount)}.`);
  return found;
}

// ---- the dialog

/** Opens the last check; resolves to "start", "save" or "" when the person goes back. `problem`: why it cannot start. */
export function askLast(chosen, problem) {
  const dialog = $("#last-check");
  $("#last-sentences").replaceChildren(...sentences(chosen).map((one) => h("li", {}, icon(one.icon), h("div", {}, h("b", {}, one.title), h("p", {}, one.text)))));
  const against = [...(problem ? [{ level: "error", text: problem }] : []), ...warnings(chosen)];
  $("#last-warnings").replaceChildren(...against.map((one) => h("li", { class: `notice notice-${one.level}` }, icon("alert-circle"), h("span", {}, one.text))));
  show($("#last-warnings"), against.length);
  setText($("#last-title"), chosen.name);
  setText($("#last-start span"), against.some((one) => one.level === "error") ? "Start all the same" : "Start");
  show($("#last-start"), !problem);
  dialog.returnValue = "";
  dialog.showModal();
  (problem ? $("#last-save") : $("#last-start")).focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}
