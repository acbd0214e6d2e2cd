//! Which values of keys must, or should, fit together: one table, from which come the errors that stop a start and
//! the warnings of values that have no effect.

use super::hook::HookEvents;
use super::keys;
use super::settings::Config;

/// What a publication can have around its data while it waits in an outbox, in bytes: names of the room, the type and
/// the user (255 bytes each, all of which JSON may escape by two), ids, numbers, the frame's header, and what an outbox
/// charges for it (`tuning.md`, "How they fit together").
pub(super) const ENVELOPE_BYTES: usize = 3 * 1024;

/// Default of `outbox_bytes_max`, in bytes: a body of the HTTP API as one publication, and two messages of clients.
pub(super) const OUTBOX_BYTES: usize = 1088 * 1024;

/// An outbox that is not configured is at least this, in bytes, whatever it is to fit into.
const OUTBOX_BYTES_LEAST: usize = 1024 * 1024;

/// An outbox that is not configured is a multiple of this, in bytes.
const OUTBOX_STEP_BYTES: usize = 64 * 1024;

/// Two keys whose values depend on each other.
struct Relation {
    key: &'static str,
    other: &'static str,
    fits: fn(&Config) -> bool,
    /// What stands between the value of `key` and the name of `other`.
    must: &'static str,
    /// What happens otherwise.
    why: &'static str,
}

/// Without these a start is refused.
const MUST: &[Relation] = &[
    Relation {
        key: "pong_wait",
        other: "ping_interval",
        fits: |c| {
            let (ping, pong) = (c.times.ping_interval, c.times.pong_wait);
            ping.is_zero() || pong.is_zero() || pong > ping
        },
        must: "must be longer than",
        why: "a client answers a ping, and is heard no earlier",
    },
    Relation {
        key: "pong_wait",
        other: "ping_interval",
        fits: |c| !c.times.ping_interval.is_zero() || c.times.pong_wait.is_zero(),
        must: "must be 0 without",
        why: "quiet clients would be closed",
    },
    Relation {
        key: "outbox_bytes_max",
        other: "outboxes_bytes_max",
        fits: |c| c.limits.outbox_bytes_max <= c.limits.outboxes_bytes_max,
        must: "must be at most",
        why: "one outbox is a part of all",
    },
    Relation {
        key: "message_bytes_max",
        other: "outbox_bytes_max",
        fits: |c| holds(c, c.limits.message_bytes_max),
        must: "must be at least 3KiB less than",
        why: "a message that no outbox holds would cost each member the connection",
    },
    Relation {
        key: "http_body_bytes_max",
        other: "outbox_bytes_max",
        fits: |c| holds(c, c.http.body_bytes_max),
        must: "must be at least 3KiB less than",
        why: "a publication that no outbox holds would cost each member the connection",
    },
    Relation {
        key: "message_bytes_max",
        other: "mailbox_bytes_max",
        fits: |c| c.limits.message_bytes_max <= c.limits.mailbox_bytes_max,
        must: "must be at most",
        why: "each longest message would stop the reading of all shards",
    },
    Relation {
        key: "message_bytes_max",
        other: "inputs_bytes_max",
        fits: |c| c.limits.message_bytes_max <= c.limits.inputs_bytes_max,
        must: "must be at most",
        why: "one message is a part of all that have begun",
    },
    Relation {
        key: "outbox_bytes_per_user_max",
        other: "outbox_bytes_max",
        fits: |c| is_off_or(c.limits.per_user.outbox_bytes_max, |share| share >= c.limits.outbox_bytes_max),
        must: "must be 0, or at least",
        why: "a user has one connection at least",
    },
    Relation {
        key: "outbox_bytes_per_user_max",
        other: "outboxes_bytes_max",
        fits: |c| is_off_or(c.limits.per_user.outbox_bytes_max, |share| share <= c.limits.outboxes_bytes_max),
        must: "must be 0, or at most",
        why: "a user's share is a part of all",
    },
    Relation {
        key: "outbox_bytes_per_tenant_max",
        other: "outbox_bytes_max",
        fits: |c| is_off_or(c.limits.per_tenant.outbox_bytes_max, |share| share >= c.limits.outbox_bytes_max),
        must: "must be 0, or at least",
        why: "a tenant has one connection at least",
    },
    Relation {
        key: "outbox_bytes_per_tenant_max",
        other: "outboxes_bytes_max",
        fits: |c| {
            is_off_or(c.limits.per_tenant.outbox_bytes_max, |share| share <= c.limits.outboxes_bytes_max)
        },
        must: "must be 0, or at most",
        why: "a tenant's share is a part of all",
    },
    Relation {
        key: "hook_timeout",
        other: "http_request_timeout",
        fits: |c| !has_hook(c) || c.hook.timeout <= c.http.request_timeout,
        must: "must be at most",
        why: "a client that connects waits for the backend",
    },
    Relation {
        key: "hook_timeout",
        other: "pong_wait",
        fits: |c| !has_hook(c) || c.times.pong_wait.is_zero() || c.hook.timeout < c.times.pong_wait,
        must: "must be shorter than",
        why: "a connection that waits for the backend is not read, and so not heard",
    },
    Relation {
        key: "hook_timeout",
        other: "idle_timeout",
        fits: |c| !has_hook(c) || c.times.idle_timeout.is_zero() || c.hook.timeout < c.times.idle_timeout,
        must: "must be shorter than",
        why: "a connection that waits for the backend is not read, and so not heard",
    },
    Relation {
        key: "message_bytes_max",
        other: "hook_queue_bytes_max",
        // Notices have half of the queue.
        fits: |c| !has_hook(c) || c.limits.message_bytes_max <= c.hook.queue_bytes_max / 2,
        must: "must be at most half of",
        why: "the backend would never hear of a longer one",
    },
];

/// Without these a value has no effect, or another one than it seems.
const SHOULD: &[Relation] = &[
    Relation {
        key: "deflate_min_bytes",
        other: "message_bytes_max",
        fits: |c| {
            let longest = c.limits.message_bytes_max.max(c.http.body_bytes_max);
            !c.deflate.enabled || c.deflate.min_bytes <= longest
        },
        must: "should be at most",
        why: "no publication is so long that it would be compressed",
    },
    Relation {
        key: "bytes_per_s",
        other: "message_bytes_max",
        fits: |c| {
            let (rate, burst) = (c.limits.bytes_per_s, c.limits.bytes_burst);
            let at_once = if burst == 0 { rate } else { burst };
            rate == 0 || at_once as usize >= c.limits.message_bytes_max
        },
        must: "or bytes_burst should be at least",
        why: "a longer message is always over the rate",
    },
    Relation {
        key: "bytes_burst",
        other: "bytes_per_s",
        fits: |c| c.limits.bytes_burst == 0 || c.limits.bytes_per_s != 0,
        must: "needs",
        why: "without a rate the burst limits nothing",
    },
    Relation {
        key: "messages_burst",
        other: "messages_per_s",
        fits: |c| c.limits.messages_burst == 0 || c.limits.messages_per_s != 0,
        must: "needs",
        why: "without a rate the burst limits nothing",
    },
    Relation {
        key: "messages_burst_user",
        other: "messages_per_s_user",
        fits: |c| c.limits.per_user.messages_burst == 0 || c.limits.per_user.messages_per_s != 0,
        must: "needs",
        why: "without a rate the burst limits nothing",
    },
    Relation {
        key: "messages_burst_tenant",
        other: "messages_per_s_tenant",
        fits: |c| c.limits.per_tenant.messages_burst == 0 || c.limits.per_tenant.messages_per_s != 0,
        must: "needs",
        why: "without a rate the burst limits nothing",
    },
    Relation {
        key: "messages_per_s",
        other: "messages_per_s_user",
        fits: |c| at_most(c.limits.messages_per_s, c.limits.per_user.messages_per_s),
        must: "should be at most",
        why: "the limit of the user is met first",
    },
    Relation {
        key: "messages_per_s_user",
        other: "messages_per_s_tenant",
        fits: |c| at_most(c.limits.per_user.messages_per_s, c.limits.per_tenant.messages_per_s),
        must: "should be at most",
        why: "the limit of the tenant is met first",
    },
    Relation {
        key: "connections_per_ip_max",
        other: "connections_max",
        fits: |c| at_most(c.limits.connections_per_ip_max, c.limits.connections_max),
        must: "should be at most",
        why: "the limit of the node is met first",
    },
    Relation {
        key: "connections_per_user_max",
        other: "connections_per_tenant_max",
        fits: |c| at_most(c.limits.per_user.connections_max, c.limits.per_tenant.connections_max),
        must: "should be at most",
        why: "the limit of the tenant is met first",
    },
    Relation {
        key: "connections_per_tenant_max",
        other: "connections_max",
        fits: |c| at_most(c.limits.per_tenant.connections_max, c.limits.connections_max),
        must: "should be at most",
        why: "the limit of the node is met first",
    },
    Relation {
        key: "rooms_per_user_max",
        other: "rooms_per_tenant_max",
        fits: |c| at_most(c.limits.per_user.rooms_max, c.limits.per_tenant.rooms_max),
        must: "should be at most",
        why: "the limit of the tenant is met first",
    },
    Relation {
        key: "history_bytes_per_tenant_max",
        other: "history_bytes_max",
        fits: |c| c.limits.history_bytes_per_tenant_max <= c.limits.history_bytes_max,
        must: "should be at most",
        why: "the bound of the node is met first",
    },
    Relation {
        key: "ready_timeout",
        other: "http_request_timeout",
        fits: |c| c.times.ready_timeout <= c.http.request_timeout,
        must: "should be at most",
        why: "/ready is cut off before it can say no",
    },
];

/// Whether an outbox holds a publication with so much data.
fn holds(config: &Config, data_bytes: usize) -> bool {
    data_bytes.saturating_add(ENVELOPE_BYTES) <= config.limits.outbox_bytes_max
}

fn is_off_or(bytes: usize, fits: impl FnOnce(usize) -> bool) -> bool {
    bytes == 0 || fits(bytes)
}

/// Whether of two limits, 0 for none, the narrower one can be met.
fn at_most(narrow: u32, wide: u32) -> bool {
    narrow == 0 || wide == 0 || narrow <= wide
}

fn has_hook(config: &Config) -> bool {
    !config.hook.url.is_empty() || config.hook.in_program != HookEvents::NONE
}

fn broken(table: &[Relation], config: &Config) -> Vec<String> {
    let value = |name: &str| keys::by_name(name).map_or_else(String::new, |key| key.show(config));
    let wrong = table.iter().filter(|relation| !(relation.fits)(config));
    wrong
        .map(|Relation { key, other, must, why, .. }| {
            format!("{key}: {} {must} {other}, which is {}: {why}", value(key), value(other))
        })
        .collect()
}

impl Config {
    /// What is wrong about values that are right one by one.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let mut wrong = broken(MUST, self);
        for rule in &self.room_rules {
            if let Some(history) = rule.policy.history
                && history.bytes_max > self.limits.history_bytes_max
            {
                wrong.push(format!(
                    "room_rules: history_bytes of {} is {}, which must be at most history_bytes_max, which is {}",
                    rule.pattern, history.bytes_max, self.limits.history_bytes_max
                ));
            }
        }
        if !self.hook.url.is_empty() && self.hook.secrets.is_empty() {
            wrong
                .push("hook_url: it needs hook_secret (FANWIRE_HOOK_SECRET): requests are signed".to_owned());
        }
        if !self.tokens.tenants.is_empty() && self.tokens.tenant_claims.is_empty() && self.tokens.has_keys() {
            wrong.push(
                "tenants: no claim of a token names a tenant, as jwt_tenant_claims is empty, so that every token would \
                 be refused: set jwt_tenant_claims (such as tenantId,organizationId), or give no tenants"
                    .to_owned(),
            );
        }
        if self.admin_only && self.admin_listen.is_empty() {
            wrong.push("admin_only: it needs admin_listen, or nothing serves /metrics and /v1/".to_owned());
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() && self.unix_socket.is_none() {
            wrong
                .push("proxy_protocol: it needs trusted_proxies, or no peer's header is believed".to_owned());
        }
        if !self.tcp && self.unix_socket.is_none() {
            wrong.push("tcp: without TCP there must be a unix_socket to listen on".to_owned());
        }
        wrong
    }

    /// Values that have no effect beside others.
    pub(super) fn without_effect(&self) -> Vec<String> {
        broken(SHOULD, self)
    }

    /// Gives what is not configured of outboxes, messages and bodies values that fit to what is.
    pub(super) fn fit_outboxes(&mut self, given: impl Fn(&str) -> bool) {
        let limits = &mut self.limits;
        if !given("outbox_bytes_max") {
            // A reader that is behind in the middle of one message must have place for the next.
            let messages = limits.message_bytes_max.saturating_add(ENVELOPE_BYTES).saturating_mul(2);
            let body = self.http.body_bytes_max.saturating_add(ENVELOPE_BYTES);
            let wanted = messages.max(body).next_multiple_of(OUTBOX_STEP_BYTES).max(OUTBOX_BYTES);
            let shares = [limits.per_user.outbox_bytes_max, limits.per_tenant.outbox_bytes_max];
            let shares = shares.into_iter().filter(|share| *share != 0);
            let most = shares.chain([limits.outboxes_bytes_max]).min().unwrap_or(wanted);
            limits.outbox_bytes_max = wanted.min(most).max(OUTBOX_BYTES_LEAST);
        }
        let held = limits.outbox_bytes_max.saturating_sub(ENVELOPE_BYTES);
        if !given("message_bytes_max") {
            limits.message_bytes_max = limits.message_bytes_max.min(held);
        }
        if !given("http_body_bytes_max") {
            self.http.body_bytes_max = self.http.body_bytes_max.min(held);
        }
    }
}

#[cfg(test)]
mod tests;
