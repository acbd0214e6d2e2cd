//! Shards whose threads do not run for a while: their mailboxes fill, their timers are late, and nobody's silence
//! meanwhile is held against them.

use super::world::World;
use fanwire::shard::Now;

/// Time without a turn, in us, from which on a thread counts as having slept.
const SLEPT_US: u64 = 2_000_000;

impl World {
    /// A shard's thread is descheduled.
    pub fn sleep(&mut self, site: usize) {
        let us = self.random.pick(&[1_000, 50_000, 1_500_000, 4_000_000]);
        let us = 1 + self.random.below(us) as u64;
        let here = &mut self.sites[site];
        if here.asleep_until.is_none() {
            here.asleep_until = Some(self.now_us + us);
            here.asleep_since = self.now_us;
            self.note("shard {} does not run for {} us", &[site, us as usize]);
        }
    }

    /// When a shard has something to do, in us.
    pub fn due_us(&self, site: usize) -> Option<u64> {
        let here = &self.sites[site];
        here.asleep_until.or_else(|| here.shard.deadline_ms().map(|ms| ms * 1000))
    }

    /// A shard's thread runs again, if it does now. What it must do at once is done.
    pub fn wake(&mut self, site: usize) -> bool {
        let now = self.now();
        let here = &mut self.sites[site];
        if here.asleep_until.is_none_or(|until| now.us < until) {
            return false;
        }
        here.asleep_until = None;
        let since = here.asleep_since;
        if now.us - since > SLEPT_US {
            here.awake_us = now.us;
            here.unseen_from_us = since;
            here.shard.slept(Now { us: since, unix_ms: 0 }, now);
        }
        self.note("shard {} runs again", &[site]);
        self.end_tick(site);
        true
    }

    /// Wakes all.
    pub fn wake_all(&mut self) {
        for site in 0..self.sites.len() {
            if let Some(until) = self.sites[site].asleep_until {
                self.sites[site].asleep_until = Some(until.min(self.now_us));
                self.wake(site);
            }
        }
    }
}
