//! Public keys in PEM form: SubjectPublicKeyInfo (RFC 5280 section 4.1, `BEGIN PUBLIC KEY`), what `openssl pkey -pubout`
//! writes. Only the few DER shapes that occur there are read.

use super::algorithm::{Algorithm, Family};
use super::key::{BadKey, Key};
use rustls_pki_types::alg_id;
use rustls_pki_types::pem::{SectionKind, from_buf};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

impl Key {
    /// The public key in a PEM text. Of several sections the first counts.
    ///
    /// # Errors
    /// [`BadKey`] when there is none, or it is of another kind than the algorithm needs.
    pub fn pem(algorithm: Algorithm, text: &[u8]) -> Result<Key, BadKey> {
        let mut rest = text;
        let section = from_buf(&mut rest).ok().flatten();
        match section.ok_or(BadKey::Form)? {
            (SectionKind::PublicKey, der) => public_key(algorithm, &der),
            (SectionKind::Certificate, _) => Err(BadKey::Certificate),
            (SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _) => {
                Err(BadKey::Private)
            }
            _ => Err(BadKey::Form),
        }
    }
}

fn public_key(algorithm: Algorithm, der: &[u8]) -> Result<Key, BadKey> {
    let whole = only(SEQUENCE, der).ok_or(BadKey::Form)?;
    let (kind, rest) = value(SEQUENCE, whole).ok_or(BadKey::Form)?;
    // The first byte counts the unused bits of the last one: none.
    let key = only(BIT_STRING, rest).and_then(|bits| bits.strip_prefix(&[0])).ok_or(BadKey::Form)?;
    let family = match kind {
        kind if kind == alg_id::RSA_ENCRYPTION.as_ref() => Family::Rsa,
        kind if kind == alg_id::ECDSA_P256.as_ref() => Family::P256,
        kind if kind == alg_id::ECDSA_P384.as_ref() => Family::P384,
        kind if kind == alg_id::ED25519.as_ref() => Family::Ed25519,
        _ => return Err(BadKey::Kind),
    };
    match family {
        _ if family != algorithm.family() => Err(BadKey::Kind),
        Family::Rsa => rsa(algorithm, key),
        _ => Key::point(algorithm, key),
    }
}

fn rsa(algorithm: Algorithm, der: &[u8]) -> Result<Key, BadKey> {
    let numbers = only(SEQUENCE, der).ok_or(BadKey::Form)?;
    let (modulus, rest) = value(INTEGER, numbers).ok_or(BadKey::Form)?;
    let exponent = only(INTEGER, rest).ok_or(BadKey::Form)?;
    Key::rsa(algorithm, modulus, exponent)
}

/// The content of the element that is all of `der`.
fn only(tag: u8, der: &[u8]) -> Option<&[u8]> {
    value(tag, der).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// The content of the first element, and what follows it; lengths of up to two bytes, as many as such a key needs.
fn value(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der {
        [first, length @ 0..=0x7f, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x81, length, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x82, high, low, rest @ ..] if *first == tag => {
            (usize::from(*high) << 8 | usize::from(*low), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
