// Random walks through all that a client can meet, with an oracle: each message once and in its order, or the
// application is told that some may be missing. FANWIRE_SEED repeats one walk, FANWIRE_WALKS says how many there are.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ModelServer } from './model.mjs';
import { Clock, World, settled } from './virtual.mjs';

const clock = new Clock().install();
const WALKS = Number(process.env.FANWIRE_WALKS ?? 150);
const STEPS = 250;
const ROOMS = ['a', 'b', 'c'];

// Mulberry32: small, and the same everywhere.
function randomOf(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// What one subscription was told, and whether it may have been.
class Listener {
  at; // the last position that is certain
  isCut = true; // what comes next may begin anywhere
  holes = 0; // messages that a gap has told of
  loads = [];
  count = 0;

  constructor(walk, room, withLoad) {
    Object.assign(this, { walk, room, withLoad });
    const load = async ({ why, signal }) => {
      this.loads.push(why);
      const position = walk.server.position(room);
      if (walk.random() < 0.3) await new Promise((resolve) => setTimeout(resolve, walk.random() * 3000));
      if (walk.random() < 0.1) throw new Error('the state cannot be read now');
      if (signal.aborted) return position;
      // The application has all up to here, whatever it had before.
      this.loaded = position;
      return position;
    };
    this.sub = walk.client.subscribe(room, (message) => this.hear(message), withLoad ? { load } : {});
    this.sub.on('gap', ({ why, lost }) => {
      // Told once for all of what follows at once.
      this.holes += lost ?? 0;
      this.isCut = true;
      if (walk.isGenerous) assert.fail(`nothing was lost, and yet a gap is told: ${why}`);
    });
  }

  hear({ room, data, offset }) {
    const { walk, at } = this;
    assert.equal(room, this.room);
    assert.equal(data.offset, offset, 'a message is its own');
    const now = { epoch: data.epoch, offset };
    assert.deepEqual(this.sub.position, now, 'the position is that of the message');
    const follows = (position) => position && position.epoch === now.epoch && position.offset + 1 === offset;
    const why = `${JSON.stringify(at)}, loaded ${JSON.stringify(this.loaded)}, then ${JSON.stringify(now)}`;
    if (at?.epoch === now.epoch && !this.loaded) assert.ok(offset > at.offset, `told twice, or out of order: ${why}`);
    if (!this.isCut && !follows(at) && !follows(this.loaded)) {
      this.holes -= at?.epoch === now.epoch ? offset - at.offset - 1 : Infinity;
      assert.ok(this.holes >= 0, `lost and not told: ${why}`);
    }
    this.isCut = false;
    this.at = now;
    if (follows(this.loaded)) this.loaded = undefined;
    this.count++;
    if (walk.random() < 0.01) throw new Error('a handler throws');
    if (!walk.isQuiet && walk.random() < 0.02) walk.meddle();
  }

  // At the end, when all is quiet: it is where the room is.
  check() {
    const stands = this.walk.server.position(this.room);
    assert.equal(this.sub.state, 'subscribed', `${this.room}: ${this.sub.state}`);
    assert.deepEqual(this.sub.position, stands);
    // A gap while the state is being read asks for it anew.
    const again = this.loads.filter((why) => why !== 'first' && why !== 'gap');
    if (this.walk.isGenerous) assert.deepEqual(again, [], 'nothing had to be read again');
  }
}

class Walk {
  listeners = new Set();
  states = [];

  constructor(seed) {
    this.random = randomOf(seed);
    // A generous server keeps all, and never restarts: then there is nothing that could be lost.
    this.isGenerous = seed % 2 === 0;
    this.server = new ModelServer(this.random, this.isGenerous ? Infinity : 6);
    this.world = new World(clock);
    this.world.heard = (socket, message) => this.server.hear(socket, message);
    this.world.closed = (socket) => this.server.forget(socket);
    this.client = this.world.client();
    this.client.on('state', ({ state }) => {
      const { length } = this.states;
      if (state !== this.states[length - 1]) this.states.push(state);
    });
    this.wish = true;
    this.client.connect();
  }

  get socket() {
    return this.world.live.at(-1);
  }

  pick(list) {
    return list[Math.floor(this.random() * list.length)];
  }

  listen() {
    if (this.listeners.size < 6) this.listeners.add(new Listener(this, this.pick(ROOMS), this.random() < 0.5));
  }

  ignore() {
    const listener = this.pick([...this.listeners]);
    listener?.sub.unsubscribe();
    this.listeners.delete(listener);
  }

  // What users do, also inside of handlers.
  meddle() {
    this.pick([
      () => this.listen(),
      () => this.ignore(),
      () => (this.client.disconnect(), this.client.connect()),
      () => this.client.connect(),
      () => (this.client.disconnect(), (this.wish = false)),
    ])();
    if (this.random() < 0.8 && !this.wish) this.client.connect(), (this.wish = true);
  }

  end(code, reason) {
    const { socket } = this;
    if (!socket) return;
    this.server.forget(socket);
    socket.end(code, reason);
  }

  async step() {
    const { random, server, world } = this;
    const choice = random();
    if (choice < 0.3) server.publish(this.pick(ROOMS));
    else if (choice < 0.6) {
      for (let i = Math.floor(random() * 6); i > 0 && this.socket; i--) server.deliver(this.socket);
    } else if (choice < 0.72) {
      if (this.socket?.readyState === 0) server.accept(this.socket);
    } else if (choice < 0.75) this.end(...this.pick([[1006], [1001, 'reconnect in 700 ms'], [1012], [4430, 'slow'], [4408], [1000]]));
    else if (choice < 0.77) this.meddle();
    else if (choice < 0.8) this.listen();
    else if (choice < 0.82) this.ignore();
    else if (choice < 0.87) server.lose(this.socket, this.pick(ROOMS));
    else if (choice < 0.88 && !this.isGenerous) {
      server.restart();
      this.end(1006);
    } else if (choice < 0.9) world.tell(this.pick(['online', 'offline', 'visibilitychange', 'pageshow']));
    else if (choice < 0.91) {
      world.tell('pagehide');
      world.tell('pageshow');
    } else if (choice < 0.92) world.window.document.hidden = random() < 0.3;
    else if (choice < 0.93) await clock.sleep(random() * 100_000);
    else await clock.pass(random() * 3000);
    assert.ok(world.live.length <= 1, 'one socket at a time');
    await settled();
  }

  async quieten() {
    const { world, server } = this;
    this.isQuiet = true;
    world.window.document.hidden = false;
    if (!this.wish) this.client.connect();
    ROOMS.forEach((room) => server.publish(room));
    for (let i = 0; i < 400; i++) {
      if (this.socket?.readyState === 0) server.accept(this.socket);
      while (this.socket && server.deliver(this.socket));
      await clock.pass(500);
      const waiting = [...this.listeners].some(({ sub }) => sub.state !== 'subscribed');
      if (i > 30 && this.client.state === 'connected' && !waiting) break;
    }
    ROOMS.forEach((room) => server.publish(room));
    for (let i = 0; i < 20; i++) {
      while (this.socket && server.deliver(this.socket));
      await clock.pass(200);
    }
  }
}

const order = {
  disconnected: ['connecting'],
  connecting: ['connected', 'disconnected'],
  connected: ['connecting', 'disconnected'],
};

async function walk(seed) {
  const { random } = Math;
  const { error } = console;
  const thrown = [];
  const walking = new Walk(seed);
  Math.random = walking.random;
  console.error = (what) => thrown.push(what);
  try {
    for (let i = 0; i < STEPS; i++) await walking.step();
    await walking.quieten();
    const unexpected = thrown.filter(({ message }) => message !== 'a handler throws');
    assert.deepEqual(unexpected.map(({ stack }) => stack), []);
    walking.states.reduce((from, to) => (assert.ok(order[from].includes(to), `${from} to ${to}`), to), 'disconnected');
    walking.listeners.forEach((listener) => listener.check());
    walking.client.disconnect();
    return [...walking.listeners].reduce((sum, { count }) => sum + count, 0);
  } finally {
    Math.random = random;
    console.error = error;
    clock.timers.clear();
  }
}

test('each message comes once and in its order, or it is told that some may be missing', async () => {
  const given = process.env.FANWIRE_SEED;
  const first = given === undefined ? 1 : Number(given);
  let told = 0;
  for (let seed = first; seed < first + (given === undefined ? WALKS : 1); seed++) {
    try {
      told += await walk(seed);
    } catch (failure) {
      failure.message = `FANWIRE_SEED=${seed}: ${failure.message}`;
      throw failure;
    }
  }
  if (given === undefined) assert.ok(told > WALKS * 10, `only ${told} messages were told`);
});
