//! What all threads of a run with members share.

use anyhow::{Result, ensure};

use crate::cli::Common;
use crate::template::Templates;

/// How publishers are paced.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Open loop: so many messages per second over all publishers.
    Rate(f64),
    /// Closed loop: each publisher keeps so many of its messages under way.
    Window(u32),
}

/// What all threads of a run share.
#[derive(Debug)]
pub struct Plan {
    /// Texts of the protocol.
    pub templates: Templates,
    /// Before the number in a room's name.
    pub room_prefix: String,
    /// Publishers of each room.
    pub publishers: u32,
    /// Publishers of all rooms.
    pub publishers_total: usize,
    /// Publishers get their own copies.
    pub echo: bool,
    /// Size of a message's payload.
    pub size_bytes: usize,
    /// How publishers are paced.
    pub pace: Pace,
    /// Connections under way at once on one thread.
    pub connecting_max: usize,
    /// SO_RCVBUF of stalled members, 0 for the kernel's choice.
    pub stalled_receive_bytes: usize,
}

impl Plan {
    /// Nobody publishes; patterns that publish fill in the rest.
    ///
    /// # Errors
    /// When an option holds what no run can be made of.
    pub fn quiet(common: &Common) -> Result<Self> {
        ensure!(common.connecting > 0, "--connecting must be at least 1");
        Ok(Self {
            templates: common.templates(),
            room_prefix: common.room_prefix.clone(),
            publishers: 0,
            publishers_total: 0,
            echo: true,
            size_bytes: 0,
            pace: Pace::Rate(0.0),
            connecting_max: common.connecting.div_ceil(common.threads()),
            stalled_receive_bytes: 0,
        })
    }
}
