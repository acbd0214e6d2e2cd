//! How a round's frames get to the members: one call each or one call for all of a member; the calls one
//! by one or in one submission.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::conn::Conn;
use super::ring::{Job, Ring};
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
    ring: Option<Ring>,
    backlog_max: usize,
    joined: Vec<u8>,
}

impl Writer {
    /// `backlog_max` bytes may wait for a member that the kernel takes nothing for.
    ///
    /// # Errors
    /// When the kernel has no io_uring and the mode needs it.
    pub fn new(mode: Mode, backlog_max: usize) -> Result<Self> {
        let ring = match mode {
            Mode::Send | Mode::Batch => None,
            Mode::Uring | Mode::UringBatch => Some(Ring::new().context("io_uring")?),
        };
        Ok(Self { mode, ring, backlog_max, joined: Vec::new() })
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
        // The sort is stable: the order within a room stays.
        round.sort_by_key(|publication| publication.room.number);
        let by_room = || round.chunk_by(|a, b| a.room.number == b.room.number);
        match self.mode {
            Mode::Send => {
                for publication in round.iter() {
                    self.carry_out(&[(&publication.frame, rooms.members(&publication.room))], conns, dead);
                }
            }
            Mode::Uring => {
                let longest = by_room().map(<[_]>::len).max().unwrap_or(0);
                for nth in 0..longest {
                    let of_rooms = by_room().filter_map(|of_room| of_room.get(nth));
                    let jobs: Vec<Job<'_>> =
                        of_rooms.map(|one| (&*one.frame, rooms.members(&one.room))).collect();
                    self.carry_out(&jobs, conns, dead);
                }
            }
            Mode::Batch | Mode::UringBatch => {
                let mut joined = std::mem::take(&mut self.joined);
                joined.clear();
                round.iter().for_each(|publication| joined.extend_from_slice(&publication.frame));
                // The frames of a room lie side by side.
                let mut rest = &joined[..];
                let jobs: Vec<Job<'_>> = by_room()
                    .map(|of_room| {
                        let length = of_room.iter().map(|publication| publication.frame.len()).sum();
                        let (bytes, others) = rest.split_at(length);
                        rest = others;
                        (bytes, rooms.members(&of_room[0].room))
                    })
                    .collect();
                self.carry_out(&jobs, conns, dead);
                self.joined = joined;
            }
        }
        round.clear();
    }

    fn carry_out(&mut self, jobs: &[Job<'_>], conns: &mut [Option<Conn>], dead: &mut Vec<usize>) {
        if let Some(ring) = self.ring.as_mut() {
            return ring.send(jobs, conns, self.backlog_max, dead);
        }
        for (bytes, members) in jobs {
            for slot in *members {
                if let Some(conn) = conns[*slot].as_mut() {
                    conn.send(bytes, self.backlog_max);
                    if conn.dead {
                        dead.push(*slot);
                    }
                }
            }
        }
    }
}
