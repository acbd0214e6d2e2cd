//! Plots as inline SVG.

use std::fmt::Write as _;

use super::html::escape;
use super::scale::Scale;
use crate::compare::stats::Spread;

const WIDTH: f64 = 720.0;
const ROW: f64 = 22.0;
const LINES_HEIGHT: f64 = 320.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 34.0;

/// How values are written.
pub type Show<'a> = &'a dyn Fn(f64) -> String;

/// A bar.
pub struct Bar<'a> {
    /// Whose it is.
    pub name: &'a str,
    /// Its length and its whiskers.
    pub spread: Spread,
}

/// A line.
pub struct Line<'a> {
    /// Whose it is.
    pub name: &'a str,
    /// For each place on the axis below, when there is a value.
    pub values: Vec<Option<f64>>,
}

/// Lying bars with their ranges as whiskers.
pub fn bars(title: &str, bars: &[Bar<'_>], show: Show<'_>) -> String {
    let height = TOP + ROW * bars.len() as f64 + BOTTOM;
    let longest = bars.iter().map(|bar| bar.spread.max).fold(0.0, f64::max);
    let scale = Scale::linear(longest, LEFT, WIDTH - RIGHT);
    let mut out = begin(title, height);
    for tick in scale.ticks() {
        let (x, low) = (scale.pixel(tick), height - BOTTOM);
        grid(&mut out, [x, TOP, x, low]);
        label(&mut out, x, low + 16.0, "middle", &show(tick));
    }
    for (row, bar) in bars.iter().enumerate() {
        let Spread { median, min, max, .. } = bar.spread;
        let (top, end) = (TOP + ROW * row as f64, scale.pixel(median));
        let middle = top + ROW / 2.0;
        label(&mut out, LEFT - 8.0, middle + 4.0, "end", bar.name);
        let (y, height, width) = (top + 4.0, ROW - 8.0, (end - LEFT).max(0.5));
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            out,
            r#"<rect x="{LEFT:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{}"/>"#,
            colour(row)
        );
        let (from, to) = (scale.pixel(min), scale.pixel(max));
        let _ = writeln!(
            out,
            r#"<path class="whisker" d="M{from:.1} {middle:.1}H{to:.1}M{from:.1} {a:.1}V{b:.1}M{to:.1} {a:.1}V{b:.1}"/>"#,
            a = middle - 4.0,
            b = middle + 4.0
        );
        label(&mut out, to.max(end) + 8.0, middle + 4.0, "start", &show(median));
    }
    out.push_str("</svg>\n");
    out
}

/// Lines over named places; the axis upwards is logarithmic.
pub fn lines(title: &str, places: &[String], lines: &[Line<'_>], show: Show<'_>) -> String {
    let height = LINES_HEIGHT.max(TOP + BOTTOM + 16.0 * lines.len() as f64);
    let (low, right) = (height - BOTTOM, WIDTH - RIGHT);
    let all = lines.iter().flat_map(|line| line.values.iter().flatten().copied());
    let scale = Scale::logarithmic(all, low, TOP);
    let left = LEFT * 0.6;
    let step = (right - left) / places.len().saturating_sub(1).max(1) as f64;
    let at = |place: usize| left + step * place as f64;
    let mut out = begin(title, height);
    for tick in scale.ticks() {
        let y = scale.pixel(tick);
        grid(&mut out, [left, y, right, y]);
        label(&mut out, left - 8.0, y + 4.0, "end", &show(tick));
    }
    for (place, name) in places.iter().enumerate() {
        grid(&mut out, [at(place), TOP, at(place), low]);
        label(&mut out, at(place), low + 16.0, "middle", name);
    }
    for (number, line) in lines.iter().enumerate() {
        let points = line.values.iter().enumerate();
        let points: Vec<(f64, f64, f64)> = points
            .filter_map(|(place, value)| value.map(|value| (at(place), scale.pixel(value), value)))
            .collect();
        let path: Vec<String> = points.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            out,
            r#"<polyline points="{}" fill="none" stroke="{}" stroke-width="{}" stroke-dasharray="{}"/>"#,
            path.join(" "),
            colour(number),
            if number == 0 { 3 } else { 2 },
            dashes(number)
        );
        for (x, y, value) in points {
            let told = escape(&format!("{}: {}", line.name, show(value)));
            let _ = writeln!(
                out,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{}"><title>{told}</title></circle>"#,
                colour(number)
            );
        }
        let (x, y) = (right + 14.0, TOP + 8.0 + 16.0 * number as f64);
        let _ = writeln!(
            out,
            r#"<path d="M{x:.1} {y:.1}h20" stroke="{}" stroke-width="3" stroke-dasharray="{}"/>"#,
            colour(number),
            dashes(number)
        );
        label(&mut out, x + 26.0, y + 4.0, "start", line.name);
    }
    out.push_str("</svg>\n");
    out
}

fn begin(title: &str, height: f64) -> String {
    let attribute = escape(title);
    let mut out = format!(r#"<svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{attribute}">"#);
    out.push('\n');
    label(&mut out, 4.0, 14.0, "start", title);
    out
}

fn grid(out: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(out, r#"<path class="grid" d="M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}"/>"#);
}

fn label(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escape(text);
    let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}

/// Neighbours differ by the golden angle, so that any number of servers can be told apart.
fn colour(number: usize) -> String {
    format!("hsl({:.0} 65% {}%)", (210.0 + number as f64 * 137.5) % 360.0, [45, 58, 36][number % 3])
}

fn dashes(number: usize) -> &'static str {
    ["none", "8 3", "3 3"][number / 5 % 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_names_and_figures() {
        let spread = Spread { median: 0.5, min: 0.4, max: 0.7, count: 3 };
        let svg = bars("CPU", &[Bar { name: "a<b", spread }], &|value| format!("{value:.2} us"));
        for part in ["a&lt;b", "0.50 us", "whisker", "</svg>"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }

    #[test]
    fn a_line_skips_what_is_not_there() {
        let places = ["p50".to_owned(), "p99".to_owned(), "max".to_owned()];
        let line = Line { name: "ours", values: vec![Some(1.0), None, Some(100.0)] };
        let svg = lines("latency", &places, &[line], &|value| value.to_string());
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(svg.contains("<title>ours: 100</title>"), "{svg}");
        assert!(!lines("nothing", &[], &[], &|_| String::new()).contains("NaN"));
    }
}
