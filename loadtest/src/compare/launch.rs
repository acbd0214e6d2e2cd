//! Starts a server on its cores and stops it by its process id, whatever happens.

use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cores::{Split, stay_on};
use super::server::{Processes, Server, Stream};
use crate::process;

/// Longest wait until a server says that it listens.
const READY_WAIT: Duration = Duration::from_secs(15);

/// Time for further processes of a server to come, once the first one listens.
const FORK_WAIT: Duration = Duration::from_millis(300);

/// Longest wait for an end after SIGTERM; then SIGKILL.
const END_WAIT: Duration = Duration::from_secs(3);

/// How often an end is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// Ports tried: below 32,768, where the kernel's usual range of ephemeral ports begins, so that no
/// connection of the load can have taken the server's.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What is kept of a server's last words, in bytes.
const WORDS_MAX: usize = 2_000;

/// Servers that run; see [`kill_all`].
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The program of this workspace.
    pub fanwire: PathBuf,
    /// This program.
    pub loadtest: PathBuf,
    /// The directory of `peers.json`.
    pub peers: PathBuf,
}

/// A server that runs; stopped when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Where to connect; `{room}` may be left in it.
    pub url: String,
    /// Its processes, the first one first.
    pub pids: Vec<u32>,
    words: Arc<Mutex<String>>,
}

impl Places {
    /// What is not there of all that a server needs.
    pub fn missing(&self, server: &Server) -> Option<String> {
        let program = self.fill(&server.command[0], &[]);
        let found = if program.contains('/') {
            self.absolute(&program).is_file()
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(&program).is_file())
        };
        if !found {
            return Some(program);
        }
        let needed = server.needs.iter().find(|path| !self.absolute(path).exists());
        needed.map(|path| path.display().to_string())
    }

    /// The versions of what runs, on one line.
    pub fn version(&self, server: &Server) -> String {
        let said = server.version_command.as_ref().and_then(|words| {
            let output = self.command(words, &[]).stdin(Stdio::null()).output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).trim().replace('\t', " ");
            Some(text.lines().collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
        });
        match said {
            Some(said) => format!("{} ({said})", server.version),
            None => server.version.clone(),
        }
    }

    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up; its last words are told.
    pub fn start(&self, server: &Server, split: &Split, frame_bytes: u64) -> Result<Running> {
        let port = free_port()?.to_string();
        let count = split.server.len().to_string();
        let list: Vec<String> = split.server.iter().map(usize::to_string).collect();
        let (list, frame_bytes) = (list.join(","), frame_bytes.to_string());
        let values = [
            ("{port}", port.as_str()),
            ("{cores}", &count),
            ("{core_list}", &list),
            ("{frame_bytes}", &frame_bytes),
        ];
        let mut command = self.command(&server.command, &values);
        for (key, value) in &server.env {
            command.env(key, self.fill(value, &values));
        }
        // A group of its own: a Ctrl-C at the terminal is for this program, which ends the server.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = spawn_on(&split.server, &mut command)?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());

        let words = Arc::new(Mutex::new(String::new()));
        let (sender, ready) = channel();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pipe: Option<Box<dyn Read + Send>> = match stream {
                Stream::Stdout => child.stdout.take().map(|pipe| Box::new(pipe) as _),
                Stream::Stderr => child.stderr.take().map(|pipe| Box::new(pipe) as _),
            };
            let Some(pipe) = pipe else { continue };
            let text = Some(server.ready.text.clone()).filter(|_| stream == server.ready.stream);
            let (words, sender) = (words.clone(), sender.clone());
            std::thread::spawn(move || listen(pipe, text, &words, &sender));
        }
        drop(sender);
        let url = self.fill(&server.url, &values);
        let mut running = Running { pids: vec![child.id()], child, url, words };
        running.wait_ready(&ready)?;
        if server.processes == Processes::Tree {
            std::thread::sleep(FORK_WAIT);
            running.pids.extend(process::descendants(running.child.id()));
        }
        Ok(running)
    }

    fn command(&self, words: &[String], values: &[(&str, &str)]) -> Command {
        let mut words = words.iter().map(|word| self.fill(word, values));
        let program = words.next().unwrap_or_default();
        let program = if program.contains('/') { self.absolute(&program) } else { program.into() };
        let mut command = Command::new(program);
        command.args(words);
        // The tables alone say how a server is set; one of ours refuses variables that it does not know.
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("FANWIRE_") || name.starts_with("WEBSOCKET_"))
            {
                command.env_remove(name);
            }
        }
        // Ours need no directory of peers.
        if self.peers.is_dir() {
            command.current_dir(&self.peers);
        }
        command
    }

    fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        self.peers.join(path)
    }

    fn fill(&self, text: &str, values: &[(&str, &str)]) -> String {
        let text = text
            .replace("{fanwire}", &self.fanwire.to_string_lossy())
            .replace("{loadtest}", &self.loadtest.to_string_lossy());
        values.iter().fold(text, |text, (name, value)| text.replace(name, value))
    }
}

impl Running {
    fn wait_ready(&mut self, ready: &Receiver<()>) -> Result<()> {
        match ready.recv_timeout(READY_WAIT) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Timeout) => bail!("it did not listen in time{}", self.last_words()),
            // Both streams ended, so it is about to.
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.wait_end().map_or("closed its streams".into(), |status| status.to_string());
                bail!("it ended at once, {status}{}", self.last_words())
            }
        }
    }

    /// How it ended, when it did.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(format!("the server ended, {status}{}", self.last_words()))
    }

    fn last_words(&self) -> String {
        let words = lock(&self.words);
        let last: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        // The first line of several most often says what it is about.
        last.first().map(|line| format!(": {line}")).unwrap_or_default()
    }

    fn wait_end(&mut self) -> Option<std::process::ExitStatus> {
        let began = Instant::now();
        while began.elapsed() < END_WAIT {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(LOOK);
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.child.id();
        // Until it is waited for, the process id is this child's.
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(pid, Signal::SIGTERM);
            if self.wait_end().is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        // What it leaves behind is known by its group.
        process::group(pid).into_iter().for_each(|left| signal(left, Signal::SIGKILL));
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|running| *running != pid);
    }
}

/// Kills what runs, without a wait: for the moment before this process ends in haste.
pub fn kill_all() {
    for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        process::group(pid).into_iter().for_each(|one| signal(one, Signal::SIGKILL));
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // A process that has just ended is what is wanted.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// A child has the cores of the thread that starts it.
fn spawn_on(cores: &[usize], command: &mut Command) -> Result<Child> {
    let program = command.get_program().to_owned();
    let spawn = || {
        stay_on(cores)?;
        command.spawn().with_context(|| format!("{} cannot be started", program.display()))
    };
    match std::thread::scope(|scope| scope.spawn(spawn).join()) {
        Ok(child) => child,
        Err(_) => bail!("the thread that starts a server panicked"),
    }
}

/// Reads a stream to its end, tells when `text` came, and keeps what was said before that and last.
fn listen(pipe: impl Read, mut text: Option<String>, words: &Mutex<String>, ready: &Sender<()>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match pipe.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let said = String::from_utf8_lossy(&line);
        let mut words = lock(words);
        if text.as_ref().is_some_and(|text| said.contains(text)) {
            text = None;
            words.clear();
            // Nobody waits any more when it came too late.
            let _ = ready.send(());
        } else if words.len() < WORDS_MAX {
            words.push_str(&said);
        }
    }
}

fn lock(words: &Mutex<String>) -> MutexGuard<'_, String> {
    words.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port that nobody listens on. Another process may take it before the server does, which then does not
/// come up.
fn free_port() -> Result<u16> {
    // Comparisons that run at once begin at different ports; one that runs alone keeps to its port.
    let count = PORTS.end - PORTS.start;
    let first = (std::process::id().wrapping_mul(37) % u32::from(count)) as u16;
    let ports = (0..count).map(|step| PORTS.start + (first + step) % count);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.into_iter().find(free).context("no port is free")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places() -> Places {
        Places { fanwire: "/nowhere/fanwire".into(), loadtest: "/nowhere/loadtest".into(), peers: "/".into() }
    }

    /// A shell script in place of a server.
    fn script(text: &str) -> Server {
        serde_json::from_value(json!({
            "name": "x", "about": "", "version": "1", "version_command": ["echo", "a\tb\nc"],
            "command": ["sh", "-c", text], "needs": [], "env": { "PORT": "{port}" },
            "ready": { "stream": "stdout", "text": "listening" }, "url": "ws://127.0.0.1:{port}/{room}",
            "headers": [], "join": [], "join_after": null, "joined_marker": null, "leave": null,
            "left_marker": null, "publish": "{payload}", "keepalive": null, "ordered": true, "cores": "one",
            "processes": "tree", "bytes": "", "notes": []
        }))
        .unwrap()
    }

    fn split() -> Split {
        let cores = super::super::cores::usable(&[]).unwrap();
        Split { server: vec![cores[0]], load: cores }
    }

    #[test]
    fn a_server_is_started_on_its_core_and_stopped_with_its_children() {
        let server = script("sleep 60 & echo listening on $PORT; wait");
        let mut running = places().start(&server, &split(), 0).unwrap();
        assert_eq!(running.ended(), None);
        let [pid, child] = running.pids[..] else { panic!("{:?}", running.pids) };
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap();
        assert!(status.contains(&format!("Cpus_allowed_list:\t{}\n", split().server[0])), "{status}");
        let port = running.url.strip_prefix("ws://127.0.0.1:").unwrap().strip_suffix("/{room}").unwrap();
        assert!(PORTS.contains(&port.parse().unwrap()));
        assert!(lock_running().contains(&pid));
        drop(running);
        assert!(!lock_running().contains(&pid));
        await_end(&[pid, child]);
    }

    fn lock_running() -> Vec<u32> {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[test]
    fn a_server_that_obeys_no_signal_is_killed() {
        let server = script("trap '' TERM; sleep 60 & echo listening; while :; do wait; done");
        let running = places().start(&server, &split(), 0).unwrap();
        let pids = running.pids.clone();
        drop(running);
        await_end(&pids);
    }

    fn await_end(pids: &[u32]) {
        for pid in pids {
            // The grandchild is not this process's to wait for: it may lie dead until its new parent looks.
            let lives = || {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                stat.rsplit_once(')')
                    .is_some_and(|(_, rest)| !rest.starts_with(" Z") && !rest.starts_with(" X"))
            };
            while lives() {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_server_that_does_not_come_up_tells_why() {
        let error = places().start(&script("echo no module y >&2; exit 3"), &split(), 0).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("no module y"), "{text}");
        let mut absent = script("");
        absent.command = vec!["/nowhere/x".into()];
        let error = places().start(&absent, &split(), 0).unwrap_err();
        assert!(error.to_string().contains("/nowhere/x"), "{error}");
    }

    #[test]
    fn what_is_not_installed_is_named() {
        let mut server = script("");
        assert_eq!(places().missing(&server), None);
        server.needs = vec!["nowhere/module".into()];
        assert_eq!(places().missing(&server), Some("nowhere/module".into()));
        server.command = vec!["{fanwire}".into()];
        assert_eq!(places().missing(&server), Some("/nowhere/fanwire".into()));
        server.command = vec!["no-such-program-anywhere".into()];
        assert_eq!(places().missing(&server), Some("no-such-program-anywhere".into()));
    }

    #[test]
    fn versions_stand_on_one_line() {
        assert_eq!(places().version(&script("")), "1 (a b, c)");
    }
}
