//! The OpenAPI document. It is kept by hand, beside the routes; tests hold it against them and against the answers.

use bytes::Bytes;

/// The document of a server whose paths begin with nothing.
const DOCUMENT: &str = include_str!("openapi.json");

/// What stands before every path, as the document has it.
const SERVERS: &str = r#""servers": [{"url": "/"}]"#;

/// The document of a server whose paths begin with `path_prefix`: empty, or with a leading and no trailing slash.
pub fn openapi(path_prefix: &str) -> Bytes {
    if path_prefix.is_empty() {
        return Bytes::from_static(DOCUMENT.as_bytes());
    }
    let url = serde_json::Value::from(path_prefix);
    DOCUMENT.replacen(SERVERS, &format!(r#""servers": [{{"url": {url}}}]"#), 1).into()
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
