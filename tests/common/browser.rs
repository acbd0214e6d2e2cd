use super::{Program, find_program};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// The command that runs Chromium without a window, with this folder for its profile; `None` where there is no Chromium.
pub fn chromium(profile: &Path) -> Option<Command> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut command = Command::new(names.into_iter().find_map(find_program)?);
    // Its sandbox does not run as root; the pages are our own.
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--no-first-run", "--no-proxy-server", "--disable-background-networking"]);
    command.arg("--disable-component-update").arg(format!("--user-data-dir={}", profile.display()));
    Some(command)
}

/// Chromium without a window, on a page of ours. Ended when dropped.
pub struct Browser {
    program: Program,
    outcomes: Receiver<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens it on a page of `localhost`; `None` where there is none.
    pub fn open(page: String) -> Option<Self> {
        Self::open_for(|_| (page, ())).map(|(browser, ())| browser)
    }

    /// The same where the page needs something that has to know its port.
    pub fn open_for<T>(prepare: impl FnOnce(u16) -> (String, T)) -> Option<(Self, T)> {
        let profile = tempfile::tempdir().expect("a folder");
        let mut command = chromium(profile.path())?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (page, prepared) = prepare(addr.port());
        let outcomes = serve_page(listener, page);
        command.arg(format!("http://localhost:{}/", addr.port()));
        Some((Self { program: Program::start(&mut command), outcomes, _profile: profile }, prepared))
    }

    /// The next text that the page posts to `/outcome`.
    pub fn outcome(&self, patience: Duration) -> Option<String> {
        self.outcomes.recv_timeout(patience).ok()
    }

    /// What the browser printed so far.
    pub fn output(&self) -> String {
        self.program.output()
    }
}

/// Serves `page` to whoever asks for `/`; hands over what is posted to `/outcome`.
fn serve_page(listener: TcpListener, page: String) -> Receiver<String> {
    let (sender, outcome) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (page, sender) = (page.clone(), sender.clone());
            // A thread each, since a browser opens connections that it then does not use. One that goes away is none.
            thread::spawn(move || {
                serve(stream, &page).map(|posted| posted.map(|outcome| sender.send(outcome)))
            });
        }
    });
    outcome
}

/// Answers one request; what it posted to `/outcome`.
fn serve(mut stream: TcpStream, page: &str) -> std::io::Result<Option<String>> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let (status, body) = if head.starts_with("GET / ") { ("200 OK", page) } else { ("404 Not Found", "") };
    let kind = "Content-Type: text/html; charset=utf-8\r\nConnection: close";
    let posted = head.starts_with("POST /outcome ").then(|| {
        let len = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
        });
        let mut body = vec![0; len.unwrap_or(0)];
        reader.read_exact(&mut body).map(|()| String::from_utf8_lossy(&body).into_owned())
    });
    write!(stream, "HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    posted.transpose()
}
