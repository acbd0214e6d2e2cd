use super::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Another program that a test runs beside the server. Killed when dropped.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<Mutex<String>>,
}

impl Program {
    /// Starts it without the settings of a server that its environment may hold, but for those that `command` names.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let given: Vec<_> =
            command.get_envs().map(|(key, value)| (key.to_owned(), value.map(ToOwned::to_owned))).collect();
        super::server::forget_settings(command);
        for (key, value) in given {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let output = Arc::new(Mutex::new(String::new()));
        let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("stdout is piped"));
        let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("stderr is piped"));
        for stream in [stdout, stderr] {
            let output = Arc::clone(&output);
            thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    let mut said = output.lock().expect("no panic while held");
                    said.push_str(&String::from_utf8_lossy(&line));
                    said.push('\n');
                }
            });
        }
        let stdin = child.stdin.take();
        Self { child, stdin, output }
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is piped");
        writeln!(stdin, "{line}").expect("it reads");
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        self.output.lock().expect("no panic while held").clone()
    }

    /// Waits until it has printed `text`.
    ///
    /// # Panics
    /// When it does not within `patience`.
    pub fn expect_within(&mut self, text: &str, patience: Duration) {
        let start = Instant::now();
        while !self.output().contains(text) {
            let ended = self.child.try_wait().expect("the child is ours");
            let over = start.elapsed() > patience;
            assert!(!over && ended.is_none(), "{text:?} does not come, ended: {ended:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits as long as tests do.
    pub fn expect(&mut self, text: &str) {
        self.expect_within(text, PATIENCE);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it runs on for longer than `patience`.
    pub fn finish(&mut self, patience: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(start.elapsed() < patience, "it does not end\n{}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            let output = self.output();
            // A proxy that fails may say the same a thousand times.
            let lines: Vec<_> = output.lines().collect();
            eprintln!("the program said at last:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}
