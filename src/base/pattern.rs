use std::fmt;

/// Separates the segments of a room's name.
const SEPARATOR: char = ':';

/// Most segments of a pattern: names have at most 255 bytes, and no scheme needs more.
const SEGMENTS_MAX: usize = 16;

/// A pattern of room names, matched by whole segments between colons, so that `tenant:a1` never matches
/// `tenant:a12`.
///
/// A segment is text to be found as it is, `*` for any one segment that is not empty, or, as the last one, `**` for
/// any rest: one segment or more. `**` alone matches every name. Where captures are allowed, `{name}` is any one
/// segment, which whoever asks compares with what it knows. Nothing else has a meaning, and case counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Box<[Segment]>,
}

/// A part of a [`Pattern`], between colons.
#[derive(Clone, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Text(Box<str>),
    /// Any text but none.
    One,
    /// Any text, even none: nobody can be named by none, but a name that has none there is still of this shape, so
    /// that `user::x` is not what the rules for `user:{user}:**` leave open.
    Capture(&'static str),
    /// One segment or more, whatever they are; only at the end.
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
    /// Where captures are allowed: braces around something else, or beside other text.
    #[error("braces are for {{tenant}} and {{user}} as segments of their own")]
    NoCapture,
}

impl Pattern {
    /// Reads a pattern in which braces have no meaning.
    ///
    /// # Errors
    /// If it is none; see [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::read(text, None)
    }

    /// Reads a pattern that may have captures of these names.
    ///
    /// # Errors
    /// If it is none; see [`PatternError`].
    pub fn parse_capturing(text: &str, names: &[&'static str]) -> Result<Self, PatternError> {
        Self::read(text, Some(names))
    }

    fn read(text: &str, captures: Option<&[&'static str]>) -> Result<Self, PatternError> {
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
            text if text.contains(['{', '}']) && captures.is_some() => {
                let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
                let known = captures.unwrap_or_default().iter().find(|known| name == Some(**known));
                known.map(|known| Segment::Capture(known)).ok_or(PatternError::NoCapture)
            }
            text => Ok(Segment::Text(text.into())),
        };
        let segments = text.split(SEPARATOR).enumerate().map(segment).collect::<Result<_, _>>()?;
        Ok(Self { segments })
    }

    /// Its segments, at least one.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether another pattern is the same but for what captures are called, and whether they are any.
    pub fn is_alike(&self, other: &Self) -> bool {
        let alike = |(own, other): (&Segment, &Segment)| match (own, other) {
            (Segment::One | Segment::Capture(_), Segment::One | Segment::Capture(_)) => true,
            (own, other) => own == other,
        };
        self.segments.len() == other.segments.len() && self.segments.iter().zip(&other.segments).all(alike)
    }

    /// Whether every name that fits `other` fits this one too.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.segments.iter();
        for segment in &self.segments {
            let covered = match (segment, others.next()) {
                (Segment::Rest, Some(_)) => return true,
                (Segment::Capture(_), Some(other)) => *other != Segment::Rest,
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

    /// What stands for a capture in a name that fits; `None` if the pattern has no such capture or nothing stands there.
    pub fn captured<'n>(&self, capture: &str, name: &'n str) -> Option<&'n str> {
        let is_it = |segment: &Segment| matches!(segment, Segment::Capture(known) if *known == capture);
        let index = self.segments.iter().position(is_it)?;
        name.split(SEPARATOR).nth(index).filter(|part| !part.is_empty())
    }

    /// Whether a name fits. One pass, no allocation.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = name.split(SEPARATOR);
        for segment in &self.segments {
            let part = parts.next();
            match (segment, part) {
                (Segment::Rest, part) => return part.is_some(),
                (Segment::Capture(_), Some(_)) => {}
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
            match segment {
                Segment::Text(text) => f.write_str(text)?,
                Segment::One => f.write_str("*")?,
                Segment::Capture(name) => write!(f, "{{{name}}}")?,
                Segment::Rest => f.write_str("**")?,
            }
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
    fn captures_tell_their_segment() {
        let pattern = Pattern::parse_capturing("tenant:{tenant}:**", &["tenant"]).unwrap();
        for (name, tenant) in [("tenant:a:x", Some("a")), ("tenant:b:x:y", Some("b")), ("tenant::x", None)] {
            assert_eq!((pattern.matches(name), pattern.captured("tenant", name)), (true, tenant), "{name}");
        }
        assert_eq!(pattern.captured("user", "tenant:a:x"), None);
        assert_eq!(Pattern::parse("tenant:*").unwrap().captured("tenant", "tenant:a"), None);
    }

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
    fn captures_are_segments_of_their_own() {
        let parse = |text: &str| Pattern::parse_capturing(text, &["tenant", "user"]);
        let both = parse("a:{tenant}:{user}:**").unwrap();
        assert_eq!(both.to_string(), "a:{tenant}:{user}:**");
        assert!(both.matches("a:::") && both.matches("a:1:2:3:4") && !both.matches("a:1:2"));
        for wrong in [
            "{}",
            "{other}",
            "{Tenant}",
            "{ tenant}",
            "a{tenant}",
            "{tenant}b",
            "{tenant",
            "tenant}",
            "{{tenant}}",
        ] {
            assert_eq!(parse(wrong).unwrap_err(), PatternError::NoCapture, "{wrong}");
            assert!(
                Pattern::parse(wrong).unwrap().matches(wrong),
                "without captures braces are text: {wrong}"
            );
        }
        assert!(Pattern::parse("{tenant}").unwrap() != parse("{tenant}").unwrap());
        for (one, other, alike, covers) in [
            ("a:{user}", "a:*", true, true),
            ("a:*", "a:{user}", true, false),
            ("a:{user}", "a:{tenant}", true, true),
            ("a:{user}", "a:", false, true),
            ("a:{user}", "a:b", false, true),
            ("a:b", "a:{user}", false, false),
            ("a:{user}", "a:**", false, false),
            ("a:**", "a:{user}", false, true),
            ("a:{user}", "a:*:b", false, false),
        ] {
            let [one, other] = [one, other].map(|text| parse(text).unwrap());
            assert_eq!((one.is_alike(&other), one.covers(&other)), (alike, covers), "{one} {other}");
        }
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
