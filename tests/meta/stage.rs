//! Plays what the chapters of the guide show: servers that are started, clients that talk with them, commands.
//!
//! In a block of `console`
//!
//! - `$ fanwire …` starts a server with these flags in place of the one before; its port, whatever the text says, is free;
//! - `$ npx wscat -c URL` connects a client, `ann$ npx wscat …` one with a name; `> …` and `ann> …` say what it sends, `<
//!   …` what comes next, and `Disconnected (code: N, reason: "…")` that it is closed;
//! - `$ …` is any other command, run by a shell in a folder with the files that the chapter shows; what it prints follows.
//!   With `&` at its end it runs beside what follows.
//!
//! A block of `sh` that only sets variables and defines functions holds for the rest of the chapter. Of other blocks of
//! `sh` the command lines of `fanwire` are held against `check-config`; the rest needs too much time or another machine.

use crate::blocks::{Block, blocks, file_name, read};
use crate::common::{Client, Program, SILENCE, Server, eventually, find_program, free_port, left_out};
use crate::samples::Samples;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Ports that the chapters name for the server, for its admin listener, and for other programs.
const SERVER_PORTS: [&str; 2] = ["localhost:8081", "localhost:3000"];
const ADMIN_PORT: &str = "localhost:8082";
const BACKEND_PORT: &str = "9000";

/// What a chapter has come to.
pub struct Stage {
    chapter: String,
    folder: tempfile::TempDir,
    files: BTreeMap<String, String>,
    /// What shells are told first.
    setup: String,
    server: Option<Server>,
    clients: Vec<(String, Client)>,
    programs: Vec<Program>,
    backend_port: u16,
    samples: Samples,
}

/// Plays the blocks of a chapter in their order.
///
/// # Panics
/// Where something else comes than the chapter shows.
pub fn play(chapter: &str) {
    let mut stage = Stage {
        chapter: chapter.to_owned(),
        folder: tempfile::tempdir().expect("a folder"),
        files: BTreeMap::new(),
        setup: String::new(),
        server: None,
        clients: Vec::new(),
        programs: Vec::new(),
        backend_port: free_port(),
        samples: Samples::default(),
    };
    // Names of keys that the chapters use.
    for (name, file) in [("keys.pem", "tests/tokens/public.pem"), ("jwks.json", "tests/tokens/jwks.json")] {
        stage.files.insert(name.to_owned(), read(file));
    }
    stage.write_files();
    for block in blocks(&read(chapter)) {
        if !stage.play(&block) {
            return;
        }
    }
    stage.end_clients("the end");
}

impl Stage {
    /// Plays a block; `false` where the rest of the chapter needs what this machine does not have.
    fn play(&mut self, block: &Block) -> bool {
        if let Some(name) = file_name(block) {
            self.files.insert(name.to_owned(), block.text.clone());
            self.write_files();
        }
        let place = format!("{}:{}", self.chapter, block.line);
        match block.language.as_str() {
            "sh" if block.text.contains("openssl ") && find_program("openssl").is_none() => {
                left_out(&place, "openssl");
                return false;
            }
            "sh" if is_setup(&block.text) => self.set_up(&block.text),
            "sh" => self.check_command_lines(&block.text),
            "console" => self.play_console(block),
            _ => {}
        }
        true
    }

    /// Has the variables and functions of a script hold from now on. What a variable is made from is run once.
    fn set_up(&mut self, script: &str) {
        for line in script.lines() {
            let Some((name, _)) =
                line.trim_start_matches("export ").split_once('=').filter(|_| !line.contains("() {"))
            else {
                self.setup += &format!("{line}\n");
                continue;
            };
            let value = self.shell(&format!("{line}\nprintf %s \"${name}\""));
            let export = if line.starts_with("export ") { "export " } else { "" };
            self.setup += &format!("{export}{name}='{}'\n", value.replace('\'', "'\\''"));
        }
    }

    /// Every command line of the server is one that it takes.
    fn check_command_lines(&self, script: &str) {
        let whole = script.replace("\\\n", " ");
        for line in whole.lines() {
            let (variables, command) = assignments_apart(line.trim_start_matches("./").trim());
            let Some(flags) = command.strip_prefix("fanwire ") else { continue };
            self.shell(&format!("{}\nfanwire check-config {flags}", exports(variables)));
        }
    }

    /// Plays a block of `console`, up to the first command whose program this machine does not have.
    fn play_console(&mut self, block: &Block) {
        let mut lines = block.text.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let place = format!("{}:{}: {line}", self.chapter, block.line + 1 + number);
            let (name, rest) = line.split_at(line.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(0));
            if let Some(command) = rest.strip_prefix("$ ") {
                let mut printed = Vec::new();
                while let Some((_, line)) = lines.next_if(|(_, line)| is_printed(line)) {
                    printed.push(line);
                }
                if !self.command(name, command, &printed, &place) {
                    return;
                }
            } else if let Some(text) = rest.strip_prefix("> ") {
                let text = self.samples.fill(text);
                self.client(name, &place).send_text(&text);
            } else if let Some(template) = rest.strip_prefix("< ") {
                let said = self.client(name, &place).expect_text();
                assert!(self.samples.match_with(template, &said), "{place}\n{said}");
            } else if let Some((code, reason)) = disconnected(rest) {
                let said = self.client(name, &place).expect_close(code);
                assert!(self.samples.match_with(reason, &said), "{place}\n{said}");
                self.clients.retain(|(of, _)| of != name);
            } else {
                panic!("{place}: neither a command nor what somebody says");
            }
        }
    }

    fn client(&mut self, name: &str, place: &str) -> &mut Client {
        let client = self.clients.iter_mut().find(|(of, _)| of == name);
        &mut client.unwrap_or_else(|| panic!("{place}: there is no client {name:?}")).1
    }

    /// Runs a command; `false` where its program is not installed.
    fn command(&mut self, name: &str, command: &str, printed: &[&str], place: &str) -> bool {
        let program = command.split(' ').find(|word| !word.contains('=')).unwrap_or_default();
        match program {
            "fanwire" if !command.contains("check-config") => self.start_server(command, place),
            "cargo" if command.starts_with("cargo run --release") => {
                let (_, flags) = command.split_once(" -- ").unwrap_or_default();
                self.start_server(&format!("fanwire {flags}"), place);
            }
            "npx" => self.connect(name, command, place),
            _ if program != "fanwire" && find_program(program).is_none() => {
                left_out(place, program);
                return false;
            }
            _ if command.ends_with(" &") => self.start_program(command),
            _ => self.run(command, printed, place),
        }
        true
    }

    /// A server with the flags of a command, in place of the one before.
    fn start_server(&mut self, command: &str, place: &str) {
        self.end_clients(place);
        self.server = None;
        let command = self.with_ports(command);
        let words = self.words(assignments_apart(&command).1);
        let flags = words.iter().skip(1).filter(|flag| !flag.starts_with("--port"));
        let flags: Vec<_> = flags.map(|flag| flag.replace("127.0.0.1:8082", "127.0.0.1:0")).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let folder = self.folder.path().display();
        let before = format!("cd {folder}\n{}{}", self.setup, exports(assignments_apart(&command).0));
        self.server = Some(Server::start_after(&before, &flags));
        self.write_files();
    }

    /// Connects a client by the arguments of wscat: `-c URL`, `-s SUBPROTOCOL`, `-H HEADER`.
    fn connect(&mut self, name: &str, command: &str, place: &str) {
        let words = self.words(&self.with_ports(command));
        let after = |flag: &str| {
            words.windows(2).filter(|pair| pair[0] == flag).map(|pair| &*pair[1]).collect::<Vec<_>>()
        };
        let url = after("-c").first().copied().unwrap_or_else(|| panic!("{place}: no address"));
        let path = url.strip_prefix("ws://").and_then(|rest| Some(&rest[rest.find('/')?..]));
        let path = path.unwrap_or_else(|| panic!("{place}: {url} has no path"));
        let protocols = after("-s").join(", ");
        let mut headers: Vec<(&str, &str)> = Vec::new();
        if !protocols.is_empty() {
            headers.push(("Sec-WebSocket-Protocol", &protocols));
        }
        headers.extend(after("-H").iter().filter_map(|header| header.split_once(": ")));
        let server = self.server.as_ref().unwrap_or_else(|| panic!("{place}: no server runs"));
        let client = Client::ungreeted(server.addr(), path, &headers);
        self.clients.retain(|(of, _)| of != name);
        self.clients.push((name.to_owned(), client));
    }

    fn start_program(&mut self, command: &str) {
        let script = format!("{}exec {}", self.setup, self.with_ports(command.trim_end_matches(" &")));
        let mut shell = Command::new("sh");
        shell.arg("-ec").arg(script).current_dir(self.folder.path());
        self.programs.push(Program::start(&mut shell));
        let addr = ("127.0.0.1", self.backend_port);
        eventually("the program listens", || std::net::TcpStream::connect(addr).is_ok());
    }

    fn run(&mut self, command: &str, printed: &[&str], place: &str) {
        let said = self.shell(&self.with_ports(command));
        if !printed.is_empty() {
            let template = printed.join("\n");
            assert!(self.samples.match_with(&template, said.trim_end()), "{place}\n{said}");
        }
    }

    /// The words of a command as a shell takes them apart.
    fn words(&self, command: &str) -> Vec<String> {
        let said = self.shell(&format!("set -- {command}\nprintf '%s\\n' \"$@\""));
        said.lines().map(str::to_owned).collect()
    }

    /// What a script of the chapter prints.
    ///
    /// # Panics
    /// When it fails.
    fn shell(&self, script: &str) -> String {
        let binary = Path::new(env!("CARGO_BIN_EXE_fanwire")).parent().expect("a folder");
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        crate::common::forget_settings(&mut shell);
        shell.arg("-ec").arg(format!("{}\n{script}", self.setup)).env("PATH", path);
        let ran = shell.current_dir(self.folder.path()).output().expect("a shell");
        let [said, complained] =
            [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(ran.status.success(), "{}: {script}\n{said}{complained}", self.chapter);
        said
    }

    /// Text of the chapter for the ports that are really there.
    fn with_ports(&self, text: &str) -> String {
        let text = text.replace(BACKEND_PORT, &self.backend_port.to_string());
        let Some(server) = &self.server else { return text };
        let own = server.addr().to_string();
        let text = SERVER_PORTS.iter().fold(text, |text, port| text.replace(port, &own));
        if text.contains(ADMIN_PORT) { text.replace(ADMIN_PORT, &server.admin().to_string()) } else { text }
    }

    fn write_files(&self) {
        for (name, text) in &self.files {
            std::fs::write(self.folder.path().join(name), self.with_ports(text)).expect("the folder is ours");
        }
    }

    /// No client has got more than the chapter shows.
    fn end_clients(&mut self, place: &str) {
        for (name, mut client) in self.clients.drain(..) {
            println!("{place}: {name:?} hears nothing more");
            client.expect_nothing(SILENCE);
        }
    }
}

/// Whether a line is printed by the command before it.
fn is_printed(line: &str) -> bool {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_lowercase());
    !["$ ", "> ", "< "].iter().any(|sign| rest.starts_with(sign)) && disconnected(rest).is_none()
}

/// Close code and reason of what wscat prints at the end.
fn disconnected(line: &str) -> Option<(u16, &str)> {
    let (code, reason) = line.strip_prefix("Disconnected (code: ")?.split_once(", reason: \"")?;
    Some((code.parse().ok()?, reason.strip_suffix("\")")?))
}

/// Whether a script only sets variables and defines functions.
fn is_setup(script: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    script.lines().all(|line| {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let set = line.split_once('=').is_some_and(|(name, rest)| is_word(name) && !is_command(rest));
        set || line.split_once("() {").is_some_and(|(name, _)| is_word(name))
            || line.starts_with('#')
            || line.is_empty()
    })
}

/// Whether a command follows the value of a variable.
fn is_command(value: &str) -> bool {
    value.contains(" fanwire ")
}

/// The variables before a command, and the command.
fn assignments_apart(command: &str) -> (&str, &str) {
    let command = command.split("  #").next().unwrap_or_default();
    command.split_at(command.find(" fanwire ").map_or(0, |at| at + 1))
}

/// Variables before a command, as commands of their own.
fn exports(assignments: &str) -> String {
    if assignments.trim().is_empty() { String::new() } else { format!("export {assignments}") }
}
