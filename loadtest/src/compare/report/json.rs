//! The JSON: every figure of every run.

use serde_json::{Map, Value, json};

use crate::compare::result::{CaseResult, Comparison, Run, ServerResult};
use crate::compare::spoilt::Mark;

/// The text, one object.
pub fn render(comparison: &Comparison) -> String {
    let machine: Map<String, Value> =
        comparison.machine.iter().map(|(what, text)| ((*what).to_owned(), json!(text))).collect();
    let servers = comparison.servers.iter().map(|server| {
        json!({
            "name": server.name, "about": server.about, "version": server.version, "bytes": server.bytes,
            "notes": server.notes,
        })
    });
    let left_out = comparison.left_out.iter().map(|(name, why)| json!({ "name": name, "why": why }));
    let all = json!({
        "machine": machine,
        "rounds": comparison.rounds,
        "relative_to": comparison.relative_to,
        "servers": servers.collect::<Value>(),
        "left_out": left_out.collect::<Value>(),
        "notes": comparison.notes,
        "cases": comparison.cases.iter().map(|case| of_case(case, &comparison.relative_to)).collect::<Value>(),
    });
    format!("{all:#}\n")
}

fn of_case(case: &CaseResult, relative_to: &str) -> Value {
    let options: Map<String, Value> =
        case.case.options.iter().map(|(option, value)| (option.clone(), json!(value.to_string()))).collect();
    let of_server = |server: &ServerResult| {
        let spreads = case
            .metrics()
            .iter()
            .filter_map(|metric| Some((metric.key.to_owned(), json!(server.spread(metric.key)?))));
        json!({
            "name": server.name,
            "figures": Value::Object(spreads.collect()),
            "ratio": case.ratio(server, relative_to),
            "remarks": server.remarks(),
            "failure": server.failure,
            "runs": server.runs.iter().map(of_run).collect::<Value>(),
            "repeated": server.repeated.iter().map(of_run).collect::<Value>(),
        })
    };
    json!({
        "title": case.case.title(),
        "scenario": case.case.scenario.name,
        "about": case.case.scenario.about,
        "pattern": case.case.scenario.pattern.name(),
        "options": options,
        "point": case.case.point.as_ref().map(|(option, value)| json!({ "option": option, "value": value })),
        "seconds": case.case.seconds,
        "server_cores": case.split.server,
        "load_cores": case.split.load,
        "frame_bytes": case.frame_bytes,
        "main_figure": case.main().key,
        "servers": case.servers.iter().map(of_server).collect::<Value>(),
    })
}

fn of_run(run: &Run) -> Value {
    json!({
        "round": run.round,
        "figures": run.figures,
        "problems": run.problems,
        "marks": run.marks.iter().map(Mark::to_string).collect::<Vec<_>>(),
        "spoilt": run.is_spoilt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::table::tests::sample;

    #[test]
    fn every_run_is_there() {
        let value: Value = serde_json::from_str(&render(&sample())).unwrap();
        let wide = &value["cases"][0];
        assert_eq!(wide["servers"][0]["figures"]["cpu_us_per_delivery"]["median"], 0.32);
        assert_eq!(wide["servers"][0]["runs"].as_array().unwrap().len(), 3);
        assert_eq!(wide["servers"][0]["ratio"], 1.0);
        assert_eq!(wide["server_cores"], json!([3]));
        assert!(wide["servers"][2]["failure"].as_str().unwrap().contains("died"));
        assert_eq!(value["cases"][1]["point"], json!({ "option": "connections", "value": 1000 }));
        assert_eq!(value["left_out"][0]["name"], "nats");
    }
}
