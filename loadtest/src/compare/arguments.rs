//! The load tool's command line for one server and one case.

use super::cores::Split;
use super::launch::Running;
use super::scenario::{Case, arguments};
use super::server::{Place, Server};

/// Longest time to connect and join, in seconds.
const JOIN_TIMEOUT: &str = "--join-timeout=60";

/// Times besides the measured one, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Load before measuring.
    pub warmup: f64,
    /// Measured.
    pub duration: f64,
}

/// The words, the program's name among them.
pub fn line(server: &Server, running: &Running, case: &Case, split: &Split, times: Times) -> Vec<String> {
    let pattern = case.scenario.pattern;
    let numbers = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let pids: Vec<String> = running.pids.iter().map(u32::to_string).collect();
    let mut words = vec![
        "loadtest".to_owned(),
        pattern.name().into(),
        running.url.clone(),
        "--preset=none".into(),
        JOIN_TIMEOUT.into(),
        format!("--threads={}", split.load.len()),
        format!("--pin={}", numbers(&split.load)),
        format!("--pid={}", pids.join(",")),
        format!("--warmup={}", times.warmup),
        format!("--duration={}", times.duration),
    ];
    words.extend(protocol(server));
    words.extend(arguments(&case.options));
    words
}

/// The server's texts.
fn protocol(server: &Server) -> Vec<String> {
    let mut words = vec![format!("--publish={}", server.publish)];
    words.extend(server.headers.iter().map(|header| format!("--header={header}")));
    words.extend(server.join.iter().map(|frame| format!("--join={frame}")));
    let after = server.join_after.iter().flatten();
    words.extend(after.map(|text| format!("--join-after={}", text.as_deref().unwrap_or_default())));
    for (option, text) in [
        ("joined-marker", &server.joined_marker),
        ("left-marker", &server.left_marker),
        ("leave", &server.leave),
    ] {
        words.extend(text.iter().map(|text| format!("--{option}={text}")));
    }
    if let Some(keepalive) = &server.keepalive {
        words.push(format!("--keepalive={}", keepalive.ask));
        words.push(format!("--keepalive-answer={}", keepalive.answer));
        words.extend((keepalive.place == Place::Line).then(|| "--keepalive-line".to_owned()));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::compare::{scenario, server};
    use clap::Parser as _;
    use std::path::Path;

    #[test]
    fn the_load_tool_takes_every_server_and_its_texts() {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let scenarios = scenario::parse("scenarios.json", scenario::SHIPPED).unwrap();
        for server in server::all(&peers).unwrap().0 {
            for scenario in &scenarios {
                let mut line = vec!["loadtest".to_owned(), scenario.pattern.name().into(), "ws://h/".into()];
                line.push("--preset=none".into());
                line.extend(protocol(&server));
                let pattern = Cli::try_parse_from(line).unwrap().pattern;
                let templates = pattern.common().unwrap().templates();
                assert_eq!(templates.join, server.join, "{}", server.name);
                assert_eq!(templates.join_after, server.join_after.clone().unwrap_or_default());
                assert_eq!(templates.leave, server.leave.clone().unwrap_or_default());
                assert_eq!(templates.publish, server.publish);
                assert_eq!(templates.joined_marker, server.joined_marker);
                assert_eq!(templates.left_marker, server.left_marker);
                let asks = templates.keepalive.map(|keepalive| (keepalive.ask, keepalive.is_line));
                let wanted = server.keepalive.clone();
                assert_eq!(asks, wanted.map(|keepalive| (keepalive.ask, keepalive.place == Place::Line)));
            }
        }
    }
}
