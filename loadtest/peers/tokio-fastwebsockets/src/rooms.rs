//! Rooms by name.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// Messages that a member may be behind.
const BACKLOG: usize = 1024;

/// The rooms that somebody has joined.
#[derive(Default)]
pub struct Rooms(Mutex<HashMap<String, Sender<Bytes>>>);

impl Rooms {
    /// What is published in `room` from now on.
    pub fn join(&self, room: &str) -> Receiver<Bytes> {
        let mut rooms = self.lock();
        if let Some(sender) = rooms.get(room) {
            return sender.subscribe();
        }
        let (sender, receiver) = channel(BACKLOG);
        rooms.insert(room.into(), sender);
        receiver
    }

    /// Hands `message` to the members of `room`.
    pub fn publish(&self, room: &str, message: Bytes) {
        let sender = self.lock().get(room).cloned();
        if let Some(sender) = sender {
            // An error says that the room has no members.
            let _ = sender.send(message);
        }
    }

    /// Forgets `room` when its last receiver has been dropped.
    pub fn tidy(&self, room: &str) {
        let mut rooms = self.lock();
        if rooms.get(room).is_some_and(|sender| sender.receiver_count() == 0) {
            rooms.remove(room);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Sender<Bytes>>> {
        // The map is whole after every statement, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
