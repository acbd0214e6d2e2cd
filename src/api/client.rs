//! The client for browsers and others, as the server hands it out. It is written in src/client/fanwire.js; what is served
//! is made of that by tests/clients/fanwire/minify.mjs, and a test makes it again and compares.

use sha2::{Digest, Sha256};
use std::sync::OnceLock;

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

    /// Its strong entity tag (RFC 9110 section 8.8.3): the same for the same text, whatever server is asked. Made once, as
    /// the hash costs more than the rest of an answer.
    pub fn entity_tag(self) -> &'static str {
        static TAGS: [OnceLock<String>; 2] = [const { OnceLock::new() }; 2];
        TAGS[self as usize].get_or_init(|| {
            let digest = Sha256::digest(self.text());
            let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("\"{hex}\"")
        })
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
