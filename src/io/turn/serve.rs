//! The life of a shard's thread: its runtime, its listeners, its drain.

use super::door::Handed;
use super::driver::{self, Driver};
use super::seat::Seat;
use crate::config::Times;
use crate::io::http::admin_listener::{AdminDoor, AdminListener};
use crate::io::http::server::{Http, Via};
use crate::io::http::turns::HttpTurns;
use crate::io::shared::NodeShared;
use crate::metrics::ShardMetrics;
use crate::shard::{Parts, Request, Shard};
use mio::Poll;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, watch};

/// How often a draining shard looks whether its connections are gone.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// What a shard's thread starts with.
pub struct ShardThread {
    /// What the shard is made of.
    pub parts: Parts,
    /// Its poll.
    pub poll: Poll,
    /// What it shares with the node.
    pub node: Arc<NodeShared>,
    /// Its counters.
    pub metrics: Arc<ShardMetrics>,
    /// Its own listener on the TCP port, if there is one.
    pub tcp: Option<std::net::TcpListener>,
    /// Told when the shard has all that it needs to serve.
    pub ready: mpsc::Sender<()>,
    /// The admin listeners, of the shard that serves them.
    pub admin: Vec<AdminListener>,
    /// The node's Unix listener: one shard accepts for all and hands the sockets round.
    pub unix: Option<std::os::unix::net::UnixListener>,
}

impl ShardThread {
    /// Runs until the node is told to stop and the drain is over.
    ///
    /// # Errors
    /// If the runtime or its event loop fails.
    pub fn run(self) -> io::Result<()> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> io::Result<()> {
        let Self { parts, poll, node, metrics, tcp, unix, admin, ready } = self;
        let shard = parts.index;
        let mut machine = Shard::new(parts);
        machine.set_tokens(node.tokens.clone());
        let mut driver = Driver::new(machine, shard, poll, node.clone(), metrics)?;
        let poll = driver::watch(&driver)?;
        driver.listen(tcp, unix)?;
        let driver = Rc::new(RefCell::new(driver));
        let ending = Rc::new(watch::Sender::new(false));
        let open = Rc::new(Cell::new(0));
        let http = Http {
            driver: driver.clone(),
            node: node.clone(),
            shard,
            via: Via::Public,
            seat: None,
            open: open.clone(),
            turns: Rc::new(HttpTurns::new()),
            ending: ending.clone(),
        };
        let admin = (!admin.is_empty()).then(|| AdminDoor::new(admin, http.clone())).transpose()?;
        let mut stop = node.stop.subscribe();
        let panicked = Rc::new(Notify::new());
        spawn_watched(serve_handed(http), &panicked);
        if let Some(admin) = admin {
            spawn_watched(admin.serve(), &panicked);
        }
        // Nobody waits any more if another shard has failed.
        let _ = ready.send(());
        tokio::select! {
            looped = driver::run(driver.clone(), &poll) => return looped,
            () = panicked.notified() => return Err(http_panicked()),
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let Times { drain_delay, drain_timeout, .. } = driver.borrow().shard().config().times;
        if !drain_delay.is_zero() {
            tokio::select! {
                looped = driver::run(driver.clone(), &poll) => return looped,
                () = panicked.notified() => return Err(http_panicked()),
                () = tokio::time::sleep(drain_delay) => {}
            }
        }
        node.hub.set_draining();
        ending.send_replace(true);
        node.post(shard, Request::Drain(drain_timeout));
        let ended = tokio::select! {
            looped = driver::run(driver.clone(), &poll) => looped,
            () = panicked.notified() => Err(http_panicked()),
            () = drained(&driver, &open, &node, drain_timeout) => Ok(()),
        };
        driver.borrow().shard().tell_ends();
        ended
    }
}

/// Spawns a task without which the shard would serve only half of what it is to: the runtime alone would go on
/// without it when it panics.
fn spawn_watched(task: impl Future<Output = ()> + 'static, panicked: &Rc<Notify>) {
    let watch = PanicWatch(panicked.clone());
    tokio::task::spawn_local(async move {
        let _watch = watch;
        task.await;
    });
}

/// Tells when it is dropped by a panic.
struct PanicWatch(Rc<Notify>);

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.notify_one();
        }
    }
}

fn http_panicked() -> io::Error {
    io::Error::other("the task that serves HTTP panicked")
}

/// Waits until every WebSocket connection is gone and every request that had begun is answered, on all shards; at most
/// `within`.
///
/// The listeners stay open as long as there are WebSocket connections: a client that comes meanwhile is told by a 503 to
/// try elsewhere, and a probe that the node is not ready. They close when all are gone, and what the kernel has accepted
/// by then is still answered.
async fn drained(driver: &RefCell<Driver>, open_http: &Cell<u32>, node: &NodeShared, within: Duration) {
    let deadline = Instant::now() + within;
    let (mut is_closed, mut is_drained) = (false, false);
    loop {
        // A turn first, for the answers to requests that came just before.
        tokio::time::sleep(DRAIN_LOOK).await;
        if Instant::now() >= deadline {
            return;
        }
        let mut driver = driver.borrow_mut();
        let is_quiet = driver.shard().connections() == 0 && driver.is_door_quiet();
        if is_quiet && !is_closed {
            driver.close_door();
            is_closed = true;
        }
        if is_quiet && open_http.get() == 0 && !is_drained {
            is_drained = true;
            node.drained.fetch_add(1, Ordering::Relaxed);
        }
        if node.drained.load(Ordering::Relaxed) >= node.mailboxes.len() {
            return;
        }
    }
}

/// Serves by hyper who is for it.
async fn serve_handed(http: Http) {
    let notify = http.driver.borrow().handed_notify();
    loop {
        notify.notified().await;
        let handed = http.driver.borrow_mut().take_handed();
        for Handed { socket, peer, read, deadline_us, seat } in handed {
            let deadline = http.node.clock.instant(deadline_us).into();
            let (places, key) = seat.place();
            let http = Http { seat: Some(Rc::new(seat)), ..http.clone() };
            let spawned = match peer {
                Some(_) => TcpStream::from_std(socket.into())
                    .map(|stream| tokio::task::spawn_local(http.serve(stream, read, peer, deadline))),
                None => UnixStream::from_std(socket.into())
                    .map(|stream| tokio::task::spawn_local(http.serve(stream, read, peer, deadline))),
            };
            match spawned {
                Ok(task) => Seat::held_by(&places, key, task.abort_handle()),
                Err(error) => tracing::error!(%error, "cannot serve a connection"),
            }
        }
    }
}
