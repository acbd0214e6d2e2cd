//! A WebSocket connection that blocks.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::frame::{MaskKeys, opcode, push_masked, scan};
use crate::handshake::{Answer, read_answer, request};
use crate::target::Target;

/// The bit of a frame's first byte that says that it ends its message.
const FIN: u8 = 0x80;

/// The bit of a message's first byte that says that the message is compressed (RFC 7692, section 6).
const COMPRESSED: u8 = 0x40;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// An open connection.
pub struct Link {
    stream: TcpStream,
    read: Vec<u8>,
    keys: MaskKeys,
}

impl Link {
    /// Connects, and waits for the upgrade.
    ///
    /// # Errors
    /// If the server refuses or does not answer within `patience`.
    pub fn open(target: &Target, patience: Duration) -> Result<Self> {
        Self::open_with(target, patience, &[]).map(|(link, _)| link)
    }

    /// The same for a client that takes compressed messages and sends some (RFC 7692).
    ///
    /// # Errors
    /// As [`Self::open`], and if the server does not agree to compression.
    pub fn open_compressed(target: &Target, patience: Duration) -> Result<Self> {
        let (link, head) =
            Self::open_with(target, patience, &["Sec-WebSocket-Extensions: permessage-deflate".to_owned()])?;
        ensure!(head.contains("permessage-deflate"), "the server does not compress");
        Ok(link)
    }

    /// Connects with further header fields. Returns the head of the answer, too, in small letters.
    fn open_with(target: &Target, patience: Duration, fields: &[String]) -> Result<(Self, String)> {
        let stream = TcpStream::connect_timeout(&target.address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        let mut link = Self::over(stream);
        link.stream.write_all(&request(&target.host, &target.path, fields))?;
        loop {
            match read_answer(&link.read) {
                Answer::Open(length) => {
                    let head: Vec<u8> = link.read.drain(..length).collect();
                    return Ok((link, String::from_utf8_lossy(&head).to_lowercase()));
                }
                Answer::NeedMore => link.receive()?,
                Answer::Status(status) => bail!("the server answers {status}"),
                Answer::Invalid => bail!("the answer is no upgrade"),
            }
        }
    }

    /// A connection on which nothing has been said.
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new(), keys: MaskKeys::new(1) }
    }

    /// Sends one text.
    ///
    /// # Errors
    /// If the connection is closed.
    pub fn say(&mut self, text: &str) -> Result<()> {
        let bytes = self.frame(text);
        self.send(&bytes)
    }

    /// A text as it goes over the wire.
    pub fn frame(&mut self, text: &str) -> Vec<u8> {
        self.frame_of(opcode::TEXT, text.as_bytes())
    }

    /// A whole message of a kind, as it goes over the wire.
    pub fn frame_of(&mut self, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_masked(&mut bytes, opcode, self.keys.next_key(), &[payload]);
        bytes
    }

    /// A text that is compressed already, as it goes over the wire.
    pub fn compressed_frame(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.frame_of(opcode::TEXT, payload);
        bytes[0] |= COMPRESSED;
        bytes
    }

    /// A part of a message that has more, as it goes over the wire.
    pub fn part_of(&mut self, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.frame_of(opcode, payload);
        bytes[0] &= !FIN;
        bytes
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the connection is closed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads until a text contains `marker`, and returns it.
    ///
    /// # Errors
    /// If the connection is closed, or nothing comes for too long.
    pub fn wait_for(&mut self, marker: &str) -> Result<String> {
        loop {
            while let Some(frame) = scan(&self.read).ok().context("no frame")? {
                let payload = self.read[frame.header_len..frame.total_len()].to_vec();
                self.read.drain(..frame.total_len());
                let text = String::from_utf8_lossy(&payload);
                if frame.opcode == opcode::TEXT && text.contains(marker) {
                    return Ok(text.into_owned());
                }
            }
            self.receive()?;
        }
    }

    /// A second handle of the connection, which throws away all that comes until its end.
    ///
    /// # Errors
    /// If the system has no descriptor for it.
    pub fn drain(&self) -> Result<std::thread::JoinHandle<()>> {
        let mut stream = self.stream.try_clone()?;
        Ok(std::thread::spawn(move || {
            let mut scratch = vec![0; READ_BYTES];
            while stream.read(&mut scratch).is_ok_and(|length| length > 0) {}
        }))
    }

    /// Ends the connection, for both handles.
    pub fn close(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn receive(&mut self) -> Result<()> {
        let start = self.read.len();
        self.read.resize(start + READ_BYTES, 0);
        let length = self.stream.read(&mut self.read[start..]);
        self.read.truncate(start + *length.as_ref().unwrap_or(&0));
        if length? == 0 {
            bail!("the server has closed the connection");
        }
        Ok(())
    }
}
