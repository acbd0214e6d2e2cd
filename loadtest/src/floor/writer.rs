//! How a round's frames get to the members: one call each, or one call for all of a member.

use std::sync::Arc;

use super::conn::Conn;
use super::rooms::{LocalRooms, Room};
use crate::cli::Mode;

/// One frame for one room.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The room.
    pub room: Arc<Room>,
    /// The whole frame, made once for all threads.
    pub frame: Arc<[u8]>,
}

/// Writes frames to members.
pub struct Writer {
    mode: Mode,
    backlog_max: usize,
    joined: Vec<u8>,
}

impl Writer {
    /// `backlog_max` bytes may wait for a member that the kernel takes nothing for.
    pub fn new(mode: Mode, backlog_max: usize) -> Self {
        Self { mode, backlog_max, joined: Vec::new() }
    }

    /// Writes the publications of one round, in order within each room, and empties the list. A member of
    /// several rooms gets a call for each of them. Members that died of it are added to `dead`.
    pub fn write(
        &mut self,
        round: &mut Vec<Publication>,
        rooms: &LocalRooms,
        conns: &mut [Option<Conn>],
        dead: &mut Vec<usize>,
    ) {
        match self.mode {
            Mode::Send => {
                for publication in round.iter() {
                    self.write_to_all(&publication.frame, rooms.members(&publication.room), conns, dead);
                }
            }
            Mode::Batch => {
                // The sort is stable: the order within a room stays.
                round.sort_by_key(|publication| publication.room.number);
                for of_room in round.chunk_by(|a, b| a.room.number == b.room.number) {
                    let members = rooms.members(&of_room[0].room);
                    if let [only] = of_room {
                        self.write_to_all(&only.frame, members, conns, dead);
                        continue;
                    }
                    let mut joined = std::mem::take(&mut self.joined);
                    joined.clear();
                    of_room.iter().for_each(|publication| joined.extend_from_slice(&publication.frame));
                    self.write_to_all(&joined, members, conns, dead);
                    self.joined = joined;
                }
            }
        }
        round.clear();
    }

    fn write_to_all(
        &self,
        bytes: &[u8],
        members: &[usize],
        conns: &mut [Option<Conn>],
        dead: &mut Vec<usize>,
    ) {
        for slot in members {
            if let Some(conn) = conns[*slot].as_mut() {
                conn.send(bytes, self.backlog_max);
                if conn.dead {
                    dead.push(*slot);
                }
            }
        }
    }
}
