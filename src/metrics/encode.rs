use super::cell::LabelledCounters;
use super::histogram::Histogram;
use super::hook::{HookMetrics, HookOutcome};
use super::node::{NodeMetrics, Scrape};
use super::shard::ShardMetrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::Ordering;

/// Media type of the text: OpenMetrics 1.0.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How something is read from a shard.
type Of<T> = fn(&ShardMetrics) -> T;
type OfRef<T> = fn(&ShardMetrics) -> &T;

/// Gauges with a value for each shard: name, help, value.
const GAUGES: [(&str, &str, Of<u64>); 9] = [
    ("fanwire_connections", "Open connections", |s| s.connections.get()),
    ("fanwire_rooms", "Rooms with a member on the shard", |s| s.rooms.get()),
    ("fanwire_members", "Memberships of connections in rooms", |s| s.members.get()),
    ("fanwire_backlog_bytes", "Bytes waiting in the outboxes of connections", |s| s.backlog_bytes.get()),
    ("fanwire_input_bytes", "Bytes of messages that have not come whole", |s| s.input_bytes.get()),
    ("fanwire_blocked_connections", "Connections whose socket takes nothing at the moment", |s| {
        s.blocked_connections.get()
    }),
    ("fanwire_places", "Connections that are no WebSocket, or not yet", |s| s.places.get()),
    ("fanwire_mailbox_bytes", "Bytes waiting in the mailbox", |s| s.mailbox_bytes.get()),
    ("fanwire_mailbox_items", "Items waiting in the mailbox", |s| s.mailbox_items.get()),
];

/// Counters with a value for each shard: name without the `_total` that the encoder adds, help, value.
const COUNTERS: [(&str, &str, Of<u64>); 21] = [
    ("fanwire_publications", "Publications accepted", |s| s.publications.get()),
    ("fanwire_deliveries", "Frames handed to connections: publications, answers and notices", |s| {
        s.deliveries.get()
    }),
    ("fanwire_encoded_texts", "Publications and notices put into words, once per dialect", |s| {
        s.encoded_texts.get()
    }),
    ("fanwire_frames_in", "Frames received", |s| s.frames_in.get()),
    ("fanwire_bytes_in", "Bytes received", |s| s.bytes_in.get()),
    ("fanwire_bytes_out", "Bytes written", |s| s.bytes_out.get()),
    ("fanwire_writes", "Write calls", |s| s.writes.get()),
    (
        "fanwire_deflated_bytes_before",
        "Bytes of publications that were compressed, before, once per window",
        |s| s.deflated_bytes_before.get(),
    ),
    (
        "fanwire_deflated_bytes_after",
        "Bytes of publications that were compressed, after, once per window",
        |s| s.deflated_bytes_after.get(),
    ),
    ("fanwire_inflated_bytes_before", "Bytes of compressed messages received, as they came", |s| {
        s.inflated_bytes_before.get()
    }),
    ("fanwire_inflated_bytes_after", "Bytes of compressed messages received, inflated", |s| {
        s.inflated_bytes_after.get()
    }),
    ("fanwire_accepts", "Sockets accepted", |s| s.accepts.get()),
    ("fanwire_accept_errors", "Accept calls that failed", |s| s.accept_errors.get()),
    ("fanwire_cleanups", "Sweeps that close idle connections", |s| s.cleanups.get()),
    ("fanwire_cleanup_closed", "Idle connections closed by sweeps", |s| s.cleanup_closed.get()),
    ("fanwire_pauses", "Times the shard did not run for seconds: stopped, or kept from its core", |s| {
        s.pauses.get()
    }),
    ("fanwire_closing_floods", "Connections cut off for what they sent after their end", |s| {
        s.closing_floods.get()
    }),
    ("fanwire_protocol_errors", "Connections that broke the WebSocket protocol", |s| s.protocol_errors.get()),
    (
        "fanwire_filter_evaluations",
        "Filters of clients evaluated on publications, by the shard that came first",
        |s| s.filter_evaluations.get(),
    ),
    ("fanwire_rate_limited", "Requests over a rate limit", |s| s.rate_limited.get()),
    (
        "fanwire_api_keys_delayed",
        "Wrong keys of the API that were answered late, after many of one address",
        |s| s.api_keys_delayed.get(),
    ),
];

/// Counters with a value for each shard and label: name, help, name of the label, counters.
const LABELLED: [(&str, &str, &str, OfRef<LabelledCounters>); 9] = [
    ("fanwire_closes", "Connections closed", "reason", |s| &s.closes),
    (
        "fanwire_spent_budgets",
        "Requests refused because a budget of the connection is spent",
        "budget",
        |s| &s.budgets,
    ),
    ("fanwire_dropped_frames", "Frames not written", "reason", |s| &s.drops),
    ("fanwire_refusals", "Requests refused", "reason", |s| &s.refusals),
    ("fanwire_handshake_failures", "Connections that never became a WebSocket", "reason", |s| {
        &s.handshake_failures
    }),
    ("fanwire_evictions", "Connections that gave their place to another one", "stage", |s| &s.evictions),
    ("fanwire_token_failures", "Tokens of clients refused", "reason", |s| &s.token_failures),
    ("fanwire_recoveries", "Requests to recover what was missed", "result", |s| &s.recoveries),
    ("fanwire_http_errors", "HTTP requests answered with an error, upgrades apart", "status", |s| {
        &s.http_errors
    }),
];

/// Histograms of each shard: name, help, histogram.
const HISTOGRAMS: [(&str, &str, OfRef<Histogram>); 2] = [
    ("fanwire_tick_seconds", "Duration of a round of the shard's loop", |s| &s.tick_seconds),
    ("fanwire_publish_to_write_seconds", "From accepting a publication to the write that carried it", |s| {
        &s.publish_to_write_seconds
    }),
];

impl NodeMetrics {
    /// Appends the OpenMetrics text of all metrics.
    pub fn encode(&self, scrape: &Scrape, out: &mut String) {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scraped { node: self.clone(), scrape: *scrape }));
        text::encode(out, &registry).expect("writing to a String does not fail");
    }
}

/// The collector of one scrape. Owns its parts because a registry asks for `'static`.
#[derive(Debug)]
struct Scraped {
    node: NodeMetrics,
    scrape: Scrape,
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_documented(&mut encoder)?;
        for (name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (index, shard) in self.indexed() {
                family.encode_family(&[("shard", index)])?.encode_gauge(&read(shard))?;
            }
        }
        let (name, help) =
            ("fanwire_mailbox_age_seconds", "Wait of the oldest item taken last from the mailbox");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (index, shard) in self.indexed() {
            let seconds = shard.mailbox_age_us.get() as f64 / 1e6;
            family.encode_family(&[("shard", index)])?.encode_gauge(&seconds)?;
        }
        for (name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (index, shard) in self.indexed() {
                family
                    .encode_family(&[("shard", index)])?
                    .encode_counter::<NoLabelSet, _, u64>(&read(shard), None)?;
            }
        }
        for (name, help, label, read) in LABELLED {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (index, shard) in self.indexed() {
                for (value, count) in read(shard).iter() {
                    family
                        .encode_family(&([("shard", index)], [(label, value)]))?
                        .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }
        if let Some(hook) = &self.node.hook {
            encode_hook(hook, &mut encoder)?;
        }
        if let Some(program) = self.node.program.get() {
            encode_program(program, &mut encoder)?;
        }
        for (name, help, read) in HISTOGRAMS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (index, shard) in self.indexed() {
                let histogram = read(shard);
                // The count is that of the very buckets written here, so that the two agree whatever is counted
                // meanwhile.
                let buckets = histogram.buckets();
                let count = buckets.iter().map(|(_, count)| count).sum();
                family.encode_family(&[("shard", index)])?.encode_histogram::<NoLabelSet>(
                    histogram.sum_seconds(),
                    count,
                    &buckets,
                    None,
                )?;
            }
        }
        Ok(())
    }
}

/// The metrics of the backend hook, of the whole node.
fn encode_hook(hook: &HookMetrics, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut counter = encoder.encode_descriptor(
        "fanwire_hook",
        "Questions and notices to the backend",
        None,
        MetricType::Counter,
    )?;
    let of_program = HookOutcome::LABELS[HookOutcome::Failed.index()];
    for (event, outcome, count) in hook.outcomes().filter(|(_, outcome, _)| *outcome != of_program) {
        counter
            .encode_family(&[("event", event), ("outcome", outcome)])?
            .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    let help = "Notices that were sent again";
    let mut counter = encoder.encode_descriptor("fanwire_hook_retries", help, None, MetricType::Counter)?;
    for (event, count) in hook.retries() {
        counter.encode_family(&[("event", event)])?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    let gauges = [
        ("fanwire_hook_queue_items", "Questions and notices that wait or are under way", &hook.items),
        ("fanwire_hook_queue_bytes", "Bytes of these", &hook.bytes),
        ("fanwire_hook_requests", "Requests to the backend under way", &hook.under_way),
    ];
    for (name, help, value) in gauges {
        let value = value.load(Ordering::Relaxed);
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
    }
    let help = "0: closed, 1: one request probes, 2: open";
    let mut gauge = encoder.encode_descriptor("fanwire_hook_breaker_state", help, None, MetricType::Gauge)?;
    for (of, state, _) in hook.breakers() {
        gauge.encode_family(&[("of", of)])?.encode_gauge(&state)?;
    }
    let help = "Times the breaker opened";
    let mut counter =
        encoder.encode_descriptor("fanwire_hook_breaker_opened", help, None, MetricType::Counter)?;
    for (of, _, opened) in hook.breakers() {
        counter.encode_family(&[("of", of)])?.encode_counter::<NoLabelSet, _, u64>(&opened, None)?;
    }
    let buckets = hook.seconds.buckets();
    let count = buckets.iter().map(|(_, count)| count).sum();
    encoder
        .encode_descriptor(
            "fanwire_hook_seconds",
            "Duration of requests to the backend",
            None,
            MetricType::Histogram,
        )?
        .encode_histogram::<NoLabelSet>(hook.seconds.sum_seconds(), count, &buckets, None)
}

/// The metrics of code of the embedding program beside the shards, of the whole node.
fn encode_program(program: &HookMetrics, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Callbacks and async handlers of the embedding program";
    let mut counter = encoder.encode_descriptor("fanwire_program", help, None, MetricType::Counter)?;
    let known = HookOutcome::OF_PROGRAM.map(|outcome| HookOutcome::LABELS[outcome.index()]);
    for (event, outcome, count) in program.outcomes().filter(|(_, outcome, _)| known.contains(outcome)) {
        counter
            .encode_family(&[("event", event), ("outcome", outcome)])?
            .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    for (name, help, value) in [
        ("fanwire_program_items", "Callbacks and async handlers that run", &program.items),
        ("fanwire_program_bytes", "Bytes of what they were given", &program.bytes),
    ] {
        let value = value.load(Ordering::Relaxed);
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
    }
    Ok(())
}

impl Scraped {
    fn indexed(&self) -> impl Iterator<Item = (u64, &ShardMetrics)> {
        (0..).zip(self.node.shards.iter().map(AsRef::as_ref))
    }

    /// The four metrics that the document of the rooms module names, without labels.
    fn encode_documented(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // The first two go down as well, so they are gauges in spite of their names.
        let mut gauge = |name: &str, help: &str, value: f64| {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
        };
        gauge("websocket_clients_total", "Connected clients", self.node.connections() as f64)?;
        gauge("websocket_rooms_total", "Rooms with a member", self.scrape.rooms as f64)?;
        let rate = self.scrape.messages_per_second;
        gauge("websocket_messages_per_second", "Messages sent to clients per second", rate)?;
        let membership_bytes = self.scrape.membership_bytes as f64;
        gauge("fanwire_membership_bytes", "Bytes that memberships are charged", membership_bytes)?;
        let Scrape { history_bytes, history_rooms, .. } = self.scrape;
        gauge("fanwire_history_bytes", "Bytes of the histories of all rooms", history_bytes as f64)?;
        let Scrape { users, tenants, .. } = self.scrape;
        gauge("fanwire_users", "Users with a connection, where users or tenants have limits", users as f64)?;
        gauge("fanwire_tenants", "Tenants with a connection, likewise", tenants as f64)?;
        gauge("fanwire_history_rooms", "Rooms with a history", history_rooms as f64)?;
        gauge("fanwire_uptime_seconds", "Time since the start", self.scrape.uptime_seconds)?;
        let counters = [
            (
                "fanwire_history_evictions",
                "Histories emptied because the node's bound was spent",
                self.scrape.history_evictions,
            ),
            (
                "fanwire_history_share_evictions",
                "Histories emptied because their tenant's share was spent",
                self.scrape.history_share_evictions,
            ),
            (
                "fanwire_log_lines_lost",
                "Lines of the log that could not be written",
                self.scrape.log_lines_lost,
            ),
            (
                "fanwire_idempotency_evictions",
                "Answers kept for Idempotency-Key that went before their time",
                self.scrape.idempotency_evictions,
            ),
            ("fanwire_jwks_fetches", "Fetches of the keys of tokens", self.scrape.jwks_fetches),
            ("fanwire_jwks_fetch_failures", "Those that failed", self.scrape.jwks_fetch_failures),
        ];
        for (name, help, value) in counters {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        encoder
            .encode_descriptor(
                "websocket_errors",
                "Errors of clients and handshakes",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&self.node.errors(), None)
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
