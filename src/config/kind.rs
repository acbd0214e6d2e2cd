//! The types of settings: how each is read from text, shown as text, and told in words.

mod about;
mod read;

pub use self::read::SHARDS_MAX;
use self::read::{
    ACCESS_DEFAULTS, AFFINITIES, AUTO, FORMATS, LEVELS, NAMES_MAX, ON_FAILURE, PINS, by_name, parse_address,
    parse_group, parse_host, parse_name, parse_network, parse_one_secret, parse_origin, parse_prefix,
    parse_secret, parse_text, parse_url, parse_word,
};
use super::access::{self, AccessDefault, AccessRule};
use super::endpoint::{self, Endpoint};
use super::hook::{self, HookEvent, HookEvents, OnFailure};
use super::list::ListError;
use super::listen::ListenAddress;
use super::preset::{PRESETS, Preset};
use super::rule::{self, RoomRule};
use super::settings::{Config, FlowAffinity, LogFormat, PinThreads};
use super::tokens::{Secret, TokenAlgorithm};
use super::value;
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where a setting lives in a [`Config`].
pub(super) type Place<T> = fn(&mut Config) -> &mut T;

/// The type of a setting, with its range and its place.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Bool(Place<bool>),
    /// As `Bool`; `auto` where something else decides.
    BoolOrAuto(Place<Option<bool>>),
    Port(Place<u16>),
    Count {
        at: Place<u32>,
        min: u32,
        max: u32,
    },
    Shards(Place<usize>),
    /// In bytes.
    Size {
        at: Place<usize>,
        min: usize,
        max: usize,
    },
    /// In bytes, for fields that the kernel takes as 32 bits.
    Size32 {
        at: Place<u32>,
        min: u32,
        max: u32,
    },
    /// Zero is allowed where `min` is zero, and otherwise means nothing special.
    Time {
        at: Place<Duration>,
        min: Duration,
        max: Duration,
    },
    /// As `Time`; zero switches it off, whatever the minimum.
    TimeOrOff {
        at: Place<Duration>,
        min: Duration,
        max: Duration,
    },
    Address(Place<IpAddr>),
    Path(Place<Option<PathBuf>>),
    /// Permissions of a file, in octal digits.
    Mode(Place<u32>),
    /// A group of the machine, by name or number.
    Group(Place<Option<String>>),
    Pin(Place<PinThreads>),
    Listen(Place<Vec<ListenAddress>>),
    Prefix(Place<String>),
    Networks(Place<Vec<IpNet>>),
    Origins(Place<Vec<String>>),
    Hosts(Place<Vec<String>>),
    /// Of parameters and cookies.
    Names(Place<Vec<String>>),
    /// Never shown.
    Secrets(Place<Vec<Secret>>),
    /// Never shown: its query may be a secret.
    HookUrl(Place<String>),
    Headers(Place<Vec<String>>),
    HookEvents(Place<HookEvents>),
    OnFailure(Place<OnFailure>),
    /// Never shown; none where it is empty.
    Secret(Place<Secret>),
    /// Words of a token, or names in it.
    Words {
        at: Place<Vec<String>>,
        max: usize,
    },
    Algorithms(Place<Vec<TokenAlgorithm>>),
    Url(Place<Option<String>>),
    Rules(Place<Vec<RoomRule>>),
    Access(Place<Vec<AccessRule>>),
    AccessDefault(Place<AccessDefault>),
    Level(Place<String>),
    Format(Place<LogFormat>),
    Affinity(Place<FlowAffinity>),
    /// Accepted for the sake of the document, without effect. In bytes.
    Ignored {
        default: &'static str,
    },
    Preset(Place<Preset>),
    Endpoints(Place<Vec<Endpoint>>),
    /// Short texts.
    Texts(Place<Vec<String>>),
}

impl Kind {
    /// Sets the setting from text; `None` if that is not allowed.
    pub fn set(self, config: &mut Config, text: &str) -> Option<()> {
        fn put<T>(place: &mut T, value: Option<T>) -> Option<()> {
            *place = value?;
            Some(())
        }
        fn list<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
            value::split_list(text).map(one).collect()
        }
        let within = |value: Duration, min, max| (min..=max).contains(&value).then_some(value);
        match self {
            Self::Bool(at) => put(at(config), value::parse_bool(text)),
            Self::BoolOrAuto(at) => {
                let auto = (text == AUTO).then_some(None);
                put(at(config), auto.or_else(|| value::parse_bool(text).map(Some)))
            }
            Self::Port(at) => put(at(config), value::parse_number(text)),
            Self::Count { at, min, max } => {
                put(at(config), value::parse_number(text).filter(|n| (min..=max).contains(n)))
            }
            Self::Shards(at) => put(at(config), value::parse_number(text).filter(|n| *n <= SHARDS_MAX)),
            Self::Size { at, min, max } => {
                let size = value::parse_size(text).and_then(|n| usize::try_from(n).ok());
                put(at(config), size.filter(|n| (min..=max).contains(n)))
            }
            Self::Size32 { at, min, max } => {
                let size = value::parse_size(text).and_then(|n| u32::try_from(n).ok());
                put(at(config), size.filter(|n| *n == 0 || (min..=max).contains(n)))
            }
            Self::Time { at, min, max } => {
                put(at(config), value::parse_duration(text).and_then(|t| within(t, min, max)))
            }
            Self::TimeOrOff { at, min, max } => {
                let time = value::parse_duration(text);
                put(at(config), time.and_then(|t| if t.is_zero() { Some(t) } else { within(t, min, max) }))
            }
            Self::Address(at) => put(at(config), parse_address(text)),
            Self::Path(at) => {
                // U+FFFD stands for bytes that were not UTF-8: the path would be another one.
                let fine = !text.contains(['\0', char::REPLACEMENT_CHARACTER]);
                put(at(config), fine.then(|| (!text.is_empty()).then(|| text.into())))
            }
            Self::Mode(at) => put(at(config), value::parse_mode(text)),
            Self::Group(at) => {
                let none = text.is_empty().then_some(None);
                put(at(config), none.or_else(|| parse_group(text).map(Some)))
            }
            Self::Listen(at) => put(at(config), list(text, ListenAddress::parse)),
            Self::Pin(at) => {
                let forced = |forced| if forced { PinThreads::Always } else { PinThreads::Never };
                put(at(config), by_name(&PINS, text).or_else(|| value::parse_bool(text).map(forced)))
            }
            Self::Prefix(at) => put(at(config), parse_prefix(text)),
            Self::Networks(at) => put(at(config), list(text, parse_network)),
            Self::Origins(at) => put(at(config), list(text, parse_origin)),
            Self::Hosts(at) => put(at(config), list(text, parse_host)),
            Self::Names(at) => {
                put(at(config), list(text, parse_name).filter(|names| names.len() <= NAMES_MAX))
            }
            Self::Secrets(at) => put(at(config), list(text, parse_secret)),
            Self::HookUrl(at) => {
                let fine = text.is_empty() || hook::is_url(text);
                put(at(config), fine.then(|| text.to_owned()))
            }
            Self::Headers(at) => put(at(config), list(text, hook::parse_header)),
            Self::HookEvents(at) => put(at(config), HookEvents::parse(value::split_list(text))),
            Self::OnFailure(at) => put(at(config), by_name(&ON_FAILURE, text)),
            Self::Secret(at) => put(at(config), parse_one_secret(text)),
            Self::Words { at, max } => {
                put(at(config), list(text, parse_word).filter(|words| words.len() <= max))
            }
            Self::Algorithms(at) => put(at(config), list(text, TokenAlgorithm::from_name)),
            Self::Url(at) => {
                let none = text.is_empty().then_some(None);
                put(at(config), none.or_else(|| parse_url(text).map(Some)))
            }
            Self::Rules(at) => put(at(config), rule::parse_rules(text).ok()),
            Self::Access(at) => put(at(config), access::parse_rules(text).ok()),
            Self::AccessDefault(at) => put(at(config), by_name(&ACCESS_DEFAULTS, text)),
            Self::Level(at) => {
                let level = text.to_ascii_lowercase();
                put(at(config), LEVELS.contains(&level.as_str()).then_some(level))
            }
            Self::Format(at) => put(at(config), by_name(&FORMATS, text)),
            Self::Affinity(at) => put(at(config), by_name(&AFFINITIES, text)),
            Self::Ignored { .. } => value::parse_size(text).map(|_| ()),
            Self::Preset(at) => put(at(config), by_name(&PRESETS, text)),
            Self::Endpoints(at) => put(at(config), endpoint::parse_endpoints(text).ok()),
            Self::Texts(at) => put(at(config), list(text, parse_text)),
        }
    }

    /// Sets the setting from a list of mappings that `key` has in a file; none if it takes no such list.
    pub fn set_mappings(self, config: &mut Config, file: &str, key: &str) -> Option<Result<(), ListError>> {
        fn put<T>(place: &mut T, value: Result<T, ListError>) -> Option<Result<(), ListError>> {
            Some(value.map(|value| *place = value))
        }
        match self {
            Self::Rules(at) => put(at(config), rule::parse_rules_of(file, key)),
            Self::Access(at) => put(at(config), access::parse_rules_of(file, key)),
            Self::Endpoints(at) => put(at(config), endpoint::parse_endpoints_of(file, key)),
            _ => None,
        }
    }

    /// The setting's value as text that [`Kind::set`] takes.
    pub fn show(self, config: &mut Config) -> String {
        fn name_of<T: PartialEq>(names: &[(&str, T)], value: &T) -> String {
            names.iter().find(|(_, v)| v == value).map_or_else(String::new, |(name, _)| (*name).to_owned())
        }
        match self {
            Self::Bool(at) => at(config).to_string(),
            Self::BoolOrAuto(at) => at(config).map_or_else(|| AUTO.to_owned(), |on| on.to_string()),
            Self::Port(at) => at(config).to_string(),
            Self::Count { at, .. } => at(config).to_string(),
            Self::Shards(at) => at(config).to_string(),
            Self::Size { at, .. } => value::show_size(*at(config) as u64),
            Self::Size32 { at, .. } => value::show_size(u64::from(*at(config))),
            Self::Time { at, .. } | Self::TimeOrOff { at, .. } => value::show_duration(*at(config)),
            Self::Address(at) => at(config).to_string(),
            Self::Path(at) => at(config).as_ref().map_or_else(String::new, |path| path.display().to_string()),
            Self::Mode(at) => value::show_mode(*at(config)),
            Self::Group(at) => at(config).clone().unwrap_or_default(),
            Self::Pin(at) => name_of(&PINS, at(config)),
            Self::Listen(at) => at(config).iter().map(ListenAddress::to_string).collect::<Vec<_>>().join(","),
            Self::Prefix(at) | Self::Level(at) | Self::HookUrl(at) => at(config).clone(),
            Self::Networks(at) => at(config).iter().map(IpNet::to_string).collect::<Vec<_>>().join(","),
            Self::Secret(at) => at(config).reveal().to_owned(),
            Self::Algorithms(at) => at(config).iter().map(|one| one.name()).collect::<Vec<_>>().join(","),
            Self::Url(at) => at(config).clone().unwrap_or_default(),
            Self::Secrets(at) => at(config).iter().map(Secret::reveal).collect::<Vec<_>>().join(","),
            Self::Origins(at)
            | Self::Hosts(at)
            | Self::Names(at)
            | Self::Headers(at)
            | Self::Texts(at)
            | Self::Words { at, .. } => at(config).join(","),
            Self::HookEvents(at) => at(config).show(),
            Self::OnFailure(at) => name_of(&ON_FAILURE, at(config)),
            Self::Rules(at) => rule::show_rules(at(config)),
            Self::Access(at) => access::show_rules(at(config)),
            Self::AccessDefault(at) => name_of(&ACCESS_DEFAULTS, at(config)),
            Self::Format(at) => name_of(&FORMATS, at(config)),
            Self::Affinity(at) => name_of(&AFFINITIES, at(config)),
            Self::Ignored { default } => default.to_owned(),
            Self::Preset(at) => name_of(&PRESETS, at(config)),
            Self::Endpoints(at) => endpoint::show_endpoints(at(config)),
        }
    }

    /// What is wrong with a value, where the range alone does not tell.
    pub fn why_not(self, text: &str) -> Option<String> {
        match self {
            Self::Rules(_) => rule::parse_rules(text).err(),
            Self::Access(_) => access::parse_rules(text).err(),
            Self::Endpoints(_) => endpoint::parse_endpoints(text).err(),
            _ => None,
        }
    }

    /// What is allowed, in words.
    pub fn allowed(self) -> String {
        let time = value::show_duration;
        let size = value::show_size;
        match self {
            Self::Bool(_) => "true or false".to_owned(),
            Self::BoolOrAuto(_) => format!("true, false or {AUTO}"),
            Self::Port(_) => "0 to 65535".to_owned(),
            Self::Count { min, max, .. } => format!("{min} to {max}"),
            Self::Shards(_) => format!("0 to {SHARDS_MAX}"),
            Self::Size { min, max, .. } => {
                format!("{} to {} (bytes, or with KiB, MiB, GiB)", size(min as u64), size(max as u64))
            }
            Self::Size32 { min, max, .. } => {
                format!("0, or {} to {} (bytes, or with KiB, MiB)", size(min.into()), size(max.into()))
            }
            Self::Time { min, max, .. } => format!("{} to {} (such as 54s or 500ms)", time(min), time(max)),
            Self::TimeOrOff { min, max, .. } => {
                format!("0, or {} to {} (such as 54s or 500ms)", time(min), time(max))
            }
            Self::Address(_) => "an IPv4 or IPv6 address, or localhost".to_owned(),
            Self::Path(_) => "a path".to_owned(),
            Self::Mode(_) => "0000 to 0777 (octal, such as 0660)".to_owned(),
            Self::Group(_) => "the name or number of a group of this machine".to_owned(),
            Self::Pin(_) => PINS.map(|(name, _)| name).join(", "),
            Self::Listen(_) => {
                "addresses such as 127.0.0.1:8082, localhost:8082 or unix:/run/fanwire/admin.sock, separated by commas"
                    .to_owned()
            }
            Self::Prefix(_) => "empty, or a path such as /realtime, of letters, digits and -._~/".to_owned(),
            Self::Networks(_) => "networks such as 10.0.0.0/8 or addresses, separated by commas".to_owned(),
            Self::Origins(_) => {
                "origins such as https://example.com, https://*.example.com:*, file://, null, or *, \
                 separated by commas"
                    .to_owned()
            }
            Self::Hosts(_) => {
                "host names without port, such as fanwire.example or *.fanwire.example, separated by commas"
                    .to_owned()
            }
            Self::Names(_) => {
                format!("1 to {NAMES_MAX} names of 1 to 64 letters, digits and -._~, separated by commas")
            }
            Self::Secrets(_) => {
                "keys of 1 to 1024 letters, digits and other visible ASCII characters, separated by commas"
                    .to_owned()
            }
            Self::HookUrl(_) => {
                "http:// or https:// with a host and a path, without user and password, at most 2048 bytes"
                    .to_owned()
            }
            Self::Headers(_) => "names of header fields, separated by commas".to_owned(),
            Self::HookEvents(_) => format!("{}, separated by commas", HookEvent::LABELS.join(", ")),
            Self::OnFailure(_) => ON_FAILURE.map(|(name, _)| name).join(", "),
            Self::Secret(_) => "1 to 1024 characters without control characters".to_owned(),
            Self::Words { max, .. } => {
                format!("up to {max} names of 1 to 255 bytes without control characters, separated by commas")
            }
            Self::Algorithms(_) => format!(
                "some of {}, separated by commas",
                TokenAlgorithm::ALL.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ")
            ),
            Self::Url(_) => {
                "an address such as https://id.example.com/jwks.json, without user or password".to_owned()
            }
            Self::AccessDefault(_) => ACCESS_DEFAULTS.map(|(name, _)| name).join(", "),
            Self::Rules(_) | Self::Access(_) => {
                "a list of rules, in the file or as JSON, see the guide".to_owned()
            }
            Self::Level(_) => LEVELS.join(", "),
            Self::Format(_) => FORMATS.map(|(name, _)| name).join(", "),
            Self::Affinity(_) => AFFINITIES.map(|(name, _)| name).join(", "),
            Self::Ignored { .. } => "a size in bytes".to_owned(),
            Self::Preset(_) => PRESETS.map(|(name, _)| name).join(", "),
            Self::Endpoints(_) => "a list of endpoints, in the file or as JSON, see the guide".to_owned(),
            Self::Texts(_) => {
                "texts of 1 to 255 bytes without control characters, separated by commas".to_owned()
            }
        }
    }
}
