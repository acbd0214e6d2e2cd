//! The table.

use std::fmt::Write as _;

use crate::compare::metric::Shown;
use crate::compare::result::{CaseResult, Comparison, ServerResult};

/// What stands where a server gave no figure.
pub const NONE: &str = "-";

/// All of it.
pub fn render(comparison: &Comparison) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail, here and below.
    for (what, text) in &comparison.machine {
        let _ = writeln!(out, "{what}: {text}");
    }
    for server in &comparison.servers {
        let _ = writeln!(out, "server {}: {}, {}", server.name, server.about, server.version);
    }
    for (name, why) in &comparison.left_out {
        let _ = writeln!(out, "left out: {name}: {why}");
    }
    for case in &comparison.cases {
        let _ = write!(out, "\n{}: {}", case.case.title(), case.case.scenario.about);
        let frames = case.frame_bytes.map(|bytes| format!("; frames of the bare servers: {bytes} B"));
        let _ = writeln!(out, "{}", frames.unwrap_or_default());
        out.push_str(&aligned(&rows(case, &comparison.relative_to)));
        for (name, remark) in remarks(case) {
            let _ = writeln!(out, "  {name}: {remark}");
        }
    }
    if !comparison.notes.is_empty() {
        out.push('\n');
    }
    for note in &comparison.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

/// What there is to say of the servers of a case.
pub fn remarks(case: &CaseResult) -> Vec<(&str, String)> {
    let mut all = Vec::new();
    for server in &case.servers {
        all.extend(server.remarks().into_iter().map(|remark| (server.name.as_str(), remark)));
    }
    all
}

/// The head and a row for each server.
pub fn rows(case: &CaseResult, relative_to: &str) -> Vec<Vec<String>> {
    let shown = || case.metrics().iter().filter(|metric| metric.shown != Shown::Nothing);
    let mut head: Vec<String> =
        ["server"].into_iter().chain(shown().map(|metric| metric.label)).map(str::to_owned).collect();
    // Right of the figure that it is about.
    let place = 2 + shown().position(|metric| metric.key == case.main().key).unwrap_or(0);
    head.insert(place, format!("x {relative_to}"));
    head.push("runs".into());
    let row = |server: &ServerResult| {
        let figure = |key: &str, shown: Shown, show: &dyn Fn(f64) -> String| match server.spread(key) {
            None => NONE.to_owned(),
            Some(spread) if shown == Shown::Range && spread.count > 1 => {
                format!("{} ({}..{})", show(spread.median), show(spread.min), show(spread.max))
            }
            Some(spread) => show(spread.median),
        };
        let mut cells = vec![server.name.clone()];
        cells.extend(shown().map(|metric| figure(metric.key, metric.shown, &|value| metric.show(value))));
        let ratio = case.ratio(server, relative_to);
        cells.insert(place, ratio.map_or(NONE.into(), |ratio| format!("{ratio:.2}")));
        cells.push(server.counted().count().to_string());
        cells
    };
    [head].into_iter().chain(case.servers.iter().map(row)).collect()
}

/// The first column to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let _ = write!(out, "  {:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(out, "  {cell:>width$}");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::compare::result::Compared;
    use crate::compare::result::tests::case;

    /// Something of everything.
    pub fn sample() -> Comparison {
        let mut wide = case("wide16", &[("ours", &[0.30, 0.34, 0.32]), ("floor", &[0.32]), ("bun", &[])]);
        wide.servers[2].failure = Some("no figures in round 1: <it> ended & \"died\"".into());
        for (key, figure) in [("p50_us", 900.0), ("p99_us", 4_000.0)] {
            wide.servers[0].runs.iter_mut().for_each(|run| run.figures.extend([(key, figure)]));
        }
        let mut idle = case("idle", &[("ours", &[250.0, 260.0])]);
        idle.servers[0].runs.iter_mut().for_each(|run| run.figures.extend([("held_bytes", 250_000.0)]));
        Comparison {
            machine: vec![("processor", "a <fast> one".into())],
            rounds: 3,
            relative_to: "floor".into(),
            servers: vec![Compared {
                name: "ours".into(),
                about: "Fanwire".into(),
                version: "1".into(),
                bytes: "{}".into(),
                notes: vec!["a & b".into()],
            }],
            left_out: vec![("nats".into(), "not installed: no nats-server".into())],
            notes: vec!["a <note>".into()],
            cases: vec![wide, idle],
        }
    }

    #[test]
    fn the_table_tells_medians_ranges_ratios_and_gaps() {
        let text = render(&sample());
        for part in [
            "left out: nats: not installed: no nats-server",
            "wide16, 1 core: 1 room of 1,000 members",
            "frames of the bare servers: 244 B",
            "0.32 us (0.30 us..0.34 us)",
            "x floor",
            "1.00",
            "bun: no figures in round 1",
            "note: a <note>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let row = text.lines().find(|line| line.trim_start().starts_with("bun ")).unwrap();
        assert!(row.contains(NONE) && row.ends_with('0'), "{row}");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = rows(&sample().cases[0], "floor");
        assert!(rows.iter().all(|row| row.len() == rows[0].len()));
        let text = aligned(&rows);
        let mut lengths: Vec<usize> = text.lines().map(str::len).collect();
        lengths.dedup();
        assert_eq!(lengths.len(), 1, "{text}");
    }
}
