//! `compare`: several servers beside each other, under the same load, in rounds.
//!
//! Two tables say what is done: `scenarios.json` the loads, `own.json` and `peers.json` the servers. Each
//! run starts a server anew on cores of its own, puts a pattern of this tool on it from the other cores, and
//! stops it. The servers take turns within a round, so that what drifts on the machine drifts for all; a run
//! that others on the machine disturbed is done again. What counts is the median of the rounds.

mod arguments;
mod cores;
mod launch;
mod metric;
pub mod options;
mod report;
mod result;
mod round;
mod scenario;
mod server;
mod spoilt;
mod stats;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use self::launch::Places;
use self::options::Compare;
use self::result::{Compared, Comparison};
use self::round::Manner;
use self::scenario::{Case, Wish};
use self::server::{CoresUsed, Server};
use crate::stage::{catch_interrupt, interrupted};

/// What a run takes besides its load, roughly: start, joins, stop.
const BESIDE_S: f64 = 1.5;

/// Compares, writes what is asked for and prints the table; true when every server gave all its figures.
///
/// # Errors
/// When a table or an option is wrong, no server is there, or a file cannot be written.
pub fn run(options: &Compare) -> Result<bool> {
    ensure!((0.0..1.0).contains(&options.spoilt_share), "--spoilt-share must be from 0 to 1");
    let positive = |seconds: Option<f64>| seconds.is_none_or(|seconds| seconds > 0.0 && seconds.is_finite());
    ensure!(positive(options.duration) && positive(options.warmup), "seconds must be more than 0");
    let places = places(options)?;
    let (servers, no_peers) = server::all(&places.peers)?;
    let cases = cases(options)?;
    let (servers, mut left_out) = choose(&servers, &options.servers, |server| places.missing(server))?;
    if let Some(why) = no_peers {
        left_out.push(("peers".into(), why));
    }
    if options.list {
        list(&cases, &servers, &left_out);
        return Ok(true);
    }
    catch_interrupt(launch::kill_all)?;
    // For the servers, which inherit it.
    rlimit::increase_nofile_limit(u64::MAX).context("the limit of open files")?;
    let cores = cores::usable(&options.cores)?;
    let (servers, failed) = try_out(&places, servers, &cores)?;
    left_out.extend(failed);
    if servers.is_empty() {
        bail!("no server to compare: {left_out:?}");
    }
    let manner = Manner {
        rounds: options.rounds.unwrap_or(if options.quick { 2 } else { 5 }) as usize,
        warmup: options.warmup.unwrap_or(if options.quick { 0.2 } else { 1.0 }),
        share_max: options.spoilt_share,
        repeats: options.repeats,
        frame_bytes: options.frame_bytes,
    };

    let seconds: f64 = cases.iter().map(|case| case.seconds + manner.warmup + BESIDE_S).sum();
    let (runs, each) =
        (cases.len() * servers.len() * manner.rounds, servers.len() as f64 * manner.rounds as f64);
    eprintln!("{runs} runs, about {:.0} minutes if none is spoilt", (seconds * each / 60.0).ceil());

    let mut comparison = Comparison {
        machine: report::machine(&cores),
        rounds: manner.rounds,
        relative_to: options.relative_to.clone(),
        servers: servers.iter().map(|server| compared(&places, server)).collect(),
        left_out,
        notes: Vec::new(),
        cases: Vec::new(),
    };
    for case in &cases {
        let Some(split) = cores::split(&cores, case.cores) else {
            let (need, have) = (case.cores + 1, cores.len());
            comparison.notes.push(format!("{}: left out, it needs {need} cores of {have}", case.title()));
            continue;
        };
        if interrupted() {
            break;
        }
        if split.is_shared() {
            comparison.notes.push(format!("{}: server and load shared a core", case.title()));
        }
        if let Some(core) = split.sibling() {
            let title = case.title();
            comparison
                .notes
                .push(format!("{title}: core {core} of the load is a hardware thread of the server's"));
        }
        comparison.cases.push(round::measure(&places, &servers, case, split, &manner));
    }
    if options.quick {
        comparison.notes.push("a quick comparison: small and short, its figures say little".into());
    }
    if interrupted() {
        comparison.notes.push("interrupted: the comparison is not whole".into());
    }
    report::write(&comparison, options.json.as_deref(), options.html.as_deref())?;
    Ok(!interrupted() && comparison.cases.iter().all(result::CaseResult::is_whole))
}

/// # Errors
/// When this program does not know where it is.
fn places(options: &Compare) -> Result<Places> {
    let loadtest = std::env::current_exe().context("the path of this program")?;
    let beside = loadtest.with_file_name("fanwire");
    // Servers run in another directory, where a relative path would lead elsewhere.
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| path.display().to_string());
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    Ok(Places {
        fanwire: absolute(options.fanwire.as_deref().unwrap_or(&beside))?,
        loadtest,
        peers: absolute(options.peers.as_deref().unwrap_or(&shipped))?,
    })
}

/// # Errors
/// When the table is wrong or an asked for scenario is not in it.
fn cases(options: &Compare) -> Result<Vec<Case>> {
    let scenarios = scenario::parse("scenarios.json", scenario::SHIPPED)?;
    let names = || scenarios.iter().map(|scenario| scenario.name.as_str()).collect::<Vec<_>>().join(", ");
    for name in &options.only {
        ensure!(
            scenarios.iter().any(|scenario| scenario.name == *name),
            "--only: there is no scenario `{name}`, only {}",
            names()
        );
    }
    let wish = Wish { quick: options.quick, seconds: options.duration, connections: options.connections };
    let wanted = |name: &String| options.only.is_empty() || options.only.contains(name);
    let cases = scenarios.iter().filter(|scenario| wanted(&scenario.name)).flat_map(|one| one.cases(wish));
    let counts = &options.server_cores;
    Ok(cases.filter(|case| counts.is_empty() || counts.contains(&case.cores)).collect())
}

/// Server names with the reasons why they are left out.
type LeftOut = Vec<(String, String)>;

/// The servers asked for, in that order, and those of them that are not installed.
///
/// # Errors
/// When a name is not in the tables.
fn choose(
    all: &[Server],
    wanted: &[String],
    missing: impl Fn(&Server) -> Option<String>,
) -> Result<(Vec<Server>, LeftOut)> {
    let mut chosen: Vec<&Server> = Vec::new();
    for name in wanted {
        let Some(server) = all.iter().find(|server| server.name == *name) else {
            let names: Vec<&str> = all.iter().map(|server| server.name.as_str()).collect();
            bail!("--servers: there is no server `{name}`, only {}", names.join(", "));
        };
        if chosen.iter().all(|other| other.name != *name) {
            chosen.push(server);
        }
    }
    if wanted.is_empty() {
        chosen.extend(all);
    }
    let (mut there, mut left_out) = (Vec::new(), Vec::new());
    for server in chosen {
        match missing(server) {
            Some(what) => left_out.push((server.name.clone(), format!("not installed: no {what}"))),
            None => there.push(server.clone()),
        }
    }
    Ok((there, left_out))
}

/// Starts each server once: those that do not come up are left out before anything is measured.
///
/// # Errors
/// When there is no core to start them on.
fn try_out(places: &Places, servers: Vec<Server>, cores: &[usize]) -> Result<(Vec<Server>, LeftOut)> {
    let split = cores::split(cores, 1).context("no core may be used")?;
    let (mut good, mut failed) = (Vec::new(), Vec::new());
    for server in servers {
        if interrupted() {
            break;
        }
        match places.start(&server, &split, 0).or_else(|_| places.start(&server, &split, 0)) {
            Ok(running) => {
                drop(running);
                good.push(server);
            }
            Err(error) => failed.push((server.name, format!("does not start: {error:#}"))),
        }
    }
    Ok((good, failed))
}

fn compared(places: &Places, server: &Server) -> Compared {
    let mut notes = server.notes.clone();
    if server.cores == CoresUsed::One {
        notes.push("It uses one core, however many it has.".into());
    }
    if !server.ordered {
        notes.push("Messages of one publisher may change places.".into());
    }
    Compared {
        name: server.name.clone(),
        about: server.about.clone(),
        version: places.version(server),
        bytes: server.bytes.clone(),
        notes,
    }
}

fn list(cases: &[Case], servers: &[Server], left_out: &[(String, String)]) {
    let mut last = "";
    for case in cases {
        if case.scenario.name != last {
            println!("scenario {:<12} {}", case.scenario.name, case.scenario.about);
        }
        last = &case.scenario.name;
    }
    for server in servers {
        println!("server   {:<20} {}", server.name, server.about);
    }
    for (name, why) in left_out {
        println!("left out {name:<20} {why}");
    }
}

/// A text file, whole or with the reason why not.
///
/// # Errors
/// When it cannot be written.
fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn options(words: &[&str]) -> Compare {
        let line = ["loadtest", "compare"].iter().chain(words);
        let crate::cli::Pattern::Compare(options) = crate::cli::Cli::parse_from(line).pattern else {
            panic!("not compare")
        };
        options
    }

    #[test]
    fn scenarios_are_chosen_by_name_and_cores() {
        let titles = |words: &[&str]| -> Vec<String> {
            cases(&options(words)).unwrap().iter().map(Case::title).collect()
        };
        assert_eq!(titles(&["--only", "wide16,calm"]), ["wide16, 1 core", "wide16, 2 cores", "calm, 1 core"]);
        assert_eq!(titles(&["--only", "wide16", "--server-cores", "2"]), ["wide16, 2 cores"]);
        let error = cases(&options(&["--only", "wide"])).unwrap_err().to_string();
        assert!(error.contains("`wide`") && error.contains("wide16, wide128"), "{error}");
    }

    #[test]
    fn servers_are_chosen_in_order_and_missing_ones_named() {
        let (all, _) = server::all(Path::new("/nowhere")).unwrap();
        let names = |servers: &[Server]| -> Vec<String> {
            servers.iter().map(|server| server.name.clone()).collect()
        };
        let wanted = ["floor-send", "ours", "floor-send"].map(str::to_owned);
        let (chosen, left_out) = choose(&all, &wanted, |_| None).unwrap();
        assert_eq!((names(&chosen), left_out), (vec!["floor-send".into(), "ours".into()], vec![]));
        let (chosen, left_out) =
            choose(&all, &[], |server| (server.name == "ours").then(|| "x/y".into())).unwrap();
        assert_eq!(names(&chosen)[0], "floor");
        assert_eq!(left_out, [("ours".to_owned(), "not installed: no x/y".to_owned())]);
        let error = choose(&all, &["bnu".to_owned()], |_| None).unwrap_err().to_string();
        assert!(error.contains("`bnu`") && error.contains("floor-uring"), "{error}");
    }
}
