//! The guide as the server shows it at `/docs`: pages that the build has written, see `render.rs` beside this.

use flate2::read::GzDecoder;
use std::io::Read;

/// A page of the guide, or what a page loads.
#[derive(Debug)]
pub struct Page {
    /// The last segment of its path; empty for the list of chapters.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes in gzip.
    pub packed: &'static [u8],
}

#[cfg(feature = "docs")]
static PAGES: &[Page] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));
#[cfg(not(feature = "docs"))]
static PAGES: &[Page] = &[];

impl Page {
    /// Its bytes, for the few that take no gzip.
    pub fn unpacked(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // The build has packed it; what is missing after an error is seen by the reader.
        let _ = GzDecoder::new(self.packed).read_to_end(&mut bytes);
        bytes
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
        for page in PAGES {
            assert!(!page.unpacked().is_empty(), "{}", page.name);
        }
        // The binary holds them.
        let bytes: usize = PAGES.iter().map(|page| page.packed.len()).sum();
        assert!(bytes < 256 * 1024, "{bytes}");
        assert!(super::page("nothing").is_none());
    }
}
