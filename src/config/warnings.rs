//! What a configuration allows but hardly means: one list of checks. Each finding is told at the start and by
//! `check-config`, and refuses the configuration where `strict` is set.

use super::endpoint::{Auth, Endpoint};
use super::hook::HookEvent;
use super::preset;
use super::service::Past;
use super::settings::{Config, FlowAffinity, PinThreads};
use super::tokens::{TokenAlgorithm, Tokens};
use crate::base::{Pattern, Segment};
use std::fmt;

/// Fewest bytes of a key of HS256: as many as its hash has (RFC 7518 section 3.2).
const HS256_BYTES: usize = 32;

/// The same of HS384.
const HS384_BYTES: usize = 48;

/// The same of HS512.
const HS512_BYTES: usize = 64;

/// Fewest bytes of a key of the API and of the backend hook: 16 random hexadecimal digits are 64 bits, which nobody
/// finds by trying over the network.
const KEY_BYTES: usize = 16;

/// Fewest different bytes of a secret that may be random.
const DIFFERENT_BYTES: usize = 6;

/// Something about a configuration that is no mistake by the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// For information.
    Info(String),
    /// Hardly meant: with `strict` it is an error.
    Warning(String),
}

impl Remark {
    /// Whether it is a warning.
    pub const fn is_warning(&self) -> bool {
        matches!(self, Self::Warning(_))
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Info(text) | Self::Warning(text) => f.write_str(text),
        }
    }
}

/// The checks; each adds what it finds.
const CHECKS: &[fn(&Config, &mut Vec<String>)] = &[
    weak_secrets,
    endpoints_without_entrance,
    keys_without_use,
    snapshots_of_nothing,
    mixed_tenants,
    trust_in_all,
    sockets_without_use,
    affinity_without_pinning,
    limits_without_effect,
];

impl Config {
    /// What is allowed but hardly meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        for check in CHECKS {
            check(self, &mut found);
        }
        found
    }
}

/// Whether tokens can be checked at all.
fn has_token_key(tokens: &Tokens) -> bool {
    let Tokens { secret, public_key_file, jwks_file, jwks_url, .. } = tokens;
    !secret.is_empty() || public_key_file.is_some() || jwks_file.is_some() || jwks_url.is_some()
}

/// Whether the backend is asked about connections, and so can say who a client is.
fn asks_about_connections(config: &Config) -> bool {
    config.hook.is_asked(HookEvent::Connect)
}

/// Why a secret can be guessed; none if it may be good.
fn weakness(secret: &str, bytes_min: usize) -> Option<String> {
    let mut seen = [false; 256];
    secret.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    let different = seen.iter().filter(|seen| **seen).count();
    if secret.len() < bytes_min {
        Some(format!("is too short ({} of at least {bytes_min} bytes)", secret.len()))
    } else if different < DIFFERENT_BYTES {
        Some(format!("has only {different} different characters"))
    } else {
        None
    }
}

fn weak_secrets(config: &Config, found: &mut Vec<String>) {
    let mut look = |key: &str, secret: &str, bytes_min: usize| {
        if let Some(why) = weakness(secret, bytes_min) {
            found.push(format!(
                "{key}: a secret {why}, and can be guessed; make one by `openssl rand -hex 32`"
            ));
        }
    };
    let tokens = &config.tokens;
    if !tokens.secret.is_empty() {
        let of = |algorithm| tokens.algorithms.contains(&algorithm);
        let only_hs512 =
            of(TokenAlgorithm::Hs512) && !of(TokenAlgorithm::Hs256) && !of(TokenAlgorithm::Hs384);
        let only_hs384 =
            of(TokenAlgorithm::Hs384) && !of(TokenAlgorithm::Hs256) && !of(TokenAlgorithm::Hs512);
        let bytes_min = match (only_hs384, only_hs512) {
            (true, _) => HS384_BYTES,
            (_, true) => HS512_BYTES,
            _ => HS256_BYTES,
        };
        look("jwt_secret", tokens.secret.reveal(), bytes_min);
    }
    config.api_keys.iter().for_each(|key| look("api_keys", key.reveal(), KEY_BYTES));
    config.hook.secrets.iter().for_each(|secret| look("hook_secret", secret.reveal(), KEY_BYTES));
}

fn endpoints_without_entrance(config: &Config, found: &mut Vec<String>) {
    let asks = asks_about_connections(config);
    if has_token_key(&config.tokens) || asks {
        let no_roles = config.tokens.roles_claims.is_empty() && !asks;
        for endpoint in config.endpoints.iter().filter(|endpoint| endpoint.role.is_some() && no_roles) {
            let path = &endpoint.path;
            found.push(format!(
                "endpoints: nobody can connect at {path}: it asks for a role, but jwt_roles_claims names no claim"
            ));
        }
        return;
    }
    // The presets' own door for administrators stays shut until there is a key.
    let is_of_preset = config.endpoints == preset::endpoints(config.preset);
    let is_closed = |endpoint: &&Endpoint| {
        endpoint.auth == Auth::Required && !endpoint.health && !(endpoint.admin && is_of_preset)
    };
    for endpoint in config.endpoints.iter().filter(is_closed) {
        found.push(format!(
            "endpoints: nobody can connect at {}: it asks for a token, but there is no key to check tokens with; give \
             jwt_secret, jwt_public_key_file, jwt_jwks_file or jwt_jwks_url, or a hook_url that is asked about connect",
            endpoint.path
        ));
    }
}

fn keys_without_use(config: &Config, found: &mut Vec<String>) {
    let tokens = &config.tokens;
    if !has_token_key(tokens) {
        let given = [
            ("jwt_algorithms", !tokens.algorithms.is_empty()),
            ("jwt_audience", !tokens.audience.is_empty()),
            ("jwt_issuer", !tokens.issuer.is_empty()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            found.push(format!("{key}: it has no effect, as there is no key to check tokens with"));
        }
        if !tokens.tenants.is_empty() && !asks_about_connections(config) {
            found.push(
                "tenants: it has no effect, as neither tokens nor the backend say whose a client is".into(),
            );
        }
    }
    if config.hook.url.is_empty() && !config.hook.secrets.is_empty() {
        found.push("hook_secret: it has no effect without hook_url".to_owned());
    }
    if !config.hook.url.is_empty() && config.hook.events == super::hook::HookEvents::NONE {
        found.push("hook_url: it has no effect, as hook_events names no event".to_owned());
    }
}

fn snapshots_of_nothing(config: &Config, found: &mut Vec<String>) {
    // Rules of one's own replace those that the endpoints of a preset need, and hardly anybody misses these.
    if config.endpoints == preset::endpoints(config.preset) {
        return;
    }
    for endpoint in &config.endpoints {
        let Some(snapshot) = &endpoint.snapshot else { continue };
        let (needs, what) = match snapshot.what {
            Past::History => ("history_messages", "a history"),
            Past::Last => ("last_value or history_messages", "a last value"),
        };
        let keeps = |config: &Config| {
            for rule in &config.room_rules {
                let meets = meets(&rule.pattern, &snapshot.room);
                let policy = &rule.policy;
                let keeps = match snapshot.what {
                    Past::History => policy.history.is_some(),
                    Past::Last => policy.remembers(),
                };
                match meets {
                    Meets::All => return keeps,
                    Meets::Some if keeps => return true,
                    Meets::Some | Meets::None => {}
                }
            }
            false
        };
        if !keeps(config) {
            found.push(format!(
                "endpoints: the snapshot at {} is always empty: no rule of room_rules keeps {what} of {}; give one with \
                 {needs}",
                endpoint.path, snapshot.room
            ));
        }
    }
}

/// Which of the rooms of a template a pattern matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meets {
    All,
    Some,
    None,
}

/// Which rooms with names that `template` can make, by what stands for its parameters in braces, `pattern` matches.
/// What stands for a parameter is usually one segment, and can be several: where that matters the answer is
/// [`Meets::Some`].
fn meets(pattern: &Pattern, template: &str) -> Meets {
    let (mut all, mut is_open) = (true, false);
    let otherwise = |is_open| if is_open { Meets::Some } else { Meets::None };
    let mut parts = template.split(':');
    for segment in pattern.segments() {
        let Some(part) = parts.next() else { return otherwise(is_open) };
        let is_parameter = part.contains('{');
        match segment {
            Segment::Rest => return if all { Meets::All } else { Meets::Some },
            Segment::Text(text) if !is_parameter && **text != *part => return otherwise(is_open),
            Segment::Text(_) => all &= !is_parameter,
            Segment::One | Segment::Capture(_) => {}
        }
        is_open |= is_parameter;
    }
    match parts.next() {
        None if all => Meets::All,
        None => Meets::Some,
        Some(_) => otherwise(is_open),
    }
}

/// Users of one name in two tenants are two users, which what names the user alone does not see.
fn mixed_tenants(config: &Config, told: &mut Vec<String>) {
    if !config.tokens.has_keys() || config.tokens.tenant_claims.is_empty() {
        return;
    }
    for rule in config.access.rules.iter().filter(|rule| rule.mixes_tenants()) {
        told.push(format!(
            "access_rules: the rule for {} takes users of one name in two tenants for one: add {{tenant}} to its room, or \
             who: without_tenant",
            rule.pattern
        ));
    }
    for endpoint in &config.endpoints {
        let names = |room: &str, name: &str| room.contains(name);
        let of_tenant = |room: &&String| names(room, "{user}") && names(room, "{tenant}");
        if endpoint.rooms.iter().any(|room| of_tenant(&room)) {
            continue;
        }
        for room in endpoint.rooms.iter().filter(|room| names(room, "{user}")) {
            told.push(format!(
                "endpoints: the room {room} of {} names users without their tenant, so that clients of a tenant are left \
                 out: add one such as tenant:{{tenant}}:user:{{user}}",
                endpoint.path
            ));
        }
    }
}

fn trust_in_all(config: &Config, found: &mut Vec<String>) {
    for network in config.trusted_proxies.iter().filter(|network| network.prefix_len() == 0) {
        found.push(format!(
            "trusted_proxies: {network} is every address, so that each client can claim any; give the proxy's own"
        ));
    }
}

fn sockets_without_use(config: &Config, found: &mut Vec<String>) {
    let default = Config::default();
    if config.unix_socket.is_none() && config.admin_listen.is_empty() {
        let given = [
            ("unix_socket_mode", config.unix_socket_mode != default.unix_socket_mode),
            ("unix_socket_group", config.unix_socket_group.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            found.push(format!("{key}: it has no effect without unix_socket"));
        }
    }
    if config.unix_socket_mode & 0o002 != 0 && config.unix_socket.is_some() && config.api_keys.is_empty() {
        found.push(
            "unix_socket_mode: every user of this machine may connect; give api_keys, or a mode such as 0660"
                .to_owned(),
        );
    }
}

fn limits_without_effect(config: &Config, found: &mut Vec<String>) {
    found.extend(config.without_effect());
}

fn affinity_without_pinning(config: &Config, found: &mut Vec<String>) {
    if config.flow_affinity != FlowAffinity::Off && config.pin_threads == PinThreads::Never {
        found.push(
            "flow_affinity: it has no effect while pin_threads is false: shards have no core".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests;
