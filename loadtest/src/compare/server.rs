//! The table of servers: ours and the bare ones from `own.json`, the peers from `peers.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Ours and the bare servers.
const OWN: &str = include_str!("own.json");

/// Marks an entry of `own.json` that stands for one server for each of these modes. The first has the
/// plain name.
const MODE: &str = "{mode}";
const MODES: [&str; 4] = ["batch", "send", "uring", "uring-batch"];

/// What may be filled in, by field: anything else in braces that looks like a placeholder is a mistake.
const COMMAND_HOLDS: &[&str] =
    &["{fanwire}", "{loadtest}", "{port}", "{cores}", "{core_list}", "{mode}", "{frame_bytes}"];
const URL_HOLDS: &[&str] = &["{port}", "{room}"];
const ROOM_HOLDS: &[&str] = &["{room}"];
const PUBLISH_HOLDS: &[&str] = &["{room}", "{payload}", "{payload_bytes}"];

/// One server; the fields are told in `peers.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub name: String,
    pub about: String,
    pub version: String,
    pub version_command: Option<Vec<String>>,
    pub command: Vec<String>,
    #[serde(default)]
    pub needs: Vec<PathBuf>,
    pub env: BTreeMap<String, String>,
    pub ready: Ready,
    pub url: String,
    pub headers: Vec<String>,
    pub join: Vec<String>,
    pub join_after: Option<Vec<Option<String>>>,
    pub joined_marker: Option<String>,
    pub leave: Option<String>,
    pub left_marker: Option<String>,
    pub publish: String,
    pub keepalive: Option<Keepalive>,
    pub ordered: bool,
    pub cores: CoresUsed,
    pub processes: Processes,
    pub bytes: String,
    pub notes: Vec<String>,
}

/// How a server says that it listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// Where it says so.
    pub stream: Stream,
    /// What it says.
    pub text: String,
}

/// A stream of a process.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a server asks above WebSocket's own pings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keepalive {
    /// The question.
    #[serde(rename = "match")]
    pub ask: String,
    /// Where it stands.
    #[serde(rename = "where")]
    pub place: Place,
    /// The frame that answers.
    pub answer: String,
}

/// Where a keepalive stands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// It is a whole frame.
    Frame,
    /// It is a whole line of one.
    Line,
}

/// Cores that a server makes use of.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum CoresUsed {
    /// One, however many it has.
    One,
    /// All that it has.
    All,
}

/// Which processes are the server.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Processes {
    /// The one started.
    One,
    /// Its descendants too.
    Tree,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about", default)]
    _about: IgnoredAny,
    #[serde(rename = "fields", default)]
    _fields: IgnoredAny,
    #[serde(rename = "placeholders", default)]
    _placeholders: IgnoredAny,
    peers: Vec<Server>,
}

impl Server {
    /// The bytes of its frames are set by an option.
    pub fn is_sized(&self) -> bool {
        self.command.iter().any(|word| word == "{frame_bytes}")
    }

    /// # Errors
    /// Names the field that no server can be made of.
    fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        ensure!(
            !self.name.is_empty() && self.name.chars().all(plain),
            "`name` must be letters, digits and -"
        );
        ensure!(!self.command.is_empty(), "`command` is empty");
        ensure!(
            self.version_command.as_ref().is_none_or(|words| !words.is_empty()),
            "`version_command` is empty"
        );
        ensure!(!self.ready.text.is_empty(), "`ready` has no text");
        ensure!(
            self.url.starts_with("ws://") && self.url.contains("{port}"),
            "`url` must be ws:// with {{port}}"
        );
        ensure!(self.publish.contains("{payload}"), "`publish` has no {{payload}}");
        if let Some(after) = &self.join_after {
            let (texts, frames) = (after.len(), self.join.len());
            ensure!(texts == frames, "`join_after` has {texts} entries for {frames} frames of `join`");
        }
        if let Some(Keepalive { ask, answer, .. }) = &self.keepalive {
            ensure!(!ask.is_empty() && !answer.is_empty(), "`keepalive` has an empty text");
        }
        let words =
            |words: &[String], field, holds| words.iter().try_for_each(|word| known(word, field, holds));
        words(&self.command, "command", COMMAND_HOLDS)?;
        words(self.version_command.as_deref().unwrap_or_default(), "version_command", COMMAND_HOLDS)?;
        self.env.values().try_for_each(|value| known(value, "env", COMMAND_HOLDS))?;
        known(&self.url, "url", URL_HOLDS)?;
        words(&self.join, "join", ROOM_HOLDS)?;
        known(self.leave.as_deref().unwrap_or_default(), "leave", ROOM_HOLDS)?;
        known(&self.publish, "publish", PUBLISH_HOLDS)
    }
}

/// # Errors
/// When `text` holds a placeholder, lower case letters in braces, that is not in `holds`.
fn known(text: &str, field: &str, holds: &[&str]) -> Result<()> {
    for (open, _) in text.match_indices('{') {
        let Some(length) = text[open..].find('}') else { continue };
        let found = &text[open..=open + length];
        let name = &found[1..found.len() - 1];
        let looks_like =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        ensure!(!looks_like || holds.contains(&found), "`{field}` holds {found}, which nothing fills in");
    }
    Ok(())
}

/// The servers of one table; `name` is what errors call it.
///
/// # Errors
/// Names the table and the line or the server and field that is wrong.
pub fn parse(name: &str, text: &str) -> Result<Vec<Server>> {
    let file: File = serde_json::from_str(text).with_context(|| format!("the table {name}"))?;
    let mut servers: Vec<Server> = Vec::new();
    for server in file.peers {
        server.check().with_context(|| format!("the table {name}, server `{}`", server.name))?;
        if servers.iter().any(|other| other.name == server.name) {
            bail!("the table {name}, server `{}`: the name is there twice", server.name);
        }
        servers.push(server);
    }
    Ok(servers)
}

/// Ours, the bare servers, and the peers of `peers_dir`; a missing table of peers is named.
///
/// # Errors
/// As [`parse`], and when a name is there twice.
pub fn all(peers_dir: &Path) -> Result<(Vec<Server>, Option<String>)> {
    let mut servers = Vec::new();
    for server in parse("own.json", OWN)? {
        if server.command.iter().any(|word| word == MODE) {
            servers.extend(MODES.map(|mode| in_mode(&server, mode)));
        } else {
            servers.push(server);
        }
    }
    let path = peers_dir.join("peers.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return Ok((servers, Some(format!("no peers: {}: {error}", path.display())))),
    };
    for peer in parse("peers.json", &text)? {
        ensure!(
            servers.iter().all(|own| own.name != peer.name),
            "the table peers.json, server `{}`: the name is taken by a server of our own",
            peer.name
        );
        servers.push(peer);
    }
    Ok((servers, None))
}

fn in_mode(server: &Server, mode: &str) -> Server {
    let mut one = server.clone();
    one.about = format!("{} {mode}", server.about);
    if mode != MODES[0] {
        one.name = format!("{}-{mode}", server.name);
    }
    one.command.iter_mut().filter(|word| *word == MODE).for_each(|word| *word = mode.to_owned());
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Vec<Server> {
        let (servers, missing) = all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")).unwrap();
        assert_eq!(missing, None);
        servers
    }

    /// The error of a table whose first server is changed by `change`.
    fn error_of(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut table: serde_json::Value = serde_json::from_str(OWN).unwrap();
        change(&mut table["peers"][0]);
        format!("{:#}", parse("x.json", &table.to_string()).unwrap_err())
    }

    #[test]
    fn the_shipped_tables_are_good() {
        let servers = shipped();
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        for name in
            ["ours", "floor", "floor-send", "floor-uring", "floor-uring-batch", "bun", "nats", "nchan"]
        {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert!(servers.iter().all(|server| server.is_sized() == server.name.starts_with("floor")));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_named() {
        let missing = error_of(|server| drop(server.as_object_mut().unwrap().remove("url")));
        assert!(missing.contains("x.json") && missing.contains("`url`"), "{missing}");
        let unknown = error_of(|server| server["speed"] = 9.into());
        assert!(unknown.contains("`speed`"), "{unknown}");
        for (field, value, word) in [
            ("publish", serde_json::json!("x"), "{payload}"),
            ("url", serde_json::json!("http://h:{port}/"), "ws://"),
            ("url", serde_json::json!("ws://h:{port}/{channel}"), "{channel}"),
            ("join_after", serde_json::json!([null, "x"]), "2 entries for 1"),
            ("command", serde_json::json!([]), "`command`"),
            ("command", serde_json::json!(["x", "{ports}"]), "{ports}"),
            ("name", serde_json::json!("a b"), "`name`"),
            ("name", serde_json::json!("floor"), "twice"),
            ("keepalive", serde_json::json!({ "match": "", "where": "line", "answer": "" }), "`keepalive`"),
        ] {
            let error = error_of(|server| server[field] = value);
            assert!(error.contains("x.json") && error.contains(word), "{field}: {error}");
        }
        assert!(parse("x.json", "{").unwrap_err().to_string().contains("x.json"));
    }

    #[test]
    fn json_in_braces_is_no_placeholder() {
        assert!(known(r#"{"a":{room}}"#, "join", ROOM_HOLDS).is_ok());
        assert!(known("{room", "join", ROOM_HOLDS).is_ok());
        assert!(known("{payload}", "join", ROOM_HOLDS).is_err());
    }

    #[test]
    fn without_peers_there_are_the_own_servers() {
        let (servers, missing) = all(Path::new("/nowhere")).unwrap();
        assert_eq!(servers.len(), 1 + MODES.len());
        assert!(missing.unwrap().contains("peers.json"));
    }
}
