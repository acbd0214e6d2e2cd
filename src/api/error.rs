use serde_json::json;

/// Longest text in bytes, so that a refusal never grows with what was refused.
const TEXT_BYTES_MAX: usize = 300;

/// A refused request: what the HTTP answer says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {text}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// Fixed word that programs can compare.
    pub code: &'static str,
    /// For people: what is wrong and what to do. At most 300 bytes.
    pub text: String,
    /// Value of the `Allow` header, which a 405 must have (RFC 9110 section 15.5.6).
    pub allow: Option<&'static str>,
}

impl ApiError {
    /// A refusal without `Allow`. A text over the bound is cut.
    pub fn new(status: u16, code: &'static str, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > TEXT_BYTES_MAX {
            const ELLIPSIS: &str = "...";
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX - ELLIPSIS.len()));
            text.push_str(ELLIPSIS);
        }
        Self { status, code, text, allow: None }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(400, "bad_request", text)
    }

    /// 401: the key is missing or wrong.
    pub fn unauthorized(text: impl Into<String>) -> Self {
        Self::new(401, "unauthorized", text)
    }

    /// 403: known, and not allowed.
    pub fn forbidden(text: impl Into<String>) -> Self {
        Self::new(403, "forbidden", text)
    }

    /// 404: no such path or thing.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(404, "not_found", text)
    }

    /// 405: the path exists for other methods.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let text = format!("method not allowed here: use {allow}");
        Self { allow: Some(allow), ..Self::new(405, "method_not_allowed", text) }
    }

    /// 409: the same is being done just now.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(409, "conflict", text)
    }

    /// 413: the body is over the bound of `bytes_max`.
    pub fn too_large(bytes_max: usize) -> Self {
        Self::new(413, "too_large", format!("the body is larger than {bytes_max} bytes"))
    }

    /// 415: the body is compressed or otherwise coded (RFC 9110 section 15.5.16).
    pub fn coded() -> Self {
        Self::new(415, "unsupported_coding", "the body has a Content-Encoding: send it as it is")
    }

    /// 422: understood, and contradicts what was asked before.
    pub fn unprocessable(text: impl Into<String>) -> Self {
        Self::new(422, "unprocessable", text)
    }

    /// 503: not now.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::new(503, "unavailable", text)
    }

    /// The body: `{"error":{"code":"..","message":".."}}`.
    pub fn to_json(&self) -> String {
        json!({"error": {"code": self.code, "message": self.text}}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_json_whatever_its_text() {
        let error = ApiError::bad_request("no \"quote\"\n");
        assert_eq!(error.to_json(), r#"{"error":{"code":"bad_request","message":"no \"quote\"\n"}}"#);
        assert_eq!(error.status, 400);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let error = ApiError::not_found("é".repeat(1000));
        assert!(error.text.len() <= TEXT_BYTES_MAX);
        assert!(error.text.ends_with("é..."));
        assert_eq!(ApiError::not_found("x".repeat(300)).text.len(), 300);
    }

    #[test]
    fn a_405_names_the_methods() {
        let error = ApiError::method_not_allowed("POST");
        assert_eq!((error.status, error.allow), (405, Some("POST")));
    }
}
