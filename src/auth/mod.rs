//! Who may do what (contract 12). [`Gate`] is the policy: keys, rules, API keys and revocations, immutable, shared by all
//! shards and replaced as a whole when settings or keys change. It judges a token (a JWT, RFC 7519, signed as in RFC
//! 7515), a service's API key or its certificate, and answers [`Grants`]: who it is, and what they may read and write. Each
//! shard asks through its own [`Door`], which remembers what was verified, so that a known token costs one hash.
//!
//! This room has no socket, no file and no clock: texts, bytes and `now_s` (seconds since 1970) are arguments. It never
//! logs: [`Denied`] says why, in words that hold nothing of the token.
//!
//! The token format is read here and not by a library: `jsonwebtoken` from 10 on brings aws-lc-rs or the RustCrypto
//! crates beside the ring that Courier stands on, 9 is no longer kept up and does not refuse `crit` or members that are
//! given twice, and what is left without the cryptography, which is ring's, is to split a text at two dots.

mod algorithm;
mod certified;
mod claims;
mod denied;
mod door;
mod gate;
mod grants;
mod jwks;
mod key;
mod mint;
mod pem;
mod revoked;
mod rules;
mod services;
#[cfg(test)]
mod tests;
mod token;

pub use algorithm::{Algorithm, Family};
pub use certified::Certified;
pub use denied::{Denied, Flaw};
pub use door::{Door, VERIFIED_TOKENS_MAX};
pub use gate::{Gate, Policy, Remote};
pub use grants::{Grants, Holder};
pub use jwks::{KEY_SET_BYTES_MAX, KeySet, Terms};
pub use key::{BadKey, HMAC_SECRET_BYTES_GOOD, Key, RSA_BITS_MIN};
pub use mint::mint;
pub use revoked::{REVOKED_BYTES_MAX, REVOKED_MAX, Revoked};
pub use rules::{BadRule, Rule, built_in};
pub use services::{API_KEYS_MAX, ApiKey, ApiKeys, Services, new_api_key};
pub use token::TOKEN_BYTES_MAX;
