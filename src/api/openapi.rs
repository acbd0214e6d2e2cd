//! The OpenAPI document: its paths are written from the table of routes, its parts (schemas, parameters, bodies,
//! answers) are kept by hand; tests hold these against the code.

use super::routes::{Access, Line, PATH_PARAMS, ROUTES, StatusAnswer};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The document without its paths.
const PARTS: &str = include_str!("openapi.json");

/// The answers of every route, and of those that need a key.
const BAD_REQUEST: StatusAnswer = (400, "BadRequest");
const UNAUTHORIZED: StatusAnswer = (401, "Unauthorized");

/// The document of a server whose paths begin with `path_prefix`: empty, or with a leading and no trailing slash.
pub fn openapi(path_prefix: &str) -> Bytes {
    let mut document: Map<String, Value> = serde_json::from_str(PARTS).unwrap_or_default();
    let url = if path_prefix.is_empty() { "/" } else { path_prefix };
    document.insert("servers".to_owned(), json!([{"url": url}]));
    document.insert("paths".to_owned(), paths());
    serde_json::to_vec_pretty(&document).unwrap_or_default().into()
}

/// The paths, each with its operations. An upgrade is no operation.
fn paths() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for line in ROUTES.iter().filter(|line| line.access != Access::Upgrade) {
        let item = paths.entry(line.path).or_insert_with(|| item(line.path));
        item[line.method.to_ascii_lowercase()] = operation(line);
    }
    paths.into()
}

/// What the operations of a path have in common.
fn item(path: &str) -> Value {
    let values = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let params = values.filter_map(|name| PATH_PARAMS.iter().find(|param| param.name == name));
    let params: Vec<Value> = params.map(|param| component("parameters", param.component)).collect();
    if params.is_empty() { json!({}) } else { json!({"parameters": params}) }
}

fn operation(line: &Line) -> Value {
    let key = (line.access == Access::Key).then_some(UNAUTHORIZED);
    let answers = line.answers.iter().copied().chain([BAD_REQUEST]).chain(key);
    let answers = answers.map(|(status, answer)| (status.to_string(), component("responses", answer)));
    let mut operation = json!({
        "operationId": line.operation,
        "tags": [line.tag],
        "summary": line.summary,
        "responses": answers.collect::<Map<_, _>>(),
    });
    if key.is_none() {
        operation["security"] = json!([]);
    }
    let params = line.query.params().iter().chain(line.fields);
    let params: Vec<Value> = params.map(|param| component("parameters", param.component)).collect();
    if !params.is_empty() {
        operation["parameters"] = params.into();
    }
    if let Some(body) = line.body {
        operation["requestBody"] = component("requestBodies", body);
    }
    operation
}

fn component(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
