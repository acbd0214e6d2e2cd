//! Presets: the ports, paths and limits of the protocol documents.

use super::access::AccessTable;
use super::endpoint::{Auth, Endpoint};
use super::rule::{HistoryLimits, RoomPolicy, RoomRule};
use super::service::{Act, Past, Snapshot};
use super::settings::Config;
use crate::base::Pattern;
use crate::dialect;
use std::time::Duration;

const MIB: usize = 1024 * 1024;

const DAY: Duration = Duration::from_secs(86_400);

/// The document whose defaults hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// None: one server for all dialects.
    #[default]
    None,
    /// The Go rooms module.
    Rooms,
    /// The Fastify channels.
    Channels,
    /// The AegisX service.
    Topics,
    /// The AegisX platform.
    Tenants,
}

/// Their names.
pub(super) const PRESETS: [(&str, Preset); 5] = [
    ("none", Preset::None),
    ("rooms", Preset::Rooms),
    ("channels", Preset::Channels),
    ("topics", Preset::Topics),
    ("tenants", Preset::Tenants),
];

impl Preset {
    /// The name that the key `preset` has for it.
    pub fn name(self) -> &'static str {
        PRESETS.iter().find(|(_, preset)| *preset == self).map_or("none", |(name, _)| name)
    }
}

impl Config {
    /// What a preset has where nothing else is configured.
    pub fn of_preset(preset: Preset) -> Self {
        let mut config = Self { preset, endpoints: endpoints(preset), ..Self::default() };
        if !matches!(preset, Preset::None | Preset::Topics) {
            config.room_rules = Vec::new();
        }
        match preset {
            Preset::None => {}
            Preset::Rooms => config.access = AccessTable::open(),
            Preset::Channels => {
                config.port = 3000;
                config.access = AccessTable::open();
            }
            Preset::Topics => {
                config.port = 3000;
                config.access = AccessTable::topics();
                // Its document has no tenants.
                config.tokens.tenant_claims = Vec::new();
                config.limits.message_bytes_max = MIB;
                config.times.ping_interval = Duration::from_secs(30);
                config.times.idle_timeout = Duration::from_secs(300);
                config.times.cleanup_interval = Duration::from_secs(300);
            }
            Preset::Tenants => {
                config.port = 3000;
                config.access = AccessTable::tenants();
                config.tokens.of_tenants = true;
                config.limits.message_bytes_max = MIB;
                config.times.idle_timeout = Duration::from_secs(120);
                config.times.cleanup_interval = Duration::from_secs(30);
            }
        }
        config.fit_outboxes(|_| false);
        config
    }
}

/// The rooms that the AegisX service document names in its greeting.
pub(super) fn available_rooms() -> Vec<String> {
    ["reports:progress", "reports:data-updates", "system:notifications", "user:alerts"]
        .map(str::to_owned)
        .into()
}

/// What the AegisX service document has at paths of its own: the health check and the routes of the report builder.
fn reports() -> [Endpoint; 4] {
    let rooms = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let snapshot =
        |room: &str, what| Some(Snapshot { room: room.to_owned(), what, kind: "initial_data".to_owned() });
    let messages =
        |acts: &[(&str, Act)]| acts.iter().map(|(kind, act)| ((*kind).to_owned(), act.clone())).collect();
    let pace = ("update_interval", Act::Pace);
    let filter = ("apply_filter", Act::Filter);
    [
        Endpoint { auth: Auth::Off, health: true, ..Endpoint::new("/ws/health", "topics") },
        Endpoint {
            rooms: rooms(&["reports:progress:{reportId}"]),
            snapshot: snapshot("reports:progress:{reportId}", Past::Last),
            messages: messages(&[
                ("subscribe_template", Act::Join("reports:data:{templateId}".to_owned())),
                ("cancel_report", Act::Forward),
                ("request_update", Act::Snapshot),
            ]),
            ..Endpoint::new("/api/v1/reports/progress/{reportId}", "topics")
        },
        Endpoint {
            rooms: rooms(&["reports:data:{templateId}"]),
            snapshot: snapshot("reports:data:{templateId}", Past::History),
            messages: messages(&[pace, filter]),
            ..Endpoint::new("/api/v1/reports/stream/{templateId}", "topics")
        },
        Endpoint {
            rooms: rooms(&[
                "reports:system",
                "reports:maintenance",
                "reports:alerts",
                "user:{user}:reports",
                "tenant:{tenant}:user:{user}:reports",
            ]),
            ..Endpoint::new("/api/v1/reports/notifications", "topics")
        },
    ]
}

/// What the rooms of [`reports`] keep: a report its last status, a stream its last hundred values.
pub(super) fn report_rules() -> Vec<RoomRule> {
    let rule = |pattern: &str, policy| RoomRule {
        pattern: Pattern::parse(pattern).expect("a pattern, as a test shows"),
        policy,
    };
    let history = HistoryLimits { messages_max: 100, age_max: DAY, bytes_max: MIB };
    vec![
        rule(
            "reports:progress:*",
            RoomPolicy { last_value: true, last_value_age_max: Some(DAY), ..RoomPolicy::default() },
        ),
        rule("reports:data:*", RoomPolicy { history: Some(history), ..RoomPolicy::default() }),
    ]
}

/// The endpoints of a preset.
pub(super) fn endpoints(preset: Preset) -> Vec<Endpoint> {
    let admin = || Endpoint {
        auth: Auth::Required,
        role: Some("admin".to_owned()),
        admin: true,
        ..Endpoint::new("/ws/admin", "tenants")
    };
    match preset {
        Preset::None => {
            let dialects = dialect::names().filter(|name| *name != "rooms").map(str::to_owned).collect();
            let mut all = vec![Endpoint { dialects, ..Endpoint::new("/ws", "rooms") }, admin()];
            all.extend(reports());
            all
        }
        Preset::Rooms => vec![Endpoint { auth: Auth::Off, ..Endpoint::new("/ws", "rooms") }],
        Preset::Channels => vec![Endpoint::new("/ws", "channels")],
        Preset::Topics => {
            let mut all = vec![Endpoint::new("/ws", "topics")];
            all.extend(reports());
            all
        }
        Preset::Tenants => {
            vec![Endpoint { auth: Auth::Required, ..Endpoint::new("/ws", "tenants") }, admin()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_their_documents_ports_paths_and_limits() {
        // Numbers of the documents, not of other constants. Pings, pongs, writes, idleness, sweeps in seconds; the documents of
        // channels and tenants tell no pings, so those of the rooms document hold.
        for (preset, name, port, message_bytes_max, times) in [
            (Preset::Rooms, "rooms", 8081, 512_000, [54, 60, 10, 0, 0]),
            (Preset::Channels, "channels", 3000, 512_000, [54, 60, 10, 0, 0]),
            (Preset::Topics, "topics", 3000, 1_048_576, [30, 60, 10, 300, 300]),
            (Preset::Tenants, "tenants", 3000, 1_048_576, [54, 60, 10, 120, 30]),
        ] {
            let config = Config::of_preset(preset);
            assert_eq!((config.port, config.limits.message_bytes_max), (port, message_bytes_max), "{name}");
            let own = &config.times;
            let own =
                [own.ping_interval, own.pong_wait, own.write_wait, own.idle_timeout, own.cleanup_interval];
            let own = own.map(|time| time.as_secs());
            assert_eq!(own, times, "{name}");
            assert_eq!(config.host, std::net::IpAddr::from([0, 0, 0, 0]), "{name}");
            let limits = [config.limits.connections_max, config.limits.connections_per_room_max];
            assert_eq!(limits, [0, 0], "{name}");
            let at = config.endpoints.iter().find(|endpoint| endpoint.path.to_string() == "/ws").unwrap();
            assert_eq!(at.dialect, name);
            assert_eq!(at.auth == Auth::Required, preset == Preset::Tenants, "{name}");
        }
        let admin = |preset| endpoints(preset).iter().any(|it| it.path.to_string() == "/ws/admin");
        assert!(admin(Preset::Tenants) && admin(Preset::None) && !admin(Preset::Channels));
    }
}
