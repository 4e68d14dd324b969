// The page's connection to the server: a websocket that reconnects, and asking every 5 seconds where there is none.
// Knows no page: everything it needs from a browser comes in through the constructor, so that node can test it.
import { judgeFrame, reconnectDelay } from "./series.js";

const POLL_MS = 5000;
const ACK_MS = 2000;
const SILENCE_MS = 20000;
const GRACE_MS = 3000; // how long a broken connection may take to come back before the page asks by itself

export const CLOSED = { SIGN_IN: 4401, FORBIDDEN: 4403, SLOW: 4408, DELETED: 4410, RESTARTING: 1012 };

/** One socket and the feeds that share it. States: connecting, live, reconnecting, polling, offline, signed-out. */
export class LiveConnection {
  constructor({ url, Socket = globalThis.WebSocket, onState = () => {}, random = Math.random, timers = globalThis }) {
    Object.assign(this, { url, Socket, onState, random, timers });
    this.feeds = new Set();
    this.socket = null;
    this.state = "connecting";
    this.attempt = 0;
    this.stopped = false;
    this.useSocket = typeof Socket === "function";
    this.heardAt = 0;
  }

  start() {
    this.beat = this.timers.setInterval(() => this.keepUp(), ACK_MS);
    if (this.useSocket) this.open();
    else this.beginPolling();
    return this;
  }

  stop(state = "offline") {
    this.stopped = true;
    this.timers.clearInterval(this.beat);
    this.timers.clearTimeout(this.retry);
    this.endPolling();
    this.socket?.close();
    this.say(state);
  }

  /** A feed has `subscription()`, `receive(message)`, `poll()`, `wanted`, and may have `acknowledge()` and `closed(code)`. */
  add(feed) {
    this.feeds.add(feed);
    if (this.isOpen) this.send(feed.subscription());
    return feed;
  }

  get isOpen() {
    return this.socket?.readyState === 1;
  }

  /** Try again at once: the network is back, or the person looks at the page again. */
  hurry() {
    if (this.stopped || this.isOpen || !this.useSocket || this.socket?.readyState === 0) return;
    this.timers.clearTimeout(this.retry);
    this.attempt = 0;
    this.open();
  }

  open() {
    let socket;
    try {
      socket = new this.Socket(this.url);
    } catch {
      this.lost(0);
      return;
    }
    this.socket = socket;
    socket.onopen = () => {
      this.heardAt = Date.now();
      this.timers.clearTimeout(this.grace);
      this.grace = null;
      this.endPolling();
      for (const feed of this.feeds) this.send(feed.subscription());
      this.acknowledgedAt = Date.now();
      this.say("live");
    };
    socket.onmessage = (event) => {
      this.heardAt = Date.now();
      this.attempt = 0;
      this.receive(event.data);
      // Browsers let the timers of a hidden page sleep for a minute, but still deliver its messages.
      if (Date.now() - this.acknowledgedAt > 2 * ACK_MS) this.acknowledge();
    };
    socket.onclose = (event) => {
      if (this.socket === socket) this.lost(event.code);
    };
  }

  receive(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    for (const feed of this.feeds) feed.receive(message);
  }

  send(message) {
    if (this.isOpen && message) this.socket.send(JSON.stringify(message));
  }

  lost(code) {
    this.socket = null;
    if (this.stopped) return;
    for (const feed of this.feeds) feed.closed?.(code);
    if (code === CLOSED.SIGN_IN) {
      this.stop("signed-out");
      return;
    }
    if (code === CLOSED.FORBIDDEN) {
      this.useSocket = false;
      this.beginPolling();
      return;
    }
    if (this.state === "live") this.say("reconnecting");
    this.grace ??= this.timers.setTimeout(() => this.beginPolling(), GRACE_MS);
    const wait = reconnectDelay(this.attempt, this.random);
    this.attempt += 1;
    this.retry = this.timers.setTimeout(() => this.open(), wait);
  }

  beginPolling() {
    if (this.polling || this.stopped || this.isOpen) return;
    this.polling = this.timers.setInterval(() => this.pollOnce(), POLL_MS);
    this.pollOnce();
  }

  endPolling() {
    this.timers.clearInterval(this.polling);
    this.polling = null;
  }

  async pollOnce() {
    const wanted = [...this.feeds].filter((feed) => feed.wanted);
    if (!wanted.length) return;
    const results = await Promise.allSettled(wanted.map((feed) => feed.poll()));
    if (this.stopped || this.isOpen) return;
    if (results.some((result) => result.reason?.status === 401)) this.stop("signed-out");
    else this.say(results.every((result) => result.status === "rejected") ? "offline" : "polling");
  }

  /** Say how far the page has read. Sent even when nothing changed: it also tells the server that the page still reads. */
  acknowledge() {
    this.acknowledgedAt = Date.now();
    this.send({ ack: Object.assign({}, ...[...this.feeds].map((feed) => feed.acknowledge?.() ?? {})) });
  }

  keepUp() {
    if (!this.isOpen) return;
    this.acknowledge();
    // A watched job's head arrives every 5 s: a long silence means a dead connection that nobody has noticed.
    const watched = [...this.feeds].some((feed) => feed.expectsHead);
    if (watched && Date.now() - this.heardAt > SILENCE_MS) {
      const socket = this.socket;
      this.lost(0);
      socket.close();
    }
  }

  say(state) {
    if (state === this.state) return;
    this.state = state;
    this.onState(state);
  }
}

/** Everything of one job, without gap and without repeat: frames from the socket, and over REST whatever they left out. */
export class JobFeed {
  /** `ask(after)` fetches a frame over REST; `take(frame)` uses one; `gone()` hears that the job was deleted. */
  constructor({ id, seq, ask, take, gone = () => {}, timers = globalThis }) {
    Object.assign(this, { id, seq, ask, take, gone, timers });
    this.head = seq;
    this.ended = false;
    this.deleted = false;
    this.running = null;
  }

  get wanted() {
    return !this.ended && !this.deleted;
  }

  get expectsHead() {
    return this.wanted;
  }

  subscription() {
    return this.deleted ? null : { subscribe: "job", id: this.id, after: this.seq };
  }

  acknowledge() {
    return this.deleted ? null : { [this.id]: this.seq };
  }

  receive(message) {
    if (message.id !== this.id) return;
    if (message.t === "error" && message.code === "not_found") this.remove();
    else if (message.t === "head") {
      // A number before ours: the server's database was restored from a backup.
      if (message.seq < this.seq) this.catchUp().catch(() => {});
      this.head = Math.max(this.head, message.seq);
      if (this.seq < this.head) this.timers.setTimeout(() => this.seq < this.head && this.catchUp().catch(() => {}), 1000);
    } else if (message.t === "job") {
      this.head = Math.max(this.head, message.seq);
      if (this.use(message) === "gap") this.catchUp().catch(() => {});
    }
  }

  use(frame) {
    const verdict = judgeFrame(this.seq, frame);
    if (verdict === "apply") {
      this.seq = frame.seq;
      this.take(frame);
    } else if (verdict === "known" && frame.seq === this.seq && frame.job) {
      // Nothing new is stored, but costs and times move on.
      this.take({ ...frame, metrics: null, events: [], logs: [], nonfinite: [] });
    }
    return verdict;
  }

  closed(code) {
    if (code === CLOSED.DELETED) this.remove();
  }

  remove() {
    if (this.deleted) return;
    this.deleted = true;
    this.gone();
  }

  poll() {
    return this.catchUp();
  }

  /** Ask for all that is missing. Calls that come while one is under way share it. */
  catchUp() {
    this.running ??= this.fetchAll().finally(() => (this.running = null));
    return this.running;
  }

  async fetchAll() {
    try {
      let more = true;
      while (more && !this.deleted) {
        const before = this.seq;
        const frame = await this.ask(this.seq);
        if (frame.seq < before) this.seq = this.head = frame.after;
        this.head = Math.max(this.head, frame.seq);
        this.use(frame);
        more = Boolean(frame.more) && this.seq !== before;
      }
    } catch (error) {
      if (error.status === 404) this.remove();
      else throw error;
    }
  }
}

/** A feed of one kind of message, such as the changed jobs of the list or the notifications. */
export class TopicFeed {
  constructor({ topic, take, poll, wanted = () => true }) {
    Object.assign(this, { topic, take, poll, isWanted: wanted });
  }

  get wanted() {
    return this.isWanted();
  }

  subscription() {
    return { subscribe: this.topic };
  }

  receive(message) {
    if (message.t === this.topic) this.take(message);
  }
}
