//! What holds for the rooms of a world, drawn at random, and what may become of their publications.

use super::random::Random;
use super::speech;
use fanwire::base::Pattern;
use fanwire::config::{HistoryLimits, Overflow, PresenceMode, RoomPolicy, RoomRule};
use fanwire::hub::ENTRY_BYTES;
use std::time::Duration;

/// The field of `data` by which rooms conflate.
const KEY: &str = "k";

/// One room's policy, where rooms have rules at all.
pub fn policy(random: &mut Random) -> RoomPolicy {
    let seconds = |random: &mut Random, from: &[u64]| Duration::from_secs(random.pick(from));
    let history = random.percent(50).then(|| HistoryLimits {
        messages_max: random.pick(&[1, 4, 30, 1000]),
        age_max: seconds(random, &[1, 5, 300]),
        bytes_max: random.pick(&[400, 3000, 1 << 20]),
    });
    let last_value = random.percent(35);
    RoomPolicy {
        history,
        last_value,
        last_value_age_max: (last_value && random.percent(50)).then(|| seconds(random, &[1, 4])),
        presence: if random.percent(40) { PresenceMode::Ids } else { PresenceMode::Off },
        overflow: match random.below(5) {
            0 | 1 => Overflow::Disconnect,
            2 => Overflow::DropOldest,
            3 => Overflow::Conflate { key: None },
            _ => Overflow::Conflate { key: Some(KEY.to_owned()) },
        },
    }
}

/// The rules that give each room its policy.
pub fn rules(policies: &[RoomPolicy]) -> Vec<RoomRule> {
    let rule = |(name, policy): (&&str, &RoomPolicy)| RoomRule {
        pattern: Pattern::parse(name).unwrap(),
        policy: policy.clone(),
    };
    speech::ROOMS.iter().zip(policies).map(rule).collect()
}

/// Whether members may lose publications of such a room.
pub fn is_lossy(policy: &RoomPolicy) -> bool {
    policy.overflow != Overflow::Disconnect
}

/// What a publication shares with those that it replaces, if it replaces any.
pub fn key(policy: &RoomPolicy, data: Option<&str>) -> Option<String> {
    match &policy.overflow {
        Overflow::Disconnect | Overflow::DropOldest => None,
        Overflow::Conflate { key: None } => Some(String::new()),
        Overflow::Conflate { key: Some(_) } => {
            let value = data?.strip_prefix("{\"k\":")?.split(',').next()?;
            Some(value.to_owned())
        }
    }
}

/// What a publication costs in a history, in bytes.
pub fn charge(event: &str, data: Option<&str>) -> usize {
    ENTRY_BYTES + event.len() + data.map_or(0, str::len)
}

/// How long a publication is kept, in ms.
pub fn age_max_ms(policy: &RoomPolicy) -> u64 {
    let age = policy.history.map_or(policy.last_value_age_max, |limits| Some(limits.age_max));
    age.map_or(u64::MAX, |age| age.as_millis() as u64)
}
