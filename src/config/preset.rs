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
