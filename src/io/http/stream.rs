use crate::io::turn::far_end::FarEnd;
use socket2::Socket;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A stream that hyper can serve and that can be taken back as a plain socket.
pub(in crate::io) trait ShardStream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Takes the socket out of tokio's hands; it stays non-blocking.
    fn into_socket(self) -> io::Result<Socket>;

    /// What is at its other end.
    fn far_end(&self) -> FarEnd;

    /// Waits until it can be written to.
    fn has_room(&self) -> impl Future<Output = io::Result<()>>;
}

impl ShardStream for TcpStream {
    fn into_socket(self) -> io::Result<Socket> {
        Ok(self.into_std()?.into())
    }

    fn far_end(&self) -> FarEnd {
        match (self.local_addr(), self.peer_addr()) {
            (Ok(here), Ok(there)) => FarEnd::Tcp { here, there },
            _ => FarEnd::Unknown,
        }
    }

    async fn has_room(&self) -> io::Result<()> {
        self.writable().await
    }
}

impl ShardStream for UnixStream {
    fn into_socket(self) -> io::Result<Socket> {
        Ok(self.into_std()?.into())
    }

    fn far_end(&self) -> FarEnd {
        self.peer_cred().map_or(FarEnd::Unknown, |peer| FarEnd::Unix { user: peer.uid() })
    }

    async fn has_room(&self) -> io::Result<()> {
        self.writable().await
    }
}

/// A stream that gives again what was read of it already, and then goes on.
pub(super) struct Rewound<S> {
    stream: S,
    read: Vec<u8>,
    given: usize,
}

impl<S> Rewound<S> {
    /// `read` before `stream`.
    pub fn new(stream: S, read: Vec<u8>) -> Self {
        Self { stream, read, given: 0 }
    }

    /// The stream, and what it was to give again and nobody has asked for.
    pub fn into_parts(mut self) -> (S, Vec<u8>) {
        self.read.drain(..self.given);
        (self.stream, self.read)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let again = &this.read[this.given..];
        if again.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let len = again.len().min(buffer.remaining());
        buffer.put_slice(&again[..len]);
        this.given += len;
        if this.given == this.read.len() {
            (this.read, this.given) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
