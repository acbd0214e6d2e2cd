use crate::wire::{self, ProxyParsed};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of the shortest header of either version ("PROXY UNKNOWN" and its line end): so many can be read without
/// reading beyond it.
const SHORTEST: usize = 15;

/// First bytes of a version 2 header, which tells its length in its bytes 14 and 15 (PROXY protocol, section 2.2).
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Longest header that is kept while it is read, in bytes. The addresses are within the first 232 (section 2.2, of
/// Unix sockets). What a longer header of version 2 holds beyond this, up to 64 KiB by the width of its length, is
/// skipped: a proxy adds certificates and fields of its own there.
const KEPT_BYTES_MAX: usize = 600;

/// Reads the PROXY header at the start of a connection and nothing beyond it, so that hyper finds its request whole.
/// The caller bounds the time.
///
/// # Errors
/// If the connection ends first or does not begin with a PROXY header.
pub(super) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; SHORTEST];
    let mut skipped = 0;
    stream.read_exact(&mut header).await?;
    if header.starts_with(V2_SIGNATURE) {
        header.push(stream.read_u8().await?);
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        let start = header.len();
        let kept = rest.min(KEPT_BYTES_MAX - start);
        header.resize(start + kept, 0);
        stream.read_exact(&mut header[start..]).await?;
        // The header that is parsed is as long as what is kept of it.
        header[14..16].copy_from_slice(&(kept as u16).to_be_bytes());
        skipped = rest - kept;
    } else {
        while header.last() != Some(&b'\n') && header.len() < KEPT_BYTES_MAX && header.starts_with(b"PROXY ")
        {
            header.push(stream.read_u8().await?);
        }
    }
    let source = match wire::parse_proxy_header(&header) {
        Ok(ProxyParsed::Done { source, .. }) => source,
        Ok(ProxyParsed::NeedMore) => return Err(ErrorKind::InvalidData.into()),
        Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
    };
    skip(stream, skipped, &mut header).await?;
    Ok(source)
}

/// Reads `len` bytes into `buffer`, over and over, and forgets them.
async fn skip(stream: &mut (impl AsyncRead + Unpin), mut len: usize, buffer: &mut [u8]) -> io::Result<()> {
    while len > 0 {
        let part = len.min(buffer.len());
        stream.read_exact(&mut buffer[..part]).await?;
        len -= part;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the header at the start of `bytes`: what it says, and how many bytes are left.
    fn read(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, usize) {
        let mut stream = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(read_header(&mut stream));
        (read, stream.len())
    }

    fn version_2(command: u8, tlvs: usize) -> Vec<u8> {
        let len = (12 + tlvs) as u16;
        let start = [V2_SIGNATURE, &[command, 0x11], &len.to_be_bytes()].concat();
        [&start[..], &[192, 0, 2, 1, 127, 0, 0, 1, 0x13, 0x88, 0, 80], &vec![0xE0; tlvs]].concat()
    }

    #[test]
    fn what_follows_the_addresses_is_skipped_up_to_the_longest_header_there_is() {
        for tlvs in [0, 572, 573, 1_000, 8_000, 65_535 - 12] {
            let bytes = [&version_2(0x21, tlvs)[..], b"GET"].concat();
            let (source, left) = read(&bytes);
            assert_eq!(source.unwrap(), Some("192.0.2.1:5000".parse().unwrap()), "{tlvs}");
            assert_eq!(left, 3, "{tlvs}");
            let (source, left) = read(&[&version_2(0x20, tlvs)[..], b"GET"].concat());
            assert_eq!((source.unwrap(), left), (None, 3), "{tlvs}: of the proxy itself");
        }
    }

    #[test]
    fn a_header_that_ends_too_soon_is_none() {
        for tlvs in [0, 1_000, 65_535 - 12] {
            let bytes = version_2(0x21, tlvs);
            let (source, _) = read(&bytes[..bytes.len() - 1]);
            assert_eq!(source.unwrap_err().kind(), ErrorKind::UnexpectedEof, "{tlvs}");
        }
        let (source, _) = read(&[&version_2(0x21, 1_000)[..13], &[0x51; 2_000]].concat());
        assert_eq!(source.unwrap_err().kind(), ErrorKind::InvalidData, "a family that there is not");
        let (source, _) = read(&[b"PROXY ".as_slice(), &[b'x'; 2_000]].concat());
        assert_eq!(source.unwrap_err().kind(), ErrorKind::InvalidData, "a line that does not end");
    }
}
