//! The page of metrics in the older text format of Prometheus.

/// Media type of the text format 0.0.4.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Words a page of OpenMetrics in the text format 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>):
/// the samples are the same, but there the family of a counter is called as its samples are, and has no other suffix.
pub fn as_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + open_metrics.len() / 16);
    // A family's help comes before its type.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((family, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == family) {
                text.extend(["# HELP ", family, suffix, " ", words, "\n"]);
            }
            let kind = if kind == "unknown" { "untyped" } else { kind };
            text.extend(["# TYPE ", family, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_called_as_their_samples() {
        let open_metrics = "# HELP a Things, all # of them.\n# TYPE a counter\na_total{shard=\"0\"} 1\na_total 2\n\
                            # HELP b B.\n# TYPE b gauge\n# UNIT b bytes\nb 3.5\n# TYPE c histogram\n\
                            c_bucket{le=\"+Inf\"} 1\nc_sum 2\nc_count 1\n# TYPE d unknown\nd 1\n# EOF\n";
        let text = "# HELP a_total Things, all # of them.\n# TYPE a_total counter\na_total{shard=\"0\"} 1\na_total 2\n\
                    # HELP b B.\n# TYPE b gauge\nb 3.5\n# TYPE c histogram\n\
                    c_bucket{le=\"+Inf\"} 1\nc_sum 2\nc_count 1\n# TYPE d untyped\nd 1\n";
        assert_eq!(as_text(open_metrics), text);
        assert_eq!(as_text(""), "");
    }
}
