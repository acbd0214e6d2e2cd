//! By which path a client comes, and as what.

use super::subprotocol::PREFIX as SUBPROTOCOL_PREFIX;
use crate::api::{self, ApiError};
use crate::base::fill_template;
use crate::config::{Auth, AuthFailure, Config, Endpoint};
use crate::dialect::{self, dialect};
use crate::model::{DialectId, Identity, RoomName};
use crate::shard::{Newcomer, Route};
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Times over which messages may be put together, in ms: longer ones are what no client would call real time.
const BATCHES_MS: RangeInclusive<u64> = 1..=1000;

/// Names and values of a path's parameters.
type Parameters<'a> = Vec<(&'a str, String)>;

/// Where a client came in.
pub(in crate::io) enum Entrance<'a> {
    /// The diagnostic echo.
    Echo,
    /// An endpoint, with the parameters of its path.
    At { endpoint: &'a Endpoint, index: usize, parameters: Parameters<'a> },
}

/// Time over which a client wants messages to be put together, as its query says: `batch` in ms.
///
/// # Errors
/// What is wrong with it, in words.
pub(in crate::io) fn batch(query: Option<&str>) -> Result<Duration, String> {
    let pairs = form_urlencoded::parse(query.unwrap_or("").as_bytes());
    let mut given = pairs.filter(|(name, _)| name == "batch").map(|(_, value)| value);
    let (first, second) = (given.next(), given.next());
    let Some(text) = first else { return Ok(Duration::ZERO) };
    let digits = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let ms = text.parse().ok().filter(|ms| digits && second.is_none() && BATCHES_MS.contains(ms));
    let (least, most) = (BATCHES_MS.start(), BATCHES_MS.end());
    ms.map(Duration::from_millis)
        .ok_or_else(|| format!("batch must be given once, as a number of milliseconds: {least} to {most}"))
}

/// The endpoint of a path, if it is one's.
///
/// # Errors
/// A 400 if a parameter is no text.
pub(in crate::io) fn find<'a>(
    endpoints: &'a [Endpoint],
    path: &'a str,
) -> Result<Option<Entrance<'a>>, ApiError> {
    let found = endpoints
        .iter()
        .enumerate()
        .find_map(|(index, endpoint)| Some((index, endpoint, endpoint.path.parameters(path)?)));
    let Some((index, endpoint, raw)) = found else { return Ok(None) };
    let decoded = raw
        .into_iter()
        .map(|(name, value)| Ok((name, api::percent_decode(value, RoomName::BYTES_MAX, name)?)));
    Ok(Some(Entrance::At { endpoint, index, parameters: decoded.collect::<Result<_, ApiError>>()? }))
}

impl Entrance<'_> {
    /// The dialect that is spoken, and the subprotocol that says so if the client asked for one: the first of those it
    /// asked for that the endpoint speaks, else the endpoint's own when it names none of ours.
    ///
    /// # Errors
    /// The client names dialects, and the endpoint speaks none of them; in words.
    pub fn dialect(&self, asked: &[String]) -> Result<(DialectId, Option<String>), String> {
        // An echo speaks no protocol, so it chooses none.
        let Self::At { endpoint, .. } = self else { return Ok((DialectId::NATIVE, None)) };
        for name in asked {
            let dialect = name.strip_prefix(SUBPROTOCOL_PREFIX).filter(|dialect| endpoint.speaks(dialect));
            if let Some(dialect) = dialect.and_then(dialect::named) {
                return Ok((dialect, Some(name.clone())));
            }
        }
        if let Some(refused) = asked.iter().find(|name| name.starts_with(SUBPROTOCOL_PREFIX)) {
            let spoken = dialect::names().filter(|name| endpoint.speaks(name));
            let spoken: Vec<_> = spoken.map(|name| format!("{SUBPROTOCOL_PREFIX}{name}")).collect();
            let spoken = spoken.join(", ");
            return Err(format!("subprotocol {refused:.64?} is not spoken here, only {spoken} (dialects)"));
        }
        Ok((dialect::named(&endpoint.dialect).unwrap_or(DialectId::NATIVE), None))
    }

    /// The endpoint, if it is one.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Echo => None,
            Self::At { endpoint, .. } => Some(endpoint),
        }
    }

    /// Whether who may not come in is told by a close frame.
    pub fn tells_by_closing(&self) -> bool {
        self.endpoint().is_some_and(|endpoint| endpoint.auth_failure == AuthFailure::Close)
    }

    /// The connection that comes in, with what is due to it here.
    pub fn newcomer(&self, config: &Config, newcomer: Newcomer) -> Newcomer {
        let Self::At { endpoint, index, parameters } = self else {
            return Newcomer { echo: true, ..newcomer };
        };
        let identity = newcomer.identity.clone();
        let owned = || parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let route = || Route { endpoint: *index, parameters: owned().collect() };
        let by_dialect = || config.deliver_to_sender && dialect(newcomer.dialect).delivers_to_sender();
        Newcomer {
            hears_itself: endpoint.deliver_to_sender.unwrap_or_else(by_dialect),
            rooms: endpoint
                .rooms
                .iter()
                .filter_map(|template| room(template, parameters, identity.as_deref()))
                .collect(),
            route: endpoint.has_service().then(route),
            health: endpoint.health,
            admin: endpoint.admin,
            may_authenticate: endpoint.auth != Auth::Off,
            of_tenants: endpoint.is_of_tenants(),
            ..newcomer
        }
    }
}

/// The room that a template names, if all its names are known.
fn room(template: &str, parameters: &Parameters<'_>, identity: Option<&Identity>) -> Option<RoomName> {
    let value = |name: &str| {
        // No parameter of a path has the names that an identity fills.
        let known = parameters.iter().find(|(known, _)| *known == name);
        let known = known.map(|(_, value)| value.as_str());
        known.or_else(|| identity?.fills(template, name)).map(Cow::Borrowed)
    };
    RoomName::new(&fill_template(template, value)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_query_may_ask_for_batches() {
        for (query, ms) in [
            (None, Some(0)),
            (Some(""), Some(0)),
            (Some("token=a&batch=50"), Some(50)),
            (Some("batch=1"), Some(1)),
            (Some("batch=1000"), Some(1000)),
            (Some("abatch=7"), Some(0)),
            (Some("batch="), None),
            (Some("batch=0"), None),
            (Some("batch=1001"), None),
            (Some("batch=+5"), None),
            (Some("batch=00050"), None),
            (Some("batch=5ms"), None),
            (Some("batch=5&batch=5"), None),
            (Some("batch=99999999999999999999999"), None),
        ] {
            assert_eq!(batch(query).ok(), ms.map(Duration::from_millis), "{query:?}");
        }
    }

    #[test]
    fn a_path_names_rooms() {
        let templates = ["reports:{id}", "all", "user:{user}", "{id}{id}"].map(str::to_owned);
        let endpoint = Endpoint { rooms: templates.into(), ..Endpoint::new("/reports/{id}", "topics") };
        let endpoints = [Endpoint::new("/ws", "rooms"), endpoint];
        let rooms_of = |newcomer: &Newcomer, path: &str| {
            let entrance = find(&endpoints, path).unwrap().unwrap();
            let newcomer = entrance.newcomer(&Config::default(), newcomer.clone());
            newcomer.rooms.iter().map(|room| room.as_str().to_owned()).collect::<Vec<_>>()
        };
        let rooms = |path: &str| rooms_of(&Newcomer::default(), path);
        let identity = Identity { user: Some("u1".into()), ..Identity::default() };
        let known = |identity| Newcomer { identity: Some(Arc::new(identity)), ..Newcomer::default() };
        assert_eq!(rooms_of(&known(identity.clone()), "/reports/x"), ["reports:x", "all", "user:u1", "xx"]);
        let of_tenant = Identity { tenant: Some("t".into()), ..identity };
        assert_eq!(rooms_of(&known(of_tenant), "/reports/x"), ["reports:x", "all", "xx"]);
        assert_eq!(rooms("/reports/a%3Ab"), ["reports:a:b", "all", "a:ba:b"]);
        // What would be no name is left out.
        assert_eq!(rooms("/reports/%0A"), ["all"]);
        assert!(find(&endpoints, "/other").unwrap().is_none());
        assert_eq!(find(&endpoints, "/reports/%ff").err().unwrap().status, 400);
    }
}
