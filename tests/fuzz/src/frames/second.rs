//! Frames and messages against fastwebsockets, which shares no code with tungstenite.
//!
//! It holds that fastwebsockets reads the messages that the parser reads, finds the same fault where RFC 6455 has it
//! look for one, and reads what is built for a client as it was meant.
//!
//! fastwebsockets is laxer than RFC 6455 in these points, and there its word is not taken:
//! - it accepts frames of a client that are not masked (section 5.1), and lengths that are not in the fewest bytes
//!   (section 5.2);
//! - it accepts pongs and close frames of more than 125 bytes (section 5.5);
//! - it forgets an unfinished message where the first fragment of another one comes (section 5.4);
//! - it leaves out a character that is cut off at the end of a fragmented text (section 8.1);
//! - it has no bound on fragments, nor on what they are together.
//!
//! It is stricter in one: it refuses the close code 1014, which was registered after the RFC (section 7.4.2).

use super::{End, Pipe, Seen};
use fanwire::wire::{FrameLimits, ProtocolError};
use fastwebsockets::{FragmentCollector, Frame, OpCode, Role, WebSocket, WebSocketError};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads what one side is sent.
struct Reader<'a>(FragmentCollector<Pipe<'a>>);

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], role: Role, message_bytes_max: usize) -> Self {
        let mut socket = WebSocket::after_handshake(Pipe(bytes), role);
        socket.set_auto_pong(false);
        // The first length that is too much for it.
        socket.set_max_message_size(message_bytes_max + 1);
        Self(FragmentCollector::new(socket))
    }

    /// The next message; `None` where more bytes are needed for it.
    fn next(&mut self) -> Option<Result<Seen, WebSocketError>> {
        match pin!(self.0.read_frame()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => Some(frame.map(|frame| seen(&frame))),
            Poll::Pending => None,
        }
    }
}

fn seen(frame: &Frame<'_>) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("they have checked it");
    let payload = &*frame.payload;
    match frame.opcode {
        OpCode::Text => Seen::Text(text(payload)),
        OpCode::Binary => Seen::Binary(payload.to_vec()),
        OpCode::Ping => Seen::Ping(payload.to_vec()),
        OpCode::Pong => Seen::Pong(payload.to_vec()),
        OpCode::Close => match payload.split_first_chunk::<2>() {
            Some((code, reason)) => Seen::Close(Some(u16::from_be_bytes(*code)), text(reason)),
            None => Seen::Close(None, String::new()),
        },
        OpCode::Continuation => panic!("a fragment by itself"),
    }
}

/// Holds what was read against the reading of fastwebsockets.
pub(super) fn compare(ours: &[Seen], end: &End, bytes: &[u8], limits: &FrameLimits) {
    let mut theirs = Reader::new(bytes, Role::Server, limits.message_bytes_max);
    for seen in ours {
        match theirs.next() {
            Some(Err(WebSocketError::InvalidCloseCode)) if matches!(seen, Seen::Close(Some(1014), _)) => {
                return;
            }
            Some(Ok(read)) => assert_eq!(*seen, read),
            other => panic!("we read {seen:?}, they {other:?}"),
        }
    }
    use ProtocolError as Fault;
    use WebSocketError as Theirs;
    match end {
        End::Closed => {}
        End::NeedMore => assert!(theirs.next().is_none(), "we need more, they do not"),
        End::Header(Fault::ReservedBits | Fault::UnknownOpcode | Fault::FragmentedControl) => {
            let next = theirs.next();
            let refused = matches!(
                next,
                Some(Err(Theirs::ReservedBitsNotZero
                    | Theirs::InvalidValue
                    | Theirs::ControlFrameFragmented
                    | Theirs::PingFrameTooLarge
                    | Theirs::FrameTooLarge))
            );
            // They look at a header when it is whole.
            assert!(refused || next.is_none(), "we: {end:?}, they: {next:?}");
        }
        End::Frame(Fault::UnexpectedContinuation) => {
            let next = theirs.next();
            assert!(
                matches!(next, Some(Err(Theirs::InvalidContinuationFrame))),
                "we: {end:?}, they: {next:?}"
            );
        }
        End::Frame(Fault::BadClose) => {
            let next = theirs.next();
            let refused = matches!(
                next,
                Some(Err(Theirs::InvalidCloseFrame | Theirs::InvalidCloseCode | Theirs::InvalidUTF8))
            );
            assert!(refused, "we: {end:?}, they: {next:?}");
        }
        End::Frame(Fault::InvalidUtf8) => {
            // All but a last character that is cut off, in a message of fragments.
            match theirs.next() {
                Some(Err(Theirs::InvalidUTF8)) | Some(Ok(Seen::Text(_))) => {}
                next => panic!("we: {end:?}, they: {next:?}"),
            }
        }
        // What they make of these is their own, see above.
        End::Header(_) | End::Frame(_) => {}
    }
}

/// What fastwebsockets reads as a client of a frame that was built for one.
pub(super) fn read_as_client(frame: &[u8]) -> Option<Seen> {
    Reader::new(frame, Role::Client, frame.len()).next().and_then(Result::ok)
}

impl AsyncRead for Pipe<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Pending;
        }
        let (now, later) = self.0.split_at(self.0.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
