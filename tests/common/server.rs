use super::http::{Response, request};
use super::{Client, PATIENCE};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A running server of the real binary. Killed when dropped.
pub struct Server {
    child: Child,
    addr: SocketAddr,
    output: Arc<Mutex<String>>,
}

impl Server {
    /// Starts the binary on a free port of loopback with two shards, unless `flags` say otherwise, and waits until
    /// it listens.
    ///
    /// # Panics
    /// When it ends, or does not listen within [`PATIENCE`]; with its output.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, &[])
    }

    /// Starts as [`Server::start`] does, with environment variables.
    pub fn start_with(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_command(command(flags, environment))
    }

    /// Starts as [`Server::start`] does, after a shell has done `setup` (a limit to set, say) in the same process.
    pub fn start_after(setup: &str, flags: &[&str]) -> Self {
        Self::start_command(after(setup, &command(flags, &[])))
    }

    /// The same where it may well end instead; its status and output then.
    pub fn try_start_after(setup: &str, flags: &[&str]) -> Result<Self, (ExitStatus, String)> {
        Self::try_start(after(setup, &command(flags, &[])), None)
    }

    /// The same where its standard output is not to be read, so that the port has to be known.
    pub fn start_unread_after(setup: &str, flags: &[&str]) -> Self {
        let port = super::free_port();
        let port_flag = format!("--port={port}");
        Self::start_at(setup, &[flags, &[port_flag.as_str()]].concat(), ([127, 0, 0, 1], port).into())
    }

    /// The same where it is to be found at an address, by flags that say so.
    pub fn start_at(setup: &str, flags: &[&str], addr: SocketAddr) -> Self {
        Self::started(Self::try_start(after(setup, &command(flags, &[])), Some(addr)))
    }

    fn start_command(command: Command) -> Self {
        Self::started(Self::try_start(command, None))
    }

    fn started(result: Result<Self, (ExitStatus, String)>) -> Self {
        result.unwrap_or_else(|(status, said)| panic!("the server ended: {status}\n{said}"))
    }

    /// With an address, waits until something listens there, and else until it says where it listens.
    fn try_start(mut command: Command, addr: Option<SocketAddr>) -> Result<Self, (ExitStatus, String)> {
        let mut child = command.spawn().expect("the binary starts");
        let output = Arc::new(Mutex::new(String::new()));
        let ready = keep_output(&mut child, &output);
        if let Some(addr) = addr {
            super::eventually("it listens", || std::net::TcpStream::connect(addr).is_ok());
            return Ok(Self { child, addr, output });
        }
        match ready.recv_timeout(PATIENCE) {
            Ok(addr) => Ok(Self { child, addr, output }),
            Err(error) => {
                let ended = error == RecvTimeoutError::Disconnected;
                // So that the output of a process that lives on is complete enough to show.
                child.kill().ok();
                let status = child.wait().expect("the child is ours");
                let said = output.lock().expect("no panic while held").clone();
                assert!(ended, "the server does not listen\n{said}");
                Err((status, said))
            }
        }
    }

    /// Runs the binary until it ends by itself; its status and output. For starts that must fail.
    pub fn run(flags: &[&str], environment: &[(&str, &str)]) -> (ExitStatus, String) {
        Self::run_to_the_end(command(flags, environment))
    }

    /// The same with no flag but `flags`.
    pub fn run_bare(flags: &[&str], environment: &[(&str, &str)]) -> (ExitStatus, String) {
        Self::run_to_the_end(bare_command(flags, environment))
    }

    /// Runs it as [`Server::run`] does, after a shell has done `setup`.
    pub fn run_after(setup: &str, flags: &[&str]) -> (ExitStatus, String) {
        Self::run_to_the_end(after(setup, &command(flags, &[])))
    }

    fn run_to_the_end(mut command: Command) -> (ExitStatus, String) {
        let mut child = command.spawn().expect("the binary starts");
        let output = Arc::new(Mutex::new(String::new()));
        let ready = keep_output(&mut child, &output);
        // A hostile file costs its reader seconds where other work is done beside.
        let status = wait(&mut child, 6 * PATIENCE).unwrap_or_else(|| {
            child.kill().ok();
            panic!("it runs: {command:?}");
        });
        // The reading threads drop their sender at the end of the output.
        while ready.recv().is_ok() {}
        let said = output.lock().expect("no panic while held").clone();
        (status, said)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where its first admin listener is.
    pub fn admin(&self) -> SocketAddr {
        let mut addr = None;
        super::eventually("it says where its admin listener is", || {
            let said = self.output();
            let line = said.lines().find_map(|line| line.strip_prefix("admin on http://"));
            addr = line.and_then(|addr| addr.parse().ok());
            addr.is_some()
        });
        addr.expect("it was found")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A member-to-be: connected to `/ws`, its greeting read.
    pub fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Response {
        request(self.addr, "GET", path, &[], b"")
    }

    /// `POST path` with a JSON body.
    pub fn post(&self, path: &str, body: &str) -> Response {
        request(self.addr, "POST", path, &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// The value of a sample in `/metrics`: its name, with the labels as they stand where there are some. `None`
    /// when there is no such sample.
    pub fn metric(&self, sample: &str) -> Option<f64> {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
        line.split(' ').next()?.parse().ok()
    }

    /// The sum of all samples of a metric, whatever their labels.
    pub fn metric_sum(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let of_name = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
        text.lines().filter(of_name).filter_map(value).sum()
    }

    /// What it printed so far, on both streams.
    pub fn output(&self) -> String {
        self.output.lock().expect("no panic while held").clone()
    }

    /// Sends a signal by name, `TERM` or `HUP`.
    pub fn signal(&self, name: &str) {
        // The shell's own kill: not every machine has the program.
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status();
        assert!(status.expect("a shell").success());
    }

    /// Its exit status, or `None` when it still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        wait(&mut self.child, patience)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            eprintln!("the server said:\n{}", self.output.lock().map(|s| s.clone()).unwrap_or_default());
        }
    }
}

fn command(flags: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = bare_command(flags, environment);
    for (flag, value) in [("--host", "127.0.0.1"), ("--port", "0"), ("--shards", "2")] {
        let given =
            |f: &&str| f.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
        if !flags.iter().any(given) {
            command.args([flag, value]);
        }
    }
    command
}

fn bare_command(flags: &[&str], environment: &[(&str, &str)]) -> Command {
    // Another build of the server, such as one kept aside for a run of hours.
    let binary = std::env::var_os("FANWIRE_TEST_SERVER");
    let mut command = Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_fanwire").into()));
    forget_settings(&mut command);
    command.args(flags).envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Takes the variables that the server reads out of the environment of a command: no test depends on where it runs.
pub fn forget_settings(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        // A mistake that `tests/mistakes` has the server make is the one setting that tests do not choose.
        if name != "FANWIRE_MUTATION" && (name.starts_with("FANWIRE_") || name.starts_with("WEBSOCKET_")) {
            command.env_remove(&key);
        }
    }
}

/// The same command, run by a shell that has done `setup` and then becomes it.
fn after(setup: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{setup}\nexec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// Reads both streams to their end, into `output`; hands over the address that the server says it listens on.
fn keep_output(child: &mut Child, output: &Arc<Mutex<String>>) -> Receiver<SocketAddr> {
    let (sender, ready) = channel();
    let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("stdout is piped"));
    let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("stderr is piped"));
    for stream in [stdout, stderr] {
        let (sender, output) = (sender.clone(), Arc::clone(output));
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let addr = listening(&line);
                let mut said = output.lock().expect("no panic while held");
                said.push_str(&line);
                said.push('\n');
                drop(said);
                if let Some(addr) = addr {
                    // Nobody listens any more after the first.
                    sender.send(addr).ok();
                }
            }
        });
    }
    ready
}

/// The address in `listening on http://127.0.0.1:8081/prefix`, or in the log's line of the start as JSON.
fn listening(line: &str) -> Option<SocketAddr> {
    let address = match line.strip_prefix("listening on http://") {
        Some(rest) => rest.split('/').next()?.trim(),
        None if line.contains(r#""message":"listening""#) => {
            line.split(r#""address":""#).nth(1)?.split('"').next()?
        }
        None => return None,
    };
    address.parse().ok()
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return Some(status);
        }
        if start.elapsed() > patience {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
