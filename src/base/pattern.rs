use std::fmt;

/// Separates the segments of a room's name.
const SEPARATOR: char = ':';

/// Most segments of a pattern: names have at most 255 bytes, and no scheme needs more.
const SEGMENTS_MAX: usize = 16;

/// A pattern of room names, matched by whole segments between colons, so that `tenant:a1` never matches
/// `tenant:a12`.
///
/// A segment is text to be found as it is, `*` for any one segment that is not empty, or, as the last one, `**` for
/// any rest: one segment or more. `**` alone matches every name. Nothing else has a meaning, and case counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Box<[Segment]>,
}

#[derive(Clone, PartialEq, Eq)]
enum Segment {
    Text(Box<str>),
    One,
    Rest,
}

/// A text that is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No text at all.
    #[error("a pattern must not be empty")]
    Empty,
    /// More than 16 segments.
    #[error("a pattern has at most {SEGMENTS_MAX} segments")]
    TooLong,
    /// `**` not at the end.
    #[error("** may only be the last segment")]
    RestInside,
    /// A star beside other text.
    #[error("a star must be a segment of its own")]
    StarInText,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is none; see [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let count = text.split(SEPARATOR).count();
        if count > SEGMENTS_MAX {
            return Err(PatternError::TooLong);
        }
        let segment = |(index, text): (usize, &str)| match text {
            "*" => Ok(Segment::One),
            "**" if index + 1 == count => Ok(Segment::Rest),
            "**" => Err(PatternError::RestInside),
            text if text.contains('*') => Err(PatternError::StarInText),
            text => Ok(Segment::Text(text.into())),
        };
        let segments = text.split(SEPARATOR).enumerate().map(segment).collect::<Result<_, _>>()?;
        Ok(Self { segments })
    }

    /// Whether every name that fits `other` fits this one too.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.segments.iter();
        for segment in &self.segments {
            let covered = match (segment, others.next()) {
                (Segment::Rest, Some(_)) => return true,
                (Segment::One, Some(Segment::One)) => true,
                (Segment::One, Some(Segment::Text(text))) => !text.is_empty(),
                (Segment::Text(text), Some(Segment::Text(other))) => text == other,
                _ => false,
            };
            if !covered {
                return false;
            }
        }
        others.next().is_none()
    }

    /// Whether a name fits. One pass, no allocation.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = name.split(SEPARATOR);
        for segment in &self.segments {
            let part = parts.next();
            match (segment, part) {
                (Segment::Rest, part) => return part.is_some(),
                (Segment::One, Some(part)) if !part.is_empty() => {}
                (Segment::Text(text), Some(part)) if **text == *part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            f.write_str(match segment {
                Segment::Text(text) => text,
                Segment::One => "*",
                Segment::Rest => "**",
            })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_by_whole_segments() {
        for (pattern, yes, no) in [
            ("chat", &["chat"][..], &["chat:", "chat:a", "Chat", "cha", ""][..]),
            ("chat:*", &["chat:a", "chat:ä"], &["chat", "chat:", "chat:a:b", "chats:a"]),
            ("chat:**", &["chat:a", "chat:a:b", "chat:"], &["chat", "chatter:a"]),
            ("tenant:a1", &["tenant:a1"], &["tenant:a12", "tenant:a1:x", "tenant:a"]),
            ("*:log", &["a:log"], &[":log", "log", "a:b:log"]),
            ("**", &["a", "a:b", ":"], &[]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.to_string(), pattern);
            for name in yes {
                assert!(parsed.matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!parsed.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let wrong = |text: &str| Pattern::parse(text).unwrap_err();
        assert_eq!(wrong(""), PatternError::Empty);
        assert_eq!(wrong("a:**:b"), PatternError::RestInside);
        assert_eq!(wrong("a*"), PatternError::StarInText);
        assert_eq!(wrong(&"a:".repeat(16)), PatternError::TooLong);
    }

    #[test]
    fn a_pattern_covers_those_that_are_no_wider() {
        for (wide, narrow, covers) in [
            ("**", "a", true),
            ("**", "a::*", true),
            ("a:**", "a:*:b", true),
            ("a:*", "a:b", true),
            ("a:*", "a:*", true),
            ("a", "a", true),
            ("a", "b", false),
            ("a:*", "a:", false),
            ("a:*", "a:**", false),
            ("a:*", "a", false),
            ("a", "a:*", false),
            ("a:**", "a", false),
            ("*", "**", false),
            ("a:b", "a:*", false),
        ] {
            let [wide, narrow] = [wide, narrow].map(|text| Pattern::parse(text).unwrap());
            assert_eq!(wide.covers(&narrow), covers, "{wide} {narrow}");
        }
    }
}
