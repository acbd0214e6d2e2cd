//! The `fanwire` binary: reads the configuration, runs the server, obeys signals.

mod allocator;

use fanwire::Server;
use fanwire::config::{
    self, Auth, Command, Config, ConfigError, Endpoint, ListenAddress, LogFormat, Remark, Sources,
};
use fanwire::dialect::{self, DialectSpec};
use fanwire::io::LogWriter;
use fanwire::model::DialectId;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

type LevelHandle = reload::Handle<LevelFilter, tracing_subscriber::Registry>;

fn main() -> ExitCode {
    allocator::set_up();
    let invocation = match config::parse_args(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => error.exit(),
    };
    let (config, remarks) = match load(&invocation) {
        Ok(loaded) => loaded,
        Err(errors) => {
            for error in errors {
                complain(error);
            }
            return ExitCode::from(2);
        }
    };
    match invocation.command {
        Command::CheckConfig => {
            for remark in remarks {
                let kind = if remark.is_warning() { "warning" } else { "note" };
                complain(format_args!("{kind}: {remark}"));
            }
            if let Err(error) = check_machine(&config) {
                complain(error);
                return ExitCode::FAILURE;
            }
            match writeln!(std::io::stdout(), "the configuration is valid") {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Command::Run if !config.enabled => {
            complain("disabled by the configuration (enabled, WEBSOCKET_ENABLED)");
            ExitCode::SUCCESS
        }
        Command::Run => run(&invocation, config, &remarks),
    }
}

/// Says why the process ends, or does not if standard error takes nothing: `eprintln!` would panic then, and hide the
/// exit status.
fn complain(what: impl Display) {
    let _ = writeln!(std::io::stderr(), "fanwire: {what}");
}

/// Checks what a configuration names on this machine: the files with keys, and the group.
fn check_machine(config: &Config) -> std::io::Result<()> {
    fanwire::io::token_policy(&config.tokens).map_err(std::io::Error::other)?;
    config.unix_socket_group.as_deref().map(fanwire::io::group_id).transpose().map(drop)
}

/// Reads the configuration from file, environment and flags, and what should be known of it.
fn load(invocation: &config::Invocation) -> Result<(Config, Vec<Remark>), Vec<ConfigError>> {
    // What is not UTF-8 holds U+FFFD then, which no key takes: it is refused where skipping it would hide it.
    let env: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let in_env = || std::env::var_os("FANWIRE_CONFIG").filter(|path| !path.is_empty()).map(Into::into);
    let path = invocation.config_file.clone().or_else(in_env);
    let file = match &path {
        Some(path) => Some((path.display().to_string(), config::read_file(path)?)),
        None => None,
    };
    let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    let sources = Sources { file, env: &env, flags: &invocation.flags };
    let config = config::load(&sources)?;
    let remarks = config::remarks(&sources, &config);
    Ok((config, remarks))
}

/// Says in the log what should be known of where a configuration comes from. Its own warnings the server tells.
fn tell_remarks(config: &Config, remarks: &[Remark]) {
    let told = config.warnings();
    for remark in remarks.iter().filter(|remark| !told.contains(&remark.to_string())) {
        match remark {
            Remark::Info(text) => tracing::info!("configuration: {text}"),
            Remark::Warning(text) => tracing::warn!("configuration: {text}"),
        }
    }
}

fn run(invocation: &config::Invocation, config: Config, remarks: &[Remark]) -> ExitCode {
    let (log, level) = match start_log(&config) {
        Ok(started) => started,
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    // Each line of a log in JSON stays an object. A log that is off has no lines.
    let is_event = config.log_format == LogFormat::Json && tracing::enabled!(tracing::Level::ERROR);
    tell_remarks(&config, remarks);
    let result = serve(invocation, config, &log, &level);
    if let (Err(error), true) = (&result, is_event) {
        tracing::error!(%error, "ended by an error");
    }
    log.flush(LogWriter::LAST_WORDS);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !is_event {
                complain(error);
            }
            ExitCode::FAILURE
        }
    }
}

fn serve(
    invocation: &config::Invocation,
    config: Config,
    log: &LogWriter,
    level: &LevelHandle,
) -> std::io::Result<()> {
    let admin = config.admin_listen.clone();
    let (host, prefix, format) = (config.host, config.path_prefix.clone(), config.log_format);
    let preset = config.preset.name();
    let endpoint = config.endpoints.first().cloned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anyone is told that the server runs: a signal that comes at once must find its handler.
    let signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let server = Server::builder().config(config).log(log.clone()).give_back(allocator::give_back).start()?;
    tell_start(&server, preset, &admin);
    let exposure = server.exposure();
    if exposure.is_wide {
        tracing::warn!("{}", exposure.text);
    } else {
        tracing::info!("{}", exposure.text);
    }
    // Streams that are collected together stay readable by machines.
    if format == LogFormat::Text {
        greet(greeting(&server, host, &prefix, endpoint.as_ref()) + &admin_greeting(&server, &admin))?;
    }
    runtime.block_on(obey(server, signals, invocation, log, level))
}

/// The signals that the server obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// Where the server listens and what to try.
fn greeting(server: &Server, host: IpAddr, prefix: &str, endpoint: Option<&Endpoint>) -> String {
    let tcp = server.local_addr();
    let shown = tcp.map(|address| {
        let host = if host.is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        format!("{host}:{}", address.port())
    });
    let version = env!("CARGO_PKG_VERSION");
    let shards = match server.shards() {
        1 => "1 shard".to_owned(),
        shards => format!("{shards} shards"),
    };
    let path = endpoint.map_or("/ws".to_owned(), |endpoint| endpoint.path.to_string());
    let asks = endpoint.is_some_and(|endpoint| endpoint.auth == Auth::Required);
    let token = if asks { "?token=TOKEN" } else { "" };
    let spoken = endpoint.and_then(|endpoint| dialect::named(&endpoint.dialect)).unwrap_or(DialectId::NATIVE);
    let DialectSpec { greeting_room: room, greeting_join: join, .. } = dialect::spec(spoken);
    let publish = format!(r#"-d '{{"room":"{room}","data":{{"message":"Hello!"}}}}'"#);
    let mut lines = vec![format!("fanwire {version}, {shards}")];
    lines.extend(tcp.iter().map(|tcp| format!("listening on http://{tcp}{prefix}")));
    let unix = server.unix_socket().map(|path| path.display());
    lines.extend(unix.iter().map(|unix| format!("listening on unix:{unix}")));
    match (&shown, &unix) {
        (Some(tcp), _) => {
            lines.push(format!("try:  wscat -c ws://{tcp}{prefix}{path}{token}   and then   {join}"));
            lines.push(format!("      curl {publish} http://{tcp}{prefix}/v1/publish"));
        }
        (None, Some(unix)) => {
            lines.push(format!(
                "try:  curl --unix-socket {unix} {publish} http://localhost{prefix}/v1/publish"
            ));
        }
        (None, None) => {}
    }
    lines.join("\n") + "\n"
}

/// Where the admin listeners are, as people see it.
fn admin_greeting(server: &Server, listen: &[ListenAddress]) -> String {
    let shown = |address: String| match address.starts_with("unix:") {
        true => format!("admin on {address}\n"),
        false => format!("admin on http://{address}\n"),
    };
    admin_addresses(server, listen).map(shown).collect()
}

/// The addresses of the admin listeners, with the ports that the system has chosen.
fn admin_addresses(server: &Server, listen: &[ListenAddress]) -> impl Iterator<Item = String> {
    let mut tcp = server.admin_addrs().iter();
    listen.iter().filter_map(move |address| match address {
        ListenAddress::Tcp(_) => tcp.next().map(ToString::to_string),
        ListenAddress::Unix(_) => Some(address.to_string()),
    })
}

/// Says it on standard output: on a thread of its own, because a pipe that nobody empties may take it never, and signals
/// are to be obeyed all the same.
fn greet(greeting: String) -> std::io::Result<()> {
    let say = move || {
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(greeting.as_bytes()).and_then(|()| out.flush()) {
            tracing::warn!(%error, "cannot write to standard output");
        }
    };
    std::thread::Builder::new().name("greeting".to_owned()).spawn(say).map(drop)
}

/// Says in the log that the server has started, as what, and where it listens.
fn tell_start(server: &Server, preset: &str, admin: &[ListenAddress]) {
    let address = server.local_addr().map(tracing::field::display);
    let unix_socket = server.unix_socket().map(|path| tracing::field::display(path.display()));
    let admin = admin_addresses(server, admin).collect::<Vec<_>>().join(" ");
    let admin = (!admin.is_empty()).then_some(admin);
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, address, unix_socket, admin, preset, shards = server.shards(), "listening");
}

/// Waits for signals and does what they ask.
async fn obey(
    mut server: Server,
    Signals { mut terminate, mut interrupt, mut hang_up }: Signals,
    invocation: &config::Invocation,
    log: &LogWriter,
    level: &LevelHandle,
) -> std::io::Result<()> {
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => reload(&mut server, invocation, level),
        }
    }
    tracing::info!("draining; a second signal ends at once");
    server.handle().shutdown();
    let drained = tokio::task::spawn_blocking(move || server.wait());
    tokio::select! {
        result = drained => return result?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("ended at once by a second signal, before the drain was over");
    log.flush(LogWriter::LAST_WORDS);
    std::process::exit(1)
}

fn reload(server: &mut Server, invocation: &config::Invocation, level: &LevelHandle) {
    match load(invocation) {
        Ok((config, remarks)) => {
            if let Err(error) = level.modify(|filter| *filter = level_of(&config)) {
                tracing::error!(%error, "cannot change the log level");
            }
            let reload = server.reload(&config);
            tracing::info!(changed = ?reload.changed, "configuration read again");
            tell_remarks(&config, &remarks);
            if !reload.refused.is_empty() {
                tracing::error!(why = ?reload.refused, "configuration not taken over");
            }
            if !reload.needs_restart.is_empty() {
                tracing::warn!(keys = ?reload.needs_restart, "changed keys are not in force before a restart");
            }
        }
        Err(errors) => {
            for error in errors {
                tracing::error!(%error, "configuration not taken over");
            }
        }
    }
}

/// Sends the log to standard error, without ever waiting for it.
fn start_log(config: &Config) -> std::io::Result<(LogWriter, LevelHandle)> {
    let log = LogWriter::start(std::io::stderr())?;
    let writer = log.clone();
    let (filter, handle) = reload::Layer::new(level_of(config));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    match config.log_format {
        LogFormat::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    // The usual hook writes to standard error itself, and so could hold up a shard that is to end the process.
    let of_hook = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(thread, backtrace = backtrace.map(tracing::field::display), "{panic}");
        if thread == "main" {
            // The process ends with it.
            of_hook.flush(LogWriter::LAST_WORDS);
        }
    }));
    Ok((log, handle))
}

fn level_of(config: &Config) -> LevelFilter {
    // The configuration takes only names that are levels.
    config.log_level.parse().unwrap_or(LevelFilter::INFO)
}
