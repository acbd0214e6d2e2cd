use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted of one room for those who run the server: 24 bytes. A publication costs one add and one store, a join
/// a load and a store; a delivery and a leave cost nothing.
///
/// The counts live as long as the room: it is forgotten with its last member, unless it has a history to keep.
#[derive(Debug, Default)]
pub struct Activity {
    /// 0: nothing has happened yet.
    created_unix_ms: AtomicU64,
    last_unix_ms: AtomicU64,
    messages: AtomicU64,
}

impl Activity {
    /// A connection becomes a member, by the wall clock in milliseconds.
    pub fn joined(&self, unix_ms: u64) {
        self.begin(unix_ms);
        self.last_unix_ms.store(unix_ms, Ordering::Relaxed);
    }

    /// Something is published to a room that has had a member.
    #[inline]
    pub fn published(&self, unix_ms: u64) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        // Shards may store in another order than they read the clock: they differ by a turn at the most.
        self.last_unix_ms.store(unix_ms, Ordering::Relaxed);
    }

    /// Something is published to a room that may never have had a member.
    pub fn published_first(&self, unix_ms: u64) {
        self.begin(unix_ms);
        self.published(unix_ms);
    }

    fn begin(&self, unix_ms: u64) {
        if self.created_unix_ms.load(Ordering::Relaxed) == 0 {
            // Another shard may be first: then that time holds.
            let _ = self.created_unix_ms.compare_exchange(0, unix_ms, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Messages that were published to the room.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// When the first connection joined or the first message was kept, Unix time in milliseconds.
    pub fn created_unix_ms(&self) -> Option<u64> {
        Some(self.created_unix_ms.load(Ordering::Relaxed)).filter(|unix_ms| *unix_ms != 0)
    }

    /// When a connection last joined or a message was last published, Unix time in milliseconds.
    pub fn last_unix_ms(&self) -> Option<u64> {
        Some(self.last_unix_ms.load(Ordering::Relaxed)).filter(|unix_ms| *unix_ms != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(activity: &Activity) -> (Option<u64>, Option<u64>, u64) {
        (activity.created_unix_ms(), activity.last_unix_ms(), activity.messages())
    }

    #[test]
    fn a_room_begins_once() {
        let activity = Activity::default();
        assert_eq!(told(&activity), (None, None, 0));
        activity.joined(5);
        activity.published(7);
        activity.published(9);
        assert_eq!(told(&activity), (Some(5), Some(9), 2));
        activity.joined(11);
        assert_eq!(told(&activity), (Some(5), Some(11), 2));
    }

    #[test]
    fn a_room_may_begin_with_a_message() {
        let activity = Activity::default();
        activity.published_first(5);
        activity.published_first(6);
        activity.joined(8);
        assert_eq!(told(&activity), (Some(5), Some(8), 2));
    }

    #[test]
    fn no_message_is_missed_where_shards_publish_at_once() {
        let activity = Activity::default();
        std::thread::scope(|scope| {
            (1..=4).for_each(|unix_ms| {
                let activity = &activity;
                scope.spawn(move || (0..1000).for_each(|_| activity.published_first(unix_ms)));
            });
        });
        let (created, last, messages) = told(&activity);
        assert_eq!(messages, 4000);
        assert!((Some(1)..=Some(4)).contains(&created) && (Some(1)..=Some(4)).contains(&last));
    }
}
