//! Rules for rooms: which keep a history, tell who is present, and what overflows do.

use super::list::{self, Item, ItemError, ListError};
use super::presence::PresenceMode;
use super::value;
use crate::base::Pattern;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Most rules: each first join of a room looks through them.
const RULES_MAX: usize = 1000;

/// Longest name of a field to conflate by.
const KEY_BYTES_MAX: usize = 255;

/// Most publications in one history: they are dropped in one go when all have become too old, which takes the shard
/// that does it some milliseconds for so many.
const MESSAGES_MAX: u32 = 100_000;

/// How long publications of a history are kept where the rule does not say.
const AGE_MAX_DEFAULT: Duration = Duration::from_secs(300);

/// How long they may be kept: ages are looked after once per second; a week is beyond any reconnect.
const AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400 * 7);

/// What holds for the rooms whose names match a pattern. The first rule that matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRule {
    /// Which rooms. Where it has the capture [`RoomRule::TENANT`], the segment that stands for it in a room's name is
    /// the tenant that the room's history is charged to.
    pub pattern: Pattern,
    /// What holds for them.
    pub policy: RoomPolicy,
}

impl RoomRule {
    /// Name of the capture that a pattern may have.
    pub const TENANT: &'static str = "tenant";
}

/// What holds for a room. The default is a room that remembers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomPolicy {
    /// Publications kept for those who come back; none: the room has no history, no offsets, and no recovery.
    pub history: Option<HistoryLimits>,
    /// Whether who joins is sent the room's last publication.
    pub last_value: bool,
    /// How long that one is kept where there is no `history` whose age counts; none: for ever.
    pub last_value_age_max: Option<Duration>,
    /// Whether members are told which members join and leave, and may ask for the list, and how members are named.
    pub presence: PresenceMode,
    /// What happens when the outbox of a member is full.
    pub overflow: Overflow,
}

impl RoomPolicy {
    /// Whether rooms of this policy keep publications.
    pub fn remembers(&self) -> bool {
        self.history.is_some() || self.last_value
    }
}

/// Bounds of a room's history; all hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Publications.
    pub messages_max: u32,
    /// Age of a publication.
    pub age_max: Duration,
    /// Bytes of all publications together.
    pub bytes_max: usize,
}

/// What happens when a publication does not fit into the outbox of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The member is closed with 4430.
    #[default]
    Disconnect,
    /// The member's oldest publications are dropped, of the room of this policy or [`Overflow::Conflate`] of which
    /// most bytes wait, and it is told how many.
    DropOldest,
    /// Of the room's publications that wait for the member, those with the same value of this field of `data` make
    /// place for the newest, and it is told how many. Beyond that as [`Overflow::DropOldest`].
    Conflate {
        /// A top-level field of `data`; none: the newest publication alone counts.
        key: Option<String>,
    },
}

/// A rule as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    pattern: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history_messages: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history_ttl: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history_bytes: Option<String>,
    #[serde(default, skip_serializing_if = "value::is_false")]
    last_value: bool,
    #[serde(default, skip_serializing_if = "PresenceMode::is_off")]
    presence: PresenceMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overflow: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conflate_key: Option<String>,
}

/// Reads rules from YAML or JSON.
///
/// # Errors
/// What is wrong, with the number of the rule.
pub(super) fn parse_rules(text: &str) -> Result<Vec<RoomRule>, String> {
    list::parse::<Written>(text)
}

/// Reads the rules that a key of a file has.
///
/// # Errors
/// What is wrong, with its place and the number of the rule.
pub(super) fn parse_rules_of(file: &str, key: &str) -> Result<Vec<RoomRule>, ListError> {
    list::parse_key::<Written>(file, key)
}

/// Writes rules so that [`parse_rules`] reads them back.
pub(super) fn show_rules(rules: &[RoomRule]) -> String {
    if rules.is_empty() {
        return String::new();
    }
    let written: Vec<_> = rules.iter().map(Written::from).collect();
    serde_json::to_string(&written).expect("text and numbers are JSON")
}

impl Item for Written {
    type Checked = RoomRule;

    const NAME: &'static str = "rule";

    const MAX: usize = RULES_MAX;

    fn check(self) -> Result<RoomRule, ItemError> {
        let pattern = Pattern::parse_capturing(&self.pattern, &[RoomRule::TENANT])
            .map_err(|error| ItemError::new("pattern", error.to_string()))?;
        let within = |name: &'static str, fine: bool, range: &str| {
            if fine { Ok(()) } else { Err(ItemError::new(name, format!("it must be {range}"))) }
        };
        let age_max = self.history_ttl.as_deref().map(|ttl| value::parse_duration(ttl).unwrap_or_default());
        let fine = age_max.is_none_or(|age_max| AGES.contains(&age_max));
        within("history_ttl", fine, "1s to 168h")?;
        let history = match self.history_messages {
            None | Some(0) => {
                let alone = (self.history_ttl.is_none() || self.last_value) && self.history_bytes.is_none();
                within("history_messages", alone, "given where history_ttl or history_bytes is")?;
                None
            }
            Some(messages_max) => {
                within("history_messages", messages_max <= MESSAGES_MAX, "0 to 100000")?;
                let age_max = age_max.unwrap_or(AGE_MAX_DEFAULT);
                let bytes = self.history_bytes.as_deref().unwrap_or("1MiB");
                let bytes_max = value::parse_size(bytes).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                within("history_bytes", (1024..=1 << 30).contains(&bytes_max), "1KiB to 1GiB")?;
                Some(HistoryLimits { messages_max, age_max, bytes_max })
            }
        };
        let key_fits = self.conflate_key.as_ref().is_none_or(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
        within("conflate_key", key_fits, "1 to 255 bytes")?;
        let key_alone = self.conflate_key.is_some() && self.overflow.as_deref() != Some("conflate");
        within("overflow", !key_alone, "conflate where conflate_key is given")?;
        let overflow = match self.overflow.as_deref() {
            None | Some("disconnect") => Overflow::Disconnect,
            Some("drop_oldest") => Overflow::DropOldest,
            Some("conflate") => Overflow::Conflate { key: self.conflate_key },
            Some(_) => {
                return Err(ItemError::new("overflow", "it must be disconnect, drop_oldest or conflate"));
            }
        };
        let policy = RoomPolicy {
            history,
            last_value: self.last_value,
            last_value_age_max: age_max.filter(|_| history.is_none()),
            presence: self.presence,
            overflow,
        };
        Ok(RoomRule { pattern, policy })
    }

    /// A rule that never counts is a mistake in the order, or a leftover that contradicts what holds.
    fn fits(before: &[RoomRule], rule: &RoomRule) -> Result<(), ItemError> {
        match before.iter().position(|before| before.pattern.covers(&rule.pattern)) {
            Some(index) => Err(ItemError::new(
                "pattern",
                format!("the rule never counts, as rule {} matches all its rooms", index + 1),
            )),
            None => Ok(()),
        }
    }
}

impl From<&RoomRule> for Written {
    fn from(rule: &RoomRule) -> Self {
        let RoomPolicy { history, last_value, last_value_age_max, presence, overflow } = &rule.policy;
        let age_max = history.map(|history| history.age_max).or(*last_value_age_max);
        let (overflow, conflate_key) = match overflow {
            Overflow::Disconnect => (None, None),
            Overflow::DropOldest => (Some("drop_oldest".to_owned()), None),
            Overflow::Conflate { key } => (Some("conflate".to_owned()), key.clone()),
        };
        Self {
            pattern: rule.pattern.to_string(),
            history_messages: history.map(|history| history.messages_max),
            history_ttl: age_max.map(value::show_duration),
            history_bytes: history.map(|history| value::show_size(history.bytes_max as u64)),
            last_value: *last_value,
            presence: *presence,
            overflow,
            conflate_key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
- pattern: "chat:**"
  history_messages: 100
  history_ttl: 10m
  presence: true
- pattern: "prices:*"
  last_value: true
  overflow: conflate
  conflate_key: symbol
- pattern: "scores:*"
  last_value: true
  history_ttl: 1h
- pattern: "**"
  overflow: drop_oldest
"#;

    #[test]
    fn rules_are_read_and_written() {
        let rules = parse_rules(RULES).unwrap();
        assert_eq!(rules.len(), 4);
        let history =
            HistoryLimits { messages_max: 100, age_max: Duration::from_secs(600), bytes_max: 1 << 20 };
        assert_eq!(
            rules[0].policy,
            RoomPolicy { history: Some(history), presence: PresenceMode::Ids, ..RoomPolicy::default() }
        );
        assert_eq!(rules[1].policy.overflow, Overflow::Conflate { key: Some("symbol".to_owned()) });
        assert!(rules[1].policy.last_value && rules[1].policy.last_value_age_max.is_none());
        assert_eq!(rules[2].policy.last_value_age_max, Some(Duration::from_secs(3600)));
        assert!(rules[2].policy.history.is_none() && rules[3].policy.overflow == Overflow::DropOldest);
        assert_eq!(parse_rules(&show_rules(&rules)).unwrap(), rules);
        assert_eq!(parse_rules("").unwrap(), []);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for wrong in [
            "chat",
            "{pattern: a}",
            "[{}]",
            "[{pattern: ''}]",
            "[{pattern: 'a*'}]",
            "[{pattern: a, histroy_messages: 1}]",
            "[{pattern: a, history_messages: -1}]",
            "[{pattern: a, history_messages: 100001}]",
            "[{pattern: a, last_value: true, history_ttl: 5}]",
            "[{pattern: a, last_value: true, history_ttl: 200h}]",
            "[{pattern: a, last_value: true, history_bytes: 1MiB}]",
            "[{pattern: a, history_ttl: 5m}]",
            "[{pattern: a, history_messages: 1, history_ttl: 5}]",
            "[{pattern: a, history_messages: 1, history_bytes: 1}]",
            "[{pattern: a, overflow: explode}]",
            "[{pattern: a, conflate_key: k}]",
            "[{pattern: a, overflow: drop_oldest, conflate_key: k}]",
            "[{pattern: a, overflow: conflate, conflate_key: ''}]",
            "[{pattern: a, presence: 1}]",
            "[{pattern: a, presence: everybody}]",
            "[{pattern: a, presence: Users}]",
            "[{pattern: a}, {pattern: a}]",
            "[{pattern: 'a:**'}, {pattern: 'a:*', presence: true}]",
        ] {
            assert!(parse_rules(wrong).is_err(), "{wrong}");
        }
        let error = parse_rules("[{pattern: a}, {pattern: b, overflow: x}]").unwrap_err();
        assert_eq!(error, "rule 2: overflow: it must be disconnect, drop_oldest or conflate");
    }
}
