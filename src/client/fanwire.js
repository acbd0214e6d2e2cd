// Fanwire's client: rooms over one WebSocket that comes back by itself, and loses nothing where the server keeps a
// history. For browsers, Node, Deno and Bun. fanwire.d.ts tells what each part does. Names with `_` are internal.

const HELD_MAX = 1000; // messages that wait for one subscription or iterator
const QUEUE_MAX = 100; // requests that wait for a connection
const UNSENT_MAX = 1 << 20; // bytes that the socket has not sent, beyond which requests are refused
const STEADY_MS = 5000; // a connection that has lasted so long makes the next pause short again
const LOADS_MAX = 3; // calls of `load` in a row that prove nothing

// By the server's words where an error has no code yet: its code, and when to ask again where that is of use.
const ERRORS = [
  [/rate limit/, 'rate_limited', 'later'],
  [/not subscribed/, 'not_subscribed'],
  [/denied|permissions|disabled|not enabled/, 'forbidden'],
  [/at maximum capacity/, 'room_full', 'later'],
  [/too (many|much)/, 'limit', 'later'],
  [/authentication/i, 'bad_token', 'new-token'],
  [/try again|answered with an error|internal/, 'unavailable', 'later'],
  [/JSON|message type|room name/, 'bad_request'],
];

// Close codes after which the same would happen again. 4440 is the backend's wish, unless it says when to come back.
const FINAL = [1002, 1003, 1007, 1009, 1010, 4403, 4440];

export class FanwireError extends Error {
  name = 'FanwireError';
  constructor(code, retry, message = code, room) {
    super(message);
    Object.assign(this, { code, retry, room });
  }
}

export class Unauthorized extends FanwireError {
  constructor(message) {
    super('unauthorized', 'never', message);
  }
}

function refusal({ code, error, retry, room }) {
  const known = ERRORS.find((row) => (code ? row[1] === code : row[0].test(error)));
  return new FanwireError(code ?? known?.[1] ?? 'refused', retry ?? known?.[2] ?? 'never', error, room);
}

// When to come back after a close, and a hint after how many ms.
function retryAfter(code, text) {
  const hint = /reconnect in (\d+) ms/.exec(text);
  if (hint || code === 4429 || code === 1013) return ['later', hint && +hint[1]];
  return [FINAL.includes(code) ? 'never' : code === 4401 ? 'new-token' : 'now'];
}

// A timer of any length: setTimeout fires at once where more than 31 bits are asked for.
function after(ms, act, timer = {}) {
  const step = Math.min(ms, 2 ** 31 - 1);
  timer.id = setTimeout(() => (ms > step ? after(ms - step, act, timer) : act()), step);
  return timer;
}

// A time limit. A machine that slept past it has messages to handle first: they get a moment.
function limit(ms, act) {
  const due = Date.now() + ms;
  const timer = after(ms, () => (Date.now() > due + ms ? after(Math.min(ms, 1000), act, timer) : act()));
  return timer;
}

// What a handler throws is its own: it is shown, and nothing else is changed by it.
function guarded(act) {
  try {
    act();
  } catch (error) {
    (globalThis.reportError ?? console.error)(error);
  }
}

class Emitter {
  _handlers = {};

  on(event, handler) {
    const entry = [handler];
    const entries = (this._handlers[event] ??= new Set());
    entries.add(entry);
    return () => entries.delete(entry);
  }

  _tell(event, detail) {
    this._client._later(() => this._call(event, detail));
  }

  _call(event, detail) {
    const entries = this._handlers[event];
    for (const entry of [...(entries ?? [])]) if (entries.has(entry)) guarded(() => entry[0](detail));
  }

  _fail(error) {
    this._tell('error', error);
  }
}

export class Fanwire extends Emitter {
  state = 'disconnected';
  _client = this;
  _rooms = new Map();
  _kept = new Map(); // messages that each connection begins with
  _pending = new Map(); // requests under way, by their ids
  _queued = 0; // requests that wait for a connection
  _id = 0;
  _tries = 0;
  _limited = 0; // closes with 4429 in a row
  _fetched = 0; // when getToken was answered

  constructor(url, options = {}) {
    super();
    const events = globalThis.addEventListener ? globalThis : null;
    this._options = { timeout: 5000, silence: 25000, WebSocket: globalThis.WebSocket, events, ...options };
    this._backoff = { min: 500, max: 20000, ...options.backoff };
    this._url = url;
    this._token = options.token;
  }

  connect() {
    this._turn(() => {
      if (this.state !== 'disconnected') return;
      this._listen('addEventListener');
      this.reason = undefined;
      this._tries = this._limited = 0;
      this._to('connecting');
      this._attempt();
    });
    return this;
  }

  disconnect() {
    this._turn(() => this._end(1000, 'disconnected', 'never'));
  }

  ready(timeoutMs = Infinity) {
    return new Promise((resolve, reject) => {
      const fail = (code) => reject(new FanwireError(code, this.reason?.retry, this.reason?.text));
      const timer = limit(timeoutMs, () => done(() => fail('timeout')));
      const off = this.on('state', () => check());
      const done = (settle) => (off(), clearTimeout(timer.id), settle());
      const check = () => {
        if (this.state === 'connected') done(resolve);
        if (this.state === 'disconnected') done(() => fail('closed'));
      };
      check();
    });
  }

  setToken(token) {
    this._turn(() => {
      this._token = token;
      this._refused = undefined;
      if (this.state === 'connected') this._authenticate();
      else if (this._socket) this._attempt();
      else if (this.reason?.retry === 'new-token') this.connect();
    });
  }

  subscribe(name, handler, options = {}) {
    return this._turn(() => {
      const room = this._rooms.get(name) ?? new Room(this, name);
      this._rooms.set(name, room);
      const subscription = new Subscription(room, options);
      if (handler) subscription.on('message', handler);
      room._subs.add(subscription);
      room._sync();
      return subscription;
    });
  }

  publish(room, data, options) {
    return this.request({ type: 'publish', room, data }, options);
  }

  broadcast(data, options) {
    return this.request({ type: 'broadcast', data }, options);
  }

  async request(message, { queue, timeoutMs } = {}) {
    const fail = (code) => {
      throw new FanwireError(code, 'later', code, message.room);
    };
    if (queue && this.state === 'connecting') {
      if (this._queued >= QUEUE_MAX) fail('queue_full');
      this._queued++;
      await this.ready(timeoutMs ?? 30000).finally(() => this._queued--);
    }
    if (this.state !== 'connected') fail('closed');
    if (this._socket.bufferedAmount > UNSENT_MAX) fail('backpressure');
    return new Promise((resolve, reject) => {
      this._ask(message, (error, answer) => (error ? reject(error) : resolve(answer)), timeoutMs, true);
    });
  }

  // Sent now, and first on each later connection: what the server keeps of a connection is gone with it.
  keep(type, fields) {
    this._kept.set(type, fields);
    if (this.state === 'connected') this._turn(() => this._restore(fields, type));
  }

  // Handlers are called when all that an event changes has changed, so that they may call anything.
  _turn(act) {
    if (this._calls) return act();
    this._calls = [];
    try {
      return act();
    } finally {
      for (const call of this._calls) guarded(call);
      this._calls = undefined;
    }
  }

  _later(call) {
    this._calls.push(call);
  }

  _to(state) {
    if (state !== this.state) this._since = Date.now();
    this.state = state;
    this._tell('state', { state, reason: this.reason, since: this._since });
  }

  _listen(how) {
    for (const type of ['online', 'offline', 'pagehide', 'pageshow', 'visibilitychange']) {
      this._options.events?.[how](type, this._wake);
    }
  }

  // The browser tells that something may have changed: nothing is believed, a connection is asked for an answer.
  _wake = ({ type }) => {
    this._turn(() => {
      if (type === 'pagehide') {
        // A page that is kept for the way back must have no connection.
        this._lost(1000, 'pagehide');
        clearTimeout(this._timer.id);
      } else if (this.state === 'connected') {
        this._probe(2000);
      } else if (type === 'pageshow' || (type !== 'offline' && !this._isHidden())) {
        if (this._trying ? type !== 'online' : this.reason?.retry === 'later') return;
        // A network that comes and goes makes no storm.
        this._wait(Math.max(0, this._tried + this._backoff.min - Date.now()));
      }
    });
  };

  _isHidden() {
    return this._options.events?.document?.hidden;
  }

  _wait(ms) {
    this._drop();
    this._timer = after(ms, () => this._turn(() => this._attempt()));
  }

  async _attempt() {
    this._drop();
    this._tried = Date.now();
    const { signal } = (this._trying = new AbortController());
    const { WebSocket, timeout, batch, getToken } = this._options;
    const lost = (code, text) => this._turn(() => this._lost(code, text, ...retryAfter(code, text)));
    const expire = (ms) => (this._timer = limit(ms, () => lost(1006, 'timeout')));
    // Firefox lets an attempt wait after failures, so later ones get more time.
    const patience = timeout * 2 ** Math.min(this._tries, 2);
    expire(6 * patience);
    try {
      let token = this._token;
      if (token === undefined && getToken) {
        const isRefused = this._refused !== undefined;
        token = await getToken({ reason: isRefused ? 'refused' : 'connect', signal });
        if (signal.aborted) return;
        if (isRefused && token === this._refused) throw new FanwireError('bad_token', 'new-token');
        this._token = token;
        this._fetched = Date.now();
      }
      const url = new URL(await (this._url.call ? this._url() : this._url), globalThis.location?.href);
      if (signal.aborted) return;
      if (batch) url.searchParams.set('batch', batch);
      clearTimeout(this._timer.id);
      expire(patience);
      const protocols = ['fanwire.rooms'];
      if (token != null) protocols.push(`bearer.${token}`);
      const socket = (this._socket = new WebSocket(url.href.replace(/^http/, 'ws'), protocols));
      socket.onerror = () => {};
      socket.onclose = ({ code, reason }) => socket === this._socket && lost(code, reason);
      socket.onmessage = ({ data }) => this._read(socket, data);
    } catch (error) {
      if (signal.aborted) return;
      // What is wrong with an address or a token stays wrong.
      const retry = error.retry ?? (error.name === 'SyntaxError' ? 'never' : 'now');
      const why = [error.retry ? 4401 : 1006, error.message, retry];
      this._turn(() => (this._fail(error), retry === 'new-token' ? this._end(...why) : this._lost(...why)));
    }
  }

  // Gives up the socket. Whatever still comes of it is not heard.
  _drop() {
    this._trying?.abort();
    clearTimeout(this._timer?.id);
    clearTimeout(this._renewal?.id);
    const socket = this._socket;
    this._trying = this._socket = this._renewal = undefined;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close(1000);
    }
    for (const done of [...this._pending.values()]) {
      done(new FanwireError('lost', 'now'));
    }
    this._rooms.forEach((room) => room._drop());
  }

  _lost(code, text, retry = 'now', hintMs) {
    if (this.state === 'disconnected') return;
    const now = Date.now();
    const { getToken } = this._options;
    const wasConnected = this.state === 'connected';
    if (wasConnected && now - this._since >= STEADY_MS) this._tries = this._limited = 0;
    this._drop();
    if (code === 4429 && ++this._limited > 2) retry = 'never';
    if (retry === 'new-token') {
      if (!getToken) return this._end(code, text, retry);
      this._refused = this._token ?? null;
      this._token = undefined;
    } else if (!wasConnected && getToken && now - this._fetched > 60000) {
      // Browsers do not show a 401: it looks like any other failure.
      this._token = undefined;
    }
    if (retry === 'never') return this._end(code, text, retry);
    if (code === 4430) this._fail(new FanwireError('slow_consumer', retry, text));
    const { min, max } = this._backoff;
    const most = this._isHidden() ? Math.max(max, 60000) : max;
    const pause = this._pause(this._tries++, most) + (retry === 'later' ? 10000 : 0);
    const retryAfterMs = Math.round(Math.max(min, hintMs ?? pause));
    this.reason = { code, text, retry, retryAfterMs };
    this._to('connecting');
    this._wait(retryAfterMs);
  }

  // Full jitter: clients that fell together do not come back together.
  _pause(tries, max = this._backoff.max) {
    const { min } = this._backoff;
    return min + Math.random() * Math.min(max, min * 2 ** tries);
  }

  _end(code, text, retry) {
    if (this.state === 'disconnected') return;
    this._drop();
    this._listen('removeEventListener');
    this.reason = { code, text, retry };
    this._to('disconnected');
  }

  _read(socket, text) {
    let messages;
    try {
      messages = [JSON.parse(text)].flat();
    } catch {
      return this._turn(() => this._fail(new FanwireError('protocol', 'never')));
    }
    for (const message of messages) {
      // A handler may have ended the connection.
      if (socket !== this._socket) return;
      this._heard = Date.now();
      this._turn(() => this._receive(message));
    }
  }

  _receive(message) {
    const { type, room: name, id, data } = message;
    // Publications have no id; what was answered too late is nobody's any more.
    if (id !== undefined) return this._pending.get(id)?.(type === 'error' ? refusal(message) : null, message);
    const room = this._rooms.get(name);
    // Notices have neither of these, so a publication of such a type passes where it has one.
    if (message.offset === undefined && !message.client_id) {
      if (type === 'connected' && !name) return this._greeted(data);
      if (type === 'pong' || type === 'subscribed') return;
      if (type === 'identity_ends') return this._renew();
      if (type === 'error') return this._fail(refusal(message));
      if (room && type === 'gap') return room._subs.forEach((sub) => sub._gap(data.lost));
      if (room && type === 'presence_change') return room._changed(data);
      // Put out by the backend, or by rules that have changed.
      if (room && type === 'unsubscribed') return room._end(new FanwireError('removed', 'never'));
    }
    if (room) room._publication(message);
    else this._tell('message', messageOf(message));
  }

  _greeted({ client_id }) {
    this._trying = undefined;
    this.id = client_id;
    this.reason = undefined;
    clearTimeout(this._timer.id);
    this._to('connected');
    this._watch(this._options.silence);
    this._kept.forEach(this._restore, this);
    this._rooms.forEach((room) => room._sync());
  }

  _restore(fields, type) {
    this._ask({ type, ...fields }, (error) => error && this._fail(error));
  }

  // What is asked of here alone is not told that the connection was lost: the next one asks anew.
  _ask(message, done, timeoutMs = 10000, isUsers = false) {
    const id = ++this._id;
    const finish = (error, answer) => {
      clearTimeout(timer.id);
      this._pending.delete(id);
      if (error) error.room = message.room;
      if (isUsers || error?.code !== 'lost') done(error, answer);
    };
    const timer = limit(timeoutMs, () => this._turn(() => finish(new FanwireError('timeout', 'later'))));
    this._pending.set(id, finish);
    this._send({ ...message, id });
  }

  _send(message) {
    this._socket.send(JSON.stringify(message));
  }

  // Browsers hide the server's pings. So a silent connection is asked, never closed unasked.
  _watch(ms) {
    this._timer = limit(ms, () => {
      const left = this._heard + this._options.silence - Date.now();
      if (left > 0) this._watch(left);
      else this._probe(10000);
    });
  }

  _probe(ms) {
    clearTimeout(this._timer.id);
    const asked = Date.now();
    this._heard = asked - 1;
    this._send({ type: 'ping' });
    this._timer = limit(ms, () => {
      if (this._heard >= asked) this._watch(this._options.silence);
      else this._turn(() => this._lost(1006, 'no answer'));
    });
  }

  _authenticate() {
    const token = this._token;
    const again = () => this._lost(1000, 'token');
    if (token == null) return again();
    this._ask({ type: 'auth', token }, (error, answer) => {
      if (!error) this.user = answer.user_id;
      // Another user needs another connection.
      else if (/another user|permissions/.test(error.message)) again();
      else this._fail(error);
    });
  }

  // Brings a new token to the connection that there is. This ends with it: the next one begins anew.
  async _renew() {
    const { getToken } = this._options;
    const socket = this._socket;
    if (!getToken || this._renewal) return;
    const { signal } = (this._trying = new AbortController());
    this._renewal = {};
    const act = (act) => socket === this._socket && this._turn(act);
    const again = (error) => {
      this._fail(error);
      if (error.retry === 'never') return this._end(4401, error.message, 'never');
      this._renewal = after(this._pause(3), () => ((this._renewal = undefined), this._renew()));
    };
    try {
      const token = await getToken({ reason: 'expiring', signal });
      act(() => {
        if (token === this._token) return again(new FanwireError('bad_token', 'later'));
        this._renewal = undefined;
        this._token = token;
        this._fetched = Date.now();
        this._authenticate();
      });
    } catch (error) {
      act(() => again(error));
    }
  }
}

function messageOf({ room, type, data, offset, client_id, timestamp }, end) {
  const from = client_id && { id: client_id };
  return { room, type, data, offset, from, at: new Date(timestamp), replayed: offset <= end };
}

// A room on the wire: what its subscriptions want, and at most one request under way.
class Room {
  _subs = new Set();
  members = new Map();
  count = 0;
  _isJoined = false;
  _isBusy = false;
  _tries = 0;

  constructor(client, name) {
    Object.assign(this, { _client: client, _name: name });
  }

  _drop() {
    this._isJoined = this._isBusy = false;
    this._subs.forEach((sub) => sub._need());
  }

  _sync() {
    const { _client: client, _name: name, _subs: subs } = this;
    if (client.state !== 'connected' || this._isBusy) return;
    const needy = [...subs].filter((sub) => sub._isNeedy);
    if (!subs.size && !this._isJoined) return client._rooms.delete(name);
    if (subs.size && this._isJoined && !needy.length) return;
    let recover;
    for (const { _at: at } of needy) {
      if (at && !(recover && (at.epoch !== recover.epoch || at.offset >= recover.offset))) recover = at;
    }
    this._isBusy = true;
    client._ask({ type: subs.size ? 'subscribe' : 'unsubscribe', room: name, recover }, (error, answer) => {
      this._isBusy = false;
      if (error) return this._refused(error);
      this._tries = 0;
      this._isJoined = answer.type === 'subscribed';
      if (this._isJoined) this._answered(needy, recover, answer.data);
      this._sync();
    });
  }

  _answered(needy, asked, { epoch, offset, recovered }) {
    const at = epoch && { epoch, offset };
    this._last = offset;
    for (const sub of needy) {
      const was = sub._at;
      const isSame = at && was?.epoch === epoch;
      const isTold = recovered && asked.epoch === epoch && was?.offset >= asked.offset;
      if (sub._isNeedy) sub._answered(at, isSame && (isTold || was.offset === offset));
    }
    if (needy.some((sub) => sub._options.presence)) this._list();
  }

  _refused(error) {
    this._subs.forEach((sub) => sub._fail(error));
    if (error.retry !== 'later') return this._end(error);
    after(this._client._pause(this._tries++), () => this._client._turn(() => this._sync()));
  }

  _end(reason) {
    this._isJoined = false;
    this._subs.forEach((sub) => sub._end(reason));
  }

  _publication(message) {
    const told = messageOf(message, this._last);
    this._subs.forEach((sub) => sub._publication(told));
  }

  _list() {
    this._client._ask({ type: 'presence', room: this._name }, (error, answer) => {
      if (error) return this._subs.forEach((sub) => sub._fail(error));
      const { clients, users } = answer.data;
      const there = new Map((clients ?? users).map(memberOf));
      const left = [...this.members.keys()].filter((key) => !there.has(key));
      this._update([...there], left, answer.data);
    });
  }

  _changed(data) {
    this._update(data.joined.map(memberOf), data.left.map((member) => memberOf(member)[0]), data);
    // The notice does not name all.
    if (data.joined_count || data.left_count) this._list();
  }

  _update(there, gone, { client_count, user_count }) {
    const joined = there.filter(([key]) => !this.members.has(key)).map(([, member]) => member);
    const left = gone.map((key) => this.members.get(key)).filter(Boolean);
    there.forEach(([key, member]) => this.members.set(key, member));
    gone.forEach((key) => this.members.delete(key));
    this.count = client_count ?? user_count;
    this._subs.forEach((sub) => sub._tell('presence', { joined, left, count: this.count }));
  }
}

// A user is one of its tenant; names have no line breaks.
function memberOf(member) {
  if (typeof member === 'string') return [member, { id: member }];
  const { client_id: id, ...rest } = member;
  return [id ?? (rest.tenant ? `${rest.tenant}\n${rest.user}` : rest.user), { id, ...rest }];
}

class Subscription extends Emitter {
  state = 'subscribing';
  _isNeedy = true; // the server has to be asked where the room stands
  _lost = 0; // messages that a gap has told of
  _loads = 0;

  constructor(room, options) {
    super();
    Object.assign(this, { room: room._name, presence: room, _room: room, _client: room._client, _options: options });
    this._at = this.position = options.since;
    this._hasBegun = !!options.since;
  }

  publish(data, options) {
    return this._client.publish(this.room, data, options);
  }

  unsubscribe() {
    this._client._turn(() => this._end(new FanwireError('unsubscribed', 'never')));
  }

  async *[Symbol.asyncIterator]() {
    const queue = [];
    let wake = () => {};
    const offs = [this.on('message', (m) => (queue.push(m), wake())), this.on('state', () => wake())];
    try {
      while (this.state !== 'unsubscribed' || queue.length) {
        if (queue.length > HELD_MAX) throw new FanwireError('slow_reader', 'now');
        if (queue.length) yield queue.shift();
        else await new Promise((resolve) => (wake = resolve));
      }
    } finally {
      offs.forEach((off) => off());
    }
  }

  _to(state) {
    if (state === this.state) return;
    this.state = state;
    this._tell('state', { state, reason: this.reason });
  }

  _end(reason) {
    if (this.state === 'unsubscribed') return;
    this._loading?.abort();
    this.reason = reason;
    this._room._subs.delete(this);
    this._to('unsubscribed');
    this._room._sync();
  }

  _need(held) {
    this._loading?.abort();
    this._loading = undefined;
    this._held = held;
    this._isNeedy = true;
    if (this._options.recover === false) this._at = undefined;
    this._to('subscribing');
  }

  _move(at) {
    this._at = at;
    this._client._later(() => (this.position = at));
  }

  _ready() {
    this._hasBegun = true;
    this._lost = this._loads = 0;
    this._isTold = false;
    this._to('subscribed');
  }

  // The server has said where the room stands, and whether all that was missed follows (`isWhole`): then what is held
  // comes again in its place.
  _answered(at, isWhole) {
    const { _held: held, _at: was, _lost } = this;
    this._isNeedy = false;
    this._held = undefined;
    if (isWhole) return this._ready();
    const isNew = at && was && at.epoch !== was.epoch;
    this._broken(_lost ? 'gap' : !this._hasBegun && !was ? 'first' : isNew ? 'new-epoch' : 'not-kept', at, held);
  }

  // Nothing proves that all has come.
  _broken(why, at, held = []) {
    const { load, recover } = this._options;
    if (load && this._loads < LOADS_MAX) return this._load(why, at);
    if (why !== 'first' && !this._isTold) {
      this._tell('gap', { room: this.room, why, lost: this._lost || undefined });
    }
    if (why === 'new-epoch' && at.offset && recover !== false) {
      // Of the new epoch nothing is known here: all that is kept of it is news.
      this._isTold = true;
      this._move({ epoch: at.epoch, offset: 0 });
      return this._need([]);
    }
    held.forEach((message) => this._deliver(message));
    this._move(at);
    this._ready();
  }

  // Messages are held while the application reads its state. Those after its position follow.
  async _load(why, base) {
    const { signal } = (this._loading = new AbortController());
    const turn = (act) => signal.aborted || this._client._turn(act);
    Object.assign(this, { _held: [], _base: base, _at: undefined });
    this._to('subscribing');
    try {
      await null;
      if (signal.aborted) return;
      const at = await this._options.load({ why, signal });
      turn(() => this._loaded(at));
    } catch (error) {
      turn(() => {
        this._fail(error);
        if (error.retry === 'never') return this._end(error);
        after(this._client._pause(this._room._tries++), () => turn(() => this._load(why, this._base)));
      });
    }
  }

  _loaded(at) {
    const { _held: held, _base: base } = this;
    this._loading = undefined;
    if (at && base && this._options.recover !== false && (at.epoch !== base.epoch || at.offset < base.offset)) {
      this._at = at;
      this._loads++;
      this._need([]);
      return this._room._sync();
    }
    this._held = undefined;
    this._move(base && (at ?? base));
    held.forEach((message) => this._deliver(message));
    this._ready();
  }

  _gap(lost) {
    // Of what is about to be asked for anyway nothing is missing yet.
    if (this._held || !this._isNeedy) this._lost += lost;
    if (this._isNeedy) return;
    if (this._at && this._options.recover !== false) this._need([]);
    else if (this._loading) this._need();
    else return this._broken('gap', this._at);
    this._room._sync();
  }

  _publication(message) {
    if (!this._held) return this._isNeedy || this._deliver(message);
    if (this._held.push(message) <= HELD_MAX) return;
    this._held = [];
    this._gap(0);
  }

  _deliver(message) {
    const { type, data, offset } = message;
    const { guard } = this._options;
    if (this._at && offset) {
      if (offset <= this._at.offset) return;
      this._move({ ...this._at, offset });
    }
    this._client._later(() => {
      if (this.state === 'unsubscribed') return;
      if (!guard || guard(data, type)) this._call('message', message);
      else this._call('error', new FanwireError('bad_message', 'never', type, this.room));
    });
  }
}
