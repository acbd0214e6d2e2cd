//! The client for browsers and others, as the server hands it out. It is written in src/client/fanwire.js; what is served
//! is made of that by tests/clients/fanwire/minify.mjs, and a test makes it again and compares.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A file of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFile {
    /// The ES module.
    Script,
    /// Its types for TypeScript.
    Types,
}

impl ClientFile {
    /// What is in it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Script => include_str!("../client/fanwire.min.js"),
            Self::Types => include_str!("../client/fanwire.d.ts"),
        }
    }

    /// Its media type. That of TypeScript is what Deno looks for; the one that is registered (`video/mp2t`) is another format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Script => "text/javascript; charset=utf-8",
            Self::Types => "application/typescript; charset=utf-8",
        }
    }

    /// Its strong entity tag (RFC 9110 section 8.8.3): the same for the same text, whatever server is asked.
    pub fn entity_tag(self) -> String {
        let digest = Sha256::digest(self.text());
        let mut tag = String::from("\"");
        for byte in &digest[..8] {
            // Memory takes all that is written to it.
            let _ = write!(tag, "{byte:02x}");
        }
        tag + "\""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_tell_files_apart() {
        let [script, types] = [ClientFile::Script, ClientFile::Types].map(ClientFile::entity_tag);
        assert_ne!(script, types);
        assert!(script.len() == 18 && script.starts_with('"') && script.ends_with('"'), "{script}");
    }
}
