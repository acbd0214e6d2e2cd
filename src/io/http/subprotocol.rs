//! What a client offers by `Sec-WebSocket-Protocol`: names of protocols, and perhaps a token among them.
//!
//! Browsers let a page set no other header of the handshake, so a token stands there as `bearer.TOKEN`, which unlike a
//! query stays out of the logs of proxies. It is never chosen: an answer would carry it.

use crate::dialect;

/// What stands before the name of a dialect.
pub(super) const PREFIX: &str = "fanwire.";

/// What stands before a token.
const BEARER: &str = "bearer.";

/// What is offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Names of protocols, in the client's order.
    pub names: Vec<String>,
    /// Tokens; more than one is as bad as in other places.
    pub tokens: Vec<String>,
}

impl Offer {
    /// Sorts what a client offers.
    ///
    /// # Errors
    /// The client would take no answer for one: it offers a token alone, or only protocols that are not spoken here. Then
    /// most clients, browsers among them, end a connection whose 101 chooses none (RFC 6455 section 4.1), and say little
    /// more than that it failed. So they are told in words.
    pub fn of(protocols: Vec<String>) -> Result<Self, String> {
        let is_token = |name: &String| name.starts_with(BEARER);
        let (tokens, names): (Vec<_>, Vec<_>) = protocols.into_iter().partition(is_token);
        let tokens = tokens.into_iter().map(|token| token[BEARER.len()..].to_owned());
        let tokens: Vec<_> = tokens.filter(|token| !token.is_empty()).collect();
        if names.is_empty() && !tokens.is_empty() {
            return Err(format!(
                "a token as subprotocol needs a protocol beside it: offer {} as well",
                spoken()
            ));
        }
        if !names.is_empty() && !names.iter().any(|name| name.starts_with(PREFIX)) {
            let name = &names[0];
            return Err(format!("subprotocol {name:.64?} is not spoken here: offer {}, or none", spoken()));
        }
        Ok(Self { names, tokens })
    }
}

/// All dialects, as they are offered.
fn spoken() -> String {
    let names: Vec<_> = dialect::names().map(|name| format!("{PREFIX}{name}")).collect();
    names.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(protocols: &[&str]) -> Result<Offer, String> {
        Offer::of(protocols.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn tokens_stand_among_names() {
        let one = offer(&["bearer.t.t.t", "chat", "fanwire.rooms"]).unwrap();
        assert_eq!(
            (one.names, one.tokens),
            (vec!["chat".into(), "fanwire.rooms".into()], vec!["t.t.t".into()])
        );
        assert_eq!(offer(&["fanwire.rooms", "bearer.a", "bearer.b"]).unwrap().tokens, ["a", "b"]);
        for none in [&[][..], &["bearer."], &["fanwire.rooms", "bearer."]] {
            assert_eq!(offer(none).unwrap().tokens, [""; 0], "{none:?}");
        }
    }

    #[test]
    fn offers_that_no_answer_would_satisfy_are_refused_in_words() {
        let refused = |protocols: &[&str]| offer(protocols).unwrap_err();
        let alone = refused(&["bearer.secret"]);
        assert!(alone.contains("fanwire.rooms") && !alone.contains("secret"), "{alone}");
        let foreign = refused(&["graphql-ws", "bearer.secret"]);
        assert!(foreign.contains("\"graphql-ws\"") && !foreign.contains("secret"), "{foreign}");
    }
}
