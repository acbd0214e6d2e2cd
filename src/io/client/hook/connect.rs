//! What the backend and the embedding program say about who may connect.

use crate::dialect;
use crate::io::deciders::Deciders;
use crate::io::http::reply::{full_reply, text_reply};
use crate::io::http::upgrade::{Asked, Candidate, Refused101};
use crate::metrics::HandshakeFailure;
use crate::model::hook::{Decider, Decision, Question, Subject, Verdict, What};
use crate::model::{Identity, Refusal};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Asks about a candidate, and who that is. A candidate that is not named stays who it was.
///
/// # Errors
/// That it says no, or cannot be asked.
pub(in crate::io) async fn ask(
    deciders: &Deciders,
    path_prefix: &str,
    asked: &Asked<'_>,
    candidate: &mut Candidate,
) -> Result<(), Box<Refused101>> {
    let newcomer = &mut candidate.newcomer;
    if newcomer.turned_away.is_some() {
        return Ok(());
    }
    let subject = Subject {
        connection: None,
        identity: newcomer.identity.clone(),
        ip: newcomer.peer.map(|peer| peer.ip()),
        dialect: dialect::spec(newcomer.dialect).name,
    };
    let path = asked.target.path();
    let what = What::Connect {
        path: path.strip_prefix(path_prefix).unwrap_or(path).to_owned(),
        query: asked.target.query().map(str::to_owned),
        headers: match deciders.headers() {
            Some(names) => shown(names, asked.headers),
            None => all(asked.headers),
        },
    };
    let (sender, receiver) = oneshot::channel();
    // A client that does not wait for the answer is no fault.
    deciders.ask(Question { subject, what }, Box::new(move |_, verdict| drop(sender.send(verdict))));
    let (failure, reply) = match receiver.await {
        Ok(Verdict::Decided(Decision::Allow { identity: named })) => {
            if let Some(named) = named {
                // Who says more of a client does not make its token last longer.
                let life = newcomer.identity.as_deref().and_then(|known| known.life);
                newcomer.identity = Some(Arc::new(Identity { life, ..named }));
            }
            return Ok(());
        }
        Ok(Verdict::Decided(Decision::Refuse { reason })) => {
            (HandshakeFailure::Backend, text_reply(StatusCode::FORBIDDEN, reason))
        }
        Ok(Verdict::Unusable) => {
            let text = Refusal::BackendError.text().to_owned();
            (HandshakeFailure::BackendError, text_reply(StatusCode::BAD_GATEWAY, text))
        }
        Ok(Verdict::Replied(_) | Verdict::Failed) | Err(_) => {
            (HandshakeFailure::BackendFailed, full_reply(Refusal::BackendFailed.text()))
        }
    };
    Err(Box::new(Refused101 { failure, token: None, reply }))
}

/// The fields of a head that the backend sees, as far as they are text.
fn shown(names: &[String], headers: &HeaderMap) -> Vec<(String, String)> {
    let of_name = |name: &String| {
        let values = headers.get_all(name.as_str()).iter().filter_map(|value| value.to_str().ok());
        values.map(|value| (name.clone(), value.to_owned())).collect::<Vec<_>>()
    };
    names.iter().flat_map(of_name).collect()
}

/// All fields of a head, as far as they are text.
fn all(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{COOKIE, ORIGIN};

    #[test]
    fn only_the_configured_fields_are_shown() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        headers.append(ORIGIN, HeaderValue::from_static("http://a"));
        headers.append("x", HeaderValue::from_bytes(b"\xff").unwrap());
        let names = ["cookie", "x", "authorization"].map(str::to_owned);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let cookies = [pair("cookie", "a=1"), pair("cookie", "b=2")];
        assert_eq!(shown(&names, &headers), cookies);
        assert_eq!(all(&headers), [&cookies[..], &[pair("origin", "http://a")]].concat());
    }
}
