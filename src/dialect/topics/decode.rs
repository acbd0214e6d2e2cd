use super::super::channelled::fields;
use super::super::request::{self, required};
use super::super::{DecodeLimits, Rejected};
use crate::model::{Command, EVENT_DEFAULT, Refusal};
use std::borrow::Cow;

/// Reads one message. What clients publish has no type name of their choice, so that none can send what looks like an
/// answer of the server.
pub(super) fn decode<'a>(text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>> {
    let [id, kind, channel, data, recover, limit, token] = fields(text, limits)?;
    let id = request::id(id)?;
    let rejected = |refusal| Rejected { refusal, id };
    let kind = request::text(kind).map_err(rejected)?.unwrap_or_default();
    let channel = || required(request::text(channel).map_err(rejected)?, id);
    match &*kind {
        "publish" => Ok(Command::Publish { room: channel()?, event: Cow::Borrowed(EVENT_DEFAULT), data, id }),
        "subscribe" => {
            let recover = request::recover(recover).map_err(rejected)?;
            Ok(Command::Subscribe { room: channel()?, recover, id })
        }
        "unsubscribe" => Ok(Command::Unsubscribe { room: channel()?, id }),
        "ping" => Ok(Command::Ping { id }),
        "get_status" => Ok(Command::Status { id }),
        "presence" => {
            let limit = request::limit(limit).map_err(rejected)?;
            Ok(Command::Presence { room: channel()?, limit, id })
        }
        "auth" => Ok(Command::Authenticate { token: request::token(token).map_err(rejected)?, id }),
        "" => Err(rejected(Refusal::InvalidJson)),
        _ => Ok(Command::Custom { event: kind, data, id }),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
