use super::key::Key;
use super::keys;
use super::settings::Config;

/// A key of the configuration as documents tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Described {
    /// The heading that it stands under.
    pub group: &'static str,
    /// Its name in the file.
    pub name: &'static str,
    /// The default, in words where it is not one value.
    pub default: String,
    /// What is allowed, in words.
    pub allowed: String,
    /// Whether a reload can change it.
    pub reload: bool,
    /// What it means.
    pub help: &'static str,
}

/// Every key, in the order of the help.
pub fn described() -> Vec<Described> {
    let default = Config::default();
    let of_key = |group: &'static str, key: &Key| Described {
        group,
        name: key.name,
        default: shown_default(key, &default),
        allowed: key.kind.allowed(),
        reload: key.reload,
        help: key.help,
    };
    keys::groups()
        .flat_map(|(group, keys)| keys.iter().map(move |key| (group, key)))
        .map(|(group, key)| of_key(group, key))
        .collect()
}

/// A default as documents show it: long lists are those of a preset.
pub(super) fn shown_default(key: &Key, default: &Config) -> String {
    match key.show(default) {
        _ if key.name == "preset" => "no preset: all protocols at one server".to_owned(),
        value if value.is_empty() => "none".to_owned(),
        _ if key.kind.is_long() => "those of the preset".to_owned(),
        value => value,
    }
}
