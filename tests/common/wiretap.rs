use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes connections on to a server and keeps what goes either way, so that a test sees what a foreign client really
/// sent and was sent.
pub struct Wiretap {
    addr: SocketAddr,
    conversations: Arc<Mutex<Vec<Arc<Conversation>>>>,
}

/// One connection's bytes, from the client and from the server.
#[derive(Debug, Default)]
pub struct Conversation {
    up: Mutex<Vec<u8>>,
    down: Mutex<Vec<u8>>,
}

/// A frame as it was on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tapped {
    /// FIN, RSV and opcode.
    pub head: u8,
    pub len: usize,
}

impl Wiretap {
    /// Listens on loopback.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let conversations: Arc<Mutex<Vec<Arc<Conversation>>>> = Arc::default();
        let kept = Arc::clone(&conversations);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Refused when the server has ended before the test.
                let Ok(server) = TcpStream::connect(server) else { continue };
                let conversation = Arc::<Conversation>::default();
                kept.lock().expect("no panic while held").push(Arc::clone(&conversation));
                let clone = |stream: &TcpStream| stream.try_clone().expect("a second handle");
                let (client_again, server_again, again) =
                    (clone(&client), clone(&server), Arc::clone(&conversation));
                thread::spawn(move || pass_on(client, server, &conversation.up));
                thread::spawn(move || pass_on(server_again, client_again, &again.down));
            }
        });
        Self { addr, conversations }
    }

    /// Where clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The connections that asked for `path`, in the order in which they came.
    pub fn conversations(&self, path: &str) -> Vec<Arc<Conversation>> {
        let start = format!("GET {path} ");
        let all = self.conversations.lock().expect("no panic while held");
        all.iter().filter(|c| c.request().starts_with(&start)).cloned().collect()
    }
}

impl Conversation {
    /// The head of the request.
    pub fn request(&self) -> String {
        split(&self.up.lock().expect("no panic while held")).0
    }

    /// The head of the response.
    pub fn response(&self) -> String {
        split(&self.down.lock().expect("no panic while held")).0
    }

    /// The frames that the client sent.
    pub fn sent(&self) -> Vec<Tapped> {
        frames(&split(&self.up.lock().expect("no panic while held")).1)
    }

    /// The frames that it was sent.
    pub fn received(&self) -> Vec<Tapped> {
        frames(&split(&self.down.lock().expect("no panic while held")).1)
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 65536];
    while let Ok(len) = from.read(&mut buffer) {
        if len == 0 {
            break;
        }
        // Kept first: whoever has received it can rely on finding it.
        kept.lock().expect("no panic while held").extend_from_slice(&buffer[..len]);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    // It may be gone already.
    to.shutdown(Shutdown::Write).ok();
}

/// The head of a message of HTTP, and what follows it.
fn split(bytes: &[u8]) -> (String, Vec<u8>) {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes[end..].to_vec())
}

/// All whole frames, masked or not.
fn frames(mut bytes: &[u8]) -> Vec<Tapped> {
    let mut frames = Vec::new();
    while let [head, second, rest @ ..] = bytes {
        let number = |len: usize| {
            rest.get(..len).map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
        };
        let (extra, len) = match second & 0x7f {
            126 => (2, number(2)),
            127 => (8, number(8)),
            len => (0, Some(usize::from(len))),
        };
        let Some(len) = len else { break };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let Some(left) = rest.get(extra + mask + len..) else { break };
        frames.push(Tapped { head: *head, len });
        bytes = left;
    }
    frames
}
