//! The rights that a configuration gives to each kind of client, in words: the log says them at the start.

use super::{AccessDefault, Action, Auth, Config, Who};
use crate::base::Segment;
use std::net::SocketAddr;

/// What a configuration leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// One line for people: what clients without a token may do, which requests the API answers, and what to set.
    pub text: String,
    /// Whether clients of other machines may publish without a token.
    pub is_wide: bool,
}

impl Config {
    /// What this configuration leaves open, for a server that listens on `address`, or on its Unix socket alone.
    pub fn exposure(&self, address: Option<SocketAddr>) -> Exposure {
        let acts = self.anonymous_acts();
        let local = address.is_none_or(|address| address.ip().is_loopback());
        let shown = match (address, &self.unix_socket) {
            (Some(address), _) => address.to_string(),
            (None, Some(path)) => format!("unix:{}", path.display()),
            (None, None) => "nothing".to_owned(),
        };
        let reach =
            if local { "every client on this machine" } else { "every client that reaches this address" };
        let clients = match acts.as_slice() {
            [] => "clients need a token".to_owned(),
            acts => {
                let change =
                    "set auth: required on the endpoints, access_rules or client_broadcast to change that";
                format!("{reach} may {} without a token ({change})", listed(acts))
            }
        };
        let api = match () {
            () if !self.api_keys.is_empty() => "the API needs its key",
            () if self.is_behind_proxy() && !self.admin_listen.is_empty() => {
                "the API answers the server's own user and root without a key, at admin_listen alone, as proxies are \
                 trusted: set api_keys (FANWIRE_API_KEY)"
            }
            () if self.is_behind_proxy() => {
                "the API answers nobody, as proxies are trusted and there is no key: set api_keys (FANWIRE_API_KEY)"
            }
            () => {
                "the API answers the server's own user and root on this machine without a key: \
                 set api_keys (FANWIRE_API_KEY) where a proxy runs on it"
            }
        };
        let is_wide = !local && acts.iter().any(|act| *act != "join");
        Exposure { text: format!("listening on {shown}: {clients}; {api}"), is_wide }
    }

    /// Whether requests may come through proxies that are configured.
    pub fn is_behind_proxy(&self) -> bool {
        self.proxy_protocol || !self.trusted_proxies.is_empty()
    }

    /// What a client without a token may do, in some room at least.
    fn anonymous_acts(&self) -> Vec<&'static str> {
        let enters = |endpoint: &super::Endpoint| {
            endpoint.auth != Auth::Required && endpoint.role.is_none() && !endpoint.health
        };
        if !self.endpoints.iter().any(enters) {
            return Vec::new();
        }
        let may = |action| {
            let gives = |rule: &super::AccessRule| {
                rule.who.iter().any(|who| matches!(who, Who::Any | Who::WithoutTenant))
                    && rule.allow.has(action)
                    && !rule.pattern.segments().iter().any(|part| matches!(part, Segment::Capture(_)))
            };
            self.access.default == AccessDefault::Allow || self.access.rules.iter().any(gives)
        };
        [
            ("join", may(Action::Subscribe)),
            ("publish", may(Action::Publish)),
            ("broadcast", self.lets_clients_broadcast()),
        ]
        .into_iter()
        .filter_map(|(name, may)| may.then_some(name))
        .collect()
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AccessTable, Endpoint};
    use super::*;

    #[track_caller]
    fn check(config: &Config, address: &str, is_wide: bool, says: &[&str]) {
        let exposure = config.exposure(address.parse().ok());
        for words in says {
            assert!(exposure.text.contains(words), "{words:?} is not in {:?}", exposure.text);
        }
        assert_eq!(exposure.is_wide, is_wide, "{}", exposure.text);
    }

    #[test]
    fn what_is_open_is_said() {
        let open = Config::default();
        let all = "listening on 0.0.0.0:8081: every client that reaches this address may join, publish and broadcast";
        check(&open, "0.0.0.0:8081", true, &[all, "set auth: required", "own user and root"]);
        check(
            &open,
            "127.0.0.1:8081",
            false,
            &["every client on this machine may join, publish and broadcast"],
        );
        check(&open, "[::]:8081", true, &["listening on [::]:8081: every client that reaches"]);
        let unix = Config { tcp: false, unix_socket: Some("/run/a".into()), ..open.clone() };
        check(&unix, "", false, &["listening on unix:/run/a: every client on this machine may join"]);
        let quiet = Config { client_broadcast: Some(false), api_keys: vec!["key".into()], ..open.clone() };
        check(&quiet, "0.0.0.0:1", true, &["may join and publish without", "the API needs its key"]);
        let behind = Config { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..open };
        check(&behind, "0.0.0.0:1", true, &["the API answers nobody"]);
    }

    #[test]
    fn what_asks_for_a_token_is_not_open() {
        let mut endpoint = Endpoint::new("/ws", "rooms");
        endpoint.auth = Auth::Required;
        let closed = Config { endpoints: vec![endpoint], ..Config::default() };
        check(&closed, "0.0.0.0:1", false, &["clients need a token"]);
        let denied =
            Config { access: AccessTable::tenants(), client_broadcast: Some(false), ..Config::default() };
        check(&denied, "0.0.0.0:1", true, &["may join and publish without"]);
        let rules = AccessTable { rules: Vec::new(), default: AccessDefault::Deny };
        let nothing = Config { access: rules, client_broadcast: Some(false), ..Config::default() };
        check(&nothing, "0.0.0.0:1", false, &["clients need a token"]);
    }
}
