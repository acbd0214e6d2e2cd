use super::{Client, SILENCE};

/// Holds a conversation with one client: `> TEXT` is sent, `< TEMPLATE` must come (see [`super::Json::differs`]),
/// `< nothing` means that nothing comes. Blank lines are skipped.
pub fn conversation(client: &mut Client, script: &str) {
    conversations(&mut [("", client)], script);
}

/// The same with several clients, the client's name before the sign: `a> ...`, `b< ...`.
pub fn conversations(clients: &mut [(&str, &mut Client)], script: &str) {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let at = line.find(['>', '<']).unwrap_or_else(|| panic!("neither sent nor received: {line}"));
        let (name, text) = (line[..at].trim(), line[at + 1..].trim());
        let client = clients.iter_mut().find(|(n, _)| *n == name);
        let client = &mut *client.unwrap_or_else(|| panic!("no client {name:?}: {line}")).1;
        match (&line[at..=at], text) {
            (">", _) => client.send_text(text),
            (_, "nothing") => client.expect_nothing(SILENCE),
            _ => client.expect(text),
        }
    }
}
