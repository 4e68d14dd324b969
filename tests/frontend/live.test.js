import assert from "node:assert/strict";
import { test } from "node:test";

import { CLOSED, JobFeed, LiveConnection, TopicFeed } from "../../frontend/static/js/live.js";

/** Time that passes only when a test says so. */
class Timers {
  constructor() {
    this.now = 0;
    this.waiting = [];
    this.next = 1;
    for (const name of ["setTimeout", "setInterval", "clearTimeout", "clearInterval"]) this[name] = this[name].bind(this);
  }

  setTimeout(work, wait) {
    this.waiting.push({ id: this.next, at: this.now + wait, work });
    return this.next++;
  }

  setInterval(work, wait) {
    this.waiting.push({ id: this.next, at: this.now + wait, work, every: wait });
    return this.next++;
  }

  clearTimeout(id) {
    this.waiting = this.waiting.filter((one) => one.id !== id);
  }

  clearInterval(id) {
    this.clearTimeout(id);
  }

  async pass(ms) {
    const end = this.now + ms;
    for (;;) {
      const due = this.waiting.filter((one) => one.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.now = due.at;
      if (due.every) due.at += due.every;
      else this.clearTimeout(due.id);
      due.work();
      await settled();
    }
    this.now = end;
  }
}

const settled = async () => {
  for (let i = 0; i < 10; i += 1) await Promise.resolve();
};

/** The browser's end of a socket, whose other end the test plays. */
class PlayedSocket {
  static made = [];

  constructor(url) {
    Object.assign(this, { url, readyState: 0, sent: [] });
    PlayedSocket.made.push(this);
  }

  accept() {
    this.readyState = 1;
    this.onopen();
  }

  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }

  drop(code = 1006) {
    this.readyState = 3;
    this.onclose({ code });
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }
}

function setUp({ seq = 10, answers = [] } = {}) {
  PlayedSocket.made = [];
  const timers = new Timers();
  const taken = [];
  const asked = [];
  const states = [];
  const feed = new JobFeed({
    id: "j1",
    seq,
    timers,
    take: (frame) => taken.push(frame),
    ask: async (after) => {
      asked.push(after);
      const answer = answers.shift();
      if (answer instanceof Error || answer?.status) throw answer;
      return answer ?? { t: "job", id: "j1", after, seq: after };
    },
  });
  const connection = new LiveConnection({ url: "ws://host/ws/", Socket: PlayedSocket, timers, random: () => 0, onState: (state) => states.push(state) });
  connection.add(feed);
  connection.start();
  return { timers, taken, asked, states, feed, connection, socket: () => PlayedSocket.made.at(-1) };
}

const frame = (after, seq, more = {}) => ({ t: "job", id: "j1", after, seq, job: { status: "running" }, metrics: { step: [seq], loss: [1] }, ...more });

test("an opened socket subscribes from the snapshot on and is live", () => {
  const { socket, states } = setUp();
  socket().accept();
  assert.deepEqual(socket().sent, [{ subscribe: "job", id: "j1", after: 10 }]);
  assert.deepEqual(states, ["live"]);
});

test("frames are used in order and repeats are not", () => {
  const { socket, taken, feed } = setUp();
  socket().accept();
  socket().say(frame(10, 12));
  socket().say(frame(8, 11));
  socket().say(frame(12, 13));
  assert.deepEqual(taken.map((one) => one.seq), [12, 13]);
  assert.equal(feed.seq, 13);
});

test("a frame without news still brings the job's running values", () => {
  const { socket, taken } = setUp();
  socket().accept();
  socket().say(frame(10, 10));
  assert.equal(taken.length, 1);
  assert.equal(taken[0].metrics, null);
});

test("a gap is fetched over REST until nothing is left", async () => {
  const { socket, taken, asked, feed } = setUp({ answers: [frame(10, 15, { more: true }), frame(15, 20)] });
  socket().accept();
  socket().say(frame(18, 20));
  await settled();
  assert.deepEqual(asked, [10, 15]);
  assert.deepEqual(taken.map((one) => one.seq), [15, 20]);
  assert.equal(feed.seq, 20);
});

test("a head that stays ahead for a second makes the page ask", async () => {
  const { socket, asked, timers } = setUp({ answers: [frame(10, 14)] });
  socket().accept();
  socket().say({ t: "head", id: "j1", seq: 14 });
  assert.deepEqual(asked, []);
  await timers.pass(1001);
  assert.deepEqual(asked, [10]);
});

test("a head that is reached in time costs no request", async () => {
  const { socket, asked, timers } = setUp();
  socket().accept();
  socket().say({ t: "head", id: "j1", seq: 12 });
  socket().say(frame(10, 12));
  await timers.pass(1500);
  assert.deepEqual(asked, []);
});

test("every two seconds the page says how far it is", async () => {
  const { socket, timers } = setUp();
  socket().accept();
  socket().say(frame(10, 12));
  await timers.pass(4100);
  assert.deepEqual(socket().sent.slice(1), [{ ack: { j1: 12 } }, { ack: { j1: 12 } }]);
});

test("a hidden page, whose timers sleep, still says how far it is", (context) => {
  const { socket } = setUp();
  socket().accept();
  const began = Date.now();
  context.mock.method(Date, "now", () => began + 10_000);
  socket().say(frame(10, 12));
  assert.deepEqual(socket().sent.at(-1), { ack: { j1: 12 } });
});

test("a dropped socket comes back and asks for what came since", async () => {
  const { socket, timers, states } = setUp();
  socket().accept();
  socket().say(frame(10, 12));
  socket().drop();
  await timers.pass(600);
  assert.equal(PlayedSocket.made.length, 2);
  socket().accept();
  assert.deepEqual(socket().sent, [{ subscribe: "job", id: "j1", after: 12 }]);
  assert.deepEqual(states, ["live", "reconnecting", "live"]);
});

test("without a socket the page asks every five seconds, and stops when the job has ended", async () => {
  const { socket, timers, asked, feed, states } = setUp();
  socket().drop();
  await timers.pass(3100);
  assert.equal(asked.length, 1);
  assert.equal(states.at(-1), "polling");
  await timers.pass(10000);
  assert.equal(asked.length, 3);
  feed.ended = true;
  await timers.pass(20000);
  assert.equal(asked.length, 3);
});

test("a socket that opens again ends the asking", async () => {
  const { socket, timers, asked } = setUp();
  socket().drop();
  await timers.pass(3100);
  await timers.pass(2000);
  const before = asked.length;
  socket().accept();
  await timers.pass(12000);
  assert.equal(asked.length, before);
});

test("an unreachable server is said so, and asking goes on", async () => {
  const answers = Array.from({ length: 3 }, () => Object.assign(new Error("down"), { status: 0 }));
  const { socket, timers, states, asked } = setUp({ answers });
  socket().drop();
  await timers.pass(3100);
  assert.equal(states.at(-1), "offline");
  await timers.pass(15100);
  assert.ok(asked.length >= 4);
  assert.equal(states.at(-1), "polling");
});

test("4401 stops everything, 4403 never opens a socket again", async () => {
  const first = setUp();
  first.socket().accept();
  first.socket().drop(CLOSED.SIGN_IN);
  await first.timers.pass(60000);
  assert.equal(first.states.at(-1), "signed-out");
  assert.equal(PlayedSocket.made.length, 1);
  const second = setUp();
  second.socket().accept();
  second.socket().drop(CLOSED.FORBIDDEN);
  await second.timers.pass(60000);
  assert.equal(PlayedSocket.made.length, 1);
  assert.equal(second.states.at(-1), "polling");
});

test("a deleted job is told once and never asked for again", async () => {
  const { socket, feed, timers, asked } = setUp();
  let told = 0;
  feed.gone = () => (told += 1);
  socket().accept();
  socket().say({ t: "error", code: "not_found", id: "j1", message: "" });
  socket().drop(CLOSED.DELETED);
  await timers.pass(60000);
  assert.equal(told, 1);
  assert.deepEqual(asked, []);
});

test("a database that was set back is followed from its own number", async () => {
  const { socket, feed, taken } = setUp({ seq: 500, answers: [frame(0, 40)] });
  socket().accept();
  socket().say({ t: "head", id: "j1", seq: 40 });
  await settled();
  assert.equal(feed.seq, 40);
  assert.equal(taken.length, 1);
});

test("silence on a watched job counts as a dead connection", async (t) => {
  const { socket, timers } = setUp();
  socket().accept();
  t.mock.method(Date, "now", () => Number.MAX_SAFE_INTEGER);
  await timers.pass(2100);
  assert.equal(socket().readyState, 3);
});

test("a topic gets only its own messages", () => {
  const taken = [];
  const feed = new TopicFeed({ topic: "jobs", take: (message) => taken.push(message), poll: async () => {} });
  feed.receive({ t: "jobs", jobs: [] });
  feed.receive({ t: "notifications" });
  assert.equal(taken.length, 1);
  assert.deepEqual(feed.subscription(), { subscribe: "jobs" });
});
