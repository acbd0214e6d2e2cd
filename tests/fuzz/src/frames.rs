//! Frames and messages against tungstenite and fastwebsockets, and building against parsing.
//!
//! The first byte chooses the bounds, the rest is what a client sends. It holds that
//! - the parser sees the same frame, or the same error, however many bytes of it have come, and asks for no more
//!   bytes than the frame has;
//! - messages are those that tungstenite reads, up to the first error, and both find that error in the same frame;
//! - what is built for a client is read by tungstenite as it was meant, and, masked, by the parser itself.
//!
//! The module `second` tells the same of fastwebsockets. Tungstenite is laxer than RFC 6455, or later, in these points, and there its word is not taken:
//! - it accepts lengths that are not in the fewest bytes (section 5.2);
//! - it looks at reserved bits, masks and the rules of control frames only when the frame is whole;
//! - it has no bound on fragments;
//! - it reports a close code that may not be sent as 1002 instead of failing, and 1014 as well, which is registered.

mod second;

use fanwire::wire::{self, Event, FrameLimits, Opcode, Parsed, ProtocolError};
use std::io::{self, Read, Write};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// Longest header of a masked frame.
const HEADER_BYTES_MAX: usize = 14;

/// A message as either side reads it.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Why reading ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The bytes did.
    NeedMore,
    /// The header at fault, before the payload was looked at.
    Header(ProtocolError),
    /// A whole frame that is wrong.
    Frame(ProtocolError),
    /// The peer closed.
    Closed,
}

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let limits = FrameLimits {
        message_bytes_max: [125, 200, 1000, 70_000][usize::from(choice & 3)],
        fragments_max: [1, 2, 5, 1000][usize::from(choice >> 2 & 3)],
        compression: false,
    };
    let (ours, end) = read(bytes, &limits);
    compare(&ours, &end, bytes, &limits);
    second::compare(&ours, &end, bytes, &limits);
    build(choice >> 4, bytes);
}

/// Reads as a shard does.
pub(crate) fn read(bytes: &[u8], limits: &FrameLimits) -> (Vec<Seen>, End) {
    let mut bytes = bytes.to_vec();
    let mut rest = bytes.as_mut_slice();
    let mut assembler: Option<Box<wire::Assembler>> = None;
    let mut seen = Vec::new();
    loop {
        let assembled = assembler.as_ref().map_or(0, |under_way| under_way.len());
        prefixes_agree(rest, limits, assembled);
        let header = match wire::parse_header(rest, limits, assembled) {
            Ok(Parsed::Frame { header }) => header,
            Ok(Parsed::NeedMore { .. }) => return (seen, End::NeedMore),
            Err(error) => return (seen, End::Header(error)),
        };
        let (frame, after) = rest.split_at_mut(header.header_len + header.payload_len);
        rest = after;
        let payload = &mut frame[header.header_len..];
        wire::unmask(payload, header.mask);
        match wire::accept(&mut assembler, &header, payload, limits) {
            Ok(Event::Fragment) => {}
            Ok(Event::Text(text)) => seen.push(Seen::Text(text.to_owned())),
            Ok(Event::Binary(bytes)) => seen.push(Seen::Binary(bytes.to_vec())),
            Ok(Event::Compressed { .. }) => panic!("compression was not negotiated"),
            Ok(Event::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Event::Pong(bytes)) => seen.push(Seen::Pong(bytes.to_vec())),
            Ok(Event::Close { code, reason }) => {
                seen.push(Seen::Close(code, reason.to_owned()));
                return (seen, End::Closed);
            }
            Err(error) => return (seen, End::Frame(error)),
        }
        if let Some(Seen::Text(text)) = seen.last() {
            assert!(text.len() <= limits.message_bytes_max, "a message over the bound");
        }
        if let Some(Seen::Binary(bytes)) = seen.last() {
            assert!(bytes.len() <= limits.message_bytes_max, "a message over the bound");
        }
        wire::finish(&mut assembler);
    }
}

/// What is found at the start of `bytes` does not depend on how many of them have come.
fn prefixes_agree(bytes: &[u8], limits: &FrameLimits, assembled: usize) {
    let whole = wire::parse_header(bytes, limits, assembled);
    let mut asked = 0;
    for cut in (0..bytes.len().min(HEADER_BYTES_MAX + 1)).chain([bytes.len().saturating_sub(1)]) {
        match (wire::parse_header(&bytes[..cut], limits, assembled), whole) {
            (Ok(Parsed::NeedMore { at_least }), _) => {
                assert!(at_least > cut, "asks for what it has");
                assert!(at_least >= asked || cut < HEADER_BYTES_MAX, "asks for less than before");
                asked = at_least;
                if let Ok(Parsed::Frame { header }) = whole {
                    assert!(
                        at_least <= header.header_len + header.payload_len,
                        "asks for more than the frame"
                    );
                }
                assert!(
                    at_least <= HEADER_BYTES_MAX + limits.message_bytes_max.max(125),
                    "asks for too much"
                );
            }
            (Ok(Parsed::Frame { header: early }), Ok(Parsed::Frame { header })) => assert_eq!(early, header),
            (Err(early), Err(late)) => assert_eq!(early, late),
            (early, whole) => panic!("{early:?} of {cut} bytes, {whole:?} of all"),
        }
    }
}

/// Holds what was read against tungstenite's reading.
fn compare(ours: &[Seen], end: &End, bytes: &[u8], limits: &FrameLimits) {
    let size = Some(limits.message_bytes_max);
    let config =
        WebSocketConfig::default().max_message_size(size).max_frame_size(size).read_buffer_size(4096);
    let mut theirs = WebSocket::from_raw_socket(Pipe(bytes), Role::Server, Some(config));
    for seen in ours {
        let message = theirs.read().unwrap_or_else(|error| panic!("we read {seen:?}, they {error}"));
        if !matches!(seen, Seen::Close(Some(1014), _)) {
            assert_eq!(*seen, from_theirs(message));
        }
    }
    let next = match end {
        End::Closed => return,
        // What they make of such a frame is their own.
        End::Header(ProtocolError::LongLength) | End::Frame(ProtocolError::TooManyFragments) => return,
        _ => theirs.read(),
    };
    match (end, next) {
        (End::NeedMore, Err(Error::Io(error))) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        (End::Header(ProtocolError::TooBig), Err(Error::Capacity(_))) => {}
        (End::Header(_), Err(Error::Io(error))) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        // Short enough, but its length is told in more bytes than it needs.
        (
            End::Header(ProtocolError::LongControl),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) | Err(Error::Utf8(_)),
        ) => {}
        (End::Header(ProtocolError::TooBig), next) => panic!("we: too big, they: {next:?}"),
        // A payload over the bound is the one thing that they see before the other faults of a header.
        (End::Header(_), Err(Error::Protocol(_) | Error::Capacity(_))) => {}
        (End::Frame(ProtocolError::InvalidUtf8), Err(Error::Utf8(_))) => {}
        (End::Frame(ProtocolError::TooBig), Err(Error::Capacity(_))) => {}
        (
            End::Frame(ProtocolError::UnexpectedContinuation | ProtocolError::InterleavedMessage),
            Err(Error::Protocol(_)),
        ) => {}
        (End::Frame(ProtocolError::BadClose), Err(Error::Protocol(_) | Error::Utf8(_))) => {}
        (End::Frame(ProtocolError::BadClose), Ok(Message::Close(Some(frame)))) => {
            assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1002, "Protocol violation"));
        }
        (end, next) => panic!("we: {end:?}, they: {next:?}"),
    }
}

fn from_theirs(message: Message) -> Seen {
    match message {
        Message::Text(text) => Seen::Text(text.as_str().to_owned()),
        Message::Binary(bytes) => Seen::Binary(bytes.to_vec()),
        Message::Ping(bytes) => Seen::Ping(bytes.to_vec()),
        Message::Pong(bytes) => Seen::Pong(bytes.to_vec()),
        Message::Close(None) => Seen::Close(None, String::new()),
        Message::Close(Some(frame)) => Seen::Close(Some(frame.code.into()), frame.reason.as_str().to_owned()),
        Message::Frame(frame) => panic!("a raw frame: {frame}"),
    }
}

/// What is built is read as it was meant.
fn build(choice: u8, payload: &[u8]) {
    let mut out = b"before".to_vec();
    let text = String::from_utf8_lossy(payload);
    let code = payload.iter().fold(3000, |sum, byte| (sum + u16::from(*byte)) % 2000 + 3000);
    let short = &payload[..payload.len().min(125)];
    let (opcode, expected) = match choice % 5 {
        0 => (Opcode::Text, Seen::Text(text.clone().into_owned())),
        1 => (Opcode::Binary, Seen::Binary(payload.to_vec())),
        2 => (Opcode::Ping, Seen::Ping(short.to_vec())),
        3 => (Opcode::Pong, Seen::Pong(short.to_vec())),
        _ => (Opcode::Close, Seen::Close(Some(code), cut(&text, 123).to_owned())),
    };
    match opcode {
        Opcode::Ping => wire::write_ping(&mut out, payload),
        Opcode::Pong => wire::write_pong(&mut out, payload),
        Opcode::Close => wire::write_close(&mut out, code, &text),
        _ => {
            let body = if opcode == Opcode::Text { text.as_bytes() } else { payload };
            let (header, ()) = wire::frame_in_place(&mut out, opcode, |out| out.extend_from_slice(body));
            assert_eq!(&out[6 + header..], body, "the payload lies elsewhere than told");
        }
    }
    assert!(out.starts_with(b"before"), "what stood before was changed");
    let frame = &out[6..];
    let mut client = WebSocket::from_raw_socket(Pipe(frame), Role::Client, None);
    let message = client.read().unwrap_or_else(|error| panic!("{expected:?} was built, they: {error}"));
    assert_eq!(from_theirs(message), expected);
    assert_eq!(second::read_as_client(frame).as_ref(), Some(&expected));

    let limits =
        FrameLimits { message_bytes_max: payload.len() * 3 + 125, fragments_max: 1, compression: false };
    let (read, end) = read(&masked(frame), &limits);
    assert_eq!(read, [expected]);
    assert!(matches!(end, End::NeedMore | End::Closed), "{end:?}");
}

/// The longest start of `text` that has at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    let ends = text.char_indices().map(|(at, character)| at + character.len_utf8());
    &text[..ends.take_while(|end| *end <= bytes_max).last().unwrap_or(0)]
}

/// A server's frame as a client would send it.
fn masked(frame: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x5A, 0x00, 0xFF, 0x13];
    let header_len = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let mut masked = frame[..header_len].to_vec();
    masked[1] |= 0x80;
    masked.extend(KEY);
    masked.extend(frame[header_len..].iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    masked
}

/// Bytes that have come; more may come later. What is written goes nowhere.
struct Pipe<'a>(&'a [u8]);

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(buffer) }
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
