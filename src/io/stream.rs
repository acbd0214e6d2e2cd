use socket2::Socket;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A stream that hyper can serve and that can be taken back as a plain socket.
pub(super) trait ShardStream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Takes the socket out of tokio's hands; it stays non-blocking.
    fn into_socket(self) -> io::Result<Socket>;

    /// Waits until there is something to read: bytes, or the end of the stream.
    fn has_input(&self) -> impl Future<Output = io::Result<()>>;
}

impl ShardStream for TcpStream {
    fn into_socket(self) -> io::Result<Socket> {
        Ok(self.into_std()?.into())
    }

    async fn has_input(&self) -> io::Result<()> {
        self.readable().await
    }
}

impl ShardStream for UnixStream {
    fn into_socket(self) -> io::Result<Socket> {
        Ok(self.into_std()?.into())
    }

    async fn has_input(&self) -> io::Result<()> {
        self.readable().await
    }
}
