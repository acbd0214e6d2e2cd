use super::error::TokenError;
use crate::config::Tokens;
use crate::model::Identity;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use smallvec::SmallVec;
use std::fmt;

/// What claims (RFC 7519 section 4) must say, and which of them tell who somebody is.
#[derive(Debug, Default)]
pub(super) struct ClaimRules {
    /// Every claim that is read, once; the lists below are places in here.
    names: Vec<Box<str>>,
    user: Vec<usize>,
    tenant: Vec<usize>,
    roles: Vec<usize>,
    audience: Vec<Box<str>>,
    issuer: Vec<Box<str>>,
    leeway_s: u64,
}

/// Places of the claims that mean something by themselves.
const EXPIRES: usize = 0;
const NOT_BEFORE: usize = 1;
const ISSUER: usize = 2;
const AUDIENCE: usize = 3;
const REGISTERED: [&str; 4] = ["exp", "nbf", "iss", "aud"];

/// The value of each claim that is read.
type Slots = SmallVec<[Option<Value>; 10]>;

impl ClaimRules {
    pub fn new(tokens: &Tokens) -> Self {
        let mut names: Vec<Box<str>> = REGISTERED.map(Box::from).into();
        let mut places = |claims: &[String]| -> Vec<usize> {
            let mut place = |claim: &String| {
                names.iter().position(|name| **name == **claim).unwrap_or_else(|| {
                    names.push(claim.as_str().into());
                    names.len() - 1
                })
            };
            claims.iter().map(&mut place).collect()
        };
        let (user, tenant) = (places(&tokens.user_claims), places(&tokens.tenant_claims));
        let roles = places(&tokens.roles_claims);
        let texts = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        Self {
            names,
            user,
            tenant,
            roles,
            audience: texts(&tokens.audience),
            issuer: texts(&tokens.issuer),
            leeway_s: tokens.leeway.as_secs(),
        }
    }

    /// Who the claims say somebody is, if they hold at `now_unix_s`.
    pub fn read(&self, json: &str, now_unix_s: u64) -> Result<Identity, TokenError> {
        let mut from = serde_json::Deserializer::from_str(json);
        let read = from.deserialize_map(Claims(&self.names)).and_then(|slots| from.end().map(|()| slots));
        let slots = read.map_err(|_| TokenError::Claims)?;
        let expires_unix_s = self.in_time(&slots, now_unix_s)?;
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
        let user = first(&slots, &self.user).map(user).transpose()?;
        let tenant = first(&slots, &self.tenant).map(name).transpose()?;
        let roles = first(&slots, &self.roles).map_or_else(|| Ok(SmallVec::new()), roles)?;
        Ok(Identity { user, tenant, roles, expires_unix_s })
    }

    /// Checks `exp` and `nbf`, and tells when the token ends with all leeway.
    fn in_time(&self, slots: &Slots, now_unix_s: u64) -> Result<Option<u64>, TokenError> {
        let expires = slots[EXPIRES].as_ref().map(seconds).transpose()?;
        let expires = expires.map(|at| at.saturating_add(self.leeway_s));
        // "On or after which" (RFC 7519 section 4.1.4).
        if expires.is_some_and(|at| now_unix_s >= at) {
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

/// The first of `places` that has a value; null is none.
fn first<'s>(slots: &'s Slots, places: &[usize]) -> Option<&'s Value> {
    places.iter().find_map(|place| slots[*place].as_ref().filter(|value| !value.is_null()))
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

/// An array of roles, or one.
fn roles(value: &Value) -> Result<SmallVec<[Box<str>; 1]>, TokenError> {
    match value {
        Value::Array(all) if all.len() > Identity::ROLES_MAX => Err(TokenError::Name),
        Value::Array(all) => all.iter().map(name).collect(),
        one => name(one).map(|role| SmallVec::from_iter([role])),
    }
}

/// Reads an object: the values of the claims with these names, the rest is passed over.
struct Claims<'n>(&'n [Box<str>]);

impl<'de> Visitor<'de> for Claims<'_> {
    type Value = Slots;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Slots, A::Error> {
        let mut slots: Slots = SmallVec::from_elem(None, self.0.len());
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
