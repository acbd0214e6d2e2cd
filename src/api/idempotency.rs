//! Requests that are made once however often they are sent: `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header).

use super::ApiError;
use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

/// How long an answer is kept, in ms: longer than any client tries again.
const KEPT_MS: u64 = 10 * 60 * 1000;

/// Keys kept at the most; beyond it the oldest go before their time.
const KEYS_MAX: usize = 100_000;

/// Bytes of keys and answers kept at the most; beyond it the oldest go before their time.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an entry is charged beside its key and answer, in bytes: its places in the table and the queue.
const ENTRY_BYTES: usize = 160;

/// Longest key in bytes.
const KEY_BYTES_MAX: usize = 255;

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// What is known of a request with a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: it is to be done, and [`Idempotency::finish`] is to be called with this number.
    New(u64),
    /// It has been done.
    Done(Stored),
    /// It is being done.
    Running,
    /// Another request had this key.
    Other,
}

/// The answers to requests with a key, for a while.
///
/// A key belongs to its caller: another API key's is another one. Only answers of what was done are kept; one that was
/// refused may be sent again.
#[derive(Default)]
pub struct Idempotency {
    entries: HashMap<(u64, Arc<str>), Entry, RandomState>,
    /// The same by age: when it came, in ms, and its number. Some are gone already.
    by_age: VecDeque<(u64, u64, (u64, Arc<str>))>,
    bytes: usize,
    next: u64,
    evictions: u64,
    /// Keyed at random, so that nobody can make two requests that count as one.
    prints: [std::hash::RandomState; 2],
}

struct Entry {
    number: u64,
    /// Of the path and the body.
    print: [u64; 2],
    answer: Option<Stored>,
}

impl Entry {
    fn bytes(&self, key: &str) -> usize {
        ENTRY_BYTES + key.len() + self.answer.as_ref().map_or(0, |answer| answer.body.len())
    }
}

/// Checks the value of an `Idempotency-Key` header.
///
/// # Errors
/// A 400 unless it has 1 to 255 visible ASCII characters.
pub fn check_key(value: &[u8]) -> Result<&str, ApiError> {
    let text =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    text.filter(|text| (1..=KEY_BYTES_MAX).contains(&text.len())).ok_or_else(|| {
        ApiError::bad_request(format!(
            "Idempotency-Key must be 1 to {KEY_BYTES_MAX} visible ASCII characters"
        ))
    })
}

impl Idempotency {
    /// A request of `caller` (its API key, if it needs one) came at `now_ms` of the node's clock.
    pub fn claim(&mut self, now_ms: u64, caller: &[u8], key: &str, path: &str, body: &[u8]) -> Claim {
        while self.by_age.front().is_some_and(|(at_ms, ..)| at_ms + KEPT_MS <= now_ms) {
            self.pop_oldest();
        }
        let print = self.prints.each_ref().map(|print| print.hash_one((path, body)));
        let key = (self.prints[0].hash_one(caller), Arc::from(key));
        if let Some(entry) = self.entries.get(&key) {
            return match &entry.answer {
                _ if entry.print != print => Claim::Other,
                Some(answer) => Claim::Done(answer.clone()),
                None => Claim::Running,
            };
        }
        let number = self.next;
        self.next += 1;
        let entry = Entry { number, print, answer: None };
        self.bytes += entry.bytes(&key.1);
        self.entries.insert(key.clone(), entry);
        self.by_age.push_back((now_ms, number, key));
        self.make_room();
        Claim::New(number)
    }

    /// The request that got `number` for its claim was answered, or, with `None`, refused.
    pub fn finish(&mut self, number: u64, caller: &[u8], key: &str, answer: Option<Stored>) {
        let key = (self.prints[0].hash_one(caller), Arc::from(key));
        // It may have had to make room.
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.number == number) else { return };
        match answer {
            Some(answer) => {
                self.bytes += answer.body.len();
                entry.answer = Some(answer);
                self.make_room();
            }
            None => self.forget(&key),
        }
    }

    /// Answers that went before their time.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    fn make_room(&mut self) {
        while (self.by_age.len() > KEYS_MAX || self.bytes > BYTES_MAX) && self.pop_oldest() {
            self.evictions += 1;
        }
    }

    /// Whether there was one.
    fn pop_oldest(&mut self) -> bool {
        let Some((_, number, key)) = self.by_age.pop_front() else { return false };
        if self.entries.get(&key).is_some_and(|entry| entry.number == number) {
            self.forget(&key);
        }
        true
    }

    fn forget(&mut self, key: &(u64, Arc<str>)) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes(&key.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(body: &str) -> Stored {
        Stored { status: 200, body: Bytes::from(body.to_owned()) }
    }

    fn claim(table: &mut Idempotency, now_ms: u64, key: &str) -> Claim {
        table.claim(now_ms, b"Bearer a", key, "/v1/publish", b"{}")
    }

    #[test]
    fn an_answer_is_given_again_for_ten_minutes() {
        let mut table = Idempotency::default();
        let Claim::New(number) = claim(&mut table, 5, "k") else { panic!("nothing is known") };
        assert_eq!(claim(&mut table, 6, "k"), Claim::Running);
        table.finish(number, b"Bearer a", "k", Some(stored("1")));
        assert_eq!(claim(&mut table, 4 + KEPT_MS, "k"), Claim::Done(stored("1")));
        assert!(matches!(claim(&mut table, 5 + KEPT_MS, "k"), Claim::New(_)));
    }

    #[test]
    fn a_key_stands_for_one_request_of_one_caller() {
        let mut table = Idempotency::default();
        assert!(matches!(claim(&mut table, 0, "k"), Claim::New(_)));
        assert_eq!(table.claim(0, b"Bearer a", "k", "/v1/publish", b"{} "), Claim::Other);
        assert_eq!(table.claim(0, b"Bearer a", "k", "/v1/broadcast", b"{}"), Claim::Other);
        assert!(matches!(table.claim(0, b"Bearer b", "k", "/v1/publish", b"{} "), Claim::New(_)));
    }

    #[test]
    fn what_was_refused_may_be_sent_again() {
        let mut table = Idempotency::default();
        for _ in 0..3 {
            let Claim::New(number) = claim(&mut table, 0, "k") else { panic!("refused before") };
            table.finish(number, b"Bearer a", "k", None);
        }
        assert_eq!((table.bytes, table.entries.len()), (0, 0));
        // The first one's place in the queue ends nothing of a later one.
        assert!(matches!(claim(&mut table, KEPT_MS - 1, "k"), Claim::New(_)));
        assert_eq!(claim(&mut table, KEPT_MS, "k"), Claim::Running);
    }

    #[test]
    fn memory_is_bounded() {
        let mut table = Idempotency::default();
        for number in 0..KEYS_MAX + 10 {
            claim(&mut table, 0, &number.to_string());
        }
        assert_eq!((table.entries.len(), table.by_age.len(), table.evictions()), (KEYS_MAX, KEYS_MAX, 10));
        assert!(matches!(claim(&mut table, 0, "0"), Claim::New(_)), "the oldest have gone");
        let large = "x".repeat(BYTES_MAX / 8);
        for number in 0..20 {
            let key = format!("large {number}");
            let Claim::New(number) = claim(&mut table, 1, &key) else { panic!("new") };
            table.finish(number, b"Bearer a", &key, Some(stored(&large)));
            assert!(table.bytes <= BYTES_MAX);
        }
        claim(&mut table, 2 * KEPT_MS, "last");
        assert_eq!(table.bytes, ENTRY_BYTES + "last".len());
    }

    #[test]
    fn keys_are_visible_and_short() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        assert_eq!(check_key(longest.as_bytes()), Ok(longest.as_str()));
        for wrong in ["", "a b", "a\u{7f}", "é", &format!("{longest}k")] {
            assert_eq!(check_key(wrong.as_bytes()).unwrap_err().status, 400, "{wrong}");
        }
    }
}
