use socket2::Socket;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A stream that hyper can serve and that can be taken back as a plain socket.
pub(super) trait ShardStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Takes the socket out of tokio's hands; it stays non-blocking.
    fn into_socket(self) -> io::Result<Socket>;
}

impl ShardStream for TcpStream {
    fn into_socket(self) -> io::Result<Socket> {
        Ok(self.into_std()?.into())
    }
}

impl ShardStream for UnixStream {
    fn into_socket(self) -> io::Result<Socket> {
        Ok(self.into_std()?.into())
    }
}
