//! A key that tokens are verified with: its bytes, the one algorithm it is pinned to, and whose it is. Made when settings
//! or a key set are read; a key that is too weak or of the wrong kind is refused here and not at the first token.

use super::algorithm::{Algorithm, Family};
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use ring::{digest, hmac};
use std::fmt;

/// Shorter secrets work and deserve a warning: RFC 7518 section 3.2 wants as many bytes as the hash has.
pub const HMAC_SECRET_BYTES_GOOD: usize = 32;

/// The smallest RSA key, in bits (RFC 7518 section 3.3).
pub const RSA_BITS_MIN: usize = 2_048;
/// The largest RSA key, in bits: what ring verifies.
const RSA_BITS_MAX: usize = 8_192;

/// A verification key, pinned to one algorithm.
#[derive(Clone)]
pub struct Key {
    algorithm: Algorithm,
    material: Material,
    kid: Option<Box<str>>,
    issuer: Option<Box<str>>,
    audience: Option<Box<str>>,
    fingerprint: [u8; 32],
}

#[derive(Clone)]
enum Material {
    Secret(hmac::Key),
    Rsa(RsaPublicKeyComponents<Box<[u8]>>),
    Point(Box<[u8]>),
}

/// Why something is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// An empty secret.
    Empty,
    /// A secret that is the text of a public key: whoever has it could make tokens.
    PublicAsSecret,
    /// Not a key that its text claims to be.
    Form,
    /// A private key where a public one belongs.
    Private,
    /// A certificate where a public key belongs.
    Certificate,
    /// A kind of key that the algorithm cannot use.
    Kind,
    /// Fewer bits than [`RSA_BITS_MIN`].
    Weak,
    /// More bits than can be verified with.
    TooLarge,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadKey::Empty => "an empty secret",
            BadKey::PublicAsSecret => "a secret that is a public key, which anybody may have",
            BadKey::Form => "no public key in PEM form (BEGIN PUBLIC KEY)",
            BadKey::Private => "a private key; the server needs only the public one",
            BadKey::Certificate => "a certificate; take its key out: openssl x509 -pubkey -noout",
            BadKey::Kind => "a kind of key that the algorithm does not use",
            BadKey::Weak => "an RSA key below 2048 bits",
            BadKey::TooLarge => "an RSA key above 8192 bits",
        })
    }
}

impl Key {
    /// The shared secret of an HS algorithm.
    ///
    /// # Errors
    /// [`BadKey`] when it is empty, is a public key, or the algorithm needs another kind.
    pub fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Key, BadKey> {
        let hmac = algorithm.hmac().ok_or(BadKey::Kind)?;
        if secret.is_empty() {
            return Err(BadKey::Empty);
        }
        if secret.windows(10).any(|part| part == b"-----BEGIN") {
            return Err(BadKey::PublicAsSecret);
        }
        Ok(Key::new(algorithm, Material::Secret(hmac::Key::new(hmac, secret)), &[secret]))
    }

    /// An RSA public key: modulus and exponent, big-endian.
    ///
    /// # Errors
    /// [`BadKey`] when its size or the algorithm is wrong.
    pub fn rsa(algorithm: Algorithm, modulus: &[u8], exponent: &[u8]) -> Result<Key, BadKey> {
        if algorithm.family() != Family::Rsa {
            return Err(BadKey::Kind);
        }
        let (n, e) = (stripped(modulus), stripped(exponent));
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        match bits {
            _ if e.is_empty() || e.len() > 5 => Err(BadKey::Form),
            0..RSA_BITS_MIN => Err(BadKey::Weak),
            RSA_BITS_MIN..=RSA_BITS_MAX => {
                let material = Material::Rsa(RsaPublicKeyComponents { n: n.into(), e: e.into() });
                Ok(Key::new(algorithm, material, &[n, e]))
            }
            _ => Err(BadKey::TooLarge),
        }
    }

    /// A public key on a curve: the uncompressed point of P-256 or P-384, or the 32 bytes of Ed25519.
    ///
    /// # Errors
    /// [`BadKey`] when its length does not fit the algorithm.
    pub fn point(algorithm: Algorithm, point: &[u8]) -> Result<Key, BadKey> {
        let whole = match algorithm.family() {
            Family::P256 => point.len() == 65 && point[0] == 4,
            Family::P384 => point.len() == 97 && point[0] == 4,
            Family::Ed25519 => point.len() == 32,
            Family::Hmac | Family::Rsa => return Err(BadKey::Kind),
        };
        if !whole {
            return Err(BadKey::Form);
        }
        Ok(Key::new(algorithm, Material::Point(point.into()), &[point]))
    }

    fn new(algorithm: Algorithm, material: Material, parts: &[&[u8]]) -> Key {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [algorithm.name().as_bytes()].iter().chain(parts) {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        Key { algorithm, material, kid: None, issuer: None, audience: None, fingerprint }
    }

    /// Its name: a token that names a key (`kid`) is verified with that one or with those that have no name.
    #[must_use]
    pub fn named(mut self, kid: &str) -> Key {
        self.kid = (!kid.is_empty()).then(|| kid.into());
        self
    }

    /// What its tokens must say in `iss` and `aud`; empty: nothing.
    #[must_use]
    pub fn bound_to(mut self, issuer: &str, audience: &str) -> Key {
        let given = |text: &str| (!text.is_empty()).then(|| text.into());
        (self.issuer, self.audience) = (given(issuer), given(audience));
        self
    }

    /// The one algorithm it verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its name, if it has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    pub(super) fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// A hash of algorithm and bytes: two keys with one fingerprint verify the same tokens.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// A signature, if it is a shared secret.
    pub(super) fn sign(&self, text: &[u8]) -> Option<hmac::Tag> {
        match &self.material {
            Material::Secret(key) => Some(hmac::sign(key, text)),
            Material::Rsa(_) | Material::Point(_) => None,
        }
    }

    /// Whether `signature` over `signed` is by this key. HMACs are compared in constant time.
    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, signed, signature).is_ok(),
            Material::Rsa(key) => {
                self.algorithm.rsa().is_some_and(|rsa| key.verify(rsa, signed, signature).is_ok())
            }
            Material::Point(point) => self
                .algorithm
                .curve()
                .is_some_and(|curve| UnparsedPublicKey::new(curve, point).verify(signed, signature).is_ok()),
        }
    }
}

fn stripped(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// Equal in all that decides what they verify.
impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        let rest = |key: &Key| (key.kid.clone(), key.issuer.clone(), key.audience.clone());
        self.fingerprint == other.fingerprint && rest(self) == rest(other)
    }
}

/// Never the secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
