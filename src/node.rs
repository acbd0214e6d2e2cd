use crate::auth::token::TokenDesk;
use crate::config::{Config, ConfigError, Exposure, HookEvent, HookEvents, Reload};
use crate::handle::Handle;
use crate::handler::{self, CustomRequest, Home, Outcome};
use crate::hub::{Admission, Hub, Prefixes};
use crate::io::{
    self, Callback, Callbacks, Clock, Deciders, Descriptors, GiveBack, Hook, LogWriter, NodeShared, Program,
    ShardMailbox, ShardThread, ShardWaker, SocketFile,
};
use crate::metrics::NodeMetrics;
use crate::model::CloseReason;
use crate::model::hook::Decider;
use crate::shard::{Handlers, LABELS, Message, Parts, Request, Respond};
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};
use std::any::Any;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// Exit status of a process whose shard failed: `EX_SOFTWARE` of sysexits(3).
const SHARD_FAILED: i32 = 70;

/// Makes a server.
#[derive(Debug, Default)]
pub struct Builder {
    config: Config,
    handlers: Handlers,
    callbacks: Callbacks,
    home: Home,
    /// Whether something runs beside the shards.
    is_async: bool,
    runtime: Option<tokio::runtime::Handle>,
    log: Option<LogWriter>,
    give_back: Option<GiveBack>,
}

impl Builder {
    /// Sets the configuration; without it, all is at its default.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the handler of messages of type `event`, in every dialect. The dialects' own types cannot be taken.
    ///
    /// The handler runs on the shard's thread and must not block; see [`Handle::on`], which does the same while the
    /// server runs.
    #[must_use]
    pub fn on<R: Outcome>(
        self,
        event: &str,
        handler: impl Fn(CustomRequest) -> R + Send + Sync + 'static,
    ) -> Self {
        self.handlers.set(event, handler::on_shard(&self.home, handler));
        self
    }

    /// The same for a handler that may wait; see [`Handle::on_async`].
    #[must_use]
    pub fn on_async<R: Outcome, F: Future<Output = R> + Send + 'static>(
        mut self,
        event: &str,
        handler: impl Fn(CustomRequest) -> F + Send + Sync + 'static,
    ) -> Self {
        self.handlers.set_going_on(event, handler::beside_shards(&self.home, handler));
        self.is_async = true;
        self
    }

    /// Gives the runtime on which async handlers run: the program's own, if it has one. Without it the server starts
    /// four threads for them. A runtime of one thread must not be blocked by [`Server::wait`].
    #[must_use]
    pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Names the process's log if it is a [`LogWriter`]: `/metrics` tells what it loses, and before a failed shard ends
    /// the process, what the log says of it is written.
    #[must_use]
    pub fn log(mut self, log: LogWriter) -> Self {
        self.log = Some(log);
        self
    }

    /// Says how the process's allocator gives free memory of the calling thread back to the system. It is called on a
    /// shard's own thread, between turns, after clients have given back megabytes (of unfinished messages or names of
    /// rooms), twice a second at the most. Without it that memory stays with the process until it is used again.
    #[must_use]
    pub fn give_back(mut self, give_back: impl Fn() + Send + Sync + 'static) -> Self {
        self.give_back = Some(GiveBack::new(give_back));
        self
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Sets the callback for an event.
    pub(crate) fn callback(mut self, event: HookEvent, callback: Callback) -> Self {
        self.callbacks.set(event, callback);
        self
    }

    /// Binds the sockets and starts the shards. When this returns, clients can connect.
    ///
    /// # Errors
    /// If the configuration is not valid, an address cannot be bound, or a thread not started.
    pub fn start(mut self) -> std::io::Result<Server> {
        self.config.hook.in_program = self.callbacks.events();
        self.config.validate().map_err(invalid)?;
        Server::start(self)
    }
}

/// A running server: its shards' threads. Dropping it lets them run on; see [`Server::wait`].
#[derive(Debug)]
pub struct Server {
    shared: Arc<NodeShared>,
    config: Arc<Config>,
    handle: Handle,
    address: Option<SocketAddr>,
    admin_addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
    unix_sockets: Vec<SocketFile>,
}

impl Server {
    /// Begins to make a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start(builder: Builder) -> std::io::Result<Self> {
        let Builder { config, mut handlers, callbacks, home, is_async, runtime, log, give_back } = builder;
        warn(&config);
        let open_files = io::raise_open_files();
        if let Err(error) = &open_files {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
        let descriptors = Descriptors::new(open_files.ok());
        let shards = match config.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            shards => shards,
        };
        let listeners = io::bind_tcp(&config, shards)?;
        let address = listeners.first().map(|listener| listener.local_addr()).transpose()?;
        let mut listeners = listeners.into_iter();
        let (mut unix, unix_socket) = io::bind_unix(&config)?.unzip();
        let (mut admin, mut unix_sockets) = io::bind_admin(&config)?;
        unix_sockets.extend(unix_socket);
        let admin_addresses =
            admin.iter().filter_map(|listener| listener.address().transpose()).collect::<Result<_, _>>()?;
        let (polls, wakers): (Vec<_>, Vec<ShardWaker>) = (0..shards)
            .map(|_| io::poll_and_waker())
            .collect::<std::io::Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        let hook = (!config.hook.url.is_empty()).then(|| Hook::start(&config.hook)).transpose()?;
        let is_async = is_async || callbacks.events() != HookEvents::NONE;
        let program = Program::new(&config.hook, callbacks, runtime);
        if is_async {
            program.start()?;
        }
        let deciders = Deciders { program, hook };
        if deciders.events() != HookEvents::NONE {
            handlers.set_decider(Arc::new(deciders.clone()));
        }
        let mut metrics = NodeMetrics::new(shards, &LABELS);
        if is_async {
            metrics.program = deciders.program.metrics().clone().into();
        }
        metrics.hook = deciders.hook.as_ref().map(|hook| hook.metrics().clone());
        let policy = io::token_policy(&config.tokens)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        let tokens = Arc::new(TokenDesk::new(policy));
        let mut random = StdRng::try_from_rng(&mut SysRng).map_err(std::io::Error::other)?;
        let mut hub = Hub::new(shards, random.random(), &config.room_rules);
        hub.admission = Admission::new(Prefixes {
            v4_bits: config.limits.client_ipv4_prefix_length,
            v6_bits: config.limits.client_ipv6_prefix_length,
        });
        let shared = Arc::new(NodeShared {
            hub: Arc::new(hub),
            mailboxes: wakers.into_iter().map(ShardMailbox::new).collect(),
            deciders,
            handlers: handlers.clone(),
            give_back,
            metrics,
            rate: Default::default(),
            clock: Clock::start(),
            tokens: tokens.clone(),
            log,
            idempotency: Default::default(),
            wrong_keys: Default::default(),
            descriptors,
            pages: Default::default(),
            failures_told: Default::default(),
            stop: tokio::sync::watch::Sender::new(false),
            stopped_us: Default::default(),
            drained: Default::default(),
        });
        home.set(&shared);
        let limits = &config.limits;
        let directory = &shared.hub.directory;
        directory.set_membership_bytes_max(limits.memberships_bytes_max);
        directory.set_history_bytes_max(limits.history_bytes_max, limits.history_bytes_per_tenant_max);
        if let Some(url) = &config.tokens.jwks_url {
            io::start_fetching(url, tokens, shared.stop.subscribe())?;
        }
        let config = Arc::new(config);
        io::handle_admins(&shared, &mut handlers);
        let post = io::post(shared.mailboxes.clone(), shared.clock);
        let respond = respond(&shared);
        let cores = io::cores_to_pin(config.pin_threads, shards);
        let mut threads = Vec::with_capacity(shards);
        let (ready, readiness) = mpsc::channel();
        for (index, poll) in polls.into_iter().enumerate() {
            let tcp = listeners.next();
            let metrics = shared.metrics.shards[index].clone();
            let parts = Parts {
                index,
                shards,
                hub: shared.hub.clone(),
                config: config.clone(),
                metrics: metrics.clone(),
                handlers: handlers.clone(),
                respond: respond.clone(),
                post: post.clone(),
                seed: random.random(),
            };
            let core = (!cores.is_empty()).then(|| cores[index % cores.len()]);
            let (node, unix, ready) = (shared.clone(), unix.take(), ready.clone());
            // All of them go to the first shard.
            let admin = std::mem::take(&mut admin);
            let run = move || {
                if let Some(core) = core
                    && !core_affinity::set_for_current(core)
                {
                    tracing::warn!(shard = index, core = core.id, "cannot pin the thread");
                }
                let of_shard = node.clone();
                let ended = run_shard(index, &node, || {
                    ShardThread { parts, poll, node: of_shard, metrics, tcp, unix, admin, ready }.run()
                });
                // No shard has anything left to serve when the first one ends.
                node.handlers.clear();
                ended
            };
            threads.push(std::thread::Builder::new().name(format!("shard-{index}")).spawn(run)?);
        }
        // A shard that were still to start when connections come could find that they have taken what it needs. One
        // that cannot start ends the process.
        let _ = (0..shards).try_for_each(|_| readiness.recv());
        descriptors.tell(config.limits.connections_max);
        let handle = Handle::new(shared.clone(), home);
        Ok(Self { shared, config, handle, address, admin_addresses, threads, unix_sockets })
    }

    /// The TCP address listened on; none where `tcp` is off.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What the configuration leaves open, for the log.
    pub fn exposure(&self) -> Exposure {
        self.config.exposure(self.address)
    }

    /// The path of the Unix socket listened on, if there is one.
    pub fn unix_socket(&self) -> Option<&Path> {
        self.config.unix_socket.as_deref()
    }

    /// The TCP addresses of the admin listeners, in the order of `admin_listen`.
    pub fn admin_addrs(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.threads.len()
    }

    /// A handle, for any thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Takes over what can change while running. The result names what changed and what needs a restart.
    pub fn reload(&mut self, new: &Config) -> Reload {
        let (config, reload) = self.config.reloaded(new);
        // Always: a file of the same name may have other keys.
        match io::token_policy(&config.tokens) {
            Ok(policy) => self.shared.tokens.replace(&policy),
            Err(error) => tracing::error!(%error, "the keys of tokens are not taken over"),
        }
        warn(&config);
        let config = Arc::new(config);
        for shard in 0..self.threads.len() {
            self.shared.post(shard, Request::Reconfigure(config.clone()));
        }
        self.config = config;
        reload
    }

    /// Says in the log how the drain ended.
    fn tell_drain(&self) {
        let metrics = &self.shared.metrics;
        let began: u64 =
            metrics.shards.iter().map(|shard| shard.closes.get(CloseReason::ShuttingDown.index())).sum();
        // Those that had not answered the close frame when the time was over.
        let cut = metrics.connections();
        let ms = (self.shared.clock.now().us - self.shared.stopped_us.load(Ordering::Relaxed)) / 1000;
        tracing::info!(closed = began.saturating_sub(cut), cut, ms, "drained");
    }

    /// Says in the log that the server has ended, and what it did.
    fn tell_end(&self) {
        let metrics = &self.shared.metrics;
        let connections: u64 = metrics.shards.iter().map(|shard| shard.closes.total()).sum();
        let (deliveries, uptime_s) = (metrics.deliveries(), self.shared.clock.now().us / 1_000_000);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), uptime_s, connections, deliveries, "ended");
    }

    /// Waits until the server has ended after [`Handle::shutdown`].
    ///
    /// # Errors
    /// If a shard's event loop failed.
    pub fn wait(mut self) -> std::io::Result<()> {
        let mut result = Ok(());
        for thread in std::mem::take(&mut self.threads) {
            // A shard that panics has ended the process, so that every join is of a thread that returned.
            result = result.and(thread.join().unwrap_or(Ok(())));
        }
        self.tell_drain();
        // The last connections' ends are told too.
        self.shared.deciders.program.finish();
        if let Some(hook) = &self.shared.deciders.hook {
            hook.finish();
        }
        self.tell_end();
        for file in self.unix_sockets {
            file.remove();
        }
        result
    }
}

/// Says in the log what is worth a look.
fn warn(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

fn invalid(errors: Vec<ConfigError>) -> std::io::Error {
    let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
    std::io::Error::new(std::io::ErrorKind::InvalidInput, text.join("; "))
}

/// Runs a shard; if it panics or fails, ends the process: a node that has lost a shard would go on with part of its
/// connections silent.
fn run_shard(
    index: usize,
    node: &NodeShared,
    run: impl FnOnce() -> std::io::Result<()>,
) -> std::io::Result<()> {
    let cause = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let cause = format!("panic: {}", panic_text(&*panic));
            // What a panic carries may panic in its turn when it is dropped.
            std::mem::forget(panic);
            cause
        }
    };
    let metrics = &node.metrics.shards[index];
    tracing::error!(
        shard = index,
        cause,
        connections = metrics.connections.get(),
        members = metrics.members.get(),
        backlog_bytes = metrics.backlog_bytes.get(),
        mailbox_items = metrics.mailbox_items.get(),
        publications = metrics.publications.get(),
        deliveries = metrics.deliveries.get(),
        connections_of_node = node.metrics.connections(),
        rooms_of_node = node.hub.directory.len(),
        uptime_ms = node.clock.now().ms(),
        "a shard failed; the process ends"
    );
    if let Some(log) = &node.log {
        log.flush(LogWriter::LAST_WORDS);
    }
    std::process::exit(SHARD_FAILED)
}

/// What a panic says.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

/// How the answers of custom handlers find their way back. It must not keep the node alive, as the shards hold it.
fn respond(shared: &Arc<NodeShared>) -> Respond {
    let node = Arc::downgrade(shared);
    Arc::new(move |to, message: Message| {
        if let Some(node) = node.upgrade() {
            node.post(node.shard_of(to), Request::Send { to, message, reply: Box::new(|_| {}) });
        }
    })
}
