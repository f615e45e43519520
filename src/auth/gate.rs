//! The policy and its judgement: token, API key or certificate in, grants or the reason against them out.

use super::certified::Certified;
use super::claims::Claims;
use super::denied::{Denied, Flaw};
use super::grants::{Grants, Holder, Origin};
use super::jwks::Terms;
use super::key::Key;
use super::revoked::Revoked;
use super::rules::{Rule, built_in};
use super::services::Services;
use super::token::Token;
use crate::event::Reach;
use std::sync::Arc;

/// Most keys that are tried for one token: keys are named where there are many, and each try costs a signature.
const TRIES_MAX: usize = 4;

/// A key set that an issuer announces at a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where: https, or http on loopback.
    pub url: String,
    /// What its keys are for.
    pub terms: Terms,
}

/// What a gate is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Keys that tokens are verified with.
    pub keys: Vec<Key>,
    /// Empty: the built-in ones.
    pub rules: Vec<Rule>,
    /// API keys of backends.
    pub services: Services,
    /// Tokens and users that were taken back.
    pub revoked: Revoked,
    /// Key sets that somebody must fetch and hand to [`Gate::with_fetched`].
    pub remotes: Vec<Remote>,
    /// Seconds by which clocks may differ.
    pub leeway_s: u64,
    /// Whether `wallet_address` or `wallet` must be there.
    pub wallet_required: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            keys: Vec::new(),
            rules: Vec::new(),
            services: Services::default(),
            revoked: Revoked::default(),
            remotes: Vec::new(),
            leeway_s: 30,
            wallet_required: true,
        }
    }
}

impl Policy {
    /// Whether nobody could ever be let in.
    pub fn lets_nobody_in(&self) -> bool {
        self.keys.is_empty() && self.remotes.is_empty() && self.services.is_empty()
    }
}

/// The policy in force. Immutable: a change is a new gate.
#[derive(Debug)]
pub struct Gate {
    policy: Policy,
    /// Keys beside those of the policy.
    fetched: Vec<Key>,
}

impl Gate {
    /// A gate that judges by this policy.
    pub fn new(mut policy: Policy) -> Gate {
        if policy.rules.is_empty() {
            policy.rules = built_in();
        }
        Gate { policy, fetched: Vec::new() }
    }

    /// A gate of the same policy with these keys beside its own, in place of those that were fetched before.
    #[must_use]
    pub fn with_fetched(&self, fetched: Vec<Key>) -> Gate {
        Gate { policy: self.policy.clone(), fetched }
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.policy.keys.iter().chain(&self.fetched)
    }

    /// Verifies a token and derives its grants; dear (a signature), so ask through `Door`.
    ///
    /// # Errors
    /// [`Denied`]: expired only if everything else is right.
    pub fn judge(&self, token: &str, now_s: u64) -> Result<Arc<Grants>, Denied> {
        if token.is_empty() {
            return Err(Denied::Missing);
        }
        let token = Token::parse(token)?;
        let named = |key: &&Key| match (&token.kid, key.kid()) {
            (Some(wanted), Some(kid)) => kid == wanted,
            (None, _) | (_, None) => true,
        };
        let pinned = self.keys().filter(|key| key.algorithm() == token.algorithm);
        let mut candidates = pinned.filter(named).take(TRIES_MAX).peekable();
        candidates.peek().ok_or(Flaw::UnknownKey)?;
        let key =
            candidates.find(|key| key.verifies(token.signed, &token.signature)).ok_or(Flaw::Signature)?;
        self.grant(key, &token.payload, now_s).map(Arc::new)
    }

    /// Judges the API key of a service.
    ///
    /// # Errors
    /// [`Denied`] when nobody has this key.
    pub fn service(&self, key: &str) -> Result<Arc<Grants>, Denied> {
        if key.is_empty() { Err(Denied::Missing) } else { Ok(self.policy.services.judge(key)?) }
    }

    /// Judges the certificate of a service. One for whose names the operator has said nothing is no credential.
    ///
    /// # Errors
    /// [`Denied::Missing`] when it stands for no service, [`Denied::Expired`] when it has ended.
    pub fn certified(&self, certified: &Arc<Certified>, now_s: u64) -> Result<Arc<Grants>, Denied> {
        let grants = self.policy.services.certified(certified).ok_or(Denied::Missing)?;
        self.still_holds(&grants, now_s).map(|()| Arc::new(grants))
    }

    /// Whether grants that this gate gave still hold: they have not ended. (A revocation is another gate: [`Gate::renew`].)
    ///
    /// # Errors
    /// [`Denied::Expired`].
    pub fn still_holds(&self, grants: &Grants, now_s: u64) -> Result<(), Denied> {
        if grants.ended(now_s) { Err(Denied::Expired) } else { Ok(()) }
    }

    /// Grants that another gate gave, by this one's keys, rules and revocations: for the connections that live on when
    /// the gate is replaced. Nothing is verified anew but that the key is still trusted.
    ///
    /// # Errors
    /// [`Denied`] when they hold no longer.
    pub fn renew(&self, grants: &Grants, now_s: u64) -> Result<Arc<Grants>, Denied> {
        match &grants.origin {
            Origin::Token { payload, key } => {
                let key = self.keys().find(|known| known.fingerprint() == key);
                self.grant(key.ok_or(Flaw::UnknownKey)?, payload, now_s).map(Arc::new)
            }
            Origin::ApiKey(hash) => Ok(self.policy.services.by_hash_of(hash).ok_or(Flaw::ApiKey)?),
            Origin::Certificate(certified) => match self.certified(certified, now_s) {
                Err(Denied::Missing) => Err(Flaw::Certificate.into()),
                judged => judged,
            },
        }
    }

    fn grant(&self, key: &Key, payload: &str, now_s: u64) -> Result<Grants, Denied> {
        let Policy { leeway_s, wallet_required, .. } = self.policy;
        let claims = Claims::read(payload, wallet_required)?;
        if key.issuer().is_some_and(|wanted| claims.issuer.as_deref() != Some(wanted)) {
            return Err(Flaw::Issuer.into());
        }
        if key.audience().is_some_and(|wanted| claims.audience.iter().all(|given| given != wanted)) {
            return Err(Flaw::Audience.into());
        }
        if claims.issued_at_s.max(claims.not_before_s.unwrap_or(0)) > now_s.saturating_add(leeway_s) {
            return Err(Flaw::NotYet.into());
        }
        if self.policy.revoked.covers(claims.token_id.as_deref(), &claims.user, claims.issued_at_s) {
            return Err(Flaw::Revoked.into());
        }
        let ends_at_s = claims.expires_at_s.saturating_add(leeway_s);
        if now_s >= ends_at_s {
            return Err(Denied::Expired);
        }
        let (read, write) = self.bind(&claims);
        Ok(Grants {
            holder: Holder::User { id: claims.user.into(), wallet: claims.wallet.map(Into::into) },
            issuer: claims.issuer.map(Into::into),
            token_id: claims.token_id.map(Into::into),
            issued_at_s: claims.issued_at_s,
            expires_at_s: Some(claims.expires_at_s),
            ends_at_s: Some(ends_at_s),
            read,
            write,
            origin: Origin::Token { payload: payload.into(), key: *key.fingerprint() },
        })
    }

    /// The operator's rules first, then the token's own lists; what neither covers is denied.
    fn bind(&self, claims: &Claims<'_>) -> (Reach, Reach) {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        for rule in &self.policy.rules {
            let Some((pattern, subscribe, publish)) = rule.bind(claims) else { continue };
            read.extend(subscribe.map(|allowed| (pattern.clone(), allowed)));
            write.extend(publish.map(|allowed| (pattern, allowed)));
        }
        read.extend(claims.channels.iter().map(|pattern| (pattern.clone(), true)));
        write.extend(claims.publish.iter().map(|pattern| (pattern.clone(), true)));
        (Reach::new(read), Reach::new(write))
    }
}
