#[cfg(test)]
mod tests;

use super::error::TokenError;
use super::keys::mark;
use super::path::ClaimPath;
use crate::base::{Mutation, mutated};
use crate::config::Tokens;
use crate::model::{Identity, Info, Life, TokenMark};
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::slice;

/// What claims (RFC 7519 section 4) must say, and which of them tell who somebody is.
#[derive(Debug, Default)]
pub(super) struct ClaimRules {
    /// Every claim that is read, once.
    names: Vec<Box<str>>,
    user: Vec<Source>,
    tenant: Vec<Source>,
    roles: Vec<Source>,
    /// What others may know of the user, by the name that they know it by.
    shown: Vec<(Box<str>, Source)>,
    audience: Vec<Box<str>>,
    issuer: Vec<Box<str>>,
    leeway_s: u64,
    require_exp: bool,
    /// 0: no bound.
    session_max_s: u64,
}

/// What claims say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Who somebody is. What its token was signed by is not known here.
    pub identity: Identity,
    /// The mark of who issued the token.
    pub issuer: u32,
    /// Whether it says when it ends.
    pub ends: bool,
}

/// Where something is read from: the claim of exactly this name, else what its name says as a path.
#[derive(Debug)]
struct Source {
    /// Which of [`ClaimRules::names`] it is.
    place: usize,
    path: Option<ClaimPath>,
    /// Whether text is a list with spaces between.
    is_scope: bool,
}

/// Claims whose text is a list with spaces between (RFC 8693 section 4.2), under the name there and under the short one.
const SCOPES: [&str; 2] = ["scope", "scp"];

/// Places of the claims that mean something by themselves.
const EXPIRES: usize = 0;
const NOT_BEFORE: usize = 1;
const ISSUER: usize = 2;
const AUDIENCE: usize = 3;
const REGISTERED: [&str; 4] = ["exp", "nbf", "iss", "aud"];

/// The value of each claim that is read.
type Slots<V> = SmallVec<[Option<V>; 10]>;

impl ClaimRules {
    pub fn new(tokens: &Tokens) -> Self {
        let mut names: Vec<Box<str>> = REGISTERED.map(Box::from).into();
        let mut sources = |claims: &[String]| -> Vec<(Box<str>, Source)> {
            let mut source = |claim: &String| {
                let place = names.iter().position(|name| **name == **claim).unwrap_or_else(|| {
                    names.push(claim.as_str().into());
                    names.len() - 1
                });
                let path = ClaimPath::parse(claim);
                let own = path.as_ref().and_then(|path| path.segments().last()).map_or(&**claim, |own| own);
                (Box::from(own), Source { place, is_scope: SCOPES.contains(&own), path: path.clone() })
            };
            claims.iter().map(&mut source).collect()
        };
        let mut shown = sources(&tokens.presence_claims);
        // The first of two paths with one last part counts.
        let mut known = HashSet::new();
        shown.retain(|(name, _)| known.insert(name.clone()));
        let mut sources = |claims| sources(claims).into_iter().map(|(_, source)| source).collect();
        let (user, tenant) = (sources(&tokens.user_claims), sources(&tokens.tenant_claims));
        let roles = sources(&tokens.roles_claims);
        let texts = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        Self {
            names,
            user,
            tenant,
            roles,
            shown,
            audience: texts(&tokens.audience),
            issuer: texts(&tokens.issuer),
            leeway_s: tokens.leeway.as_secs(),
            require_exp: tokens.require_exp,
            session_max_s: tokens.session_max.as_secs(),
        }
    }

    /// Who the claims say somebody is, if they hold at `now_unix_s`.
    pub fn read(&self, json: &str, now_unix_s: u64) -> Result<Read, TokenError> {
        let slots: Slots<Value> = object(json, &self.names)?;
        let expires_unix_s = self.in_time(&slots, now_unix_s)?;
        let ends = expires_unix_s.is_some();
        if !self.issuer.is_empty() && !is_one_of(slots[ISSUER].as_ref(), &self.issuer) {
            return Err(TokenError::Issuer);
        }
        // `aud` is one or an array of them (RFC 7519 section 4.1.3).
        if !self.audience.is_empty()
            && !match &slots[AUDIENCE] {
                Some(Value::Array(all)) => all.iter().any(|one| is_one_of(Some(one), &self.audience)),
                one => is_one_of(one.as_ref(), &self.audience),
            }
        {
            return Err(TokenError::Audience);
        }
        let first = |sources| first(json, &slots, sources);
        let user = first(&self.user)?.map(|(_, value)| user(&value)).transpose()?;
        let tenant = first(&self.tenant)?.map(|(_, value)| name(&value)).transpose()?;
        let roles = first(&self.roles)?.map(|(source, value)| roles(&value, source.is_scope)).transpose()?;
        let roles = roles.unwrap_or_default();
        let ends_unix_s = self.session_end(expires_unix_s, now_unix_s);
        let life = ends_unix_s.map(|ends_unix_s| Life::new(now_unix_s, ends_unix_s));
        let issuer =
            slots[ISSUER].as_ref().and_then(Value::as_str).map_or(0, |issuer| mark(&[issuer.as_bytes()]));
        let info = self.info(json, &slots)?.map(Info::from);
        let identity = Identity { user, tenant, roles, info, life, token: None };
        Ok(Read { identity, issuer, ends })
    }

    /// When what was accepted or renewed at `now_unix_s` ends.
    pub fn session_end(&self, expires_unix_s: Option<u64>, now_unix_s: u64) -> Option<u64> {
        let most = now_unix_s.saturating_add(self.session_max_s);
        if self.session_max_s == 0 {
            expires_unix_s
        } else {
            Some(expires_unix_s.map_or(most, |at| at.min(most)))
        }
    }

    /// Whether a token that was accepted by other rules would be by these, as far as is known of it.
    pub fn review(&self, token: TokenMark) -> Result<(), TokenError> {
        let mut issuers = self.issuer.iter().map(|issuer| mark(&[issuer.as_bytes()]));
        if !self.issuer.is_empty() && !issuers.any(|issuer| token.is_of(issuer)) {
            return Err(TokenError::Issuer);
        }
        if self.require_exp && !token.ends() {
            return Err(TokenError::ExpiryMissing);
        }
        Ok(())
    }

    /// The claims that others may see, in the order of the configuration, as an object; those that do not fit into
    /// [`Identity::INFO_BYTES_MAX`] are left out.
    fn info(&self, json: &str, slots: &Slots<Value>) -> Result<Option<Box<str>>, TokenError> {
        let mut info = String::new();
        for (name, source) in &self.shown {
            let Some((_, value)) = first(json, slots, slice::from_ref(source))? else { continue };
            let field = format!("{}:{value}", Value::from(&**name));
            // The brace or comma before it, and the last brace.
            if info.len() + field.len() + 2 <= Identity::INFO_BYTES_MAX {
                info.push(if info.is_empty() { '{' } else { ',' });
                info.push_str(&field);
            }
        }
        if info.is_empty() {
            return Ok(None);
        }
        info.push('}');
        Ok(Some(info.into()))
    }

    /// Whether claims that nobody has checked name an issuer that is not configured, where some are.
    pub fn is_of_another_issuer(&self, json: &str) -> bool {
        let slots: Result<Slots<Value>, _> = object(json, &self.names);
        !self.issuer.is_empty() && slots.is_ok_and(|slots| !is_one_of(slots[ISSUER].as_ref(), &self.issuer))
    }

    /// Checks `exp` and `nbf`, and tells when the token ends with all leeway.
    fn in_time(&self, slots: &Slots<Value>, now_unix_s: u64) -> Result<Option<u64>, TokenError> {
        let expires = slots[EXPIRES].as_ref().map(seconds).transpose()?;
        if self.require_exp && expires.is_none() {
            return Err(TokenError::ExpiryMissing);
        }
        let expires = expires.map(|at| at.saturating_add(self.leeway_s));
        // "On or after which" (RFC 7519 section 4.1.4).
        if expires.is_some_and(|at| now_unix_s >= at) && !mutated(Mutation::TakeExpired) {
            return Err(TokenError::Expired);
        }
        let not_before = slots[NOT_BEFORE].as_ref().map(seconds).transpose()?;
        if not_before.is_some_and(|at| now_unix_s.saturating_add(self.leeway_s) < at) {
            return Err(TokenError::NotYetValid);
        }
        Ok(expires)
    }
}

/// A NumericDate (RFC 7519 section 2) in whole seconds: it may have a fraction.
fn seconds(value: &Value) -> Result<u64, TokenError> {
    match value.as_u64() {
        Some(seconds) => Ok(seconds),
        // What is before 1970 is long over, what is beyond all numbers never comes: `as` has it so.
        None => value.as_f64().map(|seconds| seconds as u64).ok_or(TokenError::Claims),
    }
}

fn is_one_of(value: Option<&Value>, texts: &[Box<str>]) -> bool {
    value.and_then(Value::as_str).is_some_and(|value| texts.iter().any(|text| **text == *value))
}

/// The first of `sources` that has a value; null is none.
fn first<'s>(
    json: &str,
    slots: &'s Slots<Value>,
    sources: &'s [Source],
) -> Result<Option<(&'s Source, Cow<'s, Value>)>, TokenError> {
    for source in sources {
        let value = match (&slots[source.place], &source.path) {
            (Some(value), _) if !value.is_null() => Some(Cow::Borrowed(value)),
            (_, Some(path)) => at(json, path)?.filter(|value| !value.is_null()).map(Cow::Owned),
            _ => None,
        };
        if let Some(value) = value {
            return Ok(Some((source, value)));
        }
    }
    Ok(None)
}

/// What is at a path; nothing where one of its segments is missing or, on the way, no object. Each segment is looked
/// for within what the one before it holds, so all of them cost at most their number of looks through the token.
fn at(json: &str, path: &ClaimPath) -> Result<Option<Value>, TokenError> {
    let mut inner = json.trim_start();
    for segment in path.segments() {
        if !inner.starts_with('{') {
            return Ok(None);
        }
        let slots: Slots<&RawValue> = object(inner, slice::from_ref(segment))?;
        match slots[0] {
            Some(value) => inner = value.get(),
            None => return Ok(None),
        }
    }
    serde_json::from_str(inner).map(Some).map_err(|_| TokenError::Claims)
}

/// Whole numbers are taken as users as they are written: databases count theirs.
fn user(value: &Value) -> Result<Box<str>, TokenError> {
    match value {
        Value::Number(number) if !number.is_f64() => Ok(number.to_string().into()),
        value => name(value),
    }
}

fn name(value: &Value) -> Result<Box<str>, TokenError> {
    value.as_str().filter(|name| Identity::is_name(name)).map(Box::from).ok_or(TokenError::Name)
}

/// An array of roles, or one; of a scope, text with spaces between them.
fn roles(value: &Value, is_scope: bool) -> Result<SmallVec<[Box<str>; 1]>, TokenError> {
    match value {
        Value::String(text) if is_scope => {
            let words = text.split(' ').filter(|word| !word.is_empty());
            if words.clone().count() > Identity::ROLES_MAX || !words.clone().all(Identity::is_name) {
                return Err(TokenError::Name);
            }
            Ok(words.map(Box::from).collect())
        }
        Value::Array(all) if all.len() > Identity::ROLES_MAX => Err(TokenError::Name),
        Value::Array(all) => all.iter().map(name).collect(),
        one => name(one).map(|role| SmallVec::from_iter([role])),
    }
}

/// The values that an object has under these names.
fn object<'j, V: Deserialize<'j>>(json: &'j str, names: &[Box<str>]) -> Result<Slots<V>, TokenError> {
    let mut from = serde_json::Deserializer::from_str(json);
    let read = from.deserialize_map(Claims(names, PhantomData));
    read.and_then(|slots| from.end().map(|()| slots)).map_err(|_| TokenError::Claims)
}

/// Reads an object: the values of the claims with these names, the rest is passed over.
struct Claims<'n, V>(&'n [Box<str>], PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Claims<'_, V> {
    type Value = Slots<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Slots<V>, A::Error> {
        let mut slots: Slots<V> = self.0.iter().map(|_| None).collect();
        while let Some(place) = map.next_key_seed(Place(self.0))? {
            match place {
                // Who reads the last and who reads the first of two must not see two users.
                Some(place) if slots[place].is_some() => {
                    return Err(A::Error::custom("a claim is there twice"));
                }
                Some(place) => slots[place] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(slots)
    }
}

/// Reads a key: its place among the names.
struct Place<'n>(&'n [Box<str>]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a claim")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| **name == *key))
    }
}
