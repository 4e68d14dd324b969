// Which rows of a list are selected, and what may be done with them. Pure, so that node can test it.

const ENDED_EARLY = new Set(["failed", "cancelled"]);
const ENDED = new Set([...ENDED_EARLY, "completed"]);
export const LEAST_COMPARED = 2;
export const MOST_COMPARED = 8;

export class Selection {
  constructor() {
    this.ids = new Set();
    this.anchor = null; // the row that was chosen last: a range begins there
  }

  get size() {
    return this.ids.size;
  }

  has(id) {
    return this.ids.has(id);
  }

  /** Choose a row, or no longer. With `range`, all rows between the last one chosen and this follow it. `order`: the rows as shown. */
  set(id, on, { range = false, order = [] } = {}) {
    const [from, to] = [order.indexOf(this.anchor), order.indexOf(id)];
    const chosen = range && from >= 0 && to >= 0 ? order.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    for (const one of chosen) {
      if (on) this.ids.add(one);
      else this.ids.delete(one);
    }
    this.anchor = id;
  }

  setAll(order, on) {
    this.ids = new Set(on ? order : []);
    this.anchor = null;
  }

  /** Only rows that are shown can be selected: nobody acts on what they do not see. */
  keep(order) {
    const shown = new Set(order);
    this.ids = new Set([...this.ids].filter((id) => shown.has(id)));
    if (!shown.has(this.anchor)) this.anchor = null;
  }

  clear() {
    this.setAll([], false);
  }
}

/** "all", "some" or "none", for the box above the rows. */
export function coverage(selection, order) {
  if (!selection.size || !order.length) return "none";
  return order.every((id) => selection.has(id)) ? "all" : "some";
}

/** {cancel, retry, delete, compare}: the jobs of a selection that each action takes. */
export function eligible(jobs) {
  return {
    cancel: jobs.filter((job) => job.status !== "pending" && job.status !== "cancelling" && !ENDED.has(job.status)),
    retry: jobs.filter((job) => ENDED_EARLY.has(job.status)),
    delete: jobs.filter((job) => job.status === "pending" || ENDED.has(job.status)),
    compare: jobs.length >= LEAST_COMPARED && jobs.length <= MOST_COMPARED ? jobs : [],
  };
}

const jobsOf = (n) => (n === 1 ? "1 job" : `${n} jobs`);

/** “a”, “b” and 3 more */
export function listed(names, most = 4) {
  const shown = names.slice(0, names.length > most + 1 ? most : names.length).map((name) => `“${name}”`);
  const rest = names.length - shown.length;
  if (rest) return `${shown.join(", ")} and ${rest} more`;
  return shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}` : (shown[0] ?? "");
}

const WORDS = {
  cancel: {
    title: (n) => `Cancel ${jobsOf(n)}?`,
    text: "Each saves a checkpoint if it can, then its machine is stopped. What it has cost so far stays.",
    yes: (n) => `Cancel ${jobsOf(n)}`,
    no: "Keep them running",
    left: "cannot be cancelled",
  },
  retry: {
    title: (n) => `Try ${jobsOf(n)} again?`,
    text: "Each begins anew as a new job with the same settings, and costs what it costs.",
    yes: (n) => `Start ${n === 1 ? "1 new job" : `${n} new jobs`}`,
    no: "Back",
    left: "did not end early",
  },
  delete: {
    title: (n) => `Delete ${jobsOf(n)}?`,
    text: "Their metrics, logs, checkpoints and adapters go with them, for good. What they have cost stays in your spending.",
    yes: (n) => `Delete ${jobsOf(n)}`,
    no: "Keep them",
    left: "still active",
  },
};

/** The question before an action: how many, which ones, what happens, and what stays as it is. */
export function question(action, takes, selected) {
  const words = WORDS[action];
  const left = selected - takes.length;
  const beside = left ? ` ${left} of the ${selected} selected ${left === 1 ? "is" : "are"} left as ${left === 1 ? "it is" : "they are"}: ${words.left}.` : "";
  return {
    title: words.title(takes.length),
    text: `${listed(takes.map((job) => job.name))}. ${words.text}${beside}`,
    yes: words.yes(takes.length),
    no: words.no,
  };
}
