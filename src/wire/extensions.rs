//! `Sec-WebSocket-Extensions`: what a client offers (RFC 6455 section 9.1) and which offer of permessage-deflate is
//! accepted (RFC 7692 sections 5 and 7.1).
//!
//! What is accepted always comes with both `no_context_takeover`: the server's, so that one compressed frame serves
//! everybody, and the client's, so that no connection keeps a window for what its client sends next. The server may
//! ask for the latter whatever the offer says (section 7.1.1.2). With it, a bound on the client's window would save
//! the server nothing, so that `client_max_window_bits` is understood and left out of the response, as section
//! 7.1.2.2 allows.

use hyper::header::{HeaderMap, SEC_WEBSOCKET_EXTENSIONS};

const NAME: &str = "permessage-deflate";

/// Smallest window of the server, as a base-2 logarithm. RFC 7692 allows 8, but zlib has no such window, and section
/// 7.1.2.1 lets a server decline what it does not support.
const SERVER_BITS_MIN: u8 = 9;

/// The header is not what RFC 6455 section 9.1 allows; whoever reads such a thing must fail the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Sec-WebSocket-Extensions is malformed")]
pub struct MalformedExtensions;

/// An offer of permessage-deflate that can be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateOffer {
    /// The largest window that the client will have the server use (9 to 15), if it names one.
    server_max_window_bits: Option<u8>,
}

impl DeflateOffer {
    /// Base-2 logarithm of the largest window that the server may use.
    pub fn window_bits_max(&self) -> u8 {
        self.server_max_window_bits.unwrap_or(15)
    }

    /// The header of the response by a server that will use a window of `window_bits`. An offer that names a bound is
    /// accepted only by naming one too (RFC 7692 section 7.1.2.1).
    pub fn response(&self, window_bits: u8) -> String {
        let mut text = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
        if self.server_max_window_bits.is_some() || window_bits < 15 {
            text += &format!("; server_max_window_bits={window_bits}");
        }
        text
    }
}

/// Reads all that a client offers, and gives the first offer of permessage-deflate that can be accepted, which is the
/// one that the client likes best (RFC 7692 section 5).
///
/// # Errors
/// If any of it is malformed, the extensions that nobody knows here among it.
pub fn deflate_offer(headers: &HeaderMap) -> Result<Option<DeflateOffer>, MalformedExtensions> {
    let mut found = None;
    // Several lines are one list (RFC 6455 section 9.1).
    for line in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let mut reader = Reader(line.as_bytes());
        loop {
            reader.skip_blanks();
            if !matches!(reader.0.first(), None | Some(b',')) {
                let offer = reader.extension()?;
                found = found.or(offer);
            }
            if reader.0.is_empty() {
                break;
            }
            reader.expect(b',')?;
        }
    }
    Ok(found)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// One extension with its parameters; `None` if it is another one or cannot be accepted.
    fn extension(&mut self) -> Result<Option<DeflateOffer>, MalformedExtensions> {
        let known = self.token()?.eq_ignore_ascii_case(NAME.as_bytes());
        let mut parameters = Parameters::default();
        let mut acceptable = known;
        while self.skip(b';') {
            self.skip_blanks();
            let name = self.token()?;
            let value = if self.skip(b'=') { Some(self.value()?) } else { None };
            // The rest is read on, for it may be malformed.
            acceptable &= parameters.take(name, value.as_deref());
        }
        let bits = parameters.server_max_window_bits;
        let supported = bits.is_none_or(|bits| bits >= SERVER_BITS_MIN);
        Ok((acceptable && supported).then_some(DeflateOffer { server_max_window_bits: bits }))
    }

    /// A parameter's value. One in quotes must be a token when the quotes are taken off (RFC 6455 section 9.1).
    fn value(&mut self) -> Result<Vec<u8>, MalformedExtensions> {
        self.skip_blanks();
        if self.0.first() != Some(&b'"') {
            return Ok(self.token()?.to_vec());
        }
        let mut value = Vec::new();
        let mut bytes = self.0.iter().enumerate().skip(1);
        loop {
            let (_, &byte) = bytes.next().ok_or(MalformedExtensions)?;
            match byte {
                b'"' => break,
                b'\\' => value.push(*bytes.next().ok_or(MalformedExtensions)?.1),
                byte => value.push(byte),
            }
        }
        self.0 = bytes.next().map_or(&[], |(at, _)| &self.0[at..]);
        if value.is_empty() || !value.iter().all(|byte| is_token_byte(*byte)) {
            return Err(MalformedExtensions);
        }
        Ok(value)
    }

    fn token(&mut self) -> Result<&'a [u8], MalformedExtensions> {
        let len = self.0.iter().take_while(|byte| is_token_byte(**byte)).count();
        let (token, rest) = self.0.split_at(len);
        self.0 = rest;
        if token.is_empty() { Err(MalformedExtensions) } else { Ok(token) }
    }

    /// Skips blanks and then `byte`, if it is there.
    fn skip(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), MalformedExtensions> {
        if self.skip(byte) { Ok(()) } else { Err(MalformedExtensions) }
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The parameters of an offer of permessage-deflate (RFC 7692 section 7.1).
#[derive(Debug, Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: bool,
}

impl Parameters {
    /// Takes a parameter. `false` if it is unknown, comes twice, or has a value that it may not have, each of which
    /// makes a server decline the offer (RFC 7692 section 7).
    fn take(&mut self, name: &[u8], value: Option<&[u8]>) -> bool {
        match (name, value) {
            (b"server_no_context_takeover", None) => {
                !std::mem::replace(&mut self.server_no_context_takeover, true)
            }
            (b"client_no_context_takeover", None) => {
                !std::mem::replace(&mut self.client_no_context_takeover, true)
            }
            (b"server_max_window_bits", Some(value)) => {
                let bits = window_bits(value);
                bits.is_some() && self.server_max_window_bits.replace(bits.unwrap_or_default()).is_none()
            }
            (b"client_max_window_bits", value) => {
                value.is_none_or(|value| window_bits(value).is_some())
                    && !std::mem::replace(&mut self.client_max_window_bits, true)
            }
            _ => false,
        }
    }
}

/// "A decimal integer value without leading zeroes between 8 to 15, inclusive" (RFC 7692 section 7.1.2).
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
#[path = "extensions_tests.rs"]
mod tests;
