//! The names that settings can have, and how single values are read from text.

use crate::config::{AccessDefault, FlowAffinity, LogFormat, OnFailure, PinThreads, Secret};
use ipnet::IpNet;
use std::net::IpAddr;

/// Parameters, or cookies, in which a token may stand.
pub(super) const NAMES_MAX: usize = 8;

/// Most shards of a node, a bound that no machine comes near: ids of connections have ten bits for the shard.
pub const SHARDS_MAX: usize = 1024;

/// Neither yes nor no: see [`Kind::BoolOrAuto`].
pub(super) const AUTO: &str = "auto";

pub(super) const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(super) const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) const ON_FAILURE: [(&str, OnFailure); 2] =
    [("refuse", OnFailure::Refuse), ("allow", OnFailure::Allow)];
pub(super) const ACCESS_DEFAULTS: [(&str, AccessDefault); 2] =
    [("allow", AccessDefault::Allow), ("deny", AccessDefault::Deny)];

pub(super) const PINS: [(&str, PinThreads); 3] =
    [("auto", PinThreads::Auto), ("true", PinThreads::Always), ("false", PinThreads::Never)];

pub(super) const AFFINITIES: [(&str, FlowAffinity); 3] =
    [("off", FlowAffinity::Off), ("incoming-cpu", FlowAffinity::IncomingCpu), ("cbpf", FlowAffinity::Cbpf)];

pub(super) fn by_name<T: Copy>(names: &[(&str, T)], text: &str) -> Option<T> {
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}

pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    match text {
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        "*" => Some(IpAddr::from([0, 0, 0, 0])),
        text => text.trim_matches(['[', ']']).parse().ok(),
    }
}

pub(super) fn parse_prefix(text: &str) -> Option<String> {
    let prefix = text.trim_end_matches('/');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let fine = prefix.is_empty() || prefix.starts_with('/') && !prefix.contains("//");
    (fine && prefix.bytes().all(allowed)).then(|| prefix.to_owned())
}

pub(super) fn parse_group(text: &str) -> Option<String> {
    let fine = text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic() && b != b':' && b != b'/');
    fine.then(|| text.to_owned())
}

pub(super) fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// An origin, with a pattern of whole labels for its host perhaps, or a star for its port; a scheme alone, which stands
/// for itself (`file://`); `null`; or a star for all.
pub(super) fn parse_origin(text: &str) -> Option<String> {
    let fine = match text.split_once("://") {
        Some(("http" | "https" | "ws" | "wss", "")) => false,
        Some((scheme, host)) => {
            let host = host.strip_suffix(":*").unwrap_or(host);
            let letter = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
            !scheme.is_empty()
                && scheme.bytes().all(letter)
                && (host.is_empty() || is_host_or_pattern(host, b"/@?#,"))
                && !(host.is_empty() && text.ends_with('*'))
        }
        None => text == "null" || text == "*",
    };
    (fine && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
}

/// A host without a port, or a pattern of whole labels.
pub(super) fn parse_host(text: &str) -> Option<String> {
    let has_port = !text.starts_with('[') && text.contains(':') || text.contains("]:");
    let fine = !has_port && is_host_or_pattern(text, b"/@?#,") && text.bytes().all(|b| b.is_ascii_graphic());
    fine.then(|| text.to_owned())
}

/// Whether text is a host, or `*.` and one.
pub(super) fn is_host_or_pattern(text: &str, without: &[u8]) -> bool {
    let host = text.strip_prefix("*.").unwrap_or(text);
    !host.is_empty() && !host.starts_with('.') && !host.bytes().any(|b| b == b'*' || without.contains(&b))
}

/// A name that needs no quoting in a query or as a cookie.
pub(super) fn parse_name(text: &str) -> Option<String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    ((1..=64).contains(&text.len()) && text.bytes().all(letter)).then(|| text.to_owned())
}

pub(super) fn parse_text(text: &str) -> Option<String> {
    ((1..=255).contains(&text.len()) && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

pub(super) fn parse_secret(text: &str) -> Option<Secret> {
    let fine = (1..=1024).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    fine.then(|| Secret::new(text))
}

pub(super) fn parse_one_secret(text: &str) -> Option<Secret> {
    (text.len() <= 1024 && !text.chars().any(char::is_control)).then(|| Secret::new(text))
}

pub(super) fn parse_word(text: &str) -> Option<String> {
    ((1..=255).contains(&text.len()) && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// An address to fetch from. What stands before an `@` would be a secret that is shown.
pub(super) fn parse_url(text: &str) -> Option<String> {
    let uri: hyper::Uri = text.parse().ok()?;
    let fine = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.host().is_some_and(|host| !host.is_empty());
    fine.then(|| text.to_owned())
}
