/// Why a token is refused.
///
/// The display is for the log: no part of the token is in it. What its holder is told is [`TokenError::told`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No token where one is needed.
    #[error("there is no token")]
    Missing,
    /// More than [`super::TOKEN_BYTES_MAX`] bytes: it was not looked at.
    #[error("the token is too long")]
    TooLong,
    /// Not three parts with dots between them.
    #[error("the token does not have three parts")]
    Parts,
    /// A part is not base64url without padding (RFC 7515 section 2).
    #[error("a part of the token is not base64url")]
    Base64,
    /// The header is not an object with an `alg`, or has a field twice.
    #[error("the token's header is not one")]
    Header,
    /// The header asks for something to be understood (`crit`) that is not.
    #[error("the token's header has critical fields")]
    Critical,
    /// `alg` is `none`, in whatever spelling.
    #[error("the token is not signed")]
    Unsigned,
    /// `alg` is nothing that is known.
    #[error("the token's algorithm is unknown")]
    AlgorithmUnknown,
    /// `alg` is not allowed, or no key is for it.
    #[error("the token's algorithm is not that of a key")]
    AlgorithmRefused,
    /// There are no keys, or none yet.
    #[error("there are no keys to check tokens with")]
    NoKeys,
    /// No key has the token's `kid`.
    #[error("the token's key is unknown")]
    KeyUnknown,
    /// The signature is not one of the key for this token.
    #[error("the token's signature is wrong")]
    Signature,
    /// The claims are not an object, have one twice, or one of a wrong type.
    #[error("the token's claims are malformed")]
    Claims,
    /// `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// There is no `exp`, and one is asked for.
    #[error("the token does not say when it ends")]
    ExpiryMissing,
    /// `nbf` is yet to come.
    #[error("the token is not yet valid")]
    NotYetValid,
    /// `iss` is missing or another.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` is missing or another.
    #[error("the token is for another audience")]
    Audience,
    /// User, tenant or a role cannot be one, or there are too many roles.
    #[error("the token names a user, tenant or role that cannot be one")]
    Name,
    /// A tenant is needed, and the token names none.
    #[error("the token names no tenant")]
    TenantMissing,
    /// A user is needed, and the token names none.
    #[error("the token names no user")]
    UserMissing,
    /// Active tenants are listed, and the token's is not among them.
    #[error("the tenant is not active")]
    TenantInactive,
    /// The endpoint asks for a role that the token does not have.
    #[error("the token does not have the role that is asked for")]
    RoleMissing,
    /// The token of a refresh is somebody else's.
    #[error("the token is of another user or tenant than the connection")]
    IdentityChanged,
}

impl TokenError {
    /// All there are, in the order of [`TokenError::index`].
    pub const ALL: &[Self] = &[
        Self::Missing,
        Self::TooLong,
        Self::Parts,
        Self::Base64,
        Self::Header,
        Self::Critical,
        Self::Unsigned,
        Self::AlgorithmUnknown,
        Self::AlgorithmRefused,
        Self::NoKeys,
        Self::KeyUnknown,
        Self::Signature,
        Self::Claims,
        Self::Expired,
        Self::ExpiryMissing,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Name,
        Self::TenantMissing,
        Self::UserMissing,
        Self::TenantInactive,
        Self::RoleMissing,
        Self::IdentityChanged,
    ];

    /// Their names in metrics, in the same order.
    pub const LABELS: [&'static str; Self::ALL.len()] = {
        let mut labels = [""; Self::ALL.len()];
        let mut index = 0;
        while index < labels.len() {
            labels[index] = Self::ALL[index].label();
            index += 1;
        }
        labels
    };

    /// Its place in [`TokenError::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Parts => "parts",
            Self::Base64 => "base64",
            Self::Header => "header",
            Self::Critical => "critical",
            Self::Unsigned => "unsigned",
            Self::AlgorithmUnknown => "algorithm_unknown",
            Self::AlgorithmRefused => "algorithm_refused",
            Self::NoKeys => "no_keys",
            Self::KeyUnknown => "key_unknown",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Expired => "expired",
            Self::ExpiryMissing => "expiry_missing",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Name => "name",
            Self::TenantMissing => "tenant_missing",
            Self::UserMissing => "user_missing",
            Self::TenantInactive => "tenant_inactive",
            Self::RoleMissing => "role_missing",
            Self::IdentityChanged => "identity_changed",
        }
    }

    /// What the peer is told: what it can do something about, and nothing of what keys or rules there are. That a
    /// token has expired or names another user, or who a tenant is, is only found out of tokens whose signature is right.
    pub const fn told(self) -> &'static str {
        match self {
            Self::Missing => "No authentication token provided",
            Self::Expired => "Authentication token expired",
            Self::TenantInactive => "Invalid or inactive tenant",
            Self::RoleMissing => "Insufficient permissions",
            Self::IdentityChanged => "Authentication token of another user or tenant",
            _ => "Invalid authentication token",
        }
    }

    /// Whether it is known who this is, and that is not enough: 403 and 4403 rather than 401 and 4401.
    pub const fn is_forbidden(self) -> bool {
        matches!(self, Self::TenantInactive | Self::RoleMissing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_has_a_place_and_a_label_of_its_own() {
        for (place, error) in TokenError::ALL.iter().enumerate() {
            assert_eq!(error.index(), place);
        }
        let labels: HashSet<_> = TokenError::ALL.iter().map(|error| error.label()).collect();
        assert_eq!(labels.len(), TokenError::ALL.len());
        let fine =
            |label: &str| label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(labels.iter().all(|label| fine(label)));
    }

    #[test]
    fn what_is_told_is_told_of_few_and_the_same_of_the_rest() {
        let special: HashSet<_> = TokenError::ALL.iter().map(|error| error.told()).collect();
        assert_eq!(special.len(), 6);
        assert_eq!(TokenError::Signature.told(), TokenError::Audience.told());
    }
}
