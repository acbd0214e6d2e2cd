use super::tally::Tally;
use crate::common::PATIENCE;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// The close code of a slow consumer.
const SLOW_CONSUMER: u16 = 4430;

/// What a member has heard of a room.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Number of the last message; the next has the one after it.
    pub last: Option<u64>,
    /// In a room that remembers: of which history, and how far.
    pub position: Option<(String, u64)>,
    /// Up to here it is what was said before it came back.
    pub recovered_to: u64,
}

/// One connection, of tungstenite's: a client that this project did not write.
pub struct Peer {
    socket: WebSocket<TcpStream>,
    pub rooms: HashMap<String, Heard>,
    /// Answers to joins that have not come yet.
    pub joining: usize,
    /// Does not read.
    pub stalled: bool,
    /// Did not for a while, so that its end as too slow may be under way.
    pub has_stalled: bool,
    /// Has said that it goes.
    pub leaving: bool,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it asked for.
    Left,
    /// Closed as a slow consumer, and told so.
    TooSlow,
    /// Ended without a word.
    Cut,
}

impl Peer {
    /// Connects; with a small receive buffer where it is to be slow soon.
    pub fn connect(addr: SocketAddr, receive_buffer: Option<usize>) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        socket.connect(&addr.into()).expect("the server accepts");
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let (socket, _) =
            tungstenite::client::client_with_config(format!("ws://{addr}/ws"), stream, Some(config))
                .expect("the server upgrades");
        socket.get_ref().set_nonblocking(true).unwrap();
        Self { socket, rooms: HashMap::new(), joining: 0, stalled: false, has_stalled: false, leaving: false }
    }

    pub fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Asks to join; where something was heard of a room that remembers, for what was missed as well.
    pub fn join(&mut self, room: &str, heard: Heard) {
        let recover =
            heard.position.as_ref().map(|(epoch, offset)| json!({"epoch": epoch, "offset": offset}));
        let mut request = json!({"type": "subscribe", "room": room});
        if let Some(recover) = recover {
            request["recover"] = recover;
        }
        // Without recovery there is a hole, and any number may come first.
        let last = heard.position.is_some().then_some(heard.last).flatten();
        self.rooms.insert(room.to_owned(), Heard { last, position: heard.position, recovered_to: 0 });
        self.joining += 1;
        self.send(&request.to_string());
    }

    pub fn send(&mut self, text: &str) {
        self.queued(|socket| socket.send(Message::text(text)));
    }

    /// Says that it goes.
    pub fn leave(&mut self) {
        self.leaving = true;
        self.queued(|socket| socket.close(Some(CloseFrame { code: 1000.into(), reason: "".into() })));
    }

    /// Goes with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(self.stream()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    fn queued(&mut self, write: impl FnOnce(&mut WebSocket<TcpStream>) -> tungstenite::Result<()>) {
        match write(&mut self.socket) {
            Ok(()) => {}
            // It is in tungstenite's buffer, and goes with the next read or write.
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("cannot send: {error}"),
        }
    }

    /// Reads all that is there, checks it, and counts it.
    pub fn read(&mut self, tally: &mut Tally, start: Instant) -> Option<End> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    tally.frames += 1;
                    self.hear(text.as_str(), tally, start);
                }
                Ok(Message::Ping(_)) => tally.frames += 1,
                Ok(Message::Close(frame)) => {
                    tally.frames += 1;
                    let code = frame.map(|frame| u16::from(frame.code));
                    if code == Some(SLOW_CONSUMER) {
                        assert!(self.has_stalled, "one that reads is closed as too slow");
                        // Answers the close, and goes.
                        self.socket.flush().ok();
                        return Some(End::TooSlow);
                    }
                    assert!(self.leaving && code == Some(1000), "closed with {code:?}");
                }
                Ok(other) => panic!("not to come: {other:?}"),
                Err(Error::ConnectionClosed | Error::AlreadyClosed) if self.leaving => {
                    return Some(End::Left);
                }
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => {
                    assert!(self.has_stalled, "the connection broke: {error}");
                    return Some(End::Cut);
                }
            }
        }
    }

    fn hear(&mut self, text: &str, tally: &mut Tally, start: Instant) {
        let message: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let room = message["room"].as_str().unwrap_or_default();
        match message["type"].as_str() {
            Some("connected" | "published") => {}
            Some("subscribed") => {
                self.joining -= 1;
                let heard = self.rooms.get_mut(room).expect("asked for");
                let data = &message["data"];
                if heard.position.is_some() {
                    assert_eq!(data["recovered"], true, "what was missed is kept: {text}");
                    tally.recovered += 1;
                    heard.recovered_to = data["offset"].as_u64().unwrap();
                } else if let Some(epoch) = data["epoch"].as_str() {
                    heard.position = Some((epoch.to_owned(), data["offset"].as_u64().unwrap()));
                }
            }
            Some("message") => {
                let heard = self.rooms.get_mut(room).expect("a member of that room");
                let (number, sent_us) =
                    (message["data"]["n"].as_u64().unwrap(), message["data"]["t"].as_u64());
                if let Some(last) = heard.last {
                    assert_eq!(number, last + 1, "lost, doubled or out of order in {room}");
                }
                heard.last = Some(number);
                let mut late = self.stalled;
                if let Some((_, offset)) = &mut heard.position {
                    let told = message["offset"].as_u64().expect("the room has offsets");
                    assert_eq!(told, *offset + 1, "{room}");
                    *offset = told;
                    late |= told <= heard.recovered_to;
                }
                tally.messages += 1;
                // What waits for a slow one, or was said before it came, tells nothing of the server's speed.
                if !late {
                    tally.latency(start.elapsed().as_micros() as u64 - sent_us.unwrap());
                }
            }
            _ => panic!("{text}"),
        }
    }
}
