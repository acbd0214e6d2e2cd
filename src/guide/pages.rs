//! The guide as the server shows it at `/docs`: pages that the build has written, see `render.rs` beside this.

use bytes::Bytes;
use flate2::read::GzDecoder;
use std::io::Read;
use std::sync::OnceLock;

/// A page of the guide, or what a page loads.
#[derive(Debug)]
pub struct Page {
    /// The last segment of its path; empty for the list of chapters.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes in gzip.
    pub packed: &'static [u8],
    /// See [`Page::unpacked`].
    unpacked: OnceLock<Bytes>,
}

#[cfg(feature = "docs")]
include!(concat!(env!("OUT_DIR"), "/pages.rs"));
#[cfg(not(feature = "docs"))]
static PAGES: [Page; 0] = [];

impl Page {
    /// Its bytes, for the few clients that take no gzip. Unpacked once and kept, so that asking again and again costs no
    /// shard its time: all pages together take less than a megabyte.
    pub fn unpacked(&self) -> Bytes {
        let unpack = || {
            let mut bytes = Vec::new();
            // The build has packed the page, so this cannot fail.
            let _ = GzDecoder::new(self.packed).read_to_end(&mut bytes);
            bytes.into()
        };
        self.unpacked.get_or_init(unpack).clone()
    }
}

/// The page of this name.
pub fn page(name: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == name)
}

#[cfg(all(test, feature = "docs"))]
mod tests {
    use super::*;

    #[test]
    fn all_pages_are_whole_and_small() {
        assert!(PAGES.len() > 20, "{}", PAGES.len());
        for page in &PAGES {
            assert!(!page.unpacked().is_empty(), "{}", page.name);
        }
        // The binary holds the packed ones, memory the others once they have been asked for.
        let unpacked: usize = PAGES.iter().map(|page| page.unpacked().len()).sum();
        assert!(unpacked < 1024 * 1024, "{unpacked}");
        let bytes: usize = PAGES.iter().map(|page| page.packed.len()).sum();
        assert!(bytes < 256 * 1024, "{bytes}");
        assert!(super::page("nothing").is_none());
    }
}
