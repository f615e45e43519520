//! Key sets (RFC 7517, RFC 7518 section 6, RFC 8037): the public keys that an issuer announces. A key that is for another
//! purpose or of a kind that is not spoken here is passed over, as the RFC wants; one that says to be usable and is broken too,
//! so that one bad entry does not lock everybody out. How many were passed over is answered.

use super::algorithm::{Algorithm, Family};
use super::key::Key;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

/// Longest key set, in bytes: some hundred keys.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;
/// Most keys that are taken from one set.
const KEYS_MAX: usize = 128;

/// What a set gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeySet {
    /// The keys that can verify tokens.
    pub keys: Vec<Key>,
    /// How many others there were.
    pub passed_over: usize,
}

/// Whose keys they are and what they may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The algorithm of keys that name none, where it fits their kind.
    pub algorithm: Algorithm,
    /// Required `iss`; empty: any.
    pub issuer: String,
    /// Required `aud`; empty: any.
    pub audience: String,
    /// Whether secrets (`oct`) are taken: from a file, never from the network.
    pub secrets: bool,
}

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    alg: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl KeySet {
    /// Reads a set's text.
    ///
    /// # Errors
    /// When it is no key set, or has no usable key.
    pub fn parse(text: &str, terms: &Terms) -> Result<KeySet, String> {
        if text.len() > KEY_SET_BYTES_MAX {
            return Err(format!("a key set above {KEY_SET_BYTES_MAX} bytes"));
        }
        let set: Set<'_> = serde_json::from_str(text).map_err(|error| format!("no key set: {error}"))?;
        let mut found = KeySet::default();
        for raw in &set.keys {
            match serde_json::from_str(raw.get()).ok().and_then(|jwk: Jwk| key(&jwk, terms)) {
                Some(key) if found.keys.len() < KEYS_MAX => found.keys.push(key),
                _ => found.passed_over += 1,
            }
        }
        if found.keys.is_empty() {
            return Err(format!("a key set in which none of {} keys can verify tokens", set.keys.len()));
        }
        Ok(found)
    }
}

fn key(jwk: &Jwk, terms: &Terms) -> Option<Key> {
    let signs = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
    if !signs || jwk.key_ops.as_ref().is_some_and(|ops| ops.iter().all(|op| op != "verify")) {
        return None;
    }
    let family = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Family::Rsa,
        ("EC", Some("P-256")) => Family::P256,
        ("EC", Some("P-384")) => Family::P384,
        ("OKP", Some("Ed25519")) => Family::Ed25519,
        ("oct", _) if terms.secrets => Family::Hmac,
        _ => return None,
    };
    let algorithm = match &jwk.alg {
        Some(name) => Algorithm::parse(name).filter(|algorithm| algorithm.family() == family)?,
        None if terms.algorithm.family() == family => terms.algorithm,
        None => Algorithm::ALL.into_iter().find(|algorithm| algorithm.family() == family)?,
    };
    let key = match family {
        Family::Hmac => Key::secret(algorithm, &bytes(&jwk.k)?),
        Family::Rsa => Key::rsa(algorithm, &bytes(&jwk.n)?, &bytes(&jwk.e)?),
        Family::Ed25519 => Key::point(algorithm, &bytes(&jwk.x)?),
        Family::P256 | Family::P384 => {
            Key::point(algorithm, &[vec![4], bytes(&jwk.x)?, bytes(&jwk.y)?].concat())
        }
    };
    Some(key.ok()?.named(jwk.kid.as_deref().unwrap_or_default()).bound_to(&terms.issuer, &terms.audience))
}

fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_deref()?.as_bytes()).ok()
}
