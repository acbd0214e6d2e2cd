//! The page: one file that needs no other, with tables and plots.

use std::fmt::Write as _;

use super::plot::{Bar, Line, bars, lines};
use super::table;
use crate::compare::metric::{self, PERCENTILES};
use crate::compare::result::{CaseResult, Comparison};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --faint: #8886; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #161616; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; max-width: 760px; margin: 1rem 0; }
svg text { font-size: 12px; fill: var(--ink); }
svg .grid { stroke: var(--faint); stroke-width: 1; fill: none; }
svg .whisker { stroke: var(--ink); stroke-width: 1.5; fill: none; }
.remarks { font-size: 13px; }
";

/// All of it.
pub fn render(comparison: &Comparison) -> String {
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\"/>\n");
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(out, "<title>Servers compared</title>\n<style>{STYLE}</style>\n</head>\n<body>");
    out.push_str("<h1>Servers compared</h1>\n");
    let _ = writeln!(
        out,
        "<p>Medians of {} rounds, with the smallest and the largest. CPU is the server's, user and system, all \
         its processes. Servers were started anew for every run and took turns.</p>",
        comparison.rounds
    );
    items(&mut out, comparison.machine.iter().map(|(what, text)| format!("{what}: {text}")));
    items(&mut out, comparison.notes.iter().cloned());

    let mut rest = &comparison.cases[..];
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|case| case.case.scenario.name == first.case.scenario.name).count();
        let (cases, others) = rest.split_at(same);
        rest = others;
        scenario(&mut out, cases, &comparison.relative_to);
    }

    out.push_str("<h2>The servers</h2>\n");
    for server in &comparison.servers {
        let (name, about) = (escape(&server.name), escape(&server.about));
        let _ = writeln!(out, "<h3>{name}</h3>\n<p>{about}; {}</p>", escape(&server.version));
        let sent = format!("A member receives {}", server.bytes);
        items(&mut out, [sent].into_iter().chain(server.notes.iter().cloned()));
    }
    let left_out = comparison.left_out.iter().map(|(name, why)| format!("{name}: left out, {why}"));
    items(&mut out, left_out);
    out.push_str("</body>\n</html>\n");
    out
}

/// The cases of one scenario.
fn scenario(out: &mut String, cases: &[CaseResult], relative_to: &str) {
    let scenario = &cases[0].case.scenario;
    let _ = writeln!(out, "<h2>{}</h2>\n<p>{}</p>", escape(&scenario.name), escape(&scenario.about));
    for case in cases {
        let _ = writeln!(out, "<h3>{}</h3>", escape(&case.case.title()));
        if let Some(bytes) = case.frame_bytes {
            let _ = writeln!(out, "<p>Frames of the bare servers: {bytes} bytes.</p>");
        }
        rows(out, &table::rows(case, relative_to));
        let remarks = table::remarks(case).into_iter();
        items(out, remarks.map(|(name, remark)| format!("{name}: {remark}")));
        if case.case.point.is_none() {
            out.push_str(&main_figure(case));
        }
        out.push_str(&percentiles(case));
    }
    for cores in &scenario.cores {
        let points: Vec<&CaseResult> = cases.iter().filter(|case| case.case.cores == *cores).collect();
        out.push_str(&curves(&points));
    }
}

/// The figure that matters most, as bars.
fn main_figure(case: &CaseResult) -> String {
    let metric = case.main();
    let found = case.servers.iter();
    let found: Vec<Bar<'_>> = found
        .filter_map(|server| Some(Bar { name: &server.name, spread: server.spread(metric.key)? }))
        .collect();
    let title = format!("{}: {}", case.case.title(), metric.label);
    if found.is_empty() { String::new() } else { bars(&title, &found, &|value| metric.show(value)) }
}

/// The percentiles of the latency, where there are some.
fn percentiles(case: &CaseResult) -> String {
    let Some(metric) = case.metrics().iter().find(|metric| metric.key == "p99_us") else {
        return String::new();
    };
    let places = PERCENTILES.map(|(label, _)| label.to_owned());
    let found: Vec<Line<'_>> = case
        .servers
        .iter()
        .map(|server| Line {
            name: &server.name,
            values: PERCENTILES.iter().map(|(_, key)| Some(server.spread(key)?.median)).collect(),
        })
        .filter(|line| line.values.iter().any(Option::is_some))
        .collect();
    let title = format!("{}: latency, intended send to receipt", case.case.title());
    if found.is_empty() { String::new() } else { lines(&title, &places, &found, &|value| metric.show(value)) }
}

/// A figure over the points of a scenario, where it has several.
fn curves(points: &[&CaseResult]) -> String {
    let [first, _, ..] = points else { return String::new() };
    let metric = metric::curve(first.case.scenario.pattern, first.main());
    let value = |case: &&CaseResult| case.case.point.as_ref().map_or(String::new(), |(_, v)| v.to_string());
    let places: Vec<String> = points.iter().map(value).collect();
    let found: Vec<Line<'_>> = (0..first.servers.len())
        .map(|index| Line {
            name: &first.servers[index].name,
            values: points.iter().map(|case| Some(case.servers[index].spread(metric.key)?.median)).collect(),
        })
        .collect();
    let option = first.case.point.as_ref().map_or("", |(option, _)| option);
    let cores = first.case.cores;
    let name = &first.case.scenario.name;
    let title = format!("{name}, server cores: {cores}: {} over {option}", metric.label);
    lines(&title, &places, &found, &|value| metric.show(value))
}

fn rows(out: &mut String, rows: &[Vec<String>]) {
    out.push_str("<div class=\"scroll\">\n<table>\n");
    for (number, row) in rows.iter().enumerate() {
        let tag = if number == 0 { "th" } else { "td" };
        let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        let _ = writeln!(out, "<tr>{cells}</tr>");
    }
    out.push_str("</table>\n</div>\n");
}

/// A list, when there is something to list.
fn items(out: &mut String, texts: impl IntoIterator<Item = String>) {
    let items: String = texts.into_iter().map(|text| format!("<li>{}</li>\n", escape(&text))).collect();
    if !items.is_empty() {
        let _ = writeln!(out, "<ul class=\"remarks\">\n{items}</ul>");
    }
}

/// For text and for attributes in double quotes.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::table::tests::sample;
    use crate::compare::result::tests::case;

    /// Asserts that every tag is closed by its own kind and every attribute quoted, as XML has it.
    fn assert_well_formed(page: &str) {
        let body = page.strip_prefix("<!DOCTYPE html>\n").expect("the document type");
        let (mut open, mut rest): (Vec<&str>, &str) = (Vec::new(), body);
        while let Some(at) = rest.find('<') {
            assert!(!rest[..at].contains('>'), "a stray > in {:?}", &rest[..at]);
            let tag = rest[at + 1..].split_once('>').expect("the end of a tag");
            rest = tag.1;
            let tag = tag.0;
            assert_eq!(tag.matches("=\"").count() * 2, tag.matches('"').count(), "{tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(tag.split_ascii_whitespace().next().expect("a name"));
            }
        }
        assert_eq!(open, Vec::<&str>::new());
        for part in page.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|name| part.starts_with(name)), "&{part}");
        }
    }

    #[test]
    fn the_page_is_well_formed_and_needs_no_other_file() {
        let page = render(&sample());
        assert_well_formed(&page);
        for part in ["http:", "https:", "src=", "href=", "@import", "url(", "<script", "<link", "<img"] {
            assert!(!page.contains(part), "{part}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf\""));
    }

    #[test]
    fn the_page_has_tables_plots_and_what_is_missing() {
        let page = render(&sample());
        for part in [
            "<h2>wide16</h2>",
            "wide16, 1 core: CPU per delivery",
            "wide16, 1 core: latency",
            "&lt;it&gt; ended &amp; &quot;died&quot;",
            "nats: left out",
            "a &lt;note&gt;",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn points_become_a_curve() {
        let mut comparison = sample();
        let mut more = case("idle", &[("ours", &[240.0])]);
        more.case.point = Some(("connections".into(), 10_000));
        more.servers[0].runs[0].figures.insert("held_bytes", 2_400_000.0);
        comparison.cases.push(more);
        let page = render(&comparison);
        assert_well_formed(&page);
        assert!(page.contains("idle, server cores: 1: memory of all over connections"), "{page}");
        assert!(page.contains("<title>ours: 2343.8 KiB</title>"), "{page}");
    }

    #[test]
    fn an_empty_comparison_is_a_page_too() {
        let mut comparison = sample();
        comparison.cases.clear();
        assert_well_formed(&render(&comparison));
    }
}
