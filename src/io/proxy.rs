use crate::wire::{self, ProxyParsed};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of the shortest header of either version ("PROXY UNKNOWN" and its line end): so many can be read without
/// reading beyond it.
const SHORTEST: usize = 15;

/// First bytes of a version 2 header, which tells its length in its bytes 14 and 15 (PROXY protocol, section 2.2).
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Longest header read, in bytes: `wire` refuses longer ones.
const HEADER_BYTES_MAX: usize = 600;

/// Reads the PROXY header at the start of a connection and nothing beyond it, so that hyper finds its request whole.
/// The caller bounds the time.
///
/// # Errors
/// If the connection ends first or does not begin with a PROXY header.
pub(super) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; SHORTEST];
    stream.read_exact(&mut header).await?;
    if header.starts_with(V2_SIGNATURE) {
        header.push(stream.read_u8().await?);
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if header.len() + rest <= HEADER_BYTES_MAX {
            let start = header.len();
            header.resize(start + rest, 0);
            stream.read_exact(&mut header[start..]).await?;
        }
    } else {
        while header.last() != Some(&b'\n') && header.len() < HEADER_BYTES_MAX && header.starts_with(b"PROXY ") {
            header.push(stream.read_u8().await?);
        }
    }
    match wire::parse_proxy_header(&header) {
        Ok(ProxyParsed::Done { source, .. }) => Ok(source),
        Ok(ProxyParsed::NeedMore) => Err(ErrorKind::InvalidData.into()),
        Err(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
    }
}
