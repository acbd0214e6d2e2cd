//! In place of `tls` in a program without the feature of that name: no `https` URL is accepted.

use super::ClientUrlError;
use std::io;
use tokio::net::TcpStream;

/// No connector exists in such a program.
pub(super) enum Tls {}

impl Tls {
    /// # Errors
    /// Always.
    pub fn new(_: &str) -> Result<Self, ClientUrlError> {
        Err(ClientUrlError::NoTls)
    }

    /// Never called, as no such connector exists.
    pub async fn connect(&self, _: TcpStream) -> io::Result<TcpStream> {
        match *self {}
    }
}
