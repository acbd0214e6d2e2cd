//! The backend's say in who may connect.

use super::Hook;
use crate::api::hook::{Decision, Question, Subject, Verdict, What};
use crate::config::HookEvent;
use crate::model::Identity;
use hyper::Uri;
use hyper::header::HeaderMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What the backend says to a client that wants to connect.
pub(in super::super) enum Admitted {
    /// It may, as this.
    As(Option<Arc<Identity>>),
    /// It may not; the text for it.
    Refused(String),
    /// The backend cannot be asked, and that is a no.
    Failed,
}

/// Asks the backend, where there is one that wants to be asked. Whom it does not name stays who it was.
pub(in super::super) async fn ask(
    hook: Option<&Hook>,
    subject: Subject,
    uri: &Uri,
    path_prefix: &str,
    headers: &HeaderMap,
) -> Admitted {
    let identity = subject.identity.clone();
    let Some(hook) = hook.filter(|hook| hook.wants(HookEvent::Connect)) else {
        return Admitted::As(identity);
    };
    let path = uri.path();
    let what = What::Connect {
        path: path.strip_prefix(path_prefix).unwrap_or(path).to_owned(),
        query: uri.query().map(str::to_owned),
        headers: shown(&hook.settings().headers, headers),
    };
    let (sender, receiver) = oneshot::channel();
    // A client that does not wait for the answer is no fault.
    hook.ask(Question { subject, what }, Box::new(move |_, verdict| drop(sender.send(verdict))));
    match receiver.await {
        Ok(Verdict::Decided(Decision::Allow { identity: named })) => {
            let expires_unix_s = identity.as_ref().and_then(|known| known.expires_unix_s);
            // Who says more of a client does not make its token last longer.
            let named = named.map(|named| Arc::new(Identity { expires_unix_s, ..named }));
            Admitted::As(named.or(identity))
        }
        Ok(Verdict::Decided(Decision::Refuse { reason })) => Admitted::Refused(reason),
        Ok(Verdict::Replied(_) | Verdict::Failed) | Err(_) => Admitted::Failed,
    }
}

/// The fields of a head that the backend sees, as far as they are text.
fn shown(names: &[String], headers: &HeaderMap) -> Vec<(String, String)> {
    let of_name = |name: &String| {
        let values = headers.get_all(name.as_str()).iter().filter_map(|value| value.to_str().ok());
        values.map(|value| (name.clone(), value.to_owned())).collect::<Vec<_>>()
    };
    names.iter().flat_map(of_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{COOKIE, HeaderValue, ORIGIN};

    #[test]
    fn only_the_configured_fields_are_shown() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        headers.append(ORIGIN, HeaderValue::from_static("http://a"));
        headers.append("x", HeaderValue::from_bytes(b"\xff").unwrap());
        let names = ["cookie", "x", "authorization"].map(str::to_owned);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(shown(&names, &headers), [pair("cookie", "a=1"), pair("cookie", "b=2")]);
    }
}
