// The cases that clients of such servers get wrong, each a test: on sockets and a clock that the tests move.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Unauthorized } from '../../../src/client/fanwire.js';
import { Clock, World, settled } from './virtual.mjs';

const clock = new Clock().install();
const world = () => new World(clock);
const record = (subscription) => {
  const got = [];
  subscription.on('message', (message) => got.push(message.offset ?? message.data));
  subscription.on('gap', ({ why, lost }) => got.push(lost ? `${why} ${lost}` : why));
  return got;
};
const pauseOf = (client) => client.reason.retryAfterMs;
// The largest pause that a client takes after `times` failures, with chance at its most.
const withChance = async (value, act) => {
  const { random } = Math;
  Math.random = () => value;
  try {
    return await act();
  } finally {
    Math.random = random;
  }
};

test('1: pauses grow though each connection is opened, and greeted, and closed at once', async () => {
  for (const greeted of [false, true]) {
    const w = world();
    const client = w.client().connect();
    const pauses = await withChance(0.999, async () => {
      const pauses = [];
      for (let i = 0; i < 8; i++) {
        await settled();
        if (greeted) w.socket.greet();
        else w.socket.open();
        w.socket.end(1006);
        pauses.push(pauseOf(client));
        await w.another();
      }
      return pauses;
    });
    assert.deepEqual(pauses, [1000, 1499, 2498, 4496, 8492, 16484, 20480, 20480], `greeted: ${greeted}`);
    client.disconnect();
  }
});

test('1: the pause is short again after five seconds of connection', async () => {
  const w = world();
  const client = w.client({ backoff: { min: 100, max: 60_000 } }).connect();
  for (let i = 0; i < 6; i++) {
    await settled();
    w.socket.end();
    await w.another();
  }
  w.socket.greet();
  await clock.pass(4_900);
  w.socket.end();
  await withChance(0.999, async () => {
    await w.another();
    w.socket.greet();
    await clock.pass(5_000);
    w.socket.end();
    assert.equal(pauseOf(client), 200);
  });
  client.disconnect();
});

test('2: clients that fall together come back apart', async () => {
  const w = world();
  const clients = Array.from({ length: 200 }, () => w.client().connect());
  await settled();
  w.sockets.forEach((socket) => socket.end());
  const pauses = clients.map(pauseOf);
  const [least, most] = [Math.min(...pauses), Math.max(...pauses)];
  assert.ok(least >= 500 && most <= 1000 && most - least > 400, `${least} to ${most}`);
  assert.ok(new Set(pauses).size > 100);
  clients.forEach((client) => client.disconnect());
});

test('3: close codes say whether to come back, and when', async () => {
  const cases = [
    [1000, '', 'connecting', 'now'],
    [1001, 'server shutting down: reconnect in 7321 ms', 'connecting', 'later', 7321],
    [1005, '', 'connecting', 'now'],
    [1006, '', 'connecting', 'now'],
    [1011, '', 'connecting', 'now'],
    [1012, '', 'connecting', 'now'],
    [1013, 'the server holds too many unfinished messages', 'connecting', 'later'],
    [4408, 'no sign of life', 'connecting', 'now'],
    [4429, 'rate limit exceeded', 'connecting', 'later'],
    [4430, 'slow consumer', 'connecting', 'now'],
    [4440, 'moved: reconnect in 1500 ms', 'connecting', 'later', 1500],
    [4440, 'disconnected by the backend', 'disconnected', 'never'],
    [4401, 'expired', 'disconnected', 'new-token'],
    [4403, 'forbidden', 'disconnected', 'never'],
    [4499, 'of a later version', 'connecting', 'now'],
    ...[1002, 1003, 1007, 1009, 1010].map((code) => [code, '', 'disconnected', 'never']),
  ];
  for (const [code, text, state, retry, pause] of cases) {
    const w = world();
    const client = await w.connected();
    w.socket.end(code, text);
    assert.equal(client.state, state, `${code}`);
    assert.deepEqual([client.reason.code, client.reason.text, client.reason.retry], [code, text, retry]);
    if (pause) assert.equal(pauseOf(client), pause);
    else if (retry === 'later') assert.ok(pauseOf(client) >= 10_000);
    assert.equal(client.told.includes('slow_consumer'), code === 4430);
    client.disconnect();
  }
});

test('3: a hint cannot make a client come back without a pause', async () => {
  const w = world();
  const client = await w.connected();
  w.socket.end(1001, 'reconnect in 0 ms');
  assert.equal(pauseOf(client), 500);
  client.disconnect();
});

test('3: a client that is sent away for its rate three times in a row stays away', async () => {
  const w = world();
  const client = w.client().connect();
  await withChance(0, async () => {
    for (const expected of ['connecting', 'connecting', 'disconnected']) {
      await settled();
      w.socket.greet();
      w.socket.end(4429, 'rate limit exceeded');
      assert.equal(client.state, expected);
      if (expected === 'connecting') await w.another();
    }
  });
  assert.equal(client.reason.retry, 'never');
});

test('4: a hidden tab whose timers fire once a minute stays connected', async () => {
  const w = world();
  const client = await w.connected();
  w.window.document.hidden = true;
  for (let i = 0; i < 30; i++) {
    await clock.sleep(60_000);
    if (w.socket.asked('ping').length) w.socket.say({ type: 'pong', timestamp: 1 });
  }
  assert.equal(w.sockets.length, 1);
  assert.ok(w.socket.asked('ping').length > 5, 'it looks whether the server is there');
  client.disconnect();
});

test('4: a silent connection is asked, and given up where no answer comes', async () => {
  const w = world();
  const client = await w.connected();
  await clock.pass(25_000);
  assert.equal(w.socket.asked('ping').length, 1);
  await clock.pass(9_000);
  assert.equal(client.state, 'connected');
  await clock.pass(2_000);
  assert.equal(client.state, 'connecting');
  assert.equal(client.reason.text, 'no answer');
  client.disconnect();
});

test('5: after a sleep, what has come is handled before a time limit is believed', async () => {
  const w = world();
  const client = w.client().connect();
  await settled();
  const [first] = w.sockets;
  await clock.sleep(3_600_000);
  first.greet();
  assert.equal(client.state, 'connected');
  await clock.pass(25_000);
  await clock.sleep(3_600_000);
  first.say({ type: 'pong', timestamp: 1 });
  await clock.pass(5_000);
  assert.equal(client.state, 'connected');
  const answer = client.publish('r', 1);
  await clock.sleep(3_600_000);
  first.answer('publish', { type: 'published' });
  await answer;
  assert.equal(w.sockets.length, 1);
  client.disconnect();
});

test('6: a connection that died in its sleep is found out within seconds', async () => {
  for (const type of ['visibilitychange', 'online', 'pageshow']) {
    const w = world();
    const client = await w.connected();
    await clock.pass(1_000);
    w.tell(type);
    assert.equal(w.socket.asked('ping').length, 1, type);
    await clock.pass(2_000);
    assert.equal(client.state, 'connecting', type);
    client.disconnect();
  }
});

test('7: a network that comes back begins an attempt anew, and false alarms cost nothing', async () => {
  const w = world();
  const client = w.client().connect();
  await settled();
  await clock.pass(1_000);
  w.tell('online');
  await clock.pass(1);
  assert.equal(w.sockets.length, 2);
  assert.deepEqual(w.sockets[0].closes, [1000]);
  w.socket.greet();
  w.tell('offline');
  assert.equal(client.state, 'connected');
  w.socket.say({ type: 'pong', timestamp: 1 });
  await clock.pass(20_000);
  assert.equal(client.state, 'connected');
  client.disconnect();
});

test('7: a network that flaps makes no storm, and a hint of the server stands', async () => {
  const w = world();
  const client = w.client().connect();
  for (let i = 0; i < 1_000; i++) {
    w.tell(i % 2 ? 'online' : 'offline');
    await clock.pass(10);
  }
  assert.ok(w.sockets.length <= 21, `${w.sockets.length} attempts in 10 s`);
  await clock.pass(600);
  w.socket.greet();
  w.socket.end(1001, 'reconnect in 30000 ms');
  const { length } = w.sockets;
  w.tell('online');
  w.tell('visibilitychange');
  await clock.pass(29_000);
  assert.equal(w.sockets.length, length);
  await clock.pass(1_001);
  assert.equal(w.sockets.length, length + 1);
  client.disconnect();
});

test('7: a client that waits uses the moment when its page is seen again', async () => {
  const w = world();
  const client = w.client({ backoff: { min: 500, max: 600_000 } }).connect();
  await withChance(0.9, async () => {
    for (let i = 0; i < 8; i++) {
      await settled();
      w.socket.end();
      await w.another(600_000);
    }
    w.socket.end();
  });
  assert.ok(pauseOf(client) > 60_000);
  await clock.pass(1_000);
  w.tell('visibilitychange');
  await clock.pass(1);
  assert.equal(w.live.length, 1);
  client.disconnect();
});

test('8: it comes back after the hundredth outage as after the first', async () => {
  const w = world();
  const client = await w.connected();
  for (let i = 0; i < 100; i++) {
    await clock.pass(6_000);
    w.socket.say({ type: 'pong', timestamp: 1 });
    w.socket.end();
    assert.ok((await w.another()) <= 1_050);
    w.socket.greet();
    assert.equal(client.state, 'connected');
  }
  client.disconnect();
});

test('8: hours of outage do not end it', async () => {
  const w = world();
  const client = w.client().connect();
  for (let i = 0; i < 500; i++) {
    await settled();
    w.socket.end();
    await w.another();
  }
  w.socket.greet();
  assert.equal(client.state, 'connected');
  client.disconnect();
});

test('9: an attempt that hangs is given up before another begins, and later ones get more time', async () => {
  const w = world();
  const client = w.client().connect();
  await settled();
  const given = [];
  for (let i = 0; i < 6; i++) {
    const began = clock.now;
    const { socket } = w;
    while (!socket.closes.length) await clock.pass(100);
    given.push(Math.round((clock.now - began) / 1000));
    assert.deepEqual(socket.closes, [1000]);
    await w.another();
    assert.equal(w.live.length, 1);
  }
  assert.deepEqual(given, [5, 10, 20, 20, 20, 20]);
  client.disconnect();
});

test('10: a page that is put away has no connection, and one at once when it is shown', async () => {
  const w = world();
  const client = await w.connected();
  const sub = client.subscribe('r');
  w.tell('pagehide');
  assert.deepEqual(w.socket.closes, [1000]);
  assert.equal(client.state, 'connecting');
  assert.equal(sub.state, 'subscribing');
  await clock.sleep(3_600_000);
  assert.equal(w.sockets.length, 1, 'nothing is tried while it is away');
  w.tell('pageshow');
  await clock.pass(1);
  assert.equal(w.sockets.length, 2);
  w.socket.greet();
  assert.equal(w.socket.asked('subscribe').length, 1);
  client.disconnect();
});

test('10: no handler of unload keeps a page out of the cache', () => {
  const types = [];
  const events = { addEventListener: (type) => types.push(type), removeEventListener: () => {} };
  const client = world().client({ events }).connect();
  client.disconnect();
  assert.ok(types.includes('pageshow') && !types.some((type) => /unload/.test(type)), `${types}`);
});

test('11: a hidden page goes on trying, up to a minute apart; one that was closed does not', async () => {
  const w = world();
  w.window.document.hidden = true;
  const client = w.client().connect();
  await withChance(0.999, async () => {
    for (let i = 0; i < 10; i++) {
      await settled();
      w.socket.end();
      await w.another();
    }
    w.socket.end();
    assert.ok(pauseOf(client) > 50_000 && pauseOf(client) < 61_000, `${pauseOf(client)}`);
  });
  w.tell('visibilitychange');
  await clock.pass(1_000);
  assert.equal(w.live.length, 0, 'going out of sight is no reason to try');
  client.disconnect();
  const { length } = w.sockets;
  w.window.document.hidden = false;
  ['visibilitychange', 'online', 'pageshow'].forEach((type) => w.tell(type));
  await clock.pass(100_000);
  assert.equal(w.sockets.length, length);
  assert.equal(client.state, 'disconnected');
});

test('12: what comes late of an old socket does nothing', async () => {
  const w = world();
  const client = await w.connected();
  const old = w.socket;
  const { onmessage, onclose, onerror } = old;
  const got = record(client.subscribe('r'));
  old.subscribed();
  old.end();
  await w.another();
  w.socket.greet('c2');
  w.socket.subscribed();
  onclose({ code: 4403, reason: '' });
  onerror({});
  onmessage({ data: '{"type":"message","room":"r","data":"late"}' });
  onmessage({ data: '{"type":"connected","data":{"client_id":"late"}}' });
  assert.equal(client.state, 'connected');
  assert.equal(client.id, 'c2');
  assert.deepEqual(got, ['not-kept']);
  client.disconnect();
});

test('13: handlers may call anything, and all see one order of states', async () => {
  const w = world();
  const client = w.client();
  const seen = [];
  let once = true;
  client.on('state', ({ state }) => {
    if (state === 'connected' && once) {
      once = false;
      client.disconnect();
      client.connect();
      client.disconnect();
    }
  });
  client.on('state', ({ state }) => seen.push(state));
  client.connect();
  await settled();
  w.socket.greet();
  await clock.pass(60_000);
  assert.deepEqual(seen, ['connecting', 'connected', 'disconnected', 'connecting', 'disconnected']);
  assert.equal(client.state, 'disconnected');
  assert.equal(w.live.length, 0);
  assert.equal(clock.timers.size, 0, 'no timer is left');
});

test('13: a subscription that ends in its own handler hears nothing more', async () => {
  const w = world();
  const client = await w.connected();
  const got = [];
  const sub = client.subscribe('r', ({ data }) => {
    got.push(data);
    sub.unsubscribe();
    client.subscribe('s');
  });
  w.socket.subscribed({ epoch: 'e', offset: 0 });
  w.socket.say([1, 2].map((offset) => ({ type: 'message', room: 'r', data: offset, offset, timestamp: 1 })));
  assert.deepEqual(got, [1]);
  assert.deepEqual(w.socket.sent.map(({ type, room }) => `${type} ${room}`), ['subscribe r', 'unsubscribe r', 'subscribe s']);
  client.disconnect();
});

test('14: the position has moved when a handler runs, also when it throws', async () => {
  const w = world();
  const client = await w.connected();
  const reported = [];
  const { error } = console;
  console.error = (thrown) => reported.push(thrown.message);
  const positions = [];
  const sub = client.subscribe('r', ({ offset }) => {
    positions.push([offset, sub.position.offset]);
    throw new Error(`of ${offset}`);
  });
  w.socket.subscribed({ epoch: 'e', offset: 0 });
  w.socket.say([1, 2, 3].map((offset) => ({ type: 'message', room: 'r', data: 0, offset, timestamp: 1 })));
  console.error = error;
  assert.deepEqual(positions, [[1, 1], [2, 2], [3, 3]]);
  assert.deepEqual(reported, ['of 1', 'of 2', 'of 3']);
  w.socket.end();
  await w.another();
  w.socket.greet();
  assert.deepEqual(w.socket.asked('subscribe')[0].recover, { epoch: 'e', offset: 3 });
  client.disconnect();
});

test('14: messages that were held move the position one by one', async () => {
  const w = world();
  const client = await w.connected();
  const positions = [];
  const load = async () => ({ epoch: 'e', offset: 5 });
  const sub = client.subscribe('r', ({ offset }) => positions.push([offset, sub.position.offset]), { load });
  w.socket.subscribed({ epoch: 'e', offset: 5 });
  [6, 7, 8].forEach((offset) => w.socket.message('r', offset));
  await settled();
  assert.deepEqual(positions, [[6, 6], [7, 7], [8, 8]]);
  client.disconnect();
});

test('15: the offset of an answer is no position until what was missed has come', async () => {
  const w = world();
  const client = await w.connected();
  const sub = client.subscribe('r');
  const got = record(sub);
  w.socket.subscribed({ epoch: 'e', offset: 10 });
  w.socket.message('r', 11);
  w.socket.end();
  await w.another();
  w.socket.greet();
  assert.deepEqual(w.socket.asked('subscribe')[0].recover, { epoch: 'e', offset: 11 });
  w.socket.subscribed({ epoch: 'e', offset: 14, recovered: true });
  w.socket.message('r', 12);
  assert.deepEqual(sub.position, { epoch: 'e', offset: 12 });
  w.socket.end();
  await w.another();
  w.socket.greet();
  assert.deepEqual(w.socket.asked('subscribe')[0].recover, { epoch: 'e', offset: 12 });
  w.socket.subscribed({ epoch: 'e', offset: 14, recovered: true });
  [13, 14, 15].forEach((offset) => w.socket.message('r', offset));
  assert.deepEqual(got, [11, 12, 13, 14, 15]);
  client.disconnect();
});

test('15: messages that are told again are not told again', async () => {
  const w = world();
  const client = await w.connected();
  const replayed = [];
  const sub = client.subscribe('r', (message) => replayed.push([message.offset, message.replayed]));
  w.socket.subscribed({ epoch: 'e', offset: 0 });
  w.socket.message('r', 1);
  w.socket.end();
  await w.another();
  w.socket.greet();
  w.socket.subscribed({ epoch: 'e', offset: 2, recovered: true });
  [1, 2, 2, 3].forEach((offset) => w.socket.message('r', offset));
  assert.deepEqual(replayed, [[1, false], [2, true], [3, false]]);
  assert.equal(sub.state, 'subscribed');
  client.disconnect();
});

test('16: each room has its own continuity', async () => {
  const w = world();
  const client = await w.connected();
  const [a, b] = ['a', 'b'].map((room) => {
    const got = record(client.subscribe(room));
    w.socket.subscribed({ epoch: `e${room}`, offset: 5 });
    w.socket.message(room, 6);
    return got;
  });
  w.socket.end();
  await w.another();
  w.socket.greet();
  const asked = w.socket.asked('subscribe');
  assert.deepEqual(asked.map(({ recover }) => recover.epoch), ['ea', 'eb']);
  const answer = (i, data) => w.socket.say({ type: 'subscribed', room: asked[i].room, id: asked[i].id, data, timestamp: 1 });
  answer(0, { epoch: 'ea', offset: 7, recovered: true });
  answer(1, { epoch: 'eb', offset: 90, recovered: false });
  w.socket.message('a', 7);
  w.socket.message('b', 91);
  assert.deepEqual(a, [6, 7]);
  assert.deepEqual(b, [6, 'not-kept', 91]);
  w.socket.end();
  await w.another();
  w.socket.greet();
  assert.deepEqual(w.socket.asked('subscribe').map(({ recover }) => recover.offset), [7, 91]);
  client.disconnect();
});

test('16: of a new epoch all is asked for that is kept of it', async () => {
  const w = world();
  const client = await w.connected();
  const got = record(client.subscribe('r'));
  w.socket.subscribed({ epoch: 'old', offset: 70 });
  w.socket.end();
  await w.another();
  w.socket.greet();
  w.socket.subscribed({ epoch: 'new', offset: 2, recovered: false });
  assert.deepEqual(w.socket.asked('subscribe')[1].recover, { epoch: 'new', offset: 0 });
  // Published before the second answer: it comes again, in its place.
  w.socket.message('r', 3);
  w.socket.subscribed({ epoch: 'new', offset: 3, recovered: true });
  [1, 2, 3, 4].forEach((offset) => w.socket.message('r', offset));
  assert.deepEqual(got, ['new-epoch', 1, 2, 3, 4]);
  client.disconnect();
});

test('17: what is published while the state is read is not lost', async () => {
  const w = world();
  const client = await w.connected();
  const whys = [];
  let give;
  const load = ({ why }) => (whys.push(why), new Promise((resolve) => (give = resolve)));
  const sub = client.subscribe('r', undefined, { load });
  const got = record(sub);
  w.socket.subscribed({ epoch: 'e', offset: 5 });
  await settled();
  [6, 7, 8].forEach((offset) => w.socket.message('r', offset));
  assert.equal(sub.state, 'subscribing');
  give({ epoch: 'e', offset: 6 });
  await settled();
  assert.deepEqual(got, [7, 8]);
  assert.equal(sub.state, 'subscribed');
  assert.equal(w.socket.asked('subscribe').length, 1, 'nothing has to be asked again');
  assert.deepEqual(whys, ['first']);
  client.disconnect();
});

test('17: where the state is older than the membership, the rest is recovered', async () => {
  const w = world();
  const client = await w.connected();
  const positions = [{ epoch: 'e', offset: 3 }, { epoch: 'e', offset: 8 }];
  const whys = [];
  const load = async ({ why }) => (whys.push(why), positions[whys.length - 1]);
  const got = record(client.subscribe('r', undefined, { load }));
  w.socket.subscribed({ epoch: 'e', offset: 5 });
  await settled();
  assert.deepEqual(w.socket.asked('subscribe')[1].recover, { epoch: 'e', offset: 3 });
  w.socket.message('r', 6);
  w.socket.subscribed({ epoch: 'e', offset: 6, recovered: true });
  [4, 5, 6, 7].forEach((offset) => w.socket.message('r', offset));
  assert.deepEqual(got, [4, 5, 6, 7]);
  w.socket.end();
  await w.another();
  w.socket.greet();
  w.socket.subscribed({ epoch: 'e', offset: 8, recovered: false });
  await settled();
  w.socket.message('r', 9);
  assert.deepEqual(whys, ['first', 'not-kept']);
  assert.deepEqual(got, [4, 5, 6, 7, 9], 'and no gap is told, as the state has it');
  client.disconnect();
});

test('17: a state that cannot be read is read again, one of an ended membership is not awaited', async () => {
  const w = world();
  const client = await w.connected();
  let calls = 0;
  const signals = [];
  const load = async ({ signal }) => {
    signals.push(signal);
    if (++calls === 1) throw new Error('503');
    await new Promise(() => {});
  };
  const sub = client.subscribe('r', undefined, { load });
  const errors = [];
  sub.on('error', (error) => errors.push(error.message));
  w.socket.subscribed();
  await clock.pass(2_000);
  assert.equal(calls, 2);
  assert.deepEqual(errors, ['503']);
  sub.unsubscribe();
  assert.equal(signals[1].aborted, true);
  client.disconnect();
});

test('17: a state that never fits is taken after a few tries, and the gap is told', async () => {
  const w = world();
  const client = await w.connected();
  const whys = [];
  const load = async ({ why }) => (whys.push(why), { epoch: 'stale', offset: 1 });
  const sub = client.subscribe('r', undefined, { load });
  const got = record(sub);
  for (let i = 0; i < 10 && sub.state !== 'subscribed'; i++) {
    w.socket.subscribed({ epoch: 'e', offset: 5, ...(i && { recovered: false }) });
    await settled();
  }
  w.socket.message('r', 6);
  w.socket.subscribed({ epoch: 'e', offset: 6, recovered: true });
  assert.deepEqual(whys, ['first', 'new-epoch', 'new-epoch']);
  assert.equal(got[0], 'new-epoch');
  assert.equal(sub.state, 'subscribed');
  client.disconnect();
});

test('18: a token is renewed in place, once, by the connection that was told', async () => {
  const w = world();
  const asked = [];
  let give;
  const getToken = ({ reason, signal }) => {
    asked.push([reason, signal]);
    return reason === 'connect' ? 't1' : new Promise((resolve) => (give = resolve));
  };
  const client = await w.connected({ getToken });
  assert.deepEqual(w.socket.protocols, ['fanwire.rooms', 'bearer.t1']);
  const ends = { type: 'identity_ends', data: { at: clock.now + 60_000 }, timestamp: 1 };
  w.socket.say(ends);
  w.socket.say(ends);
  await settled();
  assert.deepEqual(asked.map(([reason]) => reason), ['connect', 'expiring']);
  const old = give;
  w.socket.end();
  assert.equal(asked[1][1].aborted, true, 'its answer is wanted no more');
  await w.another();
  old('late');
  await settled();
  w.socket.greet();
  assert.equal(w.socket.asked('auth').length, 0);
  w.socket.say(ends);
  await settled();
  give('t2');
  await settled();
  assert.deepEqual(w.socket.asked('auth').map(({ token }) => token), ['t2']);
  w.socket.answer('auth', { type: 'authenticated', user_id: 'ann' });
  assert.equal(client.user, 'ann');
  await clock.pass(20_000);
  assert.equal(asked.length, 3);
  client.disconnect();
  assert.equal(clock.timers.size, 0);
});

test('18: a renewal that fails is tried again while the connection lasts', async () => {
  const w = world();
  let calls = 0;
  const getToken = async ({ reason }) => {
    if (reason === 'connect') return 't1';
    if (++calls === 1) throw new Error('503');
    return calls === 2 ? 't1' : 't2';
  };
  const client = await w.connected({ getToken });
  w.socket.say({ type: 'identity_ends', data: { at: clock.now + 60_000 }, timestamp: 1 });
  await clock.pass(10_000);
  assert.equal(calls, 3, 'the same token again is none');
  assert.equal(w.socket.asked('auth')[0].token, 't2');
  assert.equal(client.state, 'connected');
  client.disconnect();
});

test('19: a time of more than 31 bits of milliseconds is waited for', async () => {
  const w = world();
  const days = 30 * 24 * 3_600_000;
  const client = await w.connected({ silence: Infinity });
  w.socket.end(1001, `reconnect in ${days} ms`);
  await clock.pass(days - 1_000);
  assert.equal(w.sockets.length, 1);
  await clock.pass(2_000);
  assert.equal(w.sockets.length, 2);
  w.socket.greet();
  const late = client.request({ type: 'slow' }, { timeoutMs: Infinity });
  await clock.pass(days);
  w.socket.answer('slow', { type: 'done' });
  assert.equal((await late).type, 'done');
  client.disconnect();
});

test('20: a token that was refused is not brought again, and a new one clears the verdict', async () => {
  const w = world();
  const client = await w.connected({ token: 'old' });
  w.socket.end(4401, 'expired');
  assert.deepEqual([client.state, client.reason.retry], ['disconnected', 'new-token']);
  await clock.pass(100_000);
  assert.equal(w.sockets.length, 1);
  client.setToken('new');
  await settled();
  assert.equal(w.socket.protocols[1], 'bearer.new');
  w.socket.greet();
  client.setToken('of another user');
  w.socket.answer('auth', { type: 'error', error: 'Authentication token of another user or tenant' });
  await w.another();
  assert.equal(w.socket.protocols[1], 'bearer.of another user');
  w.socket.greet();
  client.setToken(null);
  await w.another();
  assert.deepEqual(w.socket.protocols, ['fanwire.rooms'], 'signed out');
  client.disconnect();
});

test('20: getToken is asked once for each refusal, and the same token twice ends it', async () => {
  const w = world();
  const reasons = [];
  const getToken = async ({ reason }) => (reasons.push(reason), `t${Math.min(reasons.length, 3)}`);
  const client = w.client({ getToken }).connect();
  await settled();
  for (let i = 0; i < 3; i++) {
    w.socket.open();
    w.socket.end(4401, 'invalid');
    if (i < 2) await w.another();
  }
  await clock.pass(100_000);
  assert.deepEqual(reasons, ['connect', 'refused', 'refused', 'refused']);
  assert.equal(client.state, 'disconnected');
  assert.equal(client.reason.retry, 'new-token');
});

test('20: Unauthorized ends it, other failures of getToken do not, and null is a client without a token', async () => {
  const w = world();
  const answers = [new Error('503'), new TypeError('network'), null];
  const getToken = async () => {
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const client = w.client({ getToken }).connect();
  await clock.pass(5_000);
  assert.deepEqual(w.socket.protocols, ['fanwire.rooms']);
  w.socket.greet();
  answers.push(new Unauthorized('signed out'));
  w.socket.end(4401, 'now a token is needed');
  await clock.pass(5_000);
  assert.deepEqual([client.state, client.reason.retry, client.reason.text], ['disconnected', 'never', 'signed out']);
});

test('20: a refusal that the browser hides brings a new token once the old one has an age', async () => {
  const w = world();
  let calls = 0;
  const client = await w.connected({ getToken: async () => `t${++calls}` });
  w.socket.end(1006);
  await w.another();
  assert.equal(w.socket.protocols[1], 'bearer.t1');
  await clock.pass(61_000);
  for (let i = 0; i < 4; i++) {
    w.socket.end(1006);
    await w.another();
  }
  assert.equal(calls, 2, 'but not at each attempt');
  assert.equal(w.socket.protocols[1], 'bearer.t2');
  client.disconnect();
});

test('21: handlers belong to a subscription, and an attempt that is not wanted any more leaves no socket', async () => {
  const w = world();
  let give;
  const client = w.client({}, () => new Promise((resolve) => (give = resolve)));
  client.connect();
  await settled();
  client.disconnect();
  give('ws://late/ws');
  await settled();
  assert.equal(w.sockets.length, 0);
  const other = await w.connected();
  const got = [];
  other.subscribe('r', ({ data }) => got.push(data));
  for (let i = 0; i < 5; i++) {
    w.socket.subscribed();
    w.socket.end();
    await w.another();
    w.socket.greet();
  }
  w.socket.subscribed();
  w.socket.say({ type: 'message', room: 'r', data: 'once', timestamp: 1 });
  assert.deepEqual(got, ['once']);
  other.disconnect();
  assert.equal(clock.timers.size, 0);
});

test('22: whatever is called while a request is under way, the last wish holds', async () => {
  const w = world();
  const client = w.client().connect();
  client.subscribe('never').unsubscribe();
  await settled();
  w.socket.greet();
  assert.equal(w.socket.sent.length, 0, 'a wish that was taken back is not sent');
  const first = client.subscribe('r');
  first.unsubscribe();
  const second = client.subscribe('r');
  second.unsubscribe();
  const got = record(client.subscribe('r'));
  assert.equal(w.socket.sent.length, 1, 'one request at a time');
  w.socket.subscribed();
  w.socket.subscribed();
  w.socket.say({ type: 'message', room: 'r', data: 'here', timestamp: 1 });
  assert.deepEqual(got, ['here']);
  assert.equal(w.socket.asked('unsubscribe').length, 0);
  client.disconnect();
});

test('22: the last of two subscriptions leaves the room', async () => {
  const w = world();
  const client = await w.connected();
  const first = client.subscribe('r');
  w.socket.subscribed();
  const second = client.subscribe('r');
  w.socket.subscribed();
  const got = record(second);
  first.unsubscribe();
  assert.equal(w.socket.asked('unsubscribe').length, 0);
  w.socket.say({ type: 'message', room: 'r', data: 1, timestamp: 1 });
  second.unsubscribe();
  assert.equal(w.socket.asked('unsubscribe').length, 1);
  const third = client.subscribe('r');
  w.socket.answer('unsubscribe', { type: 'unsubscribed', data: {} });
  w.socket.subscribed();
  assert.equal(third.state, 'subscribed');
  assert.deepEqual(got, [1]);
  client.disconnect();
});

test('22: an answer that does not come is asked for again; a refusal ends the subscription', async () => {
  const w = world();
  const client = await w.connected();
  const sub = client.subscribe('r');
  const errors = [];
  sub.on('error', ({ code, room, retry }) => errors.push([code, room, retry]));
  await clock.pass(11_500);
  assert.equal(w.socket.asked('subscribe').length, 2);
  w.socket.answer('subscribe', { type: 'error', error: 'room is at maximum capacity' });
  await clock.pass(2_000);
  w.socket.answer('subscribe', { type: 'error', error: 'access denied to this room' });
  assert.equal(sub.state, 'unsubscribed');
  assert.deepEqual(errors, [['timeout', 'r', 'later'], ['room_full', 'r', 'later'], ['forbidden', 'r', 'never']]);
  assert.equal(sub.reason.retry, 'never');
  w.socket.end();
  await w.another();
  w.socket.greet();
  assert.equal(w.socket.sent.length, 0);
  client.disconnect();
});

test('23: presence is what was told, whatever its order and its names', async () => {
  const w = world();
  const client = await w.connected();
  const sub = client.subscribe('r', undefined, { presence: true });
  const changes = [];
  sub.on('presence', ({ joined, left, count }) => changes.push([joined.map(({ id }) => id), left.map(({ id }) => id), count]));
  w.socket.subscribed();
  const notice = (joined, left, client_count, more) =>
    w.socket.say({ type: 'presence_change', room: 'r', data: { joined, left, client_count, ...more }, timestamp: 1 });
  notice(['early'], ['unknown'], 2);
  w.socket.answer('presence', { type: 'presence', data: { client_count: 2, clients: ['early', '__proto__'] } });
  notice(['constructor', 'early'], [], 3);
  notice([], ['__proto__'], 2);
  assert.deepEqual(changes, [
    [['early'], [], 2],
    [['__proto__'], [], 2],
    [['constructor'], [], 3],
    [[], ['__proto__'], 2],
  ]);
  w.socket.end();
  await w.another();
  assert.equal(sub.presence.members.size, 2, 'no flicker while it is away');
  w.socket.greet();
  w.socket.subscribed();
  w.socket.answer('presence', { type: 'presence', data: { client_count: 2, clients: ['early', 'new'] } });
  assert.deepEqual(changes.at(-1), [['new'], ['constructor'], 2]);
  assert.deepEqual([...sub.presence.members.keys()], ['early', 'new']);
  notice(['x'], [], 900, { joined_count: 700 });
  assert.equal(w.socket.asked('presence').length, 2, 'a notice that does not name all is no list');
  client.disconnect();
});

test('23: members may be users', async () => {
  const w = world();
  const client = await w.connected();
  const sub = client.subscribe('r', undefined, { presence: true });
  w.socket.subscribed();
  const users = [{ user: 'ann', tenant: 'a', info: { name: 'Ann' } }, { user: 'ann', tenant: 'b' }, { client_id: 'c7' }];
  w.socket.answer('presence', { type: 'presence', data: { user_count: 3, users } });
  assert.equal(sub.presence.count, 3);
  assert.deepEqual([...sub.presence.members.keys()], ['a\nann', 'b\nann', 'c7']);
  assert.deepEqual(sub.presence.members.get('a\nann').info, { name: 'Ann' });
  client.disconnect();
});

test('24: nothing is kept outside of memory, and a position can be given', async () => {
  const w = world();
  const touched = [];
  for (const name of ['localStorage', 'sessionStorage']) {
    Object.defineProperty(globalThis, name, { configurable: true, get: () => touched.push(name) });
  }
  const client = await w.connected();
  const sub = client.subscribe('r', undefined, { since: { epoch: 'e', offset: 4 } });
  const got = record(sub);
  assert.deepEqual(w.socket.asked('subscribe')[0].recover, { epoch: 'e', offset: 4 });
  w.socket.subscribed({ epoch: 'e', offset: 5, recovered: true });
  w.socket.message('r', 5);
  const late = record(client.subscribe('r', undefined, { since: { epoch: 'e', offset: 2 } }));
  assert.deepEqual(w.socket.asked('subscribe')[1].recover, { epoch: 'e', offset: 2 });
  w.socket.subscribed({ epoch: 'e', offset: 5, recovered: true });
  [3, 4, 5, 6].forEach((offset) => w.socket.message('r', offset));
  assert.deepEqual(got, [5, 6], 'each subscription has its own position');
  assert.deepEqual(late, [3, 4, 5, 6]);
  client.disconnect();
  assert.deepEqual(touched, []);
  delete globalThis.localStorage;
  delete globalThis.sessionStorage;
});
