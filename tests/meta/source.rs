//! Rust source as the architecture test reads it: without comments and the contents of literals.

/// Blanks out comments and the contents of string and character literals, keeping every line break, so that
/// what is left is code and line numbers still hold.
pub fn code_only(source: &str) -> String {
    let bytes: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            '/' if bytes.get(at + 1) == Some(&'/') => line_comment(&bytes, at),
            '/' if bytes.get(at + 1) == Some(&'*') => block_comment(&bytes, at),
            '"' => string(&bytes, at),
            'r' if !follows_word(&bytes, at) => raw_string(&bytes, at).unwrap_or(at),
            'b' if bytes.get(at + 1) == Some(&'r') && !follows_word(&bytes, at) => {
                raw_string(&bytes, at + 1).unwrap_or(at)
            }
            '\'' => character(&bytes, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            code.push(bytes[at]);
            at += 1;
        } else {
            code.push(' ');
            code.extend(bytes[at..end].iter().filter(|c| **c == '\n'));
            at = end;
        }
    }
    code
}

/// Whether `c` can be part of an identifier.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn follows_word(text: &[char], at: usize) -> bool {
    at > 0 && is_word(text[at - 1])
}

fn line_comment(text: &[char], at: usize) -> usize {
    text[at..].iter().position(|c| *c == '\n').map_or(text.len(), |length| at + length)
}

fn block_comment(text: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(text: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < text.len() && text[end] != '"' {
        end += if text[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(text.len())
}

/// The end of `r"..."` or `r#"..."#` that starts at `at`; `None` where it is neither (`r` of a raw name).
fn raw_string(text: &[char], at: usize) -> Option<usize> {
    let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return None;
    }
    let closes = |end: &usize| text[*end] == '"' && text[end + 1..].iter().take(hashes).all(|c| *c == '#');
    (open + 1..text.len()).find(closes).map(|end| end + 1 + hashes)
}

/// The end of a character literal; `None` for a lifetime.
fn character(text: &[char], at: usize) -> Option<usize> {
    if text.get(at + 1) == Some(&'\\') {
        return text[at + 3..].iter().position(|c| *c == '\'').map(|length| at + 4 + length);
    }
    (text.get(at + 2) == Some(&'\'')).then_some(at + 3)
}
