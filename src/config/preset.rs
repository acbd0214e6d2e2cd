//! Presets: the ports, paths and limits of the protocol documents.

use super::access::AccessTable;
use super::endpoint::{Auth, Endpoint};
use super::settings::Config;
use std::time::Duration;

const MIB: usize = 1024 * 1024;

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

impl Config {
    /// What a preset has where nothing else is configured.
    pub fn of_preset(preset: Preset) -> Self {
        let mut config = Self { preset, endpoints: endpoints(preset), ..Self::default() };
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
                config.limits.message_bytes_max = MIB;
                config.times.ping_interval = Duration::from_secs(30);
                config.times.idle_timeout = Duration::from_secs(300);
            }
            Preset::Tenants => {
                config.port = 3000;
                config.access = AccessTable::tenants();
                // Its document has none, and no tenant is to reach another by the broadcast of another dialect.
                config.client_broadcast = false;
                config.limits.message_bytes_max = MIB;
                config.times.idle_timeout = Duration::from_secs(120);
            }
        }
        config
    }
}

/// The rooms that the AegisX service document names in its greeting.
pub(super) fn available_rooms() -> Vec<String> {
    ["reports:progress", "reports:data-updates", "system:notifications", "user:alerts"]
        .map(str::to_owned)
        .into()
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
        Preset::None => vec![Endpoint::new("/ws", "rooms"), admin()],
        Preset::Rooms => vec![Endpoint { auth: Auth::Off, ..Endpoint::new("/ws", "rooms") }],
        Preset::Channels => vec![Endpoint::new("/ws", "channels")],
        Preset::Topics => vec![Endpoint::new("/ws", "topics")],
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
        const DEFAULT_BYTES: usize = 512_000;
        let seconds = |config: &Config| {
            [config.times.ping_interval, config.times.idle_timeout].map(|time| time.as_secs())
        };
        let default = Config::default();
        for (preset, name, port, message_bytes_max, [ping_s, idle_s]) in [
            (Preset::Rooms, "rooms", 8081, DEFAULT_BYTES, seconds(&default)),
            (Preset::Channels, "channels", 3000, DEFAULT_BYTES, seconds(&default)),
            (Preset::Topics, "topics", 3000, 1_048_576, [30, 300]),
            (Preset::Tenants, "tenants", 3000, 1_048_576, [seconds(&default)[0], 120]),
        ] {
            let config = Config::of_preset(preset);
            assert_eq!((config.port, config.limits.message_bytes_max), (port, message_bytes_max), "{name}");
            assert_eq!(seconds(&config), [ping_s, idle_s], "{name}");
            let at = config.endpoints.iter().find(|endpoint| endpoint.path.to_string() == "/ws").unwrap();
            assert_eq!(at.dialect, name);
            assert_eq!(at.auth == Auth::Required, preset == Preset::Tenants, "{name}");
        }
        let admin = |preset| endpoints(preset).iter().any(|it| it.path.to_string() == "/ws/admin");
        assert!(admin(Preset::Tenants) && admin(Preset::None) && !admin(Preset::Channels));
    }
}
