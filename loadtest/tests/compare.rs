//! `compare` for real: small, short, over loopback.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// No run of these tests takes nearly as long.
const LIMIT: Duration = Duration::from_secs(90);

const QUICK: [&str; 5] = ["--quick", "--rounds", "1", "--repeats", "0"];

fn program(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.arg("compare").args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What the environment of whoever compares says is not for the servers.
    command.env("FANWIRE_UNHEARD_OF", "1").env("FANWIRE_PORT", "no port");
    command
}

/// Waits for the end; one that does not come is a failure, and then the program is ended here.
fn await_end(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The exit status, standard output and standard error of a comparison.
fn compare(options: &[&str]) -> (i32, String, String) {
    let mut child = program(options).spawn().unwrap();
    let read = |mut pipe: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || std::io::read_to_string(&mut pipe).unwrap())
    };
    let out = read(Box::new(child.stdout.take().unwrap()));
    let err = read(Box::new(child.stderr.take().unwrap()));
    let status = await_end(&mut child).code().expect("ended by itself");
    (status, out.join().unwrap(), err.join().unwrap())
}

/// A directory of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A server of ours to compare with the floor: Fanwire, if it has been built.
fn ours() -> &'static str {
    if Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name("fanwire").is_file() {
        return "ours";
    }
    let line = "left out: ours_and_the_floor_are_compared, with ours: needs the fanwire binary (cargo build)";
    println!("{line}");
    // The list that tests/run shows at its end.
    if let Some(path) = std::env::var_os("FANWIRE_LEFT_OUT") {
        let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    "floor-send"
}

fn server<'a>(case: &'a Value, name: &str) -> &'a Value {
    let servers = case["servers"].as_array().unwrap();
    servers.iter().find(|server| server["name"] == name).unwrap_or_else(|| panic!("no {name} in {case}"))
}

#[test]
fn ours_and_the_floor_are_compared() {
    let folder = folder("compare-ours");
    let (json_path, html_path) = (folder.join("a.json"), folder.join("a.html"));
    let servers = [ours(), "floor"];
    let list = servers.join(",");
    let paths = [json_path.to_str().unwrap(), html_path.to_str().unwrap()];
    let options = ["--servers", &list, "--only", "wide16,calm,idle,churn", "--server-cores", "1"];
    let more = ["--connections", "100", "--json", paths[0], "--html", paths[1]];
    let (status, table, progress) = compare(&[&QUICK[..], &options, &more].concat());
    assert_eq!(status, 0, "{table}{progress}");

    let found: Value = serde_json::from_str(&fs::read_to_string(&json_path).unwrap()).unwrap();
    assert_eq!(found["left_out"], json!([]), "{found}");
    let cases = found["cases"].as_array().unwrap();
    let titles: Vec<&str> = cases.iter().map(|case| case["title"].as_str().unwrap()).collect();
    let idle = ["idle, 50 connections, 1 core", "idle, 100 connections, 1 core"];
    assert_eq!(titles, ["wide16, 1 core", "calm, 1 core", idle[0], idle[1], "churn, 1 core"]);
    // Flat out on a machine with no time to spare members may fall behind and be cut off; not so here.
    let (calm, all_idle) = (&cases[1], &cases[3]);
    for case in cases {
        for name in servers {
            let server = server(case, name);
            let main = &server["figures"][case["main_figure"].as_str().unwrap()];
            assert!(main["median"].is_number(), "{server}");
            assert_eq!(server["runs"].as_array().unwrap().len(), 1);
            assert!(table.contains(&format!("\n  {name} ")), "{table}");
        }
    }
    // The floor sends as many bytes as the server it is compared with.
    let bytes = |name| server(calm, name)["figures"]["bytes_each"]["median"].as_f64().unwrap();
    assert!((bytes(servers[0]) - bytes("floor")).abs() <= 2.0, "{calm}");
    for name in servers {
        assert_eq!(server(calm, name)["figures"]["lost"]["median"], 0.0, "{calm}");
        assert_eq!(server(all_idle, name)["figures"]["joined"]["median"], 100.0, "{all_idle}");
    }
    let page = fs::read_to_string(&html_path).unwrap();
    for part in ["<!DOCTYPE html>", "</html>", "wide16, 1 core: latency", "memory of all over connections"] {
        assert!(page.contains(part), "{part}");
    }
}

/// A table of peers in a directory; each has a name, a command and what it needs.
fn write_peers(folder: &Path, peers: &[(&str, Value, Value)]) {
    let peer = |(name, command, needs): &(&str, Value, Value)| {
        json!({
            "name": name, "about": "a peer", "version": "1", "version_command": null, "command": command,
            "needs": needs, "env": {}, "ready": { "stream": "stdout", "text": "listening" },
            "url": "ws://127.0.0.1:{port}/", "headers": [],
            "join": [r#"{"type":"subscribe","room":"{room}"}"#], "join_after": null,
            "joined_marker": "\"subscribed\"", "leave": null, "left_marker": null,
            "publish": r#"{"type":"publish","room":"{room}","data":{payload}}"#, "keepalive": null,
            "ordered": true, "cores": "all", "processes": "tree", "bytes": "", "notes": []
        })
    };
    let table = json!({ "peers": peers.iter().map(peer).collect::<Value>() });
    fs::write(folder.join("peers.json"), table.to_string()).unwrap();
}

#[test]
fn peers_take_part_and_those_that_cannot_are_named() {
    let folder = folder("compare-peers");
    let script = |text: &str| json!(["sh", "-c", text]);
    // A peer of two processes: the server is the child of a shell.
    let tree = script(r#""$0" floor --port "$1" --threads 1 & wait"#);
    let mut tree = tree.as_array().unwrap().clone();
    tree.extend([json!(env!("CARGO_BIN_EXE_loadtest")), json!("{port}")]);
    write_peers(
        &folder,
        &[
            ("tree", Value::Array(tree), json!([])),
            ("absent", script("exit 0"), json!(["no/module"])),
            ("broken", script("echo no license >&2; exit 1"), json!([])),
        ],
    );
    let out = folder.join("out.json");
    let paths = [folder.to_str().unwrap(), out.to_str().unwrap()];
    let options =
        ["--servers", "tree,absent,broken", "--only", "calm", "--peers", paths[0], "--json", paths[1]];
    let (status, table, progress) = compare(&[&QUICK[..], &options].concat());
    assert_eq!(status, 0, "{table}{progress}");
    let found: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(found["left_out"][0], json!({ "name": "absent", "why": "not installed: no no/module" }));
    assert_eq!(found["left_out"][1]["name"], "broken");
    assert!(found["left_out"][1]["why"].as_str().unwrap().contains("no license"), "{found}");
    let tree = server(&found["cases"][0], "tree");
    // Half a second of 40 messages a second to 50 members; the child's CPU time counts.
    assert_eq!(tree["figures"]["lost"]["median"], 0.0, "{tree}");
    assert!(tree["figures"]["cpu_us_per_delivery"]["median"].is_number(), "{tree}");
    assert!(table.contains("left out: absent: not installed"), "{table}");
}

#[test]
fn wrong_input_is_named() {
    let folder = folder("compare-wrong");
    fs::write(folder.join("peers.json"), r#"{"peers":[{"name":"x","speed":9}]}"#).unwrap();
    let peers = folder.to_str().unwrap();
    for (options, words) in [
        (&["--servers", "bnu"][..], ["--servers", "`bnu`"]),
        (&["--only", "wide"], ["--only", "`wide`"]),
        (&["--cores", "9999"], ["--cores", "9999"]),
        (&["--peers", peers], ["peers.json", "`speed`"]),
        (&["--duration", "0"], ["seconds", "more than 0"]),
    ] {
        let (status, out, err) = compare(options);
        assert_eq!((status, out.as_str()), (2, ""), "{options:?}");
        assert!(words.iter().all(|word| err.contains(word)), "{options:?}: {err}");
    }
}

/// Processes, this one aside, that have the environment variable `MARK` of this value.
fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("MARK={mark}");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    pids.filter(has).collect()
}

/// A comparison that a failed test does not leave behind.
struct Interruptible(Child);

impl Drop for Interruptible {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // Not SIGKILL: it must stop its server.
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
            let _ = self.0.wait();
        }
    }
}

/// One interrupt ends a comparison with what it has, two end it at once; no server stays behind.
#[test]
fn interrupts_leave_no_server_behind() {
    let folder = folder("compare-interrupt");
    // Takes no SIGTERM, so that the first interrupt has an end that lasts until the second.
    let stubborn = r#"trap '' TERM; "$0" floor --port "$1" --threads 1 & while :; do wait; done"#;
    let command = json!(["sh", "-c", stubborn, env!("CARGO_BIN_EXE_loadtest"), "{port}"]);
    write_peers(&folder, &[("stubborn", command, json!([]))]);
    let peers = ["--peers", folder.to_str().unwrap(), "--servers", "stubborn"];
    for (interrupts, wanted) in [(1, 1), (2, 130)] {
        let mark = format!("compare-{}-{interrupts}", std::process::id());
        let options = [&QUICK[..], &peers, &["--only", "calm", "--rounds", "1000"]].concat();
        let mut child = Interruptible(program(&options).env("MARK", &mark).spawn().unwrap());
        let child = &mut child.0;
        let pipe = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || std::io::read_to_string(pipe).unwrap());
        // The first round is told when it has ended, and the next one begins.
        let mut progress = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.contains("round 1 of 1000: stubborn") {
            assert_ne!(progress.read_line(&mut told).unwrap(), 0, "{told}");
        }
        let rest = std::thread::spawn(move || std::io::read_to_string(progress).unwrap());
        while marked(&mark).len() < 2 {
            std::thread::yield_now();
        }

        for _ in 0..interrupts {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
            // A signal that comes while one of its kind waits is lost.
            let status = format!("/proc/{id}/status");
            let waits = || {
                let status = fs::read_to_string(&status).unwrap_or_default();
                let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
                pending.is_some_and(|signals| signals.trim().contains(|c| c != '0'))
            };
            while waits() {
                std::thread::yield_now();
            }
        }
        let status = await_end(child);
        let (table, rest) = (stdout.join().unwrap(), rest.join().unwrap());
        assert_eq!(status.code(), Some(wanted), "{table}{rest}");
        assert_eq!(interrupts == 1, table.contains("note: interrupted"), "{table}");
        let began = Instant::now();
        while !marked(&mark).is_empty() {
            assert!(began.elapsed() < LIMIT, "left behind: {:?}", marked(&mark));
            std::thread::yield_now();
        }
    }
}
