//! Rooms that remember: one order for all, numbered, and what a member of it must hear.

use super::rules;
use super::stream::Losses;
use fanwire::config::RoomPolicy;
use std::rc::Rc;

/// One life of a room's history.
#[derive(Debug)]
pub struct Life {
    /// Id of the room, which the server never gives twice.
    pub id: u64,
    /// As the first to be told of it has heard it.
    pub epoch: Option<String>,
    pub log: Vec<Logged>,
}

/// A publication in the order; its offset is one more than its index.
#[derive(Debug)]
pub struct Logged {
    pub text: Rc<str>,
    pub sender: Option<usize>,
    pub key: Option<String>,
    /// What it costs in the history, in bytes.
    pub charge: usize,
    pub at_ms: u64,
}

impl Life {
    /// The latest offset.
    pub fn last(&self) -> u64 {
        self.log.len() as u64
    }

    /// Whether all that came after an offset is surely kept, but for the node's bound on all histories.
    pub fn keeps_since(&self, policy: &RoomPolicy, offset: u64, now_ms: u64) -> bool {
        let Some(missed) = self.log.get(offset as usize..) else { return false };
        let bytes: usize = missed.iter().map(|logged| logged.charge).sum();
        let within = policy
            .history
            .is_none_or(|max| missed.len() <= max.messages_max as usize && bytes <= max.bytes_max);
        within && missed.iter().all(|logged| logged.at_ms.saturating_add(rules::age_max_ms(policy)) > now_ms)
    }
}

/// A membership as the shard has it.
#[derive(Debug, Clone, Copy)]
pub struct Joined {
    /// Index of the room's life.
    pub life: usize,
    /// What comes after this offset is for it, what comes after `start_low` may be.
    pub start: u64,
    pub start_low: u64,
    /// The last offset that its shard has taken out of its mailbox.
    pub delivered: u64,
    /// The same, where no walk over the members is under way any more.
    pub walked: u64,
}

/// A request to recover what came after an offset.
#[derive(Debug, Clone, Copy)]
pub struct Recover {
    pub seen: u64,
    /// Whether it is of this life and not of the future.
    pub fits: bool,
    /// Whether it must succeed.
    pub must: bool,
}

/// What an answer to a `subscribe` must say of a room that remembers.
#[derive(Debug, Clone)]
pub struct Welcome {
    pub life: usize,
    pub was_member: bool,
    pub last: u64,
    pub recover: Option<Recover>,
    /// A last value follows: surely, or perhaps.
    pub snapshot: Option<bool>,
}

/// How far a client has heard a room.
#[derive(Debug)]
pub struct Seen {
    pub life: usize,
    /// All up to here was heard, or is passed over.
    pub at: u64,
    /// Up to here it gets its own as well, and nothing may be lost.
    replay_to: u64,
    /// The last value that may come before anything else, and whether it must.
    snapshot: Option<(u64, bool)>,
    pub losses: Losses,
}

/// Who hears, and what may be lost to it.
#[derive(Debug, Clone, Copy)]
pub struct Hearer<'a> {
    pub peer: usize,
    pub policy: &'a RoomPolicy,
    /// Whether it hears its own.
    pub own: bool,
    /// Bounds may have been passed.
    pub pressed: bool,
}

impl Seen {
    /// A client has heard that it is a member from `at` on.
    pub fn new(life: usize, at: u64, replay_to: u64, snapshot: Option<(u64, bool)>) -> Self {
        Self { life, at, replay_to, snapshot, losses: Losses::default() }
    }

    /// A publication is heard.
    pub fn hear(&mut self, hearer: Hearer<'_>, life: &Life, offset: u64) -> Result<(), String> {
        match self.snapshot.take() {
            Some((last, _)) if last == offset => return Ok(()),
            Some((last, true)) => return Err(format!("without the last value {last} before")),
            _ => {}
        }
        let at = self.at;
        self.pass_to(hearer, life, offset.saturating_sub(1))?;
        if offset <= at {
            return Err(format!("again or too late: it has heard up to {at}"));
        }
        if self.is_own(hearer, life, offset) {
            return Err("although it is its own".into());
        }
        self.at = offset;
        Ok(())
    }

    /// Passes over all up to an offset, which must have been told.
    fn pass_to(&mut self, hearer: Hearer<'_>, life: &Life, offset: u64) -> Result<(), String> {
        while self.at < offset {
            self.at += 1;
            let at = self.at;
            if self.is_own(hearer, life, at) {
                continue;
            }
            if at <= self.replay_to {
                return Err(format!("without {at}, which is part of what it asked for again"));
            }
            let key = life.log.get(at as usize - 1).and_then(|logged| logged.key.as_ref());
            let mut later = life.log.iter().skip(at as usize);
            let replaced = key.is_some() && later.any(|newer| newer.key.as_ref() == key);
            let excused = rules::is_lossy(hearer.policy) && (hearer.pressed || replaced);
            let passed = self.losses.pass(true, excused);
            passed.map_err(|wrong| format!("without {at}: {wrong}"))?;
        }
        Ok(())
    }

    fn is_own(&self, hearer: Hearer<'_>, life: &Life, offset: u64) -> bool {
        let sender = life.log.get(offset as usize - 1).and_then(|logged| logged.sender);
        !hearer.own && offset > self.replay_to && sender == Some(hearer.peer)
    }

    /// All up to an offset must have been heard or told as lost, and nothing else told, but for what may have been
    /// delivered up to `perhaps`.
    pub fn settle(
        &mut self,
        hearer: Hearer<'_>,
        life: &Life,
        through: u64,
        perhaps: u64,
    ) -> Result<(), String> {
        if let Some((last, true)) = self.snapshot {
            return Err(format!("has not heard the last value {last}"));
        }
        self.pass_to(hearer, life, through.max(self.replay_to))?;
        while self.losses.is_behind() && self.at < perhaps {
            self.pass_to(hearer, life, self.at + 1)?;
        }
        self.losses.settle()
    }

    /// A notice tells of a loss.
    pub fn tell(&mut self, lost: u64, life: &Life) -> Result<(), String> {
        self.losses.told += lost;
        if lost == 0 || lost > life.last() - self.at.min(life.last()) {
            return Err(format!("a notice of {lost} lost, with {} to come after {}", life.last(), self.at));
        }
        Ok(())
    }
}

/// What an answer to a `subscribe` says between the fixed texts.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub count: u32,
    pub position: Option<(String, u64)>,
    pub recovered: Option<bool>,
}

impl Told {
    pub fn parse(text: &str) -> Option<Self> {
        let (count, rest) = text.split_at(text.find(',').unwrap_or(text.len()));
        let (rest, recovered) =
            match (rest.strip_suffix(",\"recovered\":true"), rest.strip_suffix(",\"recovered\":false")) {
                (Some(rest), _) => (rest, Some(true)),
                (_, Some(rest)) => (rest, Some(false)),
                _ => (rest, None),
            };
        let position = if rest.is_empty() {
            None
        } else {
            let (epoch, offset) = rest.strip_prefix(",\"epoch\":\"")?.split_once("\",\"offset\":")?;
            Some((epoch.to_owned(), offset.parse().ok()?))
        };
        Some(Self { count: count.parse().ok()?, position, recovered })
    }
}
