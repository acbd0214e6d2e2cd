/// The way to a claim below others, as identity providers nest them: `realm_access.roles`.
///
/// Segments are separated by dots; a dot of a segment's own has a backslash before it: `resource_access.my\.app.roles`.
#[derive(Debug, Clone)]
pub(super) struct ClaimPath(Vec<Box<str>>);

impl ClaimPath {
    /// Segments of a path: each may cost a look through the token.
    const SEGMENTS_MAX: usize = 8;

    /// What `name` says as a path; none where it can only be the name of a claim: without a dot, with an empty
    /// segment, or of too many.
    pub fn parse(name: &str) -> Option<Self> {
        let mut segments = vec![String::new()];
        let mut chars = name.chars().peekable();
        while let Some(next) = chars.next() {
            match next {
                '.' => segments.push(String::new()),
                '\\' if chars.next_if_eq(&'.').is_some() => segments.last_mut()?.push('.'),
                next => segments.last_mut()?.push(next),
            }
        }
        let fits = name.contains('.')
            && segments.len() <= Self::SEGMENTS_MAX
            && segments.iter().all(|segment| !segment.is_empty());
        fits.then(|| Self(segments.into_iter().map(Box::from).collect()))
    }

    /// From the outermost to the claim itself; there is at least one.
    pub fn segments(&self) -> &[Box<str>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &[&str]) {
        let path = ClaimPath::parse(name);
        let segments: Vec<_> = path.iter().flat_map(ClaimPath::segments).map(|segment| &**segment).collect();
        assert_eq!(segments, expected, "{name}");
    }

    #[test]
    fn dots_separate_unless_they_are_escaped() {
        check("realm_access.roles", &["realm_access", "roles"]);
        check(r"resource_access.my\.app.roles", &["resource_access", "my.app", "roles"]);
        check(r"a\.b", &["a.b"]);
        check(r"a\b.c\", &[r"a\b", r"c\"]);
        check("https://example.com/roles", &["https://example", "com/roles"]);
        check("é.日", &["é", "日"]);
        check("1.2.3.4.5.6.7.8", &["1", "2", "3", "4", "5", "6", "7", "8"]);
    }

    #[test]
    fn other_names_are_no_paths() {
        for name in ["", "roles", r"a\b", ".", "..", ".a", "a.", "a..b", "1.2.3.4.5.6.7.8.9"] {
            check(name, &[]);
        }
    }
}
