//! How the tokens of clients are checked, and what is read from them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where the keys for tokens come from, what a token must say, and which of its claims tell who somebody is.
///
/// Without any key no token is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The key of HS256, HS384 and HS512; empty: none.
    pub secret: Secret,
    /// File with public keys as PEM.
    pub public_key_file: Option<PathBuf>,
    /// File with a JSON Web Key Set (RFC 7517).
    pub jwks_file: Option<PathBuf>,
    /// Where a JSON Web Key Set is fetched from: `http://` or `https://`.
    pub jwks_url: Option<String>,
    /// Algorithms that are accepted; none: those of the keys.
    pub algorithms: Vec<TokenAlgorithm>,
    /// Parameters of a query in which a token may stand.
    pub query_parameters: Vec<String>,
    /// Cookies in which a token may stand.
    pub cookies: Vec<String>,
    /// One of these must be in `aud`; none: `aud` is not looked at.
    pub audience: Vec<String>,
    /// One of these must be `iss`; none: `iss` is not looked at.
    pub issuer: Vec<String>,
    /// How far the clocks of those who issue tokens may be wrong: `exp` and `nbf` are taken so much more kindly.
    pub leeway: Duration,
    /// Claims that name the user; the first that a token has counts. A name with dots is the path to a claim below
    /// others (`realm_access.roles`) where a token has no claim of exactly this name; `\.` is a dot of a segment's own.
    pub user_claims: Vec<String>,
    /// Claims that name the tenant, as those of the user.
    pub tenant_claims: Vec<String>,
    /// Claims that name the roles, as those of the user. Text is one role, in `scope` and `scp` a list with spaces between.
    pub roles_claims: Vec<String>,
    /// Claims that members of a room learn of each other where its presence names users, as those of the user; the
    /// name that they see is the last part of a path.
    pub presence_claims: Vec<String>,
    /// Tenants that are active; none: all are.
    pub tenants: Vec<String>,
    /// Whether every connection that is known must have a user and a tenant: so it is in the preset `tenants`.
    pub of_tenants: bool,
    /// How long before its token ends a client is warned; zero: it is not.
    pub expiry_warning: Duration,
    /// Whether a token must say when it ends (`exp`).
    pub require_exp: bool,
    /// How long a connection goes on with one token at the most; zero: as long as the token.
    pub session_max: Duration,
}

impl Default for Tokens {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            secret: Secret::default(),
            public_key_file: None,
            jwks_file: None,
            jwks_url: None,
            algorithms: Vec::new(),
            query_parameters: names(&["token"]),
            cookies: names(&["token"]),
            audience: Vec::new(),
            issuer: Vec::new(),
            leeway: Duration::from_secs(1),
            user_claims: names(&["userId", "sub"]),
            tenant_claims: names(&["tenantId", "organizationId"]),
            roles_claims: names(&["roles"]),
            presence_claims: Vec::new(),
            tenants: Vec::new(),
            of_tenants: false,
            expiry_warning: Duration::from_secs(60),
            require_exp: false,
            session_max: Duration::ZERO,
        }
    }
}

impl Tokens {
    /// Whether a user alone names nobody, as its name may be that of users in several tenants.
    pub fn has_tenants(&self) -> bool {
        self.of_tenants || !self.tenants.is_empty()
    }

    /// Whether there are keys to check tokens by, or a place to fetch them from.
    pub fn has_keys(&self) -> bool {
        !self.secret.is_empty()
            || self.public_key_file.is_some()
            || self.jwks_file.is_some()
            || self.jwks_url.is_some()
    }
}

/// A text that nobody may see: it is not shown where the configuration is printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` to itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for those who need it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "(secret)" })
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// How a token can be signed (RFC 7518 section 3.1, RFC 8037 section 3.1, RFC 9864 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl TokenAlgorithm {
    /// All there are.
    pub const ALL: &[Self] = &[
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// As a token's header has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name, in exactly this spelling: names are case-sensitive (RFC 7515 section 4.1.1). EdDSA
    /// has a second name, that of its curve (RFC 9864): no other curve is known here.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "Ed25519" => Some(Self::EdDsa),
            name => Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let tokens = Tokens { secret: Secret::new("topsecret"), ..Tokens::default() };
        let shown = format!("{tokens:?} {tokens:#?}");
        assert!(!shown.contains("topsecret") && shown.contains("(secret)"), "{shown}");
    }

    #[test]
    fn names_of_algorithms_are_exact() {
        for algorithm in TokenAlgorithm::ALL {
            assert_eq!(TokenAlgorithm::from_name(algorithm.name()), Some(*algorithm));
        }
        assert_eq!(TokenAlgorithm::from_name("Ed25519"), Some(TokenAlgorithm::EdDsa));
        for name in ["", "none", "None", "hs256", "HS256 ", "ES512", "ES256K", "EDDSA", "Ed448", "ed25519"] {
            assert_eq!(TokenAlgorithm::from_name(name), None, "{name}");
        }
    }
}
