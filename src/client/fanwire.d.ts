/** Where a connection stands. `connecting` lasts until the server's greeting, and through all pauses between attempts. */
export type State = 'disconnected' | 'connecting' | 'connected';
/** Where a subscription stands. `subscribing` also while it recovers what it has missed, and while `load` is under way. */
export type SubscriptionState = 'unsubscribed' | 'subscribing' | 'subscribed';
/**
 * What comes of it. `now`: the client tries again by itself, or it can be asked again at once. `later`: after a pause.
 * `new-token`: with another token. `never`: the same would happen again.
 */
export type Retry = 'now' | 'later' | 'new-token' | 'never';

/**
 * - of a request: `rate_limited`, `not_subscribed`, `forbidden`, `room_full`, `limit` (of rooms, or of what waits for this
 *   user), `bad_token`, `unavailable` (the backend, or the server, for now), `bad_request`, `refused` (in the words of a
 *   rule or of the backend), or a code of a later server;
 * - of the connection: `slow_consumer` (closed for it; what was missed is recovered), `protocol`, `unauthorized`;
 * - of this client: `closed` (not sent, there is no connection), `lost` (sent, and the connection ended before the
 *   answer: it may have been done), `timeout`, `queue_full`, `backpressure` (over 1 MiB waits in the socket),
 *   `bad_message` (the `guard` refused it), `slow_reader` (a `for await` over 1,000 messages behind), `removed` (put out
 *   of the room), `unsubscribed`.
 */
export type ErrorCode =
  | 'rate_limited' | 'not_subscribed' | 'forbidden' | 'room_full' | 'limit' | 'bad_token' | 'unavailable'
  | 'bad_request' | 'refused' | 'slow_consumer' | 'protocol' | 'unauthorized' | 'closed' | 'lost' | 'timeout'
  | 'queue_full' | 'backpressure' | 'bad_message' | 'slow_reader' | 'removed' | 'unsubscribed' | (string & {});

export declare class FanwireError extends Error {
  /** `retry` is `later` and `message` the code unless given. */
  constructor(code: ErrorCode, retry?: Retry, message?: string, room?: string);
  readonly code: ErrorCode;
  readonly retry: Retry;
  readonly room?: string;
}

/** Thrown by `getToken`: nobody is signed in, stop for good. Any other error there is tried again. */
export declare class Unauthorized extends FanwireError {
  constructor(message?: string);
}

/** Why there is no connection: the close code (1006 where none came) with its text. */
export interface Reason {
  readonly code: number;
  readonly text: string;
  readonly retry: Retry;
  /** When the next attempt begins, in ms from then. Missing when there is none. */
  readonly retryAfterMs?: number;
}

/** A place in the one order that a room with history has. Offsets count from 1, and mean nothing in another epoch. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** Who a member is, as far as the room's rule tells. */
export interface Member {
  /** The id of its connection. */
  readonly id?: string;
  readonly user?: string;
  readonly tenant?: string;
  readonly info?: unknown;
}

export interface Message<T = unknown> {
  /** Missing in a broadcast. */
  readonly room?: string;
  /** `message` unless the backend chose another. */
  readonly type: string;
  readonly data: T;
  /** In rooms with history. */
  readonly offset?: number;
  /** Missing where a backend published. */
  readonly from?: Member;
  /** When it was published, by the server's clock. */
  readonly at: Date;
  /** It was published before this membership began, and is told because it was missed. */
  readonly replayed: boolean;
}

export interface TokenRequest {
  /** `expiring`: the connection goes on, and the new token is brought to it. */
  readonly reason: 'connect' | 'expiring' | 'refused';
  /** Aborted when the token is wanted no more. */
  readonly signal: AbortSignal;
}

export interface Options {
  /** Brought as subprotocol, never in the address. */
  token?: string | null;
  /** Asked when a token is needed. `null` is a client without one. */
  getToken?: (request: TokenRequest) => string | null | Promise<string | null>;
  /** Pauses between attempts in ms: `min` and at random up to `min * 2 ** n`, at most `max` (500, 20000) more. */
  backoff?: { min?: number; max?: number };
  /** Ms until the greeting must have come; up to four times as long after failures (5000). */
  timeout?: number;
  /** Ms of silence after which the server is asked for a sign of life (25000). */
  silence?: number;
  /** Take messages in batches of so many ms (1 to 1000), one WebSocket message each. */
  batch?: number;
  /** The class of sockets, where the platform has none: `ws` for Node before 22. */
  WebSocket?: new (url: string, protocols?: string[]) => unknown;
  /** Where `online`, `offline`, `pagehide`, `pageshow` and `visibilitychange` are told; `null` for nowhere. */
  events?: EventTarget | null;
}

export interface RequestOptions {
  /** While there is no connection, wait for one instead of failing with `closed`: up to 100 requests. */
  queue?: boolean;
  /** Ms until the answer must have come (10000), and before it until there is a connection (30000). */
  timeoutMs?: number;
}

export interface SubscribeOptions<T = unknown> {
  /** Go on after this position, which the application has kept. */
  since?: Position;
  /** Keep the list of members, see `Subscription.presence`. */
  presence?: boolean;
  /** `false`: never ask for what was missed; a `gap` tells. For rooms of which only the newest matters. */
  recover?: boolean;
  /** Whether `data` is what is expected. What is not becomes an `error` with `bad_message`. */
  guard?: ((data: unknown, type: string) => data is T) | ((data: unknown, type: string) => boolean);
  /**
   * Reads the application's state: at first, and whenever nothing proves that no message was missed. It reads the room's
   * position first, then the state, and returns the position: all messages after it follow. Where it returns none, all
   * messages follow that came since it was called. It is called again when it throws.
   */
  load?: (request: {
    readonly why: 'first' | 'not-kept' | 'new-epoch' | 'gap';
    readonly signal: AbortSignal;
  }) => Promise<Position | undefined | void>;
}

export interface StateEvent {
  readonly state: State;
  readonly reason?: Reason;
  /** Since when it is in this state, in Unix ms: a page may well show nothing of the first two seconds of `connecting`. */
  readonly since: number;
}

export interface ClientEvents {
  state: (event: StateEvent) => void;
  error: (error: Error) => void;
  /** A message of no subscription: a broadcast, or of a room that the server joined. */
  message: (message: Message) => void;
}

/**
 * Messages may be missing from here on, and no `load` has brought what they said. `lost`: how many, where the server tells,
 * further ones included that are missing among the messages that follow at once.
 */
export interface GapEvent {
  readonly room: string;
  readonly why: 'first' | 'not-kept' | 'new-epoch' | 'gap';
  readonly lost?: number;
}

export interface PresenceEvent {
  readonly joined: readonly Member[];
  readonly left: readonly Member[];
  readonly count: number;
}

export interface SubscriptionEvents<T = unknown> {
  state: (event: { readonly state: SubscriptionState; readonly reason?: FanwireError }) => void;
  message: (message: Message<T>) => void;
  gap: (event: GapEvent) => void;
  presence: (event: PresenceEvent) => void;
  error: (error: Error) => void;
}

/** One handle on a room. Several may be on one room, each with its own position. */
export interface Subscription<T = unknown> extends AsyncIterable<Message<T>> {
  readonly room: string;
  readonly state: SubscriptionState;
  /** Why it ended. */
  readonly reason?: FanwireError;
  /** That of the last message that handlers have been given. May be stored at any moment, for `since`. */
  readonly position?: Position;
  /** With `presence: true`: the members by the id of their connection or the name of their user, 1000 at most, and how many there are. */
  readonly presence: { readonly members: ReadonlyMap<string, Member>; readonly count: number };
  /** Resolves when the server has it, with its offset in a room with history. */
  publish(data: T, options?: RequestOptions): Promise<{ offset?: number }>;
  /** Returns how to end it. */
  on<K extends keyof SubscriptionEvents<T>>(event: K, handler: SubscriptionEvents<T>[K]): () => void;
  unsubscribe(): void;
}

export declare class Fanwire {
  /** An address, or what gives one for each attempt. Relative ones count from the page, and `http` stands for `ws`. */
  constructor(url: string | URL | (() => string | URL | Promise<string | URL>), options?: Options);
  readonly state: State;
  /** Why there is no connection. */
  readonly reason?: Reason;
  /** The id of the connection, a new one each time. */
  readonly id?: string;
  /** The user, once a token has been renewed in place. */
  readonly user?: string;
  connect(): this;
  /** Ends it until `connect`. Subscriptions wait. */
  disconnect(): void;
  /** Resolves when connected, and rejects when that is given up. */
  ready(timeoutMs?: number): Promise<void>;
  /** Another token: brought to the connection in place, or to the next one. `null`: none any more. */
  setToken(token: string | null): void;
  subscribe<T = unknown>(room: string, handler?: ((message: Message<T>) => void) | null, options?: SubscribeOptions<T>): Subscription<T>;
  publish(room: string, data: unknown, options?: RequestOptions): Promise<{ offset?: number }>;
  broadcast(data: unknown, options?: RequestOptions): Promise<unknown>;
  /** Any message that the server, or a handler there, answers; with its answer. */
  request(message: { type: string; [field: string]: unknown }, options?: RequestOptions): Promise<{ type: string; [field: string]: unknown }>;
  /**
   * A message that each connection begins with, the last of its type: a pace (`keep('update_interval', {interval: 500})`)
   * or a filter (`keep('apply_filter', {filter: {status: 'active'}})`), as the endpoint's `messages` names them.
   */
  keep(type: string, fields: { [field: string]: unknown }): void;
  /** Returns how to end it. */
  on<K extends keyof ClientEvents>(event: K, handler: ClientEvents[K]): () => void;
}
