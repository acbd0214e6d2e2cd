use super::cell::{Counter, Gauge, LabelledCounters};
use super::histogram::Histogram;
use super::latencies::Latencies;

/// Why a connection never became a WebSocket. The index of each in [`HANDSHAKE_FAILURES`] is its value here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// Not HTTP, or an upgrade against RFC 6455 section 4.2.1.
    BadRequest,
    /// A WebSocket version other than 13.
    Version,
    /// An upgrade of a path that has none, or by a method other than GET.
    Path,
    /// A subprotocol of ours that does not exist.
    Subprotocol,
    /// The origin is not allowed.
    Origin,
    /// The node is full.
    Full,
    /// The address has as many connections as it may.
    IpFull,
    /// All places for connections that are no WebSocket are taken by requests under way.
    HttpFull,
    /// The node drains.
    Draining,
    /// Nothing complete came in time.
    Timeout,
    /// The peer went away.
    Disconnected,
    /// A request head over its bound.
    TooLarge,
    /// A trusted proxy sent no or a wrong PROXY header.
    ProxyHeader,
    /// The backend said no.
    Backend,
    /// The backend could not be asked.
    BackendFailed,
    /// The backend answered with an error.
    BackendError,
    /// The peer took nothing of an HTTP answer for `write_wait`.
    Unread,
    /// No token where one is needed, or a bad one.
    Unauthorized,
    /// The tenant is not active, or a role is missing.
    Forbidden,
    /// The user has as many connections as it may.
    UserFull,
    /// The tenant has as many connections as it may.
    TenantFull,
    /// The address has its share of the places, all of them for requests under way.
    AddressShare,
    /// It gave way to another connection before its request was whole.
    Evicted,
    /// Only file descriptors that are kept for requests are left.
    Descriptors,
}

/// Label of each [`HandshakeFailure`], by its index.
pub const HANDSHAKE_FAILURES: [&str; 24] = [
    "bad_request",
    "version",
    "path_or_method",
    "subprotocol",
    "origin",
    "full",
    "ip_full",
    "http_full",
    "draining",
    "timeout",
    "disconnected",
    "too_large",
    "proxy_header",
    "backend",
    "backend_failed",
    "backend_error",
    "unread",
    "unauthorized",
    "forbidden",
    "user_full",
    "tenant_full",
    "address_share",
    "evicted",
    "descriptors",
];

/// What a connection did that gave its place to another one.
pub const EVICTED_STAGES: [&str; 4] = ["silent", "head", "answered", "body"];

impl HandshakeFailure {
    /// Position in [`HANDSHAKE_FAILURES`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Status of each HTTP error that is counted; the last stands for all others.
const HTTP_ERRORS: [&str; 9] = ["400", "401", "404", "405", "408", "413", "501", "503", "other"];

/// What became of requests to recover.
const RECOVERIES: [&str; 2] = ["recovered", "not_recovered"];

/// Budgets of a connection for what is dear.
const BUDGETS: [&str; 2] = ["replay", "auth"];

/// The index at which an HTTP status of the API is counted.
pub fn http_error_index(status: u16) -> usize {
    let known = HTTP_ERRORS.iter().position(|label| label.parse() == Ok(status));
    known.unwrap_or(HTTP_ERRORS.len() - 1)
}

/// Label values that the caller chooses, in the order of the indexes that it will count by.
#[derive(Debug, Clone, Copy)]
pub struct ShardLabels {
    /// Reasons to close a connection.
    pub close_reasons: &'static [&'static str],
    /// Reasons to drop frames.
    pub drop_reasons: &'static [&'static str],
    /// Refusals of a request.
    pub refusals: &'static [&'static str],
    /// Reasons to refuse a token.
    pub token_failures: &'static [&'static str],
}

/// What one shard counts. Written by the shard's own thread alone.
///
/// Aligned to two cache lines (they are fetched in pairs), so that no shard's numbers share one with another's.
#[derive(Debug)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Rooms with a member on this shard.
    pub rooms: Gauge,
    /// Memberships: a connection in two rooms counts twice.
    pub members: Gauge,
    /// Bytes waiting in the outboxes of the shard's connections.
    pub backlog_bytes: Gauge,
    /// Bytes of messages that have not come whole.
    pub input_bytes: Gauge,
    /// Connections whose socket takes nothing at the moment.
    pub blocked_connections: Gauge,
    /// Items waiting in the mailbox.
    pub mailbox_items: Gauge,
    /// How long the oldest item of the last round had waited in the mailbox, in microseconds.
    pub mailbox_age_us: Gauge,
    /// Publications accepted from this shard's connections.
    pub publications: Counter,
    /// Frames handed to connections.
    pub deliveries: Counter,
    /// Frames received.
    pub frames_in: Counter,
    /// Bytes received.
    pub bytes_in: Counter,
    /// Bytes written.
    pub bytes_out: Counter,
    /// Write calls.
    pub writes: Counter,
    /// Bytes of publications that were compressed, before; counted once for each window, not for each connection.
    pub deflated_bytes_before: Counter,
    /// The same after.
    pub deflated_bytes_after: Counter,
    /// Bytes of compressed messages received, as they came.
    pub inflated_bytes_before: Counter,
    /// The same inflated.
    pub inflated_bytes_after: Counter,
    /// Sockets accepted.
    pub accepts: Counter,
    /// Accept calls that failed, or gave one of the last file descriptors.
    pub accept_errors: Counter,
    /// Sweeps of idle connections.
    pub cleanups: Counter,
    /// Idle connections closed, told with the sweep that closed them.
    pub cleanup_closed: Counter,
    /// Times the thread did not run for seconds although it was to.
    pub pauses: Counter,
    /// Connections that broke RFC 6455.
    pub protocol_errors: Counter,
    /// Connections that sent too much while they were being closed.
    pub closing_floods: Counter,
    /// Publications and notices put into the words of a dialect: once for each dialect that is wanted, however many
    /// members and shards there are.
    pub encoded_texts: Counter,
    /// Filters evaluated on publications, by the shard that came first to each: once for each different filter of the
    /// node and publication.
    pub filter_evaluations: Counter,
    /// Requests over a rate limit.
    pub rate_limited: Counter,
    /// Wrong keys of the API that were answered late.
    pub api_keys_delayed: Counter,
    /// Requests refused because a budget of the connection is spent, by the budget.
    pub budgets: LabelledCounters,
    /// Connections closed, by the index of the reason.
    pub closes: LabelledCounters,
    /// Frames not written, by the index of the reason.
    pub drops: LabelledCounters,
    /// Requests refused, by the index of the refusal.
    pub refusals: LabelledCounters,
    /// Connections that are no WebSocket, or not yet.
    pub places: Gauge,
    /// Those of them that gave their place to another one, by the index in [`EVICTED_STAGES`].
    pub evictions: LabelledCounters,
    /// Failed handshakes, by [`HandshakeFailure::index`].
    pub handshake_failures: LabelledCounters,
    /// Tokens refused, by the index of the reason.
    pub token_failures: LabelledCounters,
    /// Answers to `recover` in rooms that remember, those that succeeded first.
    pub recoveries: LabelledCounters,
    /// HTTP requests that ask for no upgrade and are answered with an error, by [`http_error_index`].
    pub http_errors: LabelledCounters,
    /// How long a round of the shard's loop took.
    pub tick_seconds: Histogram,
    /// From the acceptance of a publication to the write that carried it.
    pub publish_to_write_seconds: Histogram,
    /// The former of the last minutes, for percentiles.
    pub recent_turns: Latencies,
    /// The latter of the last minutes, for percentiles.
    pub recent_publish_to_write: Latencies,
    /// Bytes waiting in the mailbox: senders add, the shard takes away.
    pub mailbox_bytes: Gauge,
}

impl ShardMetrics {
    /// All at zero.
    pub fn new(labels: &ShardLabels) -> Self {
        Self {
            connections: Gauge::default(),
            rooms: Gauge::default(),
            members: Gauge::default(),
            backlog_bytes: Gauge::default(),
            input_bytes: Gauge::default(),
            blocked_connections: Gauge::default(),
            mailbox_items: Gauge::default(),
            mailbox_age_us: Gauge::default(),
            publications: Counter::default(),
            deliveries: Counter::default(),
            frames_in: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            writes: Counter::default(),
            deflated_bytes_before: Counter::default(),
            deflated_bytes_after: Counter::default(),
            inflated_bytes_before: Counter::default(),
            inflated_bytes_after: Counter::default(),
            accepts: Counter::default(),
            accept_errors: Counter::default(),
            cleanups: Counter::default(),
            cleanup_closed: Counter::default(),
            pauses: Counter::default(),
            protocol_errors: Counter::default(),
            closing_floods: Counter::default(),
            encoded_texts: Counter::default(),
            filter_evaluations: Counter::default(),
            rate_limited: Counter::default(),
            api_keys_delayed: Counter::default(),
            budgets: LabelledCounters::new(&BUDGETS),
            closes: LabelledCounters::new(labels.close_reasons),
            drops: LabelledCounters::new(labels.drop_reasons),
            refusals: LabelledCounters::new(labels.refusals),
            places: Gauge::default(),
            evictions: LabelledCounters::new(&EVICTED_STAGES),
            handshake_failures: LabelledCounters::new(&HANDSHAKE_FAILURES),
            token_failures: LabelledCounters::new(labels.token_failures),
            recoveries: LabelledCounters::new(&RECOVERIES),
            http_errors: LabelledCounters::new(&HTTP_ERRORS),
            tick_seconds: Histogram::default(),
            publish_to_write_seconds: Histogram::default(),
            recent_turns: Latencies::default(),
            recent_publish_to_write: Latencies::default(),
            mailbox_bytes: Gauge::default(),
        }
    }

    /// Everything that the document's `websocket_errors_total` counts: what peers or the system did wrong.
    pub fn errors(&self) -> u64 {
        self.accept_errors.get()
            + self.protocol_errors.get()
            + self.refusals.total()
            + self.handshake_failures.total()
            + self.http_errors.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: ShardLabels = ShardLabels {
        close_reasons: &["idle"],
        drop_reasons: &["outbox"],
        refusals: &["too_deep", "room_full"],
        token_failures: &["expired"],
    };

    #[test]
    fn errors_are_those_of_every_kind() {
        let shard = ShardMetrics::new(&LABELS);
        shard.accept_errors.inc();
        shard.protocol_errors.add(10);
        shard.refusals.add(1, 100);
        shard.handshake_failures.add(HandshakeFailure::TooLarge.index(), 1000);
        shard.closes.inc(0);
        shard.drops.inc(0);
        shard.http_errors.add(http_error_index(404), 10_000);
        assert_eq!(shard.errors(), 11_111);
        assert_eq!(shard.http_errors.iter().find(|(_, count)| *count > 0), Some(("404", 10_000)));
        assert_eq!(http_error_index(418), HTTP_ERRORS.len() - 1);
    }

    #[test]
    fn handshake_labels_stand_at_their_index() {
        assert_eq!(HandshakeFailure::Descriptors.index(), HANDSHAKE_FAILURES.len() - 1);
        assert_eq!(HANDSHAKE_FAILURES[HandshakeFailure::BadRequest.index()], "bad_request");
        assert_eq!(HANDSHAKE_FAILURES[HandshakeFailure::Origin.index()], "origin");
    }

    #[test]
    fn shards_share_no_cache_line() {
        assert_eq!(align_of::<ShardMetrics>(), 128);
        assert_eq!(size_of::<ShardMetrics>() % 128, 0);
    }
}
