use super::error::ConfigError;
use super::file;
use super::key::Key;
use super::keys;
use super::preset::{PRESETS, Preset};
use super::settings::Config;

/// Where a configuration comes from; the later wins: file, environment, flags.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// Name and text of the file.
    pub file: Option<(&'a str, &'a str)>,
    /// Variables; those of other programs are ignored.
    pub env: &'a [(String, String)],
    /// Names without dashes, and values.
    pub flags: &'a [(String, String)],
}

/// Variables that begin as ours do and are no keys: the first names the file.
const OTHER_VARIABLES: [&str; 1] = ["FANWIRE_CONFIG"];

/// Variables that the documents have in milliseconds, as bare numbers. The rooms document has the first as a duration
/// with a unit, which is taken too.
const MS_VARIABLES: [&str; 3] =
    ["WEBSOCKET_PING_INTERVAL", "WEBSOCKET_CONNECTION_TIMEOUT", "WEBSOCKET_CLEANUP_INTERVAL"];

/// Beginnings of the variables that are ours.
const VARIABLE_PREFIXES: [&str; 2] = ["FANWIRE_", "WEBSOCKET_"];

/// Most errors told: a file that is something else altogether must not drown its first line.
const ERRORS_MAX: usize = 32;

/// Most unlike that a known key may be to be proposed for an unknown one, in edits.
const EDITS_MAX: usize = 4;

/// Makes one validated configuration from all sources.
///
/// # Errors
/// All mistakes: unknown keys, values out of range, values that do not fit together; each with where it was read.
pub fn load(sources: &Sources<'_>) -> Result<Config, Vec<ConfigError>> {
    let mut config = Config::of_preset(preset(sources));
    let mut errors = Vec::new();
    let mut set = |key: &Key, text: &str, origin: String| {
        if let Err(what) = key.set(&mut config, text) {
            errors.push(ConfigError::new(origin, what));
        }
    };
    let mut unknown = Vec::new();
    let mut more = 0_u32;
    if let Some((name, text)) = sources.file {
        match file::entries(text) {
            Ok(entries) => {
                let mut given = Vec::new();
                for entry in entries {
                    let origin = format!("{name}:{}", entry.line);
                    let document = entry.path.strip_prefix("websocket.");
                    let found = document.map_or_else(|| keys::by_name(&entry.path), keys::by_document_path);
                    match found {
                        Some(key) if given.contains(&key.name) => {
                            let what =
                                format!("{}: {} is given twice, by both its names", entry.path, key.name);
                            unknown.push(ConfigError::new(origin, what));
                        }
                        Some(key) => {
                            given.push(key.name);
                            set(key, &entry.text, origin);
                        }
                        None if unknown.len() < ERRORS_MAX => unknown.push(unknown_key(&entry.path, origin)),
                        None => more += 1,
                    }
                }
            }
            Err(what) => unknown.push(ConfigError::new(name, what)),
        }
    }
    for key in keys::all() {
        for variable in key.variables() {
            if let Some((_, text)) = sources.env.iter().find(|(name, _)| *name == variable) {
                let in_ms = MS_VARIABLES.contains(&variable.as_str())
                    && !text.is_empty()
                    && text.trim().bytes().all(|byte| byte.is_ascii_digit());
                let with_unit = if in_ms { Some(format!("{}ms", text.trim())) } else { None };
                set(key, with_unit.as_deref().unwrap_or(text), format!("variable {variable}"));
            }
        }
    }
    for (name, text) in sources.flags {
        match keys::by_name(&name.replace('-', "_")) {
            Some(key) => set(key, text, format!("--{name}")),
            None => unknown.push(unknown_key(name, format!("--{name}"))),
        }
    }
    config.follow_ping(&Config::of_preset(preset(sources)));
    errors.append(&mut unknown);
    if let (1.., Some((name, _))) = (more, sources.file) {
        errors.push(ConfigError::new(name, format!("{more} unknown keys more")));
    }
    errors.extend(unknown_variables(sources.env));
    errors.extend(config.contradictions().into_iter().map(|what| ConfigError::new("configuration", what)));
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

/// The preset that the sources name, if they do; it gives the defaults of all other keys. What is no preset is told
/// when its key is set.
fn preset(sources: &Sources<'_>) -> Preset {
    let named = |pairs: &[(String, String)], name: &str| {
        pairs.iter().rev().find(|(known, _)| known == name).map(|(_, text)| text.clone())
    };
    let in_file = || {
        let entries = file::entries(sources.file?.1).ok()?;
        entries.into_iter().find(|entry| entry.path == "preset").map(|entry| entry.text)
    };
    let text =
        named(sources.flags, "preset").or_else(|| named(sources.env, "FANWIRE_PRESET")).or_else(in_file);
    let known = |text: String| PRESETS.iter().find(|(name, _)| *name == text.trim());
    text.and_then(known).map_or_else(Preset::default, |(_, preset)| *preset)
}

impl Config {
    /// Checks a configuration that a program put together by the rules of [`load`].
    ///
    /// # Errors
    /// All mistakes.
    pub fn validate(&self) -> Result<(), Vec<ConfigError>> {
        let mut copy = self.clone();
        let wrong = |key: &Key| key.set(&mut copy, &key.show(self)).err();
        let mut errors: Vec<_> = keys::all().filter_map(wrong).collect();
        errors.extend(self.contradictions());
        if errors.is_empty() {
            return Ok(());
        }
        Err(errors.into_iter().map(|what| ConfigError::new("configuration", what)).collect())
    }

    /// Where the preset's document knows pings but no time to wait for their answers, that time follows the pings'
    /// unless it is configured.
    fn follow_ping(&mut self, defaults: &Self) {
        let of_document = matches!(self.preset, Preset::Channels | Preset::Topics | Preset::Tenants);
        let (ping_interval, times) = (self.times.ping_interval, &mut self.times);
        if of_document && times.pong_wait == defaults.times.pong_wait {
            if ping_interval.is_zero() {
                times.pong_wait = ping_interval;
            } else if times.pong_wait <= ping_interval {
                times.pong_wait = 2 * ping_interval;
            }
        }
    }

    /// What is wrong about values that are right one by one.
    fn contradictions(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let times = &self.times;
        if !times.ping_interval.is_zero()
            && !times.pong_wait.is_zero()
            && times.pong_wait <= times.ping_interval
        {
            wrong.push(format!(
                "pong_wait: {:?} must be longer than ping_interval, which is {:?}",
                times.pong_wait, times.ping_interval
            ));
        }
        if times.ping_interval.is_zero() && !times.pong_wait.is_zero() {
            wrong.push(
                "pong_wait: without pings (ping_interval: 0) it must be 0, or quiet clients are closed"
                    .to_owned(),
            );
        }
        if self.limits.outbox_bytes_max > self.limits.outboxes_bytes_max {
            wrong.push(format!(
                "outbox_bytes_max: {} must be at most outboxes_bytes_max, which is {}",
                self.limits.outbox_bytes_max, self.limits.outboxes_bytes_max
            ));
        }
        if self.limits.message_bytes_max > self.limits.inputs_bytes_max {
            wrong.push(format!(
                "message_bytes_max: {} must be at most inputs_bytes_max, which is {}",
                self.limits.message_bytes_max, self.limits.inputs_bytes_max
            ));
        }
        let limits = &self.limits;
        let shares = [
            ("outbox_bytes_per_user_max", &limits.per_user),
            ("outbox_bytes_per_tenant_max", &limits.per_tenant),
        ];
        let (one_max, node_max) = (limits.outbox_bytes_max, limits.outboxes_bytes_max);
        wrong.extend(shares.iter().filter_map(|(key, share)| share.contradiction(key, one_max, node_max)));
        for rule in &self.room_rules {
            if let Some(history) = rule.policy.history
                && history.bytes_max > self.limits.history_bytes_max
            {
                wrong.push(format!(
                    "room_rules: history_bytes of {} is {}, at most history_bytes_max, which is {}, may be",
                    rule.pattern, history.bytes_max, self.limits.history_bytes_max
                ));
            }
        }
        if !self.tokens.tenants.is_empty() && self.tokens.tenant_claims.is_empty() && self.tokens.has_keys() {
            wrong.push(
                "tenants: no claim of a token names a tenant, as jwt_tenant_claims is empty, so that every token would \
                 be refused: set jwt_tenant_claims (such as tenantId,organizationId), or give no tenants"
                    .to_owned(),
            );
        }
        if !self.hook.url.is_empty() {
            self.hook_contradictions(&mut wrong);
        }
        if self.admin_only && self.admin_listen.is_empty() {
            wrong.push("admin_only: it needs admin_listen, or nothing serves /metrics and /v1/".to_owned());
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() && self.unix_socket.is_none() {
            wrong.push("proxy_protocol: it needs trusted_proxies, or nobody's header is believed".to_owned());
        }
        if !self.tcp && self.unix_socket.is_none() {
            wrong.push("tcp: without TCP there must be a unix_socket to listen on".to_owned());
        }
        wrong
    }

    /// The same of a hook that is configured.
    fn hook_contradictions(&self, wrong: &mut Vec<String>) {
        let (hook, times) = (&self.hook, &self.times);
        if hook.secrets.is_empty() {
            wrong
                .push("hook_url: it needs hook_secret (FANWIRE_HOOK_SECRET): requests are signed".to_owned());
        }
        let request_timeout = self.http.request_timeout;
        if hook.timeout > request_timeout {
            let timeout = hook.timeout;
            wrong.push(format!(
                "hook_timeout: {timeout:?} must be at most http_request_timeout, which is {request_timeout:?}"
            ));
        }
        for (name, limit) in [("pong_wait", times.pong_wait), ("idle_timeout", times.idle_timeout)] {
            if !limit.is_zero() && hook.timeout >= limit {
                // Who waits for the backend is not read, and so not heard.
                wrong
                    .push(format!("hook_timeout: {:?} must be shorter than {name}, {limit:?}", hook.timeout));
            }
        }
    }
}

fn unknown_key(name: &str, origin: String) -> ConfigError {
    let bare = name.strip_prefix("websocket.").unwrap_or(name).replace('-', "_");
    let names = keys::all().flat_map(|key| [Some(key.name), key.document]).flatten();
    let hint = nearest(&bare, names).map_or_else(String::new, |near| format!(", did you mean {near}?"));
    ConfigError::new(origin, format!("{}: unknown key{hint}", name.escape_debug()))
}

fn unknown_variables(env: &[(String, String)]) -> Vec<ConfigError> {
    let known: Vec<String> = keys::all().flat_map(Key::variables).collect();
    let ours = |name: &&str| VARIABLE_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let fine = |name: &&str| {
        // See base::mutation.
        let mutation = cfg!(feature = "mutations") && *name == "FANWIRE_MUTATION";
        mutation || OTHER_VARIABLES.contains(name) || known.iter().any(|known| known == name)
    };
    let names = env.iter().map(|(name, _)| name.as_str()).filter(ours).filter(|name| !fine(name));
    let error = |name: &str| {
        let hint = nearest(name, known.iter().map(String::as_str));
        let hint = hint.map_or_else(String::new, |near| format!(", did you mean {near}?"));
        ConfigError::new(format!("variable {name}"), format!("unknown key{hint}"))
    };
    names.map(error).collect()
}

/// The most alike of `names`, if one is alike enough.
fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // A long name is no typing error of anything, and the distance costs the product of both lengths.
    if name.len() > 64 {
        return None;
    }
    names
        .map(|known| (edits(name, known), known))
        .min()
        .filter(|(n, _)| *n <= EDITS_MAX)
        .map(|(_, known)| known)
}

/// The Levenshtein distance, in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
