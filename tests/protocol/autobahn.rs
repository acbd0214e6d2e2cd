//! The Autobahn Testsuite against `/echo`: every case as good as in `tests/autobahn/results.txt`, or better.
//!
//! Every run makes all cases but those of the sections 12 and 13 that send a thousand messages of 8 KiB to 128 KiB each,
//! which is ten minutes of a core for the suite alone. With `FANWIRE_AUTOBAHN=all`, as before a release, it makes these
//! too.
//!
//! The suite is a program for Python 2.7, which `tests/run` installs where that is to be had. What it covers is
//! held everywhere, in raw bytes, by `autobahn_cases`.

use crate::common::{Program, Server, left_out, tests_path};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// Cases of autobahntestsuite 25.10.1.
const CASES: usize = 517;

/// What runs beside each other, since the suite itself uses one core: one part per core at a time. The first takes 7 s
/// on its pauses alone, 9 moves megabytes, and the cases of 12 and 13 send a thousand messages each, of up to 128 KiB,
/// that the suite compresses and masks.
const PARTS: [&[&str]; 14] = [
    &["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"],
    &["9.*"],
    &["12.1.*"],
    &["12.2.*"],
    &["12.3.*"],
    &["12.4.*"],
    &["12.5.*"],
    &["13.1.*"],
    &["13.2.*"],
    &["13.3.*"],
    &["13.4.*"],
    &["13.5.*"],
    &["13.6.*"],
    &["13.7.*"],
];

/// How long one part may take: some 40 s where nothing else runs and all its cases are made.
const PART_PATIENCE: Duration = Duration::from_secs(1800);

/// Of each section of 12 and 13, the cases of every run: messages of 16 bytes to 4 KiB, and of 8 KiB in pieces.
const SHORT: [u32; 6] = [1, 2, 3, 4, 5, 11];

/// Whether every run makes a case.
fn is_short(case: &[u32]) -> bool {
    !matches!(case[0], 12 | 13) || SHORT.contains(&case[2])
}

/// The cases of a part, as the suite takes them.
fn cases_of(part: &[&str], all: bool) -> Vec<String> {
    let short = |section: &str| SHORT.map(|number| section.replace('*', &number.to_string()));
    let is_long = |section: &str| section.starts_with("12.") || section.starts_with("13.");
    part.iter()
        .flat_map(
            |section| {
                if is_long(section) && !all { short(section).to_vec() } else { vec![section.to_string()] }
            },
        )
        .collect()
}

/// What the suite says of a case: of the conversation, and of its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    behaviour: String,
    end: String,
}

/// The number of a case, such as 1.1.1, in an order that is that of numbers.
type Case = Vec<u32>;

fn case(text: &str) -> Case {
    text.split('.').map(|number| number.parse().unwrap_or_else(|_| panic!("no case: {text}"))).collect()
}

/// 0 is best. What is not named here is a failure of one kind or another.
fn rank(word: &str) -> u32 {
    ["OK", "INFORMATIONAL", "NON-STRICT"].iter().position(|w| *w == word).unwrap_or(3) as u32
}

impl Verdict {
    fn is_worse_than(&self, other: &Self) -> bool {
        rank(&self.behaviour) > rank(&other.behaviour) || rank(&self.end) > rank(&other.end)
    }
}

/// Lines of `CASE-LAST BEHAVIOUR END`: `1.1.1-8 OK OK` are the cases 1.1.1 to 1.1.8.
fn read_table(text: &str) -> BTreeMap<Case, Verdict> {
    let mut table = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let mut next =
            || words.next().unwrap_or_else(|| panic!("not CASES BEHAVIOUR END: {line}")).to_owned();
        let (cases, behaviour) = (next(), next());
        let verdict = Verdict { behaviour, end: words.collect::<Vec<_>>().join(" ") };
        let (first, last) = cases.split_once('-').map_or((&*cases, None), |(a, b)| (a, Some(b)));
        let (section, first) = first.rsplit_once('.').unwrap();
        let first: u32 = first.parse().unwrap();
        for number in first..=last.map_or(first, |last| last.parse().unwrap()) {
            let twice = table.insert([case(section), vec![number]].concat(), verdict.clone());
            assert!(twice.is_none(), "twice: {line}");
        }
    }
    table
}

fn write_table(table: &BTreeMap<Case, Verdict>) -> String {
    let mut runs: Vec<(&[u32], u32, u32, &Verdict)> = Vec::new();
    for (case, verdict) in table {
        let (last, section) = case.split_last().unwrap();
        match runs.last_mut() {
            Some((of, _, end, same)) if *of == section && *end + 1 == *last && *same == verdict => {
                *end = *last
            }
            _ => runs.push((section, *last, *last, verdict)),
        }
    }
    let mut text = String::new();
    for (section, first, last, Verdict { behaviour, end }) in runs {
        let section = section.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        let cases = if first == last { first.to_string() } else { format!("{first}-{last}") };
        text += &format!("{:<10} {behaviour} {end}\n", format!("{section}.{cases}"));
    }
    text
}

fn kept_table() -> BTreeMap<Case, Verdict> {
    read_table(&std::fs::read_to_string(tests_path("autobahn/results.txt")).unwrap())
}

/// Starts the suite on some sections. Its report will be below `folder`.
fn start_suite(sections: &[String], server: &Server, folder: &Path) -> Program {
    let url = format!("ws://{}/echo", server.addr());
    let spec = serde_json::json!({
        "outdir": folder.join("reports"),
        "servers": [{"agent": "fanwire", "url": url}],
        "cases": sections,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    std::fs::create_dir_all(folder).unwrap();
    let spec_path = folder.join("spec.json");
    std::fs::write(&spec_path, spec.to_string()).unwrap();
    // By the interpreter: the script's own first line names the folder that it was installed in.
    let mut command = Command::new(tests_path(".tools/autobahn/bin/python"));
    command.arg(tests_path(".tools/autobahn/bin/wstest")).args(["-m", "fuzzingclient", "-s"]).arg(spec_path);
    Program::start(command.current_dir(folder))
}

/// The verdicts of a report.
fn read_report(folder: &Path) -> BTreeMap<Case, Verdict> {
    let text = std::fs::read_to_string(folder.join("reports/index.json")).expect("the suite has reported");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases = report["fanwire"].as_object().expect("a report on the server");
    let word = |value: &serde_json::Value| value.as_str().expect("a word").to_owned();
    cases
        .iter()
        .map(|(name, of)| {
            (case(name), Verdict { behaviour: word(&of["behavior"]), end: word(&of["behaviorClose"]) })
        })
        .collect()
}

#[test]
fn cases_are_as_good_as_they_were() {
    if !tests_path(".tools/autobahn/bin/wstest").exists() {
        return left_out(
            "autobahn",
            "the Autobahn Testsuite, which needs Python 2.7 (tests/run installs it)",
        );
    }
    let server = Server::start(&["--echo=true", "--deflate=true"]);
    let folder = tempfile::tempdir().unwrap();
    let all = std::env::var("FANWIRE_AUTOBAHN").is_ok_and(|which| which == "all");
    let queue = Mutex::new(PARTS.iter().enumerate());
    let found = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(4, usize::from) {
            scope.spawn(|| {
                // Not in the loop's head: the lock would be held for as long as the part runs.
                let next = || queue.lock().unwrap().next();
                while let Some((number, part)) = next() {
                    let folder = folder.path().join(number.to_string());
                    let mut suite = start_suite(&cases_of(part, all), &server, &folder);
                    let status = suite.finish(PART_PATIENCE);
                    assert!(status.success(), "{status}\n{}", suite.output());
                    found.lock().unwrap().extend(read_report(&folder));
                }
            });
        }
    });
    let found: BTreeMap<_, _> = found.into_inner().unwrap();
    // In the form of the kept table, to replace it where a change has made the server better.
    std::fs::write(tests_path(".tools/autobahn/results.txt"), write_table(&found)).unwrap();
    let mut kept = kept_table();
    kept.retain(|case, _| all || is_short(case));
    assert!(kept.keys().eq(found.keys()), "{} cases ran, not these {}", found.len(), kept.len());
    let worse: BTreeMap<_, _> = found
        .iter()
        .filter(|(case, now)| now.is_worse_than(&kept[*case]))
        .map(|(c, v)| (c.clone(), v.clone()))
        .collect();
    let was = worse.keys().map(|case| (case.clone(), kept[case].clone())).collect();
    assert!(worse.is_empty(), "worse than kept:\n{}they were:\n{}", write_table(&worse), write_table(&was));
    assert!(server.get("/health").body.contains("\"clients\":0"), "every case has left: {}", server.output());
}

/// What may be kept at all: the table must not get worse by being replaced.
#[test]
fn the_kept_table_is_what_was_promised() {
    let kept = kept_table();
    assert_eq!(kept.len(), CASES);
    for (case, Verdict { behaviour, end }) in &kept {
        let allowed = match behaviour.as_str() {
            "OK" => true,
            "INFORMATIONAL" => !matches!(case[0], 12 | 13),
            "NON-STRICT" => case.starts_with(&[6, 4]),
            _ => false,
        };
        assert!(allowed && matches!(end.as_str(), "OK" | "INFORMATIONAL"), "{case:?} {behaviour} {end}");
    }
}

#[test]
fn tables_are_written_as_they_are_read() {
    let text =
        "1.1.1-8    OK OK\n1.2.1      OK OK\n6.4.1      OK OK\n6.4.2      NON-STRICT FAILED BY CLIENT\n";
    let table = read_table(text);
    assert_eq!(table.len(), 11);
    assert_eq!(write_table(&table), text);
    let (good, bad) = (&table[&vec![6, 4, 1]], &table[&vec![6, 4, 2]]);
    assert!(bad.is_worse_than(good) && !good.is_worse_than(bad) && !good.is_worse_than(good));
}
