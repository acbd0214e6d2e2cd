use super::super::channelled::fields;
use super::super::request::{self, is_event, required};
use super::super::{DecodeLimits, Rejected};
use crate::model::{Command, Refusal};

/// Reads one message.
pub(super) fn decode<'a>(text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>> {
    let [id, kind, channel, data, recover, limit, token] = fields(text, limits)?;
    let id = request::id(id)?;
    let rejected = |refusal| Rejected { refusal, id };
    let kind = request::text(kind).map_err(rejected)?.unwrap_or_default();
    let channel = request::text(channel).map_err(rejected)?;
    match (&*kind, channel) {
        ("", _) => Err(rejected(Refusal::InvalidJson)),
        ("JOIN_CHANNEL", channel) => {
            let recover = request::recover(recover).map_err(rejected)?;
            Ok(Command::Subscribe { room: required(channel, id)?, recover, id })
        }
        ("LEAVE_CHANNEL", channel) => Ok(Command::Unsubscribe { room: required(channel, id)?, id }),
        ("GET_PRESENCE", channel) => {
            let limit = request::limit(limit).map_err(rejected)?;
            Ok(Command::Presence { room: required(channel, id)?, limit, id })
        }
        (_, channel @ Some(_)) => {
            let room = required(channel, id)?;
            if !is_event(&kind) {
                return Err(rejected(Refusal::UnknownType));
            }
            Ok(Command::Publish { room, event: kind, data, id })
        }
        ("PING", None) => Ok(Command::Ping { id }),
        ("GET_STATUS", None) => Ok(Command::Status { id }),
        ("AUTH", None) => Ok(Command::Authenticate { token: request::token(token).map_err(rejected)?, id }),
        (_, None) => Ok(Command::Custom { event: kind, data, id }),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
