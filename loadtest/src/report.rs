//! The report: a table for people, one JSON object for programs.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::clock::SECOND_NS;

/// What the table says of a value.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// A plain number.
    Count,
    /// Per second.
    PerSecond,
    /// Nanoseconds; the JSON holds microseconds.
    Nanos,
    /// Bytes.
    Bytes,
    /// Cores of CPU.
    Cores,
}

/// Everything one run found.
#[derive(Debug)]
pub struct Report {
    title: String,
    rows: Vec<(&'static str, String, String)>,
    json: Map<String, Value>,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    /// Empty; `pattern` and `title` say what was done.
    pub fn new(pattern: &str, title: String) -> Self {
        let mut json = Map::new();
        json.insert("pattern".into(), pattern.into());
        json.insert("title".into(), title.clone().into());
        Self { title, rows: Vec::new(), json, problems: Vec::new(), notes: Vec::new() }
    }

    /// Adds a number to a section. `label` is for the table, `key` for the JSON.
    pub fn add(&mut self, section: &'static str, key: &str, label: &str, value: f64, unit: Unit) {
        self.rows.push((section, label.into(), show(value, unit)));
        let scaled = match unit {
            Unit::Nanos => value / 1_000.0,
            _ => value,
        };
        // Whole numbers stay whole; so many digits behind the point are more than is known.
        let digits = if scaled.abs() < 1.0 { 1e6 } else { 1e3 };
        let number = if scaled.fract() == 0.0 && scaled.abs() < 9e15 {
            json!(scaled as i64)
        } else {
            json!((scaled * digits).round() / digits)
        };
        self.put(section, key, number);
    }

    /// Adds a number when there is one.
    pub fn add_some(
        &mut self,
        section: &'static str,
        key: &str,
        label: &str,
        value: Option<u64>,
        unit: Unit,
    ) {
        if let Some(value) = value {
            self.add(section, key, label, value as f64, unit);
        }
    }

    /// Adds how often each of several things came, in one line.
    pub fn add_ends(&mut self, section: &'static str, key: &str, label: &str, ends: &crate::io::Ends) {
        if !ends.is_empty() {
            let parts: Vec<_> = ends.iter().map(|(end, count)| format!("{count} x {end}")).collect();
            self.rows.push((section, label.into(), parts.join(", ")));
        }
        self.put(section, key, json!(ends));
    }

    /// Adds the percentiles of nanoseconds; nothing when nothing was measured.
    pub fn add_times(&mut self, section: &'static str, times_ns: &Histogram<u64>) {
        if times_ns.is_empty() {
            return;
        }
        for (key, quantile) in [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("p999_us", 0.999)] {
            let label = key.trim_end_matches("_us").replace("p999", "p99.9");
            self.add(section, key, &label, times_ns.value_at_quantile(quantile) as f64, Unit::Nanos);
        }
        self.add(section, "max_us", "max", times_ns.max() as f64, Unit::Nanos);
    }

    /// Adds what only programs read.
    pub fn add_json(&mut self, section: &'static str, key: &str, value: Value) {
        self.put(section, key, value);
    }

    /// The run did not show what it should: the program will fail.
    pub fn problem(&mut self, text: String) {
        self.problems.push(text);
    }

    /// Something the reader must know.
    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// No problem was found.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// The JSON object.
    pub fn to_value(&self) -> Value {
        let mut json = self.json.clone();
        json.insert("problems".into(), json!(self.problems));
        json.insert("notes".into(), json!(self.notes));
        Value::Object(json)
    }

    /// The JSON object, in one line.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    /// The table.
    pub fn to_table(&self) -> String {
        let mut out = format!("{}\n", self.title);
        let width = self.rows.iter().map(|(_, label, _)| label.len()).max().unwrap_or(0);
        let mut last = "";
        for (section, label, value) in &self.rows {
            if *section != last {
                // Writing to a string cannot fail, here and below.
                let _ = writeln!(out, "\n{section}");
                last = section;
            }
            let _ = writeln!(out, "  {label:<width$}  {value:>14}");
        }
        for (word, texts) in [("note", &self.notes), ("PROBLEM", &self.problems)] {
            for text in texts {
                let _ = write!(out, "\n{word}: {text}");
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }

    fn put(&mut self, section: &str, key: &str, value: Value) {
        let entry = self.json.entry(section.replace(' ', "_")).or_insert_with(|| json!({}));
        if let Value::Object(entries) = entry {
            entries.insert(key.into(), value);
        }
    }
}

/// A value as people read it.
pub fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count if value.fract() != 0.0 => format!("{value:.2}"),
        Unit::Count => grouped(value),
        Unit::PerSecond => format!("{}/s", grouped(value.round())),
        Unit::Bytes if value < 10_000.0 => format!("{value:.1} B"),
        Unit::Bytes if value < 1e7 => format!("{:.1} KiB", value / 1024.0),
        Unit::Bytes => format!("{:.1} MiB", value / 1_048_576.0),
        Unit::Cores if value.abs() < 0.1 => format!("{value:.4} cores"),
        Unit::Cores => format!("{value:.2} cores"),
        Unit::Nanos if value < 1e6 => format!("{:.2} us", value / 1e3),
        Unit::Nanos if value < SECOND_NS as f64 => format!("{:.2} ms", value / 1e6),
        Unit::Nanos => format!("{:.2} s", value / 1e9),
    }
}

/// 1234567 as 1,234,567.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::from(if value < 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(show(1_234_567.0, Unit::Count), "1,234,567");
        assert_eq!(show(-1_000.0, Unit::Count), "-1,000");
        assert_eq!(show(999.4, Unit::PerSecond), "999/s");
        assert_eq!(show(0.987, Unit::Cores), "0.99 cores");
        assert_eq!(show(0.0033, Unit::Cores), "0.0033 cores");
        assert_eq!(show(1_500.0, Unit::Nanos), "1.50 us");
        assert_eq!(show(2_500_000.0, Unit::Nanos), "2.50 ms");
        assert_eq!(show(3e9, Unit::Nanos), "3.00 s");
        assert_eq!(show(20_480.0, Unit::Bytes), "20.0 KiB");
    }

    #[test]
    fn table_and_json_say_the_same() {
        let mut report = Report::new("fanout", "a run".into());
        report.add("load tool", "sent", "sent", 12.0, Unit::Count);
        report.add("latency", "p50_us", "p50", 2_500.0, Unit::Nanos);
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(value["load_tool"]["sent"], 12);
        assert_eq!(value["latency"]["p50_us"], 2.5);
        let table = report.to_table();
        assert!(table.contains("load tool") && table.contains("2.50 us"), "{table}");
        assert!(report.is_good() && !table.contains("PROBLEM"));
        report.problem("3 copies lost".into());
        assert!(!report.is_good() && report.to_table().contains("PROBLEM: 3 copies lost"));
    }

    #[test]
    fn percentiles_come_from_the_histogram() {
        let mut times = crate::outcome::histogram();
        (1..=1_000).for_each(|n| times.saturating_record(n * 1_000));
        let mut report = Report::new("x", String::new());
        report.add_times("latency", &times);
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        let p99 = value["latency"]["p99_us"].as_f64().unwrap();
        assert!((989.0..=992.0).contains(&p99), "{p99}");
    }
}
