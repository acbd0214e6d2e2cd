//! The second client: fastwebsockets on tokio's sockets, for the same patterns.
//!
//! It shares nothing with the first one but the upgrade: neither sockets, nor loop, nor frames, nor the moment at which
//! a message counts as received. Where both tell the same of a server, the first one's figures hold. It takes a task and
//! some kilobytes for each connection, and a system call for each message that it sends.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::ready;
use std::io::Cursor;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocketError, WebSocketWrite};
use hashbrown::HashMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::{AbortHandle, LocalSet, spawn_local};

use crate::clock::now_ns;
use crate::engine::{Handler, Turn, Wake};
use crate::handshake::{self, Answer};
use crate::io::{ConnId, Connections, End, Fields};
use crate::target::Target;

/// Events handled between two turns.
const EVENTS_MAX: usize = 1024;

/// What happened to a connection, by its slot.
enum Event {
    Opened,
    Message { payload: Vec<u8>, at_ns: u64 },
    Closed(End),
}

/// What a connection is to send.
type Out = UnboundedSender<(OpCode, Vec<u8>)>;

/// What the thread knows of a connection.
struct Link {
    tag: u32,
    out: Out,
    shared: Rc<Shared>,
    task: AbortHandle,
}

/// What a connection's tasks share with the thread.
#[derive(Default)]
struct Shared {
    /// Bytes given and not written yet.
    waiting: Cell<usize>,
    paused: Cell<bool>,
    resumed: Notify,
}

/// The client of one load thread.
pub struct Second {
    target: Arc<Target>,
    fields: Fields,
    wake: Arc<Notify>,
}

impl Second {
    /// A client for connections to `target`.
    pub fn new(target: Arc<Target>, fields: Fields) -> Self {
        Self { target, fields, wake: Arc::default() }
    }

    /// Something that ends the loop's wait from another thread.
    pub fn waker(&self) -> Wake {
        let wake = self.wake.clone();
        Box::new(move || wake.notify_one())
    }

    /// Runs until the handler says stop; every connection is closed then.
    ///
    /// # Errors
    /// When tokio gets no epoll instance.
    pub fn run(self, handler: &mut impl Handler) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (events, mut taken_from) = channel(EVENTS_MAX);
        let mut links = Links {
            target: self.target,
            fields: self.fields,
            links: HashMap::new(),
            next: 0,
            queued: Vec::new(),
            aborted: Vec::new(),
            events,
        };
        LocalSet::new().block_on(&runtime, async {
            let mut taken = Vec::new();
            while let Turn::Wait(wait_ns) = handler.turn(&mut links, now_ns()) {
                tokio::select! {
                    biased;
                    _ = taken_from.recv_many(&mut taken, EVENTS_MAX) => {}
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(Duration::from_nanos(wait_ns)) => {}
                }
                for (slot, event) in taken.drain(..) {
                    links.tell(handler, slot, event);
                }
                while let Some(slot) = links.aborted.pop() {
                    links.tell(handler, slot, Event::Closed(End::Local));
                }
            }
        });
        Ok(())
    }
}

/// The connections of one thread.
struct Links {
    target: Arc<Target>,
    fields: Fields,
    /// By slot; each slot is used once.
    links: HashMap<u32, Link>,
    next: u32,
    queued: Vec<Vec<u8>>,
    aborted: Vec<u32>,
    events: Sender<(u32, Event)>,
}

impl Links {
    fn tell(&mut self, handler: &mut impl Handler, slot: u32, event: Event) {
        // One that was aborted says nothing more.
        let Some(tag) = self.links.get(&slot).map(|link| link.tag) else { return };
        let id = ConnId::once(slot);
        match event {
            Event::Opened => handler.opened(self, id, tag, now_ns()),
            Event::Message { payload, at_ns } => {
                handler.message(self, id, tag, &payload, at_ns);
                handler.batch_done(self, tag, header_bytes(payload.len()) + payload.len(), at_ns);
            }
            Event::Closed(end) => {
                self.links.remove(&slot);
                handler.closed(self, tag, end, now_ns());
            }
        }
    }

    fn give(&mut self, id: ConnId, opcode: OpCode, payload: Vec<u8>) {
        if let Some(link) = self.links.get(&id.slot()) {
            link.shared.waiting.update(|bytes| bytes + payload.len());
            // A connection that has ended takes nothing more.
            let _ = link.out.send((opcode, payload));
        }
    }
}

/// Bytes before a server's payload of this length, in a single frame (RFC 6455, section 5.2).
fn header_bytes(payload: usize) -> usize {
    match payload {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

impl Connections for Links {
    fn connect(
        &mut self,
        tag: u32,
        index: usize,
        receive_bytes: usize,
        room: Option<&str>,
    ) -> Option<ConnId> {
        let path = self.target.path_for(room);
        let request = handshake::request(&self.target.host, &path, &self.fields.of(index));
        let (slot, shared) = (self.next, Rc::<Shared>::default());
        self.next += 1;
        #[expect(clippy::disallowed_methods, reason = "its bytes are counted, and publishers stop by them")]
        let (out, given) = unbounded_channel();
        let (target, events) = (self.target.clone(), self.events.clone());
        let tasks = (out.clone(), shared.clone());
        let task = spawn_local(async move {
            let carried = async {
                let stream = connect(&target, index, receive_bytes).await?;
                carry(stream, &request, slot, &events, given, tasks).await
            };
            // The thread is gone where nobody hears it.
            let _ = events.send((slot, Event::Closed(carried.await.unwrap_or_else(end_of)))).await;
        });
        self.links.insert(slot, Link { tag, out, shared, task: task.abort_handle() });
        Some(ConnId::once(slot))
    }

    fn wants_room(&self) -> bool {
        self.target.wants_room()
    }

    fn queue_text(&mut self, payload: &[&[u8]]) {
        self.queued.push(payload.concat());
    }

    fn send_queued(&mut self, id: ConnId) {
        for payload in std::mem::take(&mut self.queued) {
            self.give(id, OpCode::Text, payload);
        }
    }

    fn backlog_bytes(&mut self, id: ConnId) -> usize {
        self.links.get(&id.slot()).map_or(0, |link| link.shared.waiting.get())
    }

    fn pause(&mut self, id: ConnId) {
        if let Some(link) = self.links.get(&id.slot()) {
            link.shared.paused.set(true);
        }
    }

    fn resume(&mut self, id: ConnId) {
        if let Some(link) = self.links.get(&id.slot())
            && link.shared.paused.replace(false)
        {
            link.shared.resumed.notify_one();
        }
    }

    fn send_close(&mut self, id: ConnId, code: u16) {
        self.give(id, OpCode::Close, code.to_be_bytes().into());
    }

    fn abort(&mut self, id: ConnId) {
        if let Some(link) = self.links.get(&id.slot()) {
            link.task.abort();
            self.aborted.push(id.slot());
        }
    }
}

async fn connect(target: &Target, index: usize, receive_bytes: usize) -> Result<TcpStream, WebSocketError> {
    let socket = if target.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    // A reset leaves no port in TIME_WAIT, so that the next run finds them all.
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    if let Ok(bytes) = u32::try_from(receive_bytes)
        && bytes > 0
    {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = target.source(index) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    Ok(socket.connect(target.address).await?)
}

/// Upgrades a connection and tells all that comes, until it ends.
async fn carry(
    stream: TcpStream,
    request: &[u8],
    slot: u32,
    events: &Sender<(u32, Event)>,
    given: UnboundedReceiver<(OpCode, Vec<u8>)>,
    (out, shared): (Out, Rc<Shared>),
) -> Result<End, WebSocketError> {
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(request).await?;
    let mut head = Vec::new();
    let length = loop {
        match handshake::read_answer(&head) {
            Answer::NeedMore if reader.read_buf(&mut head).await? == 0 => return Ok(End::Eof),
            Answer::NeedMore => {}
            Answer::Open(length) => break length,
            Answer::Status(code) => return Ok(End::Status(code)),
            Answer::Invalid => return Ok(End::Invalid),
        }
    };
    let reader = Cursor::new(head.split_off(length)).chain(reader);
    let (reader, writer) = fastwebsockets::after_handshake_split(reader, writer, Role::Client);
    let mut reader = FragmentCollectorRead::new(reader);
    let _ = events.send((slot, Event::Opened)).await;
    let writing = spawn_local(write(writer, given, shared.clone()));
    // This task may be aborted.
    let _guard = AbortOnDrop(writing.abort_handle());
    loop {
        while shared.paused.get() {
            shared.resumed.notified().await;
        }
        let mut answer = |frame: Frame<'static>| {
            let payload = Vec::from(frame.payload);
            shared.waiting.update(|bytes| bytes + payload.len());
            let _ = out.send((frame.opcode, payload));
            ready(Ok::<_, Infallible>(()))
        };
        let frame = reader.read_frame(&mut answer).await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => {
                let message = Event::Message { payload: frame.payload.to_vec(), at_ns: now_ns() };
                let _ = events.send((slot, message)).await;
            }
            OpCode::Close => {
                let code = frame.payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
                // It ends with our own close frame.
                let _ = writing.await;
                return Ok(End::Closed(code));
            }
            _ => {}
        }
    }
}

async fn write(
    mut writer: WebSocketWrite<OwnedWriteHalf>,
    mut given: UnboundedReceiver<(OpCode, Vec<u8>)>,
    shared: Rc<Shared>,
) -> Result<(), WebSocketError> {
    while let Some((opcode, payload)) = given.recv().await {
        let bytes = payload.len();
        writer.write_frame(Frame::new(true, opcode, None, Payload::Owned(payload))).await?;
        shared.waiting.update(|waiting| waiting - bytes);
        if opcode == OpCode::Close {
            break;
        }
    }
    Ok(())
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn end_of(error: WebSocketError) -> End {
    match error {
        WebSocketError::UnexpectedEOF => End::Eof,
        WebSocketError::IoError(error) => End::Failed(error.kind()),
        _ => End::Invalid,
    }
}
