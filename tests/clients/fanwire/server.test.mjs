// The client against the server itself, whose path is in FANWIRE_SERVER: restarts, drains, a network that stalls, tokens
// that expire. What is shipped is tested, not its source.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { Fanwire } from '../../../src/client/fanwire.min.js';

const WebSocket = globalThis.WebSocket ?? createRequire(import.meta.url)('ws');
const SECRET = 'a secret of tests that is long enough';
const REMEMBERS = '--room-rules=[{"pattern":"**","history_messages":1000,"presence":true}]';
// The variables that a server reads would be settings of it.
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(FANWIRE|WEBSOCKET)_/.test(name)));
const servers = new Set();
const clients = new Set();

after(() => {
  clients.forEach((client) => client.disconnect());
  servers.forEach((server) => server.child.kill('SIGKILL'));
});

class Server {
  static async start(flags = [], port = 0) {
    const server = new Server();
    const all = ['--host=127.0.0.1', `--port=${port}`, '--shards=2', ...flags];
    server.flags = flags;
    server.child = spawn(process.env.FANWIRE_SERVER, all, {
      env: { ...environment, FANWIRE_JWT_SECRET: SECRET },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    servers.add(server);
    for await (const line of createInterface({ input: server.child.stdout })) {
      const found = /^listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
      if (!found) continue;
      server.port = Number(found[1]);
      server.child.stdout.resume();
      return server;
    }
    throw new Error('the server ended');
  }

  async stop(signal) {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = once(this.child, 'exit');
      this.child.kill(signal);
      await ended;
    }
    servers.delete(this);
  }

  // Another one in its place.
  async again(signal) {
    await this.stop(signal);
    return Server.start(this.flags, this.port);
  }

  async call(method, path, body) {
    const answer = await fetch(`http://127.0.0.1:${this.port}${path}`, { method, body: body && JSON.stringify(body) });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
    return answer.json();
  }

  publish(room, data) {
    return this.call('POST', '/v1/publish', { room, data });
  }

  client(options = {}, path = '/ws') {
    const client = new Fanwire(`ws://127.0.0.1:${this.port}${path}`, { WebSocket, backoff: { min: 50, max: 500 }, ...options });
    clients.add(client);
    return client;
  }
}

// Until the condition holds; it is asked again whenever something may have changed.
async function until(what, condition) {
  const began = Date.now();
  while (!(await condition())) {
    if (Date.now() - began > 60_000) assert.fail(`not within a minute: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const record = (subscription) => {
  const got = [];
  subscription.on('message', ({ data }) => got.push(data));
  subscription.on('gap', ({ why }) => got.push(why));
  return got;
};
const subscribed = (...subscriptions) =>
  until(() => 'subscribed', () => subscriptions.every(({ state }) => state === 'subscribed'));
const says = (got, expected) =>
  until(() => JSON.stringify(got), () => got.length >= expected.length).then(() => assert.deepEqual(got, expected));

test('a publication is answered with its offset, and heard with all that is told of it', async () => {
  const server = await Server.start([REMEMBERS]);
  const client = server.client().connect();
  await client.ready();
  const heard = [];
  const sub = client.subscribe('r', (message) => heard.push(message));
  await subscribed(sub);
  assert.deepEqual((({ offset }) => offset)(await sub.publish({ n: 1 })), 1);
  await until(() => 'heard', () => heard.length === 1);
  assert.deepEqual([heard[0].data, heard[0].offset, heard[0].from.id], [{ n: 1 }, 1, client.id]);
  assert.ok(Math.abs(heard[0].at - Date.now()) < 60_000);
  await assert.rejects(client.publish('elsewhere', 1), { code: 'not_subscribed', retry: 'never', room: 'elsewhere' });
  await assert.rejects(client.request({ type: 'nothing' }), { code: 'bad_request' });
  client.disconnect();
  await assert.rejects(client.publish('r', 1), { code: 'closed' });
});

test('what is published while the connection is lost comes, once and in order', async () => {
  const server = await Server.start([REMEMBERS]);
  const client = server.client().connect();
  const sub = client.subscribe('r');
  const got = record(sub);
  await subscribed(sub);
  let n = 0;
  for (let round = 0; round < 5; round++) {
    const { id } = client;
    await server.publish('r', n++);
    await server.call('DELETE', `/v1/connections/${id}?reason=reconnect%20in%2050%20ms`);
    for (let i = 0; i < 20; i++) await server.publish('r', n++);
    await until(() => 'back', () => client.state === 'connected' && client.id !== id);
  }
  await says(got, Array.from({ length: n }, (_, i) => i));
});

test('a kick of the backend is heeded', async () => {
  const server = await Server.start();
  const client = server.client().connect();
  await client.ready();
  await server.call('DELETE', `/v1/connections/${client.id}`);
  await until(() => client.state, () => client.state === 'disconnected');
  assert.deepEqual([client.reason.code, client.reason.retry], [4440, 'never']);
});

test('a restart is survived, and what the new server keeps is told', async () => {
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    let server = await Server.start([REMEMBERS, '--drain-timeout=1s']);
    const client = server.client().connect();
    const sub = client.subscribe('r');
    const got = record(sub);
    await subscribed(sub);
    await server.publish('r', 'before');
    await says(got, ['before']);
    const reasons = [];
    client.on('state', ({ reason }) => reason && reasons.push(reason));
    server = await server.again(signal);
    await server.publish('r', 'between');
    await says(got, ['before', 'new-epoch', 'between']);
    await server.publish('r', 'after');
    await says(got, ['before', 'new-epoch', 'between', 'after']);
    const [first] = reasons;
    if (signal === 'SIGTERM') assert.deepEqual([first.code, first.retry], [1001, 'later']);
    assert.equal(sub.state, 'subscribed');
    client.disconnect();
    await server.stop('SIGKILL');
  }
});

test('the state is read anew where nothing proves that all has come', async () => {
  let server = await Server.start([REMEMBERS, '--drain-timeout=0s']);
  const client = server.client().connect();
  const whys = [];
  const load = async ({ why, signal }) => {
    whys.push(why);
    const answer = await fetch(`http://127.0.0.1:${server.port}/v1/rooms/r/messages`, { signal });
    if (answer.status === 404) return undefined;
    const { epoch, offset, messages } = await answer.json();
    state.splice(0, state.length, ...messages.map(({ data }) => data));
    return { epoch, offset };
  };
  const state = [];
  for (let i = 0; i < 3; i++) await server.publish('r', i);
  const sub = client.subscribe('r', ({ data }) => state.push(data), { load });
  await subscribed(sub);
  await server.publish('r', 3);
  await says(state, [0, 1, 2, 3]);
  server = await server.again('SIGKILL');
  await server.publish('r', 'new');
  await until(() => `${whys}`, () => whys.includes('new-epoch'));
  await subscribed(sub);
  await server.publish('r', 'newer');
  await until(() => JSON.stringify(state), () => state.includes('newer'));
  assert.deepEqual(state, ['new', 'newer']);
});

test('a network that stalls is found out, and nothing is lost by it', async () => {
  const server = await Server.start([REMEMBERS]);
  const events = new EventTarget();
  const client = server.client({ events, timeout: 1000 }).connect();
  const sub = client.subscribe('r');
  const got = record(sub);
  await subscribed(sub);
  await server.publish('r', 1);
  await says(got, [1]);
  server.child.kill('SIGSTOP');
  events.dispatchEvent(new Event('online'));
  await until(() => client.state, () => client.state === 'connecting');
  assert.equal(client.reason.text, 'no answer');
  server.child.kill('SIGCONT');
  await subscribed(sub);
  await server.publish('r', 2);
  await says(got, [1, 2]);
});

const tokenOf = (user, seconds) => {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256' })}.${part({ userId: user, exp: Math.floor(Date.now() / 1000) + seconds, n: Math.random() })}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
};

test('tokens that expire are renewed in place', async () => {
  const server = await Server.start(['--jwt-leeway=0s', '--endpoints=[{"path":"/ws","dialect":"rooms","auth":"required","auth_failure":"close"}]']);
  const reasons = [];
  const getToken = async ({ reason }) => (reasons.push(reason), tokenOf('ann', 3));
  const client = server.client({ getToken }).connect();
  await client.ready();
  const { id } = client;
  await until(() => `${reasons}`, () => reasons.filter((reason) => reason === 'expiring').length >= 3);
  assert.deepEqual([client.id, client.state, client.user], [id, 'connected', 'ann']);
  const other = server.client({ token: tokenOf('ann', 600) }).connect();
  await other.ready();
  other.setToken(tokenOf('bob', 600));
  const before = other.id;
  await until(() => other.state, () => other.state === 'connected' && other.id !== before);
});

test('a token that is not good is not brought again', async () => {
  const server = await Server.start(['--endpoints=[{"path":"/ws","dialect":"rooms","auth":"required","auth_failure":"close"}]']);
  const client = server.client({ token: 'nonsense' }).connect();
  await assert.rejects(client.ready(), { code: 'closed', retry: 'new-token' });
  assert.equal(client.reason.code, 4401);
  client.setToken(tokenOf('ann', 600));
  await client.ready();
});

test('batches, filters, presence and loops', async () => {
  const endpoint = { path: '/live', dialect: 'rooms', messages: { update_interval: 'pace', apply_filter: 'filter' } };
  const server = await Server.start([REMEMBERS, `--endpoints=[${JSON.stringify(endpoint)}]`]);
  const client = server.client({ batch: 20 }, '/live').connect();
  client.keep('apply_filter', { filter: { status: 'active' } });
  const sub = client.subscribe('r', undefined, { presence: true });
  await subscribed(sub);
  await until(() => `${[...sub.presence.members]}`, () => sub.presence.members.has(client.id));
  const other = server.client({}, '/live').connect();
  await other.ready();
  const joined = other.subscribe('r');
  await until(() => 'two', () => sub.presence.count === 2);
  assert.ok(sub.presence.members.has(other.id));
  joined.unsubscribe();
  await until(() => 'one', () => sub.presence.count === 1);
  const { id } = client;
  await server.call('DELETE', `/v1/connections/${id}?reason=reconnect%20in%2050%20ms`);
  await until(() => 'back', () => client.state === 'connected' && client.id !== id);
  await subscribed(sub);
  (async () => {
    for (const [n, status] of ['active', 'gone', 'active', 'gone', 'active'].entries()) await server.publish('r', { n, status });
  })();
  const got = [];
  for await (const { data } of sub) if (got.push(data.n) === 3) break;
  assert.deepEqual(got, [0, 2, 4], 'the filter holds on the second connection as well');
});

test('requests wait for the connection where that is asked for', async () => {
  let server = await Server.start([REMEMBERS, '--drain-timeout=0s']);
  const client = server.client().connect();
  const sub = client.subscribe('r');
  const got = record(sub);
  await subscribed(sub);
  await server.stop('SIGKILL');
  await until(() => client.state, () => client.state === 'connecting');
  await assert.rejects(sub.publish(0), { code: 'closed', retry: 'later' });
  const waiting = [1, 2, 3].map((n) => sub.publish(n, { queue: true }));
  server = await Server.start(server.flags, server.port);
  assert.deepEqual((await Promise.all(waiting)).map(({ offset }) => offset), [1, 2, 3]);
  await until(() => JSON.stringify(got), () => got.at(-1) === 3);
  assert.deepEqual(got.filter((each) => typeof each === 'number'), [1, 2, 3]);
});
