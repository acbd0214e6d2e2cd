//! What a connection has asked for as to how it is sent things: a pace, batches, a filter. And the endpoint that lets
//! it ask, and what is left of its budgets.

use crate::config::Config;
use crate::config::Endpoint;
use crate::hub::FilterId;
use crate::shard::input::dues::Dues;
use crate::shard::input::look::Look;
use crate::shard::input::talk::Talk;
use std::time::Duration;

/// By which of the configured endpoints a connection came, where that has more to it than rooms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Index of the endpoint among those configured.
    pub endpoint: usize,
    /// Names and values of the parameters of its path.
    pub parameters: Vec<(String, String)>,
}

/// The terms of one connection. Most have none.
#[derive(Debug, Default)]
pub(in crate::shard) struct Terms {
    pub route: Option<Route>,
    /// Time over which messages are put together into one frame, in ms; 0: each is a frame.
    pub batch_ms: u32,
    /// Time between two values of a room, in ms; 0: all are sent.
    pub interval_ms: u32,
    pub filter: Option<FilterId>,
    /// When publications were last let out, in ms of the shard's clock; `None`: never.
    pub released_ms: Option<u64>,
    /// Whether the time of those that wait has come; before, a timer is set.
    pub is_due: bool,
    /// Whether the connection stands on the dirty list although it is held.
    pub noted: bool,
    /// What it has spent of its budgets.
    pub dues: Dues,
    /// A request for the past that waits until that is read.
    pub look: Option<Box<Look>>,
    /// Parts of its input in which the present request has waited for that.
    pub looks: u8,
    /// What its dialect keeps of it, if that keeps anything.
    pub talk: Option<Box<Talk>>,
    /// Bytes that have come since it began to be closed.
    pub after_end: usize,
}

impl Terms {
    /// The terms of a connection that comes in. `None` if it has none.
    pub fn new(route: Option<Route>, batch: Duration) -> Option<Box<Self>> {
        let batch_ms = u32::try_from(batch.as_millis()).unwrap_or(u32::MAX);
        let any = route.is_some() || batch_ms != 0;
        any.then(|| Box::new(Self { route, batch_ms, ..Self::default() }))
    }

    /// Whether publications wait here for their time, however ready the socket is.
    pub fn hold(&self) -> bool {
        self.batch_ms != 0 || self.interval_ms != 0 || self.filter.is_some()
    }

    /// When publications that have just begun to wait are let out. Timers of a second and more have the granularity
    /// of a tenth, as so few different moments keep a shard from waking up for each connection.
    pub fn due_ms(&self, now_ms: u64) -> u64 {
        let paced_ms = self.released_ms.map_or(0, |ms| ms + u64::from(self.interval_ms));
        let due_ms = paced_ms.max(now_ms + u64::from(self.batch_ms));
        if due_ms > now_ms + 1000 { due_ms.next_multiple_of(100) } else { due_ms }
    }

    /// The endpoint.
    pub fn endpoint<'c>(&self, config: &'c Config) -> Option<&'c Endpoint> {
        config.endpoints.get(self.route.as_ref()?.endpoint)
    }
}
