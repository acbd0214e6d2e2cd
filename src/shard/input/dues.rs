//! Budgets of what one connection may ask for that is dear, whatever its rates of messages are: the past of rooms, by
//! the bytes that are gone through, and attempts to say who it is.
//!
//! The past is paid for afterwards, as nobody knows before what there is: a connection that owes something waits until
//! that has come in. The node owes it nothing meanwhile but an error.

use crate::base::{Gcra, Rate};
use crate::config::Limits;
use crate::model::{CloseReason, Refusal};
use crate::shard::input::commands::{STRIKES_MAX, rate};
use crate::shard::policy::access::Denial;
use crate::shard::{Now, Shard};

/// What of a connection's budgets is spent. Lies with its [`Terms`](crate::shard::life::terms::Terms), as most connections never ask.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::shard) struct Dues {
    past: Gcra,
    auths: Gcra,
    /// Requests refused in a row for want of budget.
    strikes: u8,
}

/// A budget. The value is its index among the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum Due {
    /// Recoveries and snapshots.
    Past = 0,
    /// Attempts to authenticate, those that fail too.
    Auth = 1,
}

impl Due {
    fn rate(self, limits: &Limits) -> Rate {
        match self {
            Self::Past => rate(limits.replay_bytes_per_s, limits.replay_bytes_burst),
            Self::Auth => rate(limits.auths_per_s, limits.auths_burst),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Past => {
                "rate limit of replays exceeded: ask for less of the past, or try again in some seconds"
            }
            Self::Auth => "rate limit of authentication exceeded: try again in some seconds",
        }
    }
}

impl Dues {
    fn gcra(&mut self, due: Due) -> &mut Gcra {
        match due {
            Due::Past => &mut self.past,
            Due::Auth => &mut self.auths,
        }
    }
}

impl Shard {
    /// Takes one attempt to authenticate.
    ///
    /// # Errors
    /// If there were too many; a connection that does not heed that is closed in the end.
    pub(in crate::shard) fn take_auth(&mut self, now: Now, slot: u32) -> Result<(), Denial> {
        self.within(now, slot, Due::Auth, |auths, rate, now_ns| auths.check(rate, 1, now_ns))
    }

    /// Whether a connection may ask for something of the past now.
    ///
    /// # Errors
    /// If it owes too much; a connection that does not heed that is closed in the end.
    pub(super) fn may_ask_past(&mut self, now: Now, slot: u32) -> Result<(), Denial> {
        self.within(now, slot, Due::Past, |past, rate, now_ns| past.has_left(rate, now_ns))
    }

    /// `bytes` of the past have been gone through for a connection.
    pub(in crate::shard) fn spend_past(&mut self, now: Now, slot: u32, bytes: usize) {
        let rate = Due::Past.rate(&self.config.limits);
        if rate.per_s == 0 || bytes == 0 {
            return;
        }
        if let Some(dues) = self.dues(slot) {
            dues.past.spend(&rate, u32::try_from(bytes).unwrap_or(u32::MAX), now.us * 1000);
        }
    }

    fn within(
        &mut self,
        now: Now,
        slot: u32,
        due: Due,
        passes: impl FnOnce(&mut Gcra, &Rate, u64) -> bool,
    ) -> Result<(), Denial> {
        let rate = due.rate(&self.config.limits);
        if rate.per_s == 0 {
            return Ok(());
        }
        let Some(dues) = self.dues(slot) else { return Ok(()) };
        if passes(dues.gcra(due), &rate, now.us * 1000) {
            dues.strikes = 0;
            return Ok(());
        }
        dues.strikes = dues.strikes.saturating_add(1);
        let is_deaf = dues.strikes >= STRIKES_MAX;
        self.metrics.rate_limited.add(1);
        self.metrics.budgets.inc(due as usize);
        if is_deaf {
            self.doom_for(slot, CloseReason::RateLimited);
        }
        Err(Denial { refusal: Refusal::RateLimited, text: Some(due.text().into()) })
    }

    /// A connection's dues, made when first needed.
    fn dues(&mut self, slot: u32) -> Option<&mut Dues> {
        Some(&mut self.conns.at_mut(slot)?.terms.get_or_insert_default().dues)
    }
}
