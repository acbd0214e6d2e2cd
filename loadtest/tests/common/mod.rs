//! Runs the program and reads its report.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No run of these tests takes nearly as long.
const LIMIT: Duration = Duration::from_secs(30);

/// The report and the exit status of one run.
pub fn run(pattern: &str, url: &str, options: &[&str]) -> (Value, i32) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([pattern, url, "--json", "--threads", "2", "--join-timeout", "10", "--drain", "3"])
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > LIMIT {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = reader.join().unwrap().unwrap();
    let report = serde_json::from_str(&text).unwrap_or(Value::Null);
    (report, status.code().expect("ended by itself"))
}

/// A number of the report.
pub fn number(report: &Value, section: &str, key: &str) -> f64 {
    report[section][key].as_f64().unwrap_or_else(|| panic!("no {section}.{key} in {report}"))
}

/// Nothing lost, doubled, out of order or astray, and something delivered.
pub fn assert_all_delivered(report: &Value, status: i32) {
    assert_eq!((status, &report["problems"]), (0, &serde_json::json!([])), "{report}");
    let expected = number(report, "deliveries", "expected");
    assert!(expected > 0.0);
    assert_eq!(number(report, "deliveries", "received"), expected);
    for key in ["lost", "duplicates", "reordered", "strays", "unsent"] {
        assert_eq!(number(report, "deliveries", key), 0.0, "{key}");
    }
}
