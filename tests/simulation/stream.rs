//! What a connection must hear of one source whose messages keep their order among each other, but not with those of
//! others: a room without history, the notices of who comes and goes in a room, or what goes to everybody.

use std::collections::VecDeque;
use std::rc::Rc;

/// What may be lost, and how that is told.
#[derive(Debug, Default)]
pub struct Losses {
    /// By notices so far.
    pub told: u64,
    /// Messages passed over that must have come, and all that were.
    low: u64,
    high: u64,
}

impl Losses {
    /// A message is passed over; `excused` if it may have been lost.
    pub fn pass(&mut self, sure: bool, excused: bool) -> Result<(), &'static str> {
        self.high += 1;
        self.low += u64::from(sure);
        if self.low > self.told {
            return Err("a loss that no notice has told");
        }
        if sure && !excused { Err("a loss without need") } else { Ok(()) }
    }

    /// Whether more was told than has been passed over.
    pub fn is_behind(&self) -> bool {
        self.told > self.high
    }

    /// Nothing is on its way any more: all that was told has been lost.
    pub fn settle(&mut self) -> Result<(), String> {
        let Self { told, low, high } = std::mem::take(self);
        if (low..=high).contains(&told) {
            Ok(())
        } else {
            Err(format!("notices tell of {told} lost, but {low} to {high} are"))
        }
    }
}

/// Who came and who went, each in order, and how many are there then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub came: Vec<String>,
    pub went: Vec<String>,
    pub count: u64,
    pub unix_ms: u64,
}

/// Something said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Text(Rc<str>),
    /// Who came and who went.
    Change(Change),
}

impl Said {
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Change(Change { came, went, .. }) => 400 + 40 * (came.len() + went.len()),
        }
    }
}

/// A message that is owed.
#[derive(Debug, Clone)]
pub struct Item {
    pub said: Said,
    /// What it shares with those that it replaces.
    pub key: Option<String>,
    pub sure: bool,
    /// Rises with each message of the world.
    pub serial: u64,
}

#[derive(Debug)]
enum Entry {
    Item(Item),
    /// Here a membership begins or ends.
    Mark,
}

/// The messages of one source to one connection.
#[derive(Debug, Default)]
pub struct Stream {
    due: VecDeque<Entry>,
    pub losses: Losses,
}

impl Stream {
    pub fn push(&mut self, item: Item) {
        self.due.push_back(Entry::Item(item));
    }

    pub fn mark(&mut self) {
        self.due.push_back(Entry::Mark);
    }

    /// What was said since `serial` may not come. Returns how many of these were sure.
    pub fn doubt_since(&mut self, serial: u64) -> u64 {
        let mut count = 0;
        for entry in self.due.iter_mut().rev() {
            if let Entry::Item(item) = entry {
                if item.serial < serial {
                    break;
                }
                count += u64::from(std::mem::take(&mut item.sure));
            }
        }
        count
    }

    /// Something is heard. `pressed`: bounds may have been passed, so that anything may have been lost of a room that
    /// may lose some at all (`lossy`).
    pub fn hear(&mut self, is: impl Fn(&Said) -> bool, lossy: bool, pressed: bool) -> Result<(), String> {
        loop {
            match self.due.pop_front() {
                Some(Entry::Item(item)) if is(&item.said) => {
                    self.confuse(&item);
                    return Ok(());
                }
                Some(Entry::Item(item)) => self.pass(&item, lossy, pressed)?,
                Some(Entry::Mark) => return Err("while it is no member".into()),
                None => return Err("which nobody owes it now".into()),
            }
        }
    }

    /// What was not sure to come has been heard, or the next with the same words: two notices of presence that tell the
    /// same within a millisecond cannot be told apart.
    fn confuse(&mut self, heard: &Item) {
        if heard.sure {
            return;
        }
        for entry in &mut self.due {
            match entry {
                Entry::Item(item) if item.said == heard.said => return item.sure = false,
                Entry::Item(item) if !item.sure => {}
                _ => return,
            }
        }
    }

    fn pass(&mut self, item: &Item, lossy: bool, pressed: bool) -> Result<(), String> {
        let is_newer = |entry: &Entry| matches!(entry, Entry::Item(newer) if newer.key == item.key);
        let here = self.due.iter().take_while(|entry| !matches!(entry, Entry::Mark));
        let replaced = item.key.is_some() && here.into_iter().any(is_newer);
        let passed = self.losses.pass(item.sure, lossy && (pressed || replaced));
        passed.map_err(|wrong| format!("{wrong}, of {:?}", item.said))
    }

    /// All up to the next mark, or the end, must have been heard or told as lost.
    pub fn settle(&mut self, lossy: bool, pressed: bool) -> Result<(), String> {
        while let Some(Entry::Item(item)) = self.due.pop_front() {
            self.pass(&item, lossy, pressed)?;
        }
        self.losses.settle()
    }

    /// A notice tells of a loss.
    pub fn tell(&mut self, lost: u64) -> Result<(), String> {
        self.losses.told += lost;
        let here = self.due.iter().take_while(|entry| !matches!(entry, Entry::Mark)).count() as u64;
        let Losses { told, high, .. } = self.losses;
        if lost > 0 && told <= high + here { Ok(()) } else { Err(format!("a notice of {lost} lost")) }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
