use super::error::ConfigError;
use super::file::{self, Entry, Value};
use super::key::Key;
use super::keys;
use super::preset::{PRESETS, Preset};
use super::settings::Config;
use super::variables::{self, Variable};
use super::warnings::Remark;
use std::collections::BTreeSet;

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

/// Most errors told: a file that is something else altogether must not drown its first line.
const ERRORS_MAX: usize = 32;

/// Most unlike that a known key may be to be proposed for an unknown one, in edits.
const EDITS_MAX: usize = 4;

/// Makes one validated configuration from all sources.
///
/// Variables that are empty count as not given, and so do those that Kubernetes sets for a service of our name;
/// [`remarks`] tells of them. With `strict` in force a warning among the remarks is an error here.
///
/// # Errors
/// All mistakes: unknown keys, values out of range, values that do not fit together; each with where it was read.
pub fn load(sources: &Sources<'_>) -> Result<Config, Vec<ConfigError>> {
    // Once: a file can be as costly to read as the parser's budget allows.
    let entries = sources.file.map_or_else(|| Ok(Vec::new()), |(_, text)| file::entries(text));
    let preset = preset(sources, entries.as_deref().unwrap_or_default());
    let mut loading = Loading { config: Config::of_preset(preset), ..Loading::default() };
    if let Some((name, text)) = sources.file {
        loading.file(name, text, entries);
    }
    for Variable { key, name, text } in variables::given(sources.env) {
        loading.set(key, &text, format!("variable {name}"));
    }
    for (name, text) in sources.flags {
        let origin = format!("--{name}");
        match keys::by_name(&name.replace('-', "_")) {
            Some(key) if text.trim().is_empty() => loading.errors.push(ConfigError::new(
                origin,
                format!(
                    "{}: the value is empty; leave the option out, or give [] for an empty list",
                    key.name
                ),
            )),
            Some(key) => loading.set(key, text, origin),
            None => loading.unknown.push(unknown_key(name, origin)),
        }
    }
    let Loading { mut config, given, mut errors, mut unknown, more } = loading;
    let is_given = |name: &str| given.contains(&name);
    config.follow_ping(&Config::of_preset(preset));
    if let Err(error) = variables::apply_ping_timeout(sources.env, &mut config, is_given("pong_wait")) {
        errors.push(error);
    }
    config.fit_outboxes(is_given);
    errors.append(&mut unknown);
    if let (1.., Some((name, _))) = (more, sources.file) {
        errors.push(ConfigError::new(name, format!("{more} unknown keys more")));
    }
    errors.extend(variables::unknown(sources.env));
    errors.extend(config.contradictions().into_iter().map(|what| ConfigError::new("configuration", what)));
    if config.strict && errors.is_empty() {
        let warnings = remarks(sources, &config).into_iter().filter(Remark::is_warning);
        errors.extend(warnings.map(|remark| ConfigError::new("strict", remark.to_string())));
    }
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

/// What should be known of a configuration that [`load`] made of `sources`: what of the sources was ignored, and what
/// is allowed but hardly meant.
pub fn remarks(sources: &Sources<'_>, config: &Config) -> Vec<Remark> {
    let mut remarks = variables::remarks(sources.env, config.preset);
    if let Some((name, text)) = sources.file {
        for entry in file::entries(text).unwrap_or_default() {
            let is_secret = find_key(&entry.path).is_some_and(|key| key.kind.is_secret());
            if is_secret && matches!(&entry.value, Value::Text(text) if text.is_empty()) {
                let what = format!("{name}:{}: {} is empty: there is no such secret", entry.line, entry.path);
                remarks.push(Remark::Warning(what));
            }
        }
    }
    remarks.extend(config.warnings().into_iter().map(Remark::Warning));
    remarks
}

/// What is read so far.
#[derive(Default)]
struct Loading {
    config: Config,
    /// Names of the keys that a source has.
    given: BTreeSet<&'static str>,
    errors: Vec<ConfigError>,
    unknown: Vec<ConfigError>,
    /// Unknown keys that are not told one by one.
    more: u32,
}

impl Loading {
    fn set(&mut self, key: &'static Key, text: &str, origin: String) {
        self.given.insert(key.name);
        if let Err(what) = key.set(&mut self.config, text) {
            self.errors.push(ConfigError::new(origin, what));
        }
    }

    fn file(&mut self, name: &str, text: &str, entries: Result<Vec<Entry>, String>) {
        let entries = match entries {
            Ok(entries) => entries,
            Err(what) => return self.unknown.push(ConfigError::new(name, what)),
        };
        let mut given = Vec::new();
        for entry in entries {
            let origin = format!("{name}:{}", entry.line);
            match find_key(&entry.path) {
                Some(key) if given.contains(&key.name) => {
                    let what = format!("{}: {} is given twice, by both its names", entry.path, key.name);
                    self.unknown.push(ConfigError::new(origin, what));
                }
                Some(key) => {
                    given.push(key.name);
                    match &entry.value {
                        Value::Text(_) if entry.is_list && key.kind.is_long() => {
                            self.set_mappings(key, name, text, origin);
                        }
                        Value::Text(value) => self.set(key, value, origin),
                        Value::Mappings => self.set_mappings(key, name, text, origin),
                    }
                }
                None if self.unknown.len() < ERRORS_MAX => {
                    self.unknown.push(unknown_key(&entry.path, origin));
                }
                None => self.more += 1,
            }
        }
    }

    /// Sets a key from a list of mappings in the file.
    fn set_mappings(&mut self, key: &'static Key, name: &str, file: &str, origin: String) {
        self.given.insert(key.name);
        match key.kind.set_mappings(&mut self.config, file, key.name) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let origin = error.place.map_or(origin, |(line, column)| format!("{name}:{line}:{column}"));
                self.errors.push(ConfigError::new(origin, format!("{}: {error}", key.name)));
            }
            None => {
                let allowed = key.kind.allowed();
                let what = format!("{}: a list of mappings is not allowed, allowed is {allowed}", key.name);
                self.errors.push(ConfigError::new(origin, what));
            }
        }
    }
}

/// The key that has this path in the file.
fn find_key(path: &str) -> Option<&'static Key> {
    path.strip_prefix("websocket.").map_or_else(|| keys::by_name(path), keys::by_document_path)
}

/// The preset that the sources name, if they do; it gives the defaults of all other keys. What is no preset is told
/// when its key is set.
fn preset(sources: &Sources<'_>, entries: &[Entry]) -> Preset {
    let named = |pairs: &[(String, String)], name: &str| {
        pairs.iter().rev().find(|(known, _)| known == name).map(|(_, text)| text.clone())
    };
    let in_file = || {
        entries.iter().find(|entry| entry.path == "preset").and_then(|entry| match &entry.value {
            Value::Text(text) => Some(text.clone()),
            Value::Mappings => None,
        })
    };
    let in_env = || named(sources.env, "FANWIRE_PRESET").filter(|text| !text.trim().is_empty());
    let text = named(sources.flags, "preset").or_else(in_env).or_else(in_file);
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
}

fn unknown_key(name: &str, origin: String) -> ConfigError {
    let bare = name.strip_prefix("websocket.").unwrap_or(name).replace('-', "_");
    let names = keys::all().flat_map(|key| [Some(key.name), key.document]).flatten();
    let hint = nearest(&bare, names).map_or_else(String::new, |near| format!(", did you mean {near}?"));
    ConfigError::new(origin, format!("{}: unknown key{hint}", name.escape_debug()))
}

/// The most alike of `names`, if one is alike enough.
pub(super) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // A long name is no typing error of anything, and the distance costs the product of both lengths.
    if name.len() > 64 {
        return None;
    }
    names
        .map(|known| (strsim::levenshtein(name, known), known))
        .min()
        .filter(|(n, _)| *n <= EDITS_MAX)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests;
