//! The end of an HTTP connection whose client is still sending.
//!
//! A socket that is closed with unread input resets the connection, and the reset destroys the answer on its way
//! (RFC 9112 section 9.6). So the server ends its own side first, and reads and discards until the client has seen it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout_at};

/// Bytes discarded at the most: a body that is many times as long as any is allowed to be.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Time for all of it, and time for the next bytes of it: those of nginx (`lingering_time`, `lingering_timeout`).
const TIME_MAX: Duration = Duration::from_secs(30);
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// Bytes after which others have their turn: as many connections as an address may have at the door then discard some
/// megabytes between two turns of the shard.
const TURN_BYTES: usize = 64 * 1024;

/// Ends a connection on which all is said. `must_wait`: the client has not sent all that it announced. Otherwise the
/// connection is only waited for if there is unread input.
pub(super) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin, must_wait: bool) {
    if stream.shutdown().await.is_err() || (!must_wait && !has_input(&mut stream).await) {
        return;
    }
    let until = Instant::now() + TIME_MAX;
    let mut discarded = vec![0; READ_BYTES];
    let (mut total, mut in_turn) = (0, 0);
    while total < BYTES_MAX {
        let silence = until.min(Instant::now() + SILENCE_MAX);
        match timeout_at(silence, stream.read(&mut discarded)).await {
            Ok(Ok(len)) if len > 0 => (total, in_turn) = (total + len, in_turn + len),
            // The client has ended its side, too, or the time is over.
            _ => return,
        }
        if in_turn >= TURN_BYTES {
            in_turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Whether there is input that nobody has read.
async fn has_input(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    poll_fn(|context| {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut *stream).poll_read(context, &mut byte);
        Poll::Ready(matches!(read, Poll::Ready(Ok(()))) && !byte.filled().is_empty())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io;
    use std::task::{Context, Waker};

    /// A client that never stops.
    struct Endless<'a>(&'a Cell<usize>);

    impl AsyncRead for Endless<'_> {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let len = buffer.remaining();
            self.0.update(|read| read + len);
            buffer.put_slice(&vec![0; len]);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Endless<'_> {
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

    #[test]
    fn what_is_discarded_is_bounded_and_others_have_their_turn_between() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let read = Cell::new(0);
        let mut lingering = Box::pin(linger(Endless(&read), true));
        let mut context = Context::from_waker(Waker::noop());
        let mut before = 0;
        while lingering.as_mut().poll(&mut context).is_pending() {
            let turn = read.get() - before;
            assert!(turn <= 64 * 1024 + READ_BYTES, "{turn} bytes in one turn");
            before = read.get();
        }
        assert!((BYTES_MAX..BYTES_MAX + READ_BYTES).contains(&read.get()), "{} bytes in all", read.get());
    }
}
