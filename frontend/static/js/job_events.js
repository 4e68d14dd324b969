// The events tab: everything that happened to the job, newest first.
import { call, rows } from "./api.js";
import { $, h, show } from "./dom.js";
import { clock, full } from "./format.js";
import { Once } from "./series.js";

// What of an event's data says more to a person than its message does.
const TOLD = { detail: "", evidence: "evidence", exit_code: "exit code", http_status: "HTTP status", request_id: "request" };

function more(event) {
  const parts = event.actor ? [`by ${event.actor}`] : [];
  for (const [name, label] of Object.entries(TOLD)) {
    const value = event.data?.[name];
    if (value === undefined || value === null || value === "" || event.message.includes(String(value))) continue;
    parts.push(label ? `${label}: ${value}` : String(value));
  }
  return parts.join(" · ");
}

export class JobEvents {
  constructor(job, changed) {
    Object.assign(this, { job, changed });
    this.list = $("#event-list");
    this.once = new Once((event) => event.seq);
    this.all = [];
  }

  async load() {
    try {
      let after = 0;
      while (after !== null && after !== undefined) {
        const answer = await call(`/api/jobs/${this.job.id}/events/?limit=1000&after=${after}`);
        this.take(rows(answer));
        after = rows(answer).length ? answer.next_after : null;
      }
      show($("#events-loading"), false);
    } catch (error) {
      const again = h("button", { type: "button", class: "button button-small", onclick: () => this.load() }, "Try again");
      $("#events-loading").replaceChildren(h("span", {}, error.message), again);
    }
  }

  take(events) {
    const fresh = this.once.fresh(events);
    if (!fresh.length) return;
    this.all.push(...fresh);
    this.all.sort((a, b) => a.seq - b.seq);
    const shown = new Map([...this.list.children].map((row) => [row.dataset.seq, row]));
    this.list.replaceChildren(...[...this.all].reverse().map((event) => shown.get(String(event.seq)) ?? this.row(event)));
    this.changed(this.marks());
  }

  row(event) {
    const at = event.at ?? event.created_at;
    const details = more(event);
    return h(
      "li",
      { "data-seq": event.seq, "data-kind": event.kind, "data-level": event.level },
      h("span", { class: "event-message" }, event.level === "error" || event.level === "warning" ? h("b", {}, `${event.level === "error" ? "Error" : "Warning"}: `) : null, event.message),
      h("time", { datetime: at, title: full(at) }, clock(at)),
      details ? h("span", { class: "event-more" }, details) : null,
    );
  }

  /** Why the job waits for another attempt, in the words of its last event of that kind. */
  whyAgain() {
    return this.all.findLast((event) => event.data?.stage === "waiting_to_retry")?.message ?? "";
  }

  /** What the charts mark by their step: checkpoints, and rules that fired. */
  marks() {
    const marked = (event) => typeof event.data?.step === "number" && (event.kind === "checkpoint" || (event.kind === "rule" && event.data.what === "fired"));
    return this.all.filter(marked).map((event) => ({ kind: event.kind, step: event.data.step }));
  }
}
