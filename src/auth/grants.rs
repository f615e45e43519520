//! What a judgement answers: who somebody is, until when, and what they may read and write. It exists only after
//! verification; nobody behind it checks again. Shared by all connections of one token.

use super::certified::Certified;
use crate::event::Reach;
use std::fmt;
use std::sync::Arc;

/// Somebody's rights. Made by `Gate` alone.
#[derive(PartialEq)]
pub struct Grants {
    pub(super) holder: Holder,
    pub(super) issuer: Option<Box<str>>,
    pub(super) token_id: Option<Box<str>>,
    pub(super) issued_at_s: u64,
    pub(super) expires_at_s: Option<u64>,
    pub(super) ends_at_s: Option<u64>,
    pub(super) read: Reach,
    pub(super) write: Reach,
    pub(super) origin: Origin,
}

/// Who holds the rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The user of a token.
    User {
        /// Claim `user_id` or `sub`.
        id: Box<str>,
        /// Claim `wallet_address` or `wallet`.
        wallet: Option<Box<str>>,
    },
    /// A backend with an API key or a certificate.
    Service {
        /// Its name.
        name: Box<str>,
    },
}

/// What the rights were derived from, so that a new policy can derive them again without the token.
#[derive(PartialEq)]
pub(super) enum Origin {
    /// The verified payload, and the key that verified it.
    Token { payload: Box<str>, key: [u8; 32] },
    /// The hash of the API key.
    ApiKey([u8; 32]),
    /// What was shown.
    Certificate(Arc<Certified>),
}

impl Grants {
    /// Who holds them.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The user, if a token brought them.
    pub fn user(&self) -> Option<&str> {
        match &self.holder {
            Holder::User { id, .. } => Some(id),
            Holder::Service { .. } => None,
        }
    }

    /// The user's wallet, if the token names one.
    pub fn wallet(&self) -> Option<&str> {
        match &self.holder {
            Holder::User { wallet, .. } => wallet.as_deref(),
            Holder::Service { .. } => None,
        }
    }

    /// The service, if an API key or a certificate brought them.
    pub fn service(&self) -> Option<&str> {
        match &self.holder {
            Holder::User { .. } => None,
            Holder::Service { name } => Some(name),
        }
    }

    /// Claim `jti`.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Claim `iss`.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Claim `exp`, or the end of a certificate, in seconds since 1970: what a client is told. An API key has none.
    pub fn expires_at_s(&self) -> Option<u64> {
        self.expires_at_s
    }

    /// The second, since 1970, at which they end: `exp` and the leeway, or the certificate's end. An API key's do not end
    /// by themselves.
    pub fn ends_at_s(&self) -> Option<u64> {
        self.ends_at_s
    }

    /// Whether they have ended by themselves.
    pub fn ended(&self, now_s: u64) -> bool {
        self.ends_at_s.is_some_and(|end| now_s >= end)
    }

    /// Whether the channel of this name may be subscribed to, and its history read.
    pub fn may_read(&self, channel: &str) -> bool {
        self.read.covers(channel)
    }

    /// Whether something may be published to the channel of this name.
    pub fn may_publish(&self, channel: &str) -> bool {
        self.write.covers(channel)
    }

    /// All that may be read: for subscriptions to patterns.
    pub fn reach(&self) -> &Reach {
        &self.read
    }

    /// All that may be written.
    pub fn publish_reach(&self) -> &Reach {
        &self.write
    }
}

/// Without the payload, which may hold what is private.
impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("holder", &self.holder)
            .field("ends_at_s", &self.ends_at_s)
            .field("read", &self.read)
            .field("write", &self.write)
            .finish_non_exhaustive()
    }
}
