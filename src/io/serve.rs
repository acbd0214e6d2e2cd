//! The life of a shard's thread: its runtime, its listeners, its drain.

use super::driver::{self, Driver};
use super::http::Http;
use super::shared::NodeShared;
use crate::metrics::ShardMetrics;
use crate::shard::{Parts, Request, Shard};
use mio::Poll;
use socket2::Socket;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Notify;

/// Pause after an accept failed for want of something (file descriptors, memory), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time between two outages that are told in the log.
const OUTAGE_TOLD: Duration = Duration::from_secs(60);

/// Connections accepted before others have their turn.
const ACCEPT_BUDGET: u32 = 64;

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
    /// Its own listener on the TCP port.
    pub tcp: std::net::TcpListener,
    /// Told when the shard has all that it needs to serve.
    pub ready: mpsc::Sender<()>,
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
        let Self { parts, poll, node, metrics, tcp, unix, ready } = self;
        let shard = parts.index;
        let mut machine = Shard::new(parts);
        machine.set_tokens(node.tokens.clone());
        let driver = Driver::new(machine, shard, poll, node.mailboxes.clone(), metrics.clone(), node.clock)?;
        let poll = driver::watch(&driver)?;
        let driver = Rc::new(RefCell::new(driver));
        let http = Http { driver: driver.clone(), node: node.clone(), shard, open: Rc::new(Cell::new(0)) };
        let mut stop = node.stop.subscribe();
        let panicked = Rc::new(Notify::new());
        let mut listeners =
            vec![spawn_watched(accept_tcp(TcpListener::from_std(tcp)?, http.clone()), &panicked)];
        if let Some(unix) = unix {
            let accept = accept_unix(UnixListener::from_std(unix)?, http.clone());
            listeners.push(spawn_watched(accept, &panicked));
        }
        spawn_watched(serve_accepted(http), &panicked);
        // Nobody waits any more if another shard has failed.
        let _ = ready.send(());
        tokio::select! {
            looped = driver::run(driver.clone(), &poll) => return looped,
            () = panicked.notified() => return Err(io::Error::other("a task that accepts connections panicked")),
            _ = stop.wait_for(|stop| *stop) => {}
        }
        for listener in listeners {
            listener.abort();
        }
        let drain_timeout = driver.borrow().shard().config().times.drain_timeout;
        node.post(shard, Request::Drain(drain_timeout));
        let ended = tokio::select! {
            looped = driver::run(driver.clone(), &poll) => looped,
            () = drained(&driver, drain_timeout) => Ok(()),
        };
        driver.borrow().shard().tell_ends();
        ended
    }
}

/// Spawns a task without which the shard would serve only half of what it is to: the runtime alone would go on
/// without it when it panics.
fn spawn_watched(
    task: impl Future<Output = ()> + 'static,
    panicked: &Rc<Notify>,
) -> tokio::task::JoinHandle<()> {
    let watch = PanicWatch(panicked.clone());
    tokio::task::spawn_local(async move {
        let _watch = watch;
        task.await;
    })
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

/// Waits until every connection is gone, at most `within`.
async fn drained(driver: &RefCell<Driver>, within: Duration) {
    let deadline = Instant::now() + within;
    // A turn for the answers to requests that came just before.
    tokio::time::sleep(DRAIN_LOOK).await;
    while driver.borrow().shard().connections() > 0 && Instant::now() < deadline {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

async fn accept_tcp(listener: TcpListener, http: Http) {
    let mut budget = Budget::default();
    let mut outage = Outage::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                outage.over(http.shard);
                http.node.metrics.shards[http.shard].accepts.add(1);
                tokio::task::spawn_local(http.clone().serve(stream, Some(peer)));
                budget.spend().await;
            }
            Err(error) => outage.failed(&http, &error).await,
        }
    }
}

async fn accept_unix(listener: UnixListener, http: Http) {
    let shards = http.node.mailboxes.len();
    let mut budget = Budget::default();
    let mut outage = Outage::default();
    let mut next = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                outage.over(http.shard);
                http.node.metrics.shards[http.shard].accepts.add(1);
                next = (next + 1) % shards;
                match stream.into_std() {
                    Ok(stream) => http.driver.borrow().hand_over(next, Socket::from(stream)),
                    Err(error) => tracing::error!(%error, "cannot hand a socket over"),
                }
                budget.spend().await;
            }
            Err(error) => outage.failed(&http, &error).await,
        }
    }
}

/// Serves the sockets that another shard has accepted.
async fn serve_accepted(http: Http) {
    let notify = http.driver.borrow().accepted_notify();
    loop {
        notify.notified().await;
        let accepted = http.driver.borrow_mut().take_accepted();
        for socket in accepted {
            match UnixStream::from_std(socket.into()) {
                Ok(stream) => {
                    tokio::task::spawn_local(http.clone().serve(stream, None));
                }
                Err(error) => tracing::error!(%error, "cannot serve a socket handed over"),
            }
        }
    }
}

/// A time in which a listener's accepts fail.
#[derive(Default)]
struct Outage {
    /// Failures since the last connection.
    failures: u64,
    /// When one was logged last.
    told: Option<Instant>,
    /// The one under way was.
    tell_end: bool,
}

impl Outage {
    /// Counts a failure and pauses. Not each is logged: at its limit, a server may fail and go on many times a second,
    /// for hours.
    async fn failed(&mut self, http: &Http, error: &io::Error) {
        http.node.metrics.shards[http.shard].accept_errors.add(1);
        // That connection's own fault: the next one may be there and well.
        if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) {
            return tokio::task::yield_now().await;
        }
        self.failures += 1;
        if self.failures == 1 && self.told.is_none_or(|told| told.elapsed() >= OUTAGE_TOLD) {
            (self.told, self.tell_end) = (Some(Instant::now()), true);
            tracing::error!(shard = http.shard, %error, "cannot accept connections; trying on");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    /// A connection came.
    fn over(&mut self, shard: usize) {
        if std::mem::take(&mut self.tell_end) {
            tracing::info!(shard, failures = self.failures, "connections are accepted again");
        }
        self.failures = 0;
    }
}

/// Lets the other tasks of the shard run after a number of accepts.
#[derive(Default)]
struct Budget(u32);

impl Budget {
    async fn spend(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(ACCEPT_BUDGET) {
            tokio::task::yield_now().await;
        }
    }
}
