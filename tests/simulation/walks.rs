//! The model of streams and of rooms that are walked in steps: whoever comes or goes while something waits in a line
//! may hear it or not, all others must.

use super::model::{Frame, Model};
use super::stream::Item;

/// What waits in a shard for the members of one source.
#[derive(Debug, Default)]
pub struct Line {
    items: Vec<Item>,
}

impl Model {
    /// Brings a frame from a shard to one that may be the same.
    pub fn bring(&mut self, site: usize, to: usize, frame: Frame, except: Option<usize>) {
        if to == site {
            self.deliver(site, &frame, except);
        } else {
            self.outgoing[site][to].push(frame);
        }
    }

    /// Whether a receiver was one when a frame was said. Who came later may get it all the same, if there are others of
    /// its encoding.
    pub fn was_there(&self, peer: usize, frame: &Frame) -> bool {
        !self.kind.compresses || self.peers[peer].since[frame.source()] < frame.serial
    }

    /// A frame has come to a shard: owes it to `members`.
    pub fn deliver_streams(
        &mut self,
        site: usize,
        frame: &Frame,
        members: &[usize],
        except: Option<usize>,
        sure: bool,
    ) {
        let source = frame.source();
        self.serial += 1;
        let item = Item { said: frame.said.clone(), key: frame.key.clone(), sure, serial: self.serial };
        for &member in members {
            if Some(member) != except {
                let sure = sure && self.was_there(member, frame);
                self.push(member, source, Item { sure, ..item.clone() });
            }
        }
        if self.kind.wide {
            self.lines[site][source].items.push(item);
        }
    }

    fn push(&mut self, peer: usize, source: usize, mut item: Item) {
        item.sure &= !self.peers[peer].limbo;
        self.count(peer, item.said.len(), item.sure && !self.kind.wide);
        self.peers[peer].streams[source].push(item);
    }

    /// A connection comes while something waits in a line: that may be for it or not.
    pub fn perhaps(&mut self, peer: usize, source: usize) {
        let items = self.lines[self.peers[peer].site][source].items.clone();
        for item in items {
            self.push(peer, source, Item { sure: false, ..item });
        }
    }

    /// A connection goes while something waits in a line: that may have come to it or not.
    pub fn doubt(&mut self, peer: usize, source: usize) {
        let line = &self.lines[self.peers[peer].site][source];
        if let Some(first) = line.items.first() {
            self.peers[peer].streams[source].doubt_since(first.serial);
        }
    }

    /// Nothing waits in a shard any more.
    pub fn walked(&mut self, site: usize) {
        self.lines[site].iter_mut().for_each(|line| line.items.clear());
        let members = self
            .rooms
            .iter()
            .enumerate()
            .flat_map(|(room, it)| it.members[site].iter().map(move |member| (room, *member)));
        for (room, member) in members {
            if let Some(joined) = &mut self.peers[member].joined[room] {
                joined.walked = joined.delivered;
            }
        }
    }
}
