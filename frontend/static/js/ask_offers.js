// Asks for the table of machines again whenever the form changes: after a short rest, and never two answers at once.
import { call } from "./api.js";

const REST = 350; // ms without another change
const SLOW = 900; // ms after which it is said that something is awaited

export class OffersQuestion {
  /** `body()` is what to ask for; `answered(answer)`, `failed(error)` and `waiting(yes)` hear what became of it. */
  constructor({ body, answered, failed, waiting }) {
    Object.assign(this, { body, answered, failed, waiting });
    this.asked = "";
  }

  /** Something may have changed. The same question is not asked twice. */
  changed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), REST);
  }

  async ask({ again = false } = {}) {
    clearTimeout(this.timer);
    const json = this.body();
    const question = JSON.stringify(json);
    if (question === this.asked && !again) return;
    this.asked = question;
    this.abort?.abort();
    const mine = (this.abort = new AbortController());
    const slow = setTimeout(() => this.waiting(true), SLOW);
    try {
      const answer = await call("/api/offers/", { method: "POST", json, signal: mine.signal });
      if (this.abort === mine) this.answered(answer);
    } catch (error) {
      if (error.name === "AbortError" || this.abort !== mine) return;
      this.asked = ""; // it may be asked again
      this.failed(error);
    } finally {
      clearTimeout(slow);
      if (this.abort === mine) this.waiting(false);
    }
  }
}
