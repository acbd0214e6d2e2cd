//! Who sits where: which connection is in which room, who publishes, and on which load thread.

use anyhow::{Result, ensure};

/// One connection's part in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Number over all threads; chooses the source address.
    pub index: u32,
    /// The room.
    pub room: u32,
    /// Joins the room (and is owed every message).
    pub member: bool,
    /// Number over all rooms, `room * publishers + k`, when this connection publishes.
    pub publisher: Option<u32>,
    /// Stops reading after the join.
    pub stalled: bool,
}

/// The shape of a run.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Rooms.
    pub rooms: u32,
    /// Members of each room.
    pub members: u32,
    /// Publishers of each room.
    pub publishers: u32,
    /// Publishers are connections of their own and not members.
    pub separate: bool,
    /// Separate publishers join all the same and are owed every message.
    pub publishers_join: bool,
    /// Members, the last of each room, that stop reading.
    pub stalled: u32,
}

impl Layout {
    /// # Errors
    /// When the members are too few for the parts they play.
    pub fn check(&self) -> Result<()> {
        let playing = self.stalled + if self.separate { 0 } else { self.publishers };
        ensure!(self.rooms > 0 && self.members > 0, "there must be a room and a member");
        ensure!(playing <= self.members, "more publishers and stalled members than members in a room");
        let wide = u64::from(self.rooms) * (u64::from(self.members) + u64::from(self.publishers));
        ensure!(wide < 1 << 24, "more than 16 million connections");
        Ok(())
    }

    /// The seats of each thread. Neighbours in a room sit on one thread, a separate publisher beside
    /// the member of its number, so that a closed loop needs no word between threads.
    pub fn deal(&self, threads: usize) -> Vec<Vec<Seat>> {
        let mut dealt = vec![Vec::new(); threads];
        let mut index = 0;
        let mut sit = |room: u32, beside: u32, member, publisher, stalled| {
            let thread = (room as usize + beside as usize / 2) % threads;
            dealt[thread].push(Seat { index, room, member, publisher, stalled });
            index += 1;
        };
        for room in 0..self.rooms {
            for member in 0..self.members {
                let publishes = !self.separate && member < self.publishers;
                let publisher = publishes.then(|| room * self.publishers + member);
                sit(room, member, true, publisher, member >= self.members - self.stalled);
            }
            for k in 0..if self.separate { self.publishers } else { 0 } {
                sit(room, k % self.members, self.publishers_join, Some(room * self.publishers + k), false);
            }
        }
        dealt
    }
}

/// The seats of each thread for quiet connections, dealt to `rooms` in turn; without rooms they join none.
pub fn deal_quiet(connections: u32, rooms: u32, threads: usize) -> Vec<Vec<Seat>> {
    let mut dealt = vec![Vec::new(); threads];
    for index in 0..connections {
        let room = index.checked_rem(rooms).unwrap_or(0);
        let seat = Seat { index, room, member: rooms > 0, publisher: None, stalled: false };
        dealt[index as usize % threads].push(seat);
    }
    dealt
}

/// The seat, on the publisher's own thread, whose receipts open the closed loop's window: the publisher
/// itself when it gets its own copies, else a reading member of its room.
pub fn witness(seats: &[Seat], publisher: usize, echo: bool) -> Option<usize> {
    let own = seats[publisher];
    if own.member && echo {
        return Some(publisher);
    }
    let fits = |seat: &Seat| seat.room == own.room && seat.member && !seat.stalled && seat.index != own.index;
    seats.iter().position(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout =
        Layout { rooms: 3, members: 5, publishers: 2, separate: false, publishers_join: false, stalled: 1 };

    #[test]
    fn every_room_is_complete_whatever_the_threads() {
        for threads in 1..6 {
            let seats: Vec<Seat> = LAYOUT.deal(threads).concat();
            assert_eq!(seats.len(), 3 * 5);
            for room in 0..3 {
                let of_room = || seats.iter().filter(|seat| seat.room == room);
                assert_eq!(of_room().filter(|seat| seat.member).count(), 5);
                assert_eq!(of_room().filter(|seat| seat.stalled && seat.publisher.is_none()).count(), 1);
                let mut publishers: Vec<u32> = of_room().filter_map(|seat| seat.publisher).collect();
                publishers.sort_unstable();
                assert_eq!(publishers, [room * 2, room * 2 + 1]);
            }
        }
    }

    #[test]
    fn a_witness_sits_on_the_same_thread() {
        for separate in [false, true] {
            let layout = Layout { separate, members: 4, stalled: 0, ..LAYOUT };
            for seats in layout.deal(3) {
                for publisher in (0..seats.len()).filter(|i| seats[*i].publisher.is_some()) {
                    let other = witness(&seats, publisher, false).unwrap();
                    assert_ne!(other, publisher);
                    assert_eq!(seats[other].room, seats[publisher].room);
                    assert_eq!(witness(&seats, publisher, true) == Some(publisher), !separate);
                }
            }
        }
    }

    #[test]
    fn quiet_connections_fill_the_rooms_evenly() {
        let seats = deal_quiet(10, 3, 4).concat();
        assert_eq!(seats.len(), 10);
        for (room, members) in [(0, 4), (1, 3), (2, 3)] {
            assert_eq!(seats.iter().filter(|seat| seat.member && seat.room == room).count(), members);
        }
        assert!(deal_quiet(2, 0, 1)[0].iter().all(|seat| !seat.member));
    }

    #[test]
    fn too_few_members_are_refused() {
        assert!(LAYOUT.check().is_ok());
        assert!(Layout { members: 2, ..LAYOUT }.check().is_err());
        assert!(Layout { rooms: 0, ..LAYOUT }.check().is_err());
    }
}
