// What a client sees of the world, made of plain objects: a clock that moves when a test says so, sockets that a test
// opens, fills and ends, and a window that tells what it is told to tell.
import { Fanwire } from '../../../src/client/fanwire.js';

// All that is ready runs, promises included, before this is resolved.
export const settled = () => new Promise(setImmediate);

export class Clock {
  now = Date.UTC(2026, 0, 1);
  timers = new Map();
  next = 0;

  // Takes the place of the timers and the time of this process, for as long as it runs.
  install() {
    globalThis.setTimeout = (act, ms = 0) => {
      // As in browsers and Node: what does not fit into 31 bits fires at once.
      const wait = ms > 2 ** 31 - 1 || Number.isNaN(ms) ? 1 : Math.max(1, ms);
      this.timers.set(++this.next, { at: this.now + wait, act });
      return this.next;
    };
    globalThis.clearTimeout = (id) => this.timers.delete(id);
    Date.now = () => this.now;
    return this;
  }

  due(until) {
    let first;
    for (const [id, { at }] of this.timers) {
      if (at <= until && (first === undefined || at < this.timers.get(first).at)) first = id;
    }
    return first;
  }

  async run(until) {
    await settled();
    for (let id; (id = this.due(until)) !== undefined; ) {
      const { at, act } = this.timers.get(id);
      this.timers.delete(id);
      this.now = Math.max(this.now, at);
      act();
      await settled();
    }
  }

  async pass(ms) {
    const until = this.now + ms;
    await this.run(until);
    this.now = until;
  }

  // The machine sleeps: timers that were due meanwhile fire when it wakes, and before anything that has come.
  async sleep(ms) {
    this.now += ms;
    await this.run(this.now);
  }
}

// The browser's class as far as a client uses it. `world` is told of each one.
export const socketClass = (world) =>
  class FakeSocket {
    readyState = 0;
    bufferedAmount = 0;
    sent = [];
    closes = [];

    constructor(url, protocols) {
      if (world.refusal) throw world.refusal;
      Object.assign(this, { url, protocols });
      world.sockets.push(this);
      world.opened?.(this);
    }

    send(text) {
      if (this.readyState === 0) throw new Error('InvalidStateError: still connecting');
      // As in browsers: silently lost once it is closing.
      if (this.readyState !== 1) return;
      const message = JSON.parse(text);
      this.sent.push(message);
      world.heard?.(this, message);
    }

    close(code) {
      this.closes.push(code);
      if (this.readyState < 2) this.readyState = 2;
      world.closed?.(this, code);
    }

    open() {
      this.readyState = 1;
      this.onopen?.({});
    }

    say(message) {
      this.onmessage?.({ data: typeof message === 'string' ? message : JSON.stringify(message) });
    }

    greet(id = 'c1') {
      this.open();
      this.say({ type: 'connected', data: { client_id: id, message: 'hello' }, timestamp: 1 });
    }

    end(code = 1006, reason = '') {
      this.readyState = 3;
      if (code === 1006) this.onerror?.({});
      this.onclose?.({ code, reason });
    }

    // The requests of a type, and the last of them.
    asked(type) {
      return this.sent.filter((message) => message.type === type);
    }

    // Answers the last request of a type.
    answer(type, answer) {
      const { id, room } = this.asked(type).at(-1);
      this.say({ room, ...answer, id, timestamp: 1 });
    }

    subscribed(data = {}) {
      this.answer('subscribe', { type: 'subscribed', data: { client_count: 1, ...data } });
    }

    message(room, offset, more = {}) {
      this.say({ type: 'message', room, data: offset, offset, client_id: 'c9', timestamp: 1, ...more });
    }
  };

export class World {
  sockets = [];
  window = Object.assign(new EventTarget(), { document: { hidden: false } });

  constructor(clock) {
    this.clock = clock;
    this.WebSocket = socketClass(this);
  }

  // A client of this world that has begun to connect, with what it told in `told`.
  client(options = {}, url = 'ws://server/ws') {
    const client = new Fanwire(url, { WebSocket: this.WebSocket, events: this.window, ...options });
    client.told = [];
    client.on('state', ({ state }) => client.told.push(state));
    client.on('error', (error) => client.told.push(error.code));
    return client;
  }

  get socket() {
    return this.sockets.at(-1);
  }

  // Sockets that the client has not given up.
  get live() {
    return this.sockets.filter((socket) => socket.readyState < 2);
  }

  tell(type) {
    this.window.dispatchEvent(new Event(type));
  }

  // A client that is connected.
  async connected(options, url) {
    const client = this.client(options, url).connect();
    await settled();
    this.socket.greet();
    return client;
  }

  // Lets time pass until there is another socket; how long that took, in ms.
  async another(most = 120_000) {
    const { length } = this.sockets;
    const began = this.clock.now;
    while (this.sockets.length === length) {
      if (this.clock.now - began > most) throw new Error(`no other socket within ${most} ms`);
      await this.clock.pass(50);
    }
    return this.clock.now - began;
  }
}
