//! How clients' tokens are checked, and what is read from them.

use super::{DAY, SECOND, key};
use crate::config::key::Key;
use crate::config::kind::Kind;
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

pub(super) const TOKENS: &[Key] = &[
    key(
        "jwt_secret",
        Kind::Secret(|c| &mut c.tokens.secret),
        "Key of clients' tokens signed with HS256, HS384 or HS512. Others see flags: prefer the environment or file",
    )
    .reloaded(),
    key(
        "jwt_public_key_file",
        Kind::Path(|c| &mut c.tokens.public_key_file),
        "File with the public keys (PEM: RSA, EC on P-256 or P-384, Ed25519) of tokens",
    )
    .reloaded(),
    key(
        "jwt_jwks_file",
        Kind::Path(|c| &mut c.tokens.jwks_file),
        "File with the keys of tokens as a JSON Web Key Set",
    )
    .reloaded(),
    key(
        "jwt_jwks_url",
        Kind::Url(|c| &mut c.tokens.jwks_url),
        "Where the keys of tokens are fetched as a JSON Web Key Set, again and again",
    ),
    key(
        "jwt_algorithms",
        Kind::Algorithms(|c| &mut c.tokens.algorithms),
        "Algorithms of tokens that are accepted; none: those of the keys",
    )
    .reloaded(),
    key(
        "jwt_query_parameters",
        Kind::Names(|c| &mut c.tokens.query_parameters),
        "Parameters of the query in which a token may stand",
    )
    .reloaded(),
    key(
        "jwt_cookies",
        Kind::Names(|c| &mut c.tokens.cookies),
        "Cookies in which a token may stand",
    )
    .reloaded(),
    key(
        "jwt_audience",
        Kind::Words { at: |c| &mut c.tokens.audience, max: 64 },
        "Audiences, one of which a token must be for; none: all",
    )
    .reloaded(),
    key(
        "jwt_issuer",
        Kind::Words { at: |c| &mut c.tokens.issuer, max: 64 },
        "Issuers, one of which a token must be from; none: all",
    )
    .reloaded(),
    key(
        "jwt_leeway",
        Kind::Time { at: |c| &mut c.tokens.leeway, min: Duration::ZERO, max: Duration::from_secs(300) },
        "How far the clocks of issuers may be wrong",
    )
    .reloaded(),
    key(
        "jwt_user_claims",
        Kind::Words { at: |c| &mut c.tokens.user_claims, max: 8 },
        "Claims that name the user; the first that is there counts; a.b is b within a",
    )
    .reloaded(),
    key(
        "jwt_tenant_claims",
        Kind::Words { at: |c| &mut c.tokens.tenant_claims, max: 8 },
        "Claims that name the tenant; the first that is there counts; a.b is b within a",
    )
    .reloaded(),
    key(
        "jwt_roles_claims",
        Kind::Words { at: |c| &mut c.tokens.roles_claims, max: 8 },
        "Claims that name the roles, a list or one; the first that is there counts; a.b is b within a",
    )
    .reloaded(),
    key(
        "presence_claims",
        Kind::Words { at: |c| &mut c.tokens.presence_claims, max: 16 },
        "Claims that members of a room learn of each other where its presence names users; a.b is b within a",
    )
    .reloaded(),
    key(
        "jwt_expiry_warning",
        Kind::TimeOrOff { at: |c| &mut c.tokens.expiry_warning, min: SECOND, max: DAY },
        "How long before its token ends a client is warned; 0: it is not",
    )
    .reloaded(),
    key(
        "jwt_require_exp",
        Kind::Bool(|c| &mut c.tokens.require_exp),
        "Whether tokens without an end (exp) are refused",
    )
    .reloaded(),
    key(
        "jwt_session_max",
        Kind::TimeOrOff { at: |c| &mut c.tokens.session_max, min: SECOND, max: YEAR },
        "How long after its token was accepted a connection ends at the latest, unless it brings a new one; 0: when the token ends",
    )
    .reloaded(),
    key(
        "tenants",
        Kind::Words { at: |c| &mut c.tokens.tenants, max: 100_000 },
        "Tenants that are active; none: all are",
    )
    .reloaded(),
];
