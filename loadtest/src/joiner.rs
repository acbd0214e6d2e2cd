//! What a connection says to get into its room, and to stay connected: the same for every pattern.

use memchr::memmem::Finder;

use crate::io::{ConnId, Connections};
use crate::template::{Keepalive, Templates, fill_room};

/// How far one connection has come: frames of the join that it has sent.
pub type Step = u32;

/// The join and the keepalive of one protocol. One for each thread: the finders cost to make.
pub struct Joiner {
    frames: Vec<(Option<Finder<'static>>, String)>,
    joined: Option<Finder<'static>>,
    keepalive: Option<(Keepalive, Finder<'static>)>,
}

impl Joiner {
    /// For these texts.
    pub fn new(templates: &Templates) -> Self {
        let after = |index: usize| templates.join_after.get(index).cloned().flatten();
        let frames = templates.join.iter().enumerate();
        let keepalive = templates.keepalive.clone();
        Self {
            frames: frames.map(|(i, text)| (after(i).map(finder), text.clone())).collect(),
            joined: templates.joined_marker.clone().map(finder),
            keepalive: keepalive.map(|keepalive| {
                let line = format!("\n{}", keepalive.ask);
                (keepalive, finder(line))
            }),
        }
    }

    /// The server acknowledges joins.
    pub fn is_acknowledged(&self) -> bool {
        self.joined.is_some()
    }

    /// Sends the frames that may go out now and says whether the join is done. `received` is the message
    /// that came, none right after the upgrade; one message answers one wait.
    pub fn step(
        &self,
        io: &mut dyn Connections,
        id: ConnId,
        room: &str,
        step: &mut Step,
        mut received: Option<&[u8]>,
    ) -> bool {
        while let Some((after, template)) = self.frames.get(*step as usize) {
            if let Some(after) = after {
                if received.is_none_or(|message| after.find(message).is_none()) {
                    return false;
                }
                received = None;
            }
            io.send_text(id, &[fill_room(template, room).as_bytes()]);
            *step += 1;
        }
        let Some(joined) = &self.joined else { return true };
        received.is_some_and(|message| joined.find(message).is_some())
    }

    /// Answers what the server asks above WebSocket's own pings.
    pub fn keep_alive(&self, io: &mut dyn Connections, id: ConnId, message: &[u8]) {
        if let Some((keepalive, line)) = &self.keepalive
            && asks(keepalive, line, message)
        {
            io.send_text(id, &[keepalive.answer.as_bytes()]);
        }
    }
}

fn finder(text: impl AsRef<[u8]>) -> Finder<'static> {
    Finder::new(text.as_ref()).into_owned()
}

fn asks(keepalive: &Keepalive, line: &Finder<'_>, message: &[u8]) -> bool {
    if keepalive.is_line {
        message.starts_with(keepalive.ask.as_bytes()) || line.find(message).is_some()
    } else {
        message == keepalive.ask.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keepalive_is_a_whole_frame_or_a_whole_line() {
        let of = |ask: &str, is_line| {
            let keepalive = Keepalive { ask: ask.into(), answer: "x".into(), is_line };
            let line = finder(format!("\n{ask}"));
            move |message: &str| asks(&keepalive, &line, message.as_bytes())
        };
        let frame = of("2", false);
        assert!(frame("2") && !frame("42[]") && !frame("2\n"));
        let line = of("PING\r\n", true);
        assert!(
            line("PING\r\n") && line("MSG r 1 1\r\na\r\nPING\r\n") && !line("MSG r 1 7\r\nxPING\r\n\r\n")
        );
    }
}
