//! What a decider is told: that each membership ends, and each connection, and neither twice.

use super::model::Model;
use super::speech;
use fanwire::config::{HookEvent, HookEvents};
use fanwire::model::ConnectionId;
use fanwire::model::hook::{Decider, HookAnswer, HookReply, Question, Verdict, What};
use std::collections::HashMap;
use std::sync::Mutex;

/// A decider that decides nothing and keeps what it is told.
#[derive(Debug, Default)]
pub struct Ends {
    /// How often each connection has left each room.
    left: Mutex<HashMap<(ConnectionId, String), u32>>,
    /// How often each connection has ended.
    gone: Mutex<HashMap<ConnectionId, u32>>,
}

impl Decider for Ends {
    fn events(&self) -> HookEvents {
        HookEvents::NONE.with(HookEvent::Leave).with(HookEvent::Disconnect)
    }

    fn ask(&self, question: Question, answer: HookAnswer) {
        let of = question.subject.connection.expect("there is a connection");
        match &question.what {
            What::Leave { room } => *self.left.lock().unwrap().entry((of, room.clone())).or_default() += 1,
            What::Disconnect { .. } => *self.gone.lock().unwrap().entry(of).or_default() += 1,
            other => panic!("it was not to be asked: {other:?}"),
        }
        answer(question, Verdict::Replied(HookReply::default()));
    }
}

impl Ends {
    /// Everybody is gone, so all must have been told.
    pub fn check(&self, model: &Model) {
        let mut told = self.left.lock().unwrap().clone();
        for ((peer, room), (sure, most)) in &model.joins {
            let (peer, room) = (&model.peers[*peer], speech::ROOMS[*room].to_owned());
            let count = told.remove(&(peer.id, room.clone())).unwrap_or_default();
            let range = *sure..=*most;
            assert!(
                range.contains(&count),
                "told {count} times that {} left {room}, not {range:?}",
                peer.name
            );
        }
        assert!(told.is_empty(), "told of memberships that there were not: {told:?}");
        let gone = self.gone.lock().unwrap();
        for peer in &model.peers {
            let count = gone.get(&peer.id).copied().unwrap_or_default();
            assert_eq!(count, u32::from(!peer.echo), "told that connection {} is gone", peer.name);
        }
    }
}
