//! One scan forward over the text of a JSON object: checks all of it and tells the fields of its top level.

/// Most levels that the scan follows below the object itself: one bit of a word for each.
const LEVELS_MAX: u32 = u64::BITS;

/// Every byte of a word 1; times `n`, every byte `n`.
const ONES: u64 = u64::MAX / 255;

/// Every byte's highest bit.
const HIGH: u64 = ONES * 0x80;

/// A value as it stands in the text. What of it is wanted is cut out when it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct JsonSlice<'a> {
    text: &'a str,
    start: usize,
    end: usize,
    /// It is a string without escapes.
    plain: bool,
}

impl<'a> JsonSlice<'a> {
    /// All of it, without the blanks around it. Always `Some`: values begin and end with ASCII characters.
    #[inline(always)]
    pub fn raw(&self) -> Option<&'a str> {
        self.text.get(self.start..self.end)
    }

    /// What it says, if it is a string without escapes.
    #[inline(always)]
    pub fn text(&self) -> Option<&'a str> {
        self.text.get(self.start + 1..self.end - 1).filter(|_| self.plain)
    }
}

/// Tells `found` the fields of the object `text`, in their order: the key, UTF-8 without escapes, and the value.
///
/// `Some` says that `text` is one JSON object and nothing else (RFC 8259), that arrays and objects in it nest at most
/// `depth_max` deep, the object itself counted as 1, and that `found` never said `None`. What is in strings is
/// checked by the grammar only, so half a surrogate pair passes in a value (section 8.2). Keys are not compared:
/// those that come twice are told twice.
///
/// `None` says nothing of the text but that another parser must look at it: it is no such object, or a rare one, with
/// escapes in a key of the top level or more than 64 levels below it. Fields may have been told before that was seen.
///
/// The scan needs no memory and does not recurse; each byte is looked at once, or twice in strings.
#[inline]
pub fn json_scan<'a>(
    text: &'a str,
    depth_max: u32,
    mut found: impl FnMut(&'a [u8], JsonSlice<'a>) -> Option<()>,
) -> Option<()> {
    let levels = depth_max.checked_sub(1)?.min(LEVELS_MAX);
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    scan.object(text, levels, &mut found)?;
    scan.blank();
    (scan.at == text.len()).then_some(())
}

/// The same for an array of such objects, each held to `depth_max` by itself: tells the fields of each, and `None` at
/// the end of each.
pub fn json_scan_each<'a>(
    text: &'a str,
    depth_max: u32,
    mut found: impl FnMut(Option<(&'a [u8], JsonSlice<'a>)>) -> Option<()>,
) -> Option<()> {
    let levels = depth_max.checked_sub(1)?.min(LEVELS_MAX);
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    scan.eat(b'[')?;
    if scan.blank() == b']' {
        scan.at += 1;
    } else {
        loop {
            scan.object(text, levels, &mut |key, value| found(Some((key, value))))?;
            found(None)?;
            match scan.blank() {
                b',' => scan.at += 1,
                b']' => break scan.at += 1,
                _ => return None,
            }
        }
    }
    scan.blank();
    (scan.at == text.len()).then_some(())
}

/// Where what a string says lies, without its quotes.
struct Quoted {
    start: usize,
    end: usize,
    /// It has no escapes.
    plain: bool,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    /// An object of the top level (section 4), with arrays and objects in it at most `levels` deep.
    #[inline(always)]
    fn object<'a>(
        &mut self,
        text: &'a str,
        levels: u32,
        found: &mut impl FnMut(&'a [u8], JsonSlice<'a>) -> Option<()>,
    ) -> Option<()> {
        self.eat(b'{')?;
        if self.blank() == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.key()?;
            let key = text.as_bytes().get(key.start..key.end).filter(|_| key.plain)?;
            let first = self.blank();
            let start = self.at;
            let plain = if first == b'"' {
                self.string()?.plain
            } else {
                self.value(levels)?;
                false
            };
            found(key, JsonSlice { text, start, end: self.at, plain })?;
            match self.blank() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// The next byte, and 0 at the end: no rule of the grammar begins or goes on with a 0 outside a string, and in
    /// strings it is refused as a control character.
    #[inline(always)]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Skips whitespace (section 2) and tells what comes after.
    #[inline(always)]
    fn blank(&mut self) -> u8 {
        loop {
            match self.peek() {
                // First, as most are.
                byte if byte > b' ' => return byte,
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// One of the structural characters (section 2), with whitespace before it.
    #[inline(always)]
    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.blank() == byte).then(|| self.at += 1)
    }

    /// A member's name and its colon (section 4).
    #[inline(always)]
    fn key(&mut self) -> Option<Quoted> {
        if self.blank() != b'"' {
            return None;
        }
        let key = self.string()?;
        self.eat(b':')?;
        Some(key)
    }

    /// A value (section 3) that starts here, with arrays and objects in it at most `levels` deep.
    fn value(&mut self, levels: u32) -> Option<()> {
        // What is open, innermost lowest: 1 for an object, 0 for an array.
        let (mut open, mut depth) = (0_u64, 0_u32);
        loop {
            match self.blank() {
                b'"' => {
                    self.string()?;
                }
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    depth += 1;
                    if depth > levels {
                        return None;
                    }
                    let object = bracket == b'{';
                    open = (open << 1) | u64::from(object);
                    // The brackets are two apart in ASCII from those that close them.
                    if self.blank() != bracket + 2 {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => return None,
            }
            // A value has ended, or an empty array or object is about to: close what ends with it.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let object = open & 1 == 1;
                match self.blank() {
                    b',' => {
                        self.at += 1;
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return None,
                }
                self.at += 1;
                depth -= 1;
                open >>= 1;
            }
        }
    }

    /// `true`, `false` or `null` (section 3).
    fn literal(&mut self, word: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    /// A number (section 6), however long.
    fn number(&mut self) -> Option<()> {
        self.at += usize::from(self.peek() == b'-');
        if self.peek() == b'0' {
            // A digit after it is what no value may be followed by.
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if let b'e' | b'E' = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            self.digits()?;
        }
        Some(())
    }

    /// One digit at least.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// A string (section 7) whose first quote is here. Keys and names are mostly short enough to end within the first
    /// word after it.
    #[inline(always)]
    fn string(&mut self) -> Option<Quoted> {
        let start = self.at + 1;
        if let Some(word) = self.bytes.get(start..).and_then(<[u8]>::first_chunk) {
            let marks = marks(u64::from_le_bytes(*word));
            let end = start + (marks.trailing_zeros() / 8) as usize;
            if marks != 0 && self.bytes.get(end) == Some(&b'"') {
                self.at = end + 1;
                return Some(Quoted { start, end, plain: true });
            }
        }
        self.at = start;
        let plain = self.string_rest()?;
        Some(Quoted { start, end: self.at - 1, plain })
    }

    /// What is left of a string, the last quote included; whether there were no escapes.
    #[inline(never)]
    fn string_rest(&mut self) -> Option<bool> {
        let mut plain = true;
        loop {
            self.at = json_special(self.bytes, self.at);
            match self.peek() {
                b'"' => break,
                b'\\' => plain = false,
                // A control character, or the end.
                _ => return None,
            }
            self.escape()?;
        }
        self.at += 1;
        Some(plain)
    }

    /// An escape (section 7) whose backslash is here.
    fn escape(&mut self) -> Option<()> {
        let digits = match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 0,
            b'u' => 4,
            _ => return None,
        };
        let hex = self.bytes.get(self.at + 2..self.at + 2 + digits)?;
        self.at += 2 + digits;
        hex.iter().all(u8::is_ascii_hexdigit).then_some(())
    }
}

/// Where the first quote, backslash or control character from `at` on is, which a string of JSON has only escaped (RFC
/// 8259 section 7); the length where there is none.
#[inline]
pub fn json_special(bytes: &[u8], mut at: usize) -> usize {
    loop {
        // Words find the place, and short strings end within a few of them.
        for _ in 0..4 {
            let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) else {
                return at + special_of_few(bytes.get(at..).unwrap_or_default());
            };
            let marks = marks(u64::from_le_bytes(*word));
            if marks != 0 {
                return at + (marks.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        // Long ones are passed over in blocks: the fold compiles to vector instructions.
        while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<32>)
            && !block.iter().fold(false, |any, &byte| any | is_special(byte))
        {
            at += 32;
        }
    }
}

/// Whether a text has at most sixteen bytes and none for which [`json_special`] looks: in two words that may overlap.
#[inline]
pub fn is_short_and_plain(bytes: &[u8]) -> bool {
    let [first, last] = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) if bytes.len() <= 16 => [*first, *last].map(u64::from_le_bytes),
        (Some(_), _) => return false,
        _ => match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => {
                let [first, last] = [*first, *last].map(u32::from_le_bytes).map(u64::from);
                [first | (last << 32), 0x20 * ONES]
            }
            _ => return !bytes.iter().any(|byte| is_special(*byte)),
        },
    };
    marks(first) | marks(last) == 0
}

/// As [`json_special`] of fewer than eight bytes.
#[inline(always)]
fn special_of_few(bytes: &[u8]) -> usize {
    /// Blanks, which are not special, in the half of a word that has no bytes.
    const BLANKS: u64 = (ONES * 0x20) << 32;
    let mut at = 0;
    if let Some(half) = bytes.first_chunk() {
        let marks = marks(u64::from(u32::from_le_bytes(*half)) | BLANKS);
        if marks != 0 {
            return (marks.trailing_zeros() / 8) as usize;
        }
        at = half.len();
    }
    at + bytes[at..].iter().position(|&byte| is_special(byte)).unwrap_or(bytes.len() - at)
}

#[inline(always)]
fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// A word whose lowest set bit is the highest bit of the first special byte of `word`, and 0 without one. Bits above
/// that may be set for other bytes too: a borrow goes upwards only.
#[inline(always)]
fn marks(word: u64) -> u64 {
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    (control | quote.wrapping_sub(ONES) | backslash.wrapping_sub(ONES)) & !word & HIGH
}

#[cfg(test)]
#[path = "json_scan_tests.rs"]
mod tests;
