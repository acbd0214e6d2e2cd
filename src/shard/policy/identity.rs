//! Who connections are, while they are connected: identities end, and are said anew.

use crate::auth::token::{TokenDesk, TokenError, TokenPolicy, of_tenant};
use crate::hub::Party;
use crate::model::{Answer, CloseReason, Identity, Life};
use crate::shard::conn::Authenticates;
use crate::shard::input::commands::Asked;
use crate::shard::policy::access::Denial;
use crate::shard::turn::price;
use crate::shard::{Now, Shard, Sockets};
use std::sync::Arc;

/// Longest time in ms for which a timer is set to the end of an identity: the wall clock, by which it ends, may be put
/// right meanwhile.
const LOOK_MS: u64 = 60_000;

/// Why somebody is only told that it may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// What is wrong with its token.
    Token(TokenError),
    /// Its user or tenant has as many connections as it may.
    TooMany(Party),
}

impl Shard {
    /// Sets by what tokens are checked. Without it none is accepted.
    pub fn set_tokens(&mut self, tokens: Arc<TokenDesk>) {
        self.policy.gate.tokens = tokens;
    }

    /// Closes a connection that could not be let in, and was taken over only so that it can see why.
    pub fn turn_away(&mut self, now: Now, slot: u32, why: TurnedAway, sockets: &mut impl Sockets) {
        let (reason, text) = match why {
            TurnedAway::Token(error) if error.is_forbidden() => (CloseReason::Forbidden, error.told()),
            TurnedAway::Token(error) => (CloseReason::Unauthenticated, error.told()),
            TurnedAway::TooMany(party) => (CloseReason::RateLimited, party.too_many().text()),
        };
        self.close_with(now, slot, reason, reason.code(), text, sockets);
    }

    /// A client says who it is, or brings a new token before the old one ends. A token that is refused changes nothing.
    pub(in crate::shard) fn authenticate(&mut self, now: Now, asked: Asked<'_>, token: &str) {
        let Asked { slot, id, .. } = asked;
        if let Err(denial) = self.take_auth(now, slot) {
            return self.deny(now, Asked { text: "", ..asked }, denial);
        }
        let Some(conn) = self.conns.at(slot) else { return };
        self.turn.charge(price::TOKEN + price::REVIEWED * conn.memberships.len() as u64);
        let (identity, of_tenants) =
            (conn.identity.as_deref(), conn.authenticates == Authenticates::AsUserOfTenant);
        let checked = self.policy.gate.tokens.verify(token, now.unix_ms / 1000);
        let checked =
            checked.and_then(|new| if of_tenants { of_tenant(&new).map(|()| new) } else { Ok(new) });
        match checked.and_then(|new| continues(identity, new)) {
            Ok(identity) => {
                if let Err(refusal) = self.hold_as(slot, &identity) {
                    // Without the message, as the token is in it; and in these words, as no room is asked for.
                    let denial = Denial { refusal, text: Some(refusal.text().into()) };
                    return self.deny(now, Asked { text: "", ..asked }, denial);
                }
                let identity = Arc::new(identity);
                self.answer(now, slot, &Answer::Authenticated { user: identity.user.as_deref(), id });
                self.identify(now, slot, Some(identity));
            }
            Err(error) => {
                self.metrics.token_failures.inc(error.index());
                tracing::debug!(connection = %conn.id, reason = error.label(), "token refused");
                if let Some(count) = self.policy.gate.tokens.refused(error, now.ms()) {
                    let peer = conn.socket_addr().map(tracing::field::display);
                    tracing::warn!(reason = error.label(), count, connection = %conn.id, peer, "tokens refused");
                }
                // Without the message that was refused: a secret is in it.
                let original = None;
                self.answer(now, slot, &Answer::Error { refusal: None, text: error.told(), original, id });
            }
        }
    }

    /// Holds who a connection is against the configuration as it is now: whose token would not be accepted any more is
    /// closed, and nobody goes on longer than is allowed now.
    pub(super) fn review_identity(
        &mut self,
        now: Now,
        slot: u32,
        policy: &TokenPolicy,
        sockets: &mut impl Sockets,
    ) {
        let Some(conn) = self.conns.at_mut(slot).filter(|conn| conn.is_open()) else { return };
        let Some(identity) = conn.identity.as_mut() else { return };
        match policy.review(identity, now.unix_ms / 1000) {
            Ok(ends_unix_s) if ends_unix_s == identity.ends_unix_s() => {}
            Ok(ends_unix_s) => {
                let life = ends_unix_s.map(|ends_unix_s| Life::new(now.unix_ms / 1000, ends_unix_s));
                *identity = Arc::new(Identity { life, ..Identity::clone(identity) });
                conn.warned = false;
                self.arm(now, slot);
            }
            Err(error) => {
                self.metrics.token_failures.inc(error.index());
                tracing::debug!(connection = %conn.id, reason = error.label(), "token accepted no more");
                self.turn_away(now, slot, TurnedAway::Token(error), sockets);
            }
        }
    }

    /// Tells a client that its identity ends soon.
    pub(in crate::shard) fn warn_of_end(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        conn.warned = true;
        if let Some(at_unix_s) = conn.identity.as_ref().and_then(|identity| identity.ends_unix_s()) {
            self.answer(now, slot, &Answer::IdentityEnds { at_unix_s });
        }
    }

    /// What an identity that ends asks for now.
    pub(in crate::shard) fn identity_due(
        &self,
        now: Now,
        identity: &Identity,
        warned: bool,
    ) -> Option<IdentityDue> {
        let left_ms = left_ms(now, identity.ends_unix_s()?);
        if left_ms == 0 {
            Some(IdentityDue::End)
        } else if !warned && left_ms <= self.warning_ms(identity) {
            Some(IdentityDue::Warning)
        } else {
            None
        }
    }

    /// When an identity is to be looked at next, in ms of the shard's clock.
    pub(in crate::shard) fn identity_deadline_ms(
        &self,
        now: Now,
        identity: &Identity,
        warned: bool,
    ) -> Option<u64> {
        let left_ms = left_ms(now, identity.ends_unix_s()?);
        let warning_ms = self.warning_ms(identity);
        let next_ms = if warned || warning_ms == 0 { left_ms } else { left_ms.saturating_sub(warning_ms) };
        Some(now.ms() + next_ms.min(LOOK_MS))
    }

    /// How long before the end of an identity its client is warned: as configured, but not before half of its time is
    /// over. A client that answers each warning with a new token of a short life would do so without a pause.
    fn warning_ms(&self, identity: &Identity) -> u64 {
        let configured_ms = self.config.tokens.expiry_warning.as_millis() as u64;
        let life_s = identity.life.map_or(0, Life::length_s);
        configured_ms.min(life_s.saturating_mul(500))
    }
}

/// See [`Shard::identity_due`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum IdentityDue {
    Warning,
    End,
}

/// Milliseconds until a time.
fn left_ms(now: Now, unix_s: u64) -> u64 {
    unix_s.saturating_mul(1000).saturating_sub(now.unix_ms)
}

/// `new`, if it may follow `old`: the same user and tenant, and at least its roles, for the connection may be where it
/// is because of them. Whoever was nobody may become anybody.
fn continues(old: Option<&Identity>, new: Identity) -> Result<Identity, TokenError> {
    match old {
        Some(old) if old.user != new.user || old.tenant != new.tenant => Err(TokenError::IdentityChanged),
        Some(old) if !old.roles.iter().all(|role| new.has_role(role)) => Err(TokenError::RoleMissing),
        _ => Ok(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(user: Option<&str>, tenant: Option<&str>, roles: &[&str]) -> Identity {
        Identity {
            user: user.map(Box::from),
            tenant: tenant.map(Box::from),
            roles: roles.iter().map(|role| Box::from(*role)).collect(),
            ..Identity::default()
        }
    }

    #[test]
    fn only_the_same_person_goes_on() {
        let old = identity(Some("u1"), Some("a1"), &["admin"]);
        let next = |new: &Identity| continues(Some(&old), new.clone());
        for roles in [&["admin"][..], &["editor", "admin"]] {
            assert!(next(&identity(Some("u1"), Some("a1"), roles)).is_ok());
        }
        for (user, tenant) in [(Some("u10"), Some("a1")), (Some("u1"), Some("a12")), (None, Some("a1"))] {
            assert_eq!(next(&identity(user, tenant, &["admin"])), Err(TokenError::IdentityChanged));
        }
        assert_eq!(next(&identity(Some("u1"), None, &["admin"])), Err(TokenError::IdentityChanged));
        assert_eq!(next(&identity(Some("u1"), Some("a1"), &["Admin"])), Err(TokenError::RoleMissing));
        assert_eq!(continues(None, old.clone()), Ok(old));
    }

    #[test]
    fn time_left_is_never_less_than_none() {
        let now = |unix_ms| Now { us: 0, unix_ms };
        assert_eq!(left_ms(now(9_001), 10), 999);
        assert_eq!(left_ms(now(10_000), 10), 0);
        assert_eq!(left_ms(now(99_000), 10), 0);
        assert_eq!(left_ms(now(u64::MAX), u64::MAX), 0);
        assert!(left_ms(now(0), u64::MAX) > 0);
    }
}
