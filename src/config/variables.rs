//! Variables of the environment: which are keys, which are not ours although they begin so, and which say nothing.

use super::error::ConfigError;
use super::key::Key;
use super::keys;
use super::load::nearest;
use super::preset::Preset;
use super::settings::Config;
use super::value;
use super::warnings::Remark;

/// Beginning of the variables that are ours alone: an unknown one is an error.
const OWN: &str = "FANWIRE_";

/// Beginning of the variables of the documents, which other programs have too: an unknown one is told and ignored.
const DOCUMENTS: &str = "WEBSOCKET_";

/// Names the file.
const FILE: &str = "FANWIRE_CONFIG";

/// Variables that the documents have in milliseconds, as bare numbers. The rooms document has the first as a duration
/// with a unit, which is taken too.
const MS_VARIABLES: [&str; 3] =
    ["WEBSOCKET_PING_INTERVAL", "WEBSOCKET_CONNECTION_TIMEOUT", "WEBSOCKET_CLEANUP_INTERVAL"];

/// How long a client of Socket.IO's document has to answer a ping, in milliseconds.
const PING_TIMEOUT: &str = "WEBSOCKET_PING_TIMEOUT";

/// The path of Socket.IO's document.
const PATH: &str = "WEBSOCKET_PATH";

/// Most names of ignored variables in one remark.
const NAMED_MAX: usize = 4;

/// A variable that gives a key.
pub(super) struct Variable<'e> {
    pub key: &'static Key,
    pub name: &'e str,
    pub text: String,
}

/// The variables that give keys, in the order in which they count: the last one of a key wins.
pub(super) fn given(env: &[(String, String)]) -> Vec<Variable<'_>> {
    let mut found = Vec::new();
    for key in keys::all() {
        for variable in key.variables() {
            if let Some((name, text)) = env.iter().find(|(name, _)| *name == variable)
                && !is_blank(text)
                && !is_of_service(name, text)
            {
                let text = if MS_VARIABLES.contains(&name.as_str()) { with_unit(text) } else { text.clone() };
                found.push(Variable { key, name, text });
            }
        }
    }
    found
}

/// Gives `WEBSOCKET_PING_TIMEOUT` its meaning: that long after a ping, a connection that has not answered is closed.
///
/// # Errors
/// If it is no time.
pub(super) fn apply_ping_timeout(
    env: &[(String, String)],
    config: &mut Config,
    is_given: bool,
) -> Result<(), ConfigError> {
    let Some((_, text)) = env.iter().find(|(name, text)| name == PING_TIMEOUT && !is_blank(text)) else {
        return Ok(());
    };
    let Some(timeout) = value::parse_duration(&with_unit(text)).filter(|timeout| !timeout.is_zero()) else {
        let what = format!("{text:?} is not allowed, allowed is a time in milliseconds, or such as 60s");
        return Err(ConfigError::new(format!("variable {PING_TIMEOUT}"), what));
    };
    if !is_given && !config.times.ping_interval.is_zero() {
        config.times.pong_wait = config.times.ping_interval.saturating_add(timeout);
    }
    Ok(())
}

/// Unknown variables that can only be mistakes.
pub(super) fn unknown(env: &[(String, String)]) -> Vec<ConfigError> {
    let wrong = strangers(env).filter(|name| name.starts_with(OWN));
    wrong
        .map(|name| ConfigError::new(format!("variable {name}"), format!("unknown key{}", hint(name))))
        .collect()
}

/// What of the environment is ignored and should be known.
pub(super) fn remarks(env: &[(String, String)], preset: Preset) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let is_ours = |name: &str| name.starts_with(OWN) || name.starts_with(DOCUMENTS);
    let services = env.iter().filter(|(name, text)| is_ours(name) && is_of_service(name, text));
    let mut services: Vec<&str> = services.map(|(name, _)| name.as_str()).collect();
    if !services.is_empty() {
        services.sort_unstable();
        let more = services.len().saturating_sub(NAMED_MAX);
        let named = services[..services.len().min(NAMED_MAX)].join(", ");
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        remarks.push(Remark::Info(format!(
            "variables that Kubernetes sets for its services are ignored: {named}{more}"
        )));
    }
    for key in keys::all().filter(|key| key.kind.is_secret()) {
        for variable in key.variables() {
            if env.iter().any(|(name, text)| *name == variable && is_blank(text)) {
                remarks.push(Remark::Warning(format!(
                    "variable {variable}: it is empty and ignored; give it a value, or remove it"
                )));
            }
        }
    }
    if env.iter().any(|(name, text)| name == PATH && !is_blank(text)) {
        remarks.push(Remark::Warning(format!(
            "variable {PATH}: it is ignored, as there is no Socket.IO protocol; paths are set by endpoints and \
             path_prefix"
        )));
    }
    if !matches!(preset, Preset::None)
        && env.iter().any(|(name, text)| name == PING_TIMEOUT && !is_blank(text))
    {
        remarks.push(Remark::Warning(format!(
            "variable {PING_TIMEOUT}: the document of this preset does not have it; it sets pong_wait to \
             ping_interval and so much more"
        )));
    }
    for name in strangers(env).filter(|name| name.starts_with(DOCUMENTS)) {
        remarks.push(Remark::Warning(format!("variable {name}: it is no key and ignored{}", hint(name))));
    }
    remarks
}

/// The variables that begin as ours do and are nothing known.
fn strangers(env: &[(String, String)]) -> impl Iterator<Item = &str> {
    let known = known();
    env.iter().filter_map(move |(name, text)| {
        let is_ours = name.starts_with(OWN) || name.starts_with(DOCUMENTS);
        // See base::mutation.
        let is_mutation = cfg!(feature = "mutations") && name == "FANWIRE_MUTATION";
        let is_known =
            is_mutation || known.contains(name) || [FILE, PATH, PING_TIMEOUT].contains(&name.as_str());
        (is_ours && !is_known && !is_of_service(name, text)).then_some(name.as_str())
    })
}

fn known() -> Vec<String> {
    keys::all().flat_map(Key::variables).collect()
}

/// A proposal for an unknown name.
fn hint(name: &str) -> String {
    let known = known();
    nearest(name, known.iter().map(String::as_str))
        .map_or_else(String::new, |near| format!(", did you mean {near}?"))
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// A bare number of milliseconds with its unit.
fn with_unit(text: &str) -> String {
    let text = text.trim();
    let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_bare { format!("{text}ms") } else { text.to_owned() }
}

/// Whether Kubernetes, or Docker for a link, sets such a variable for each service, in the names of which the name of
/// the service stands (Kubernetes documentation, "Service", "Environment variables"): `X_SERVICE_HOST`,
/// `X_SERVICE_PORT`, `X_SERVICE_PORT_NAME`, `X_PORT` with a URL, `X_PORT_80_TCP`, `X_PORT_80_TCP_ADDR` and so on.
fn is_of_service(name: &str, text: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];
    if name.ends_with("_PORT") && text.contains("://") {
        return text.split_once("://").is_some_and(|(scheme, _)| PROTOCOLS.contains(&scheme));
    }
    let is_of_port = |rest: &str| {
        let mut parts = rest.split('_');
        let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        let protocol =
            parts.next().is_some_and(|part| PROTOCOLS.contains(&part.to_ascii_lowercase().as_str()));
        let what = parts.next().is_none_or(|part| ["ADDR", "PORT", "PROTO"].contains(&part));
        number && protocol && what && parts.next().is_none()
    };
    name.match_indices("_PORT_").any(|(at, found)| is_of_port(&name[at + found.len()..]))
}

#[cfg(test)]
mod tests;
