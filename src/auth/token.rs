//! The compact form of a token (RFC 7515 section 7.1): `header.payload.signature`, each Base64url without padding. What is
//! read here is not trusted yet; the signature covers the first two parts as they are written.

use super::algorithm::Algorithm;
use super::denied::Flaw;
use data_encoding::BASE64URL_NOPAD;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The longest token, in bytes: it must fit a head of 16 KiB beside everything else.
pub const TOKEN_BYTES_MAX: usize = 8_192;

/// Most members of a header or a payload; real ones have some ten, and each is compared with those before it.
const MEMBERS_MAX: usize = 64;

/// A token taken apart.
pub(super) struct Token<'a> {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    /// The bytes that the signature covers.
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
    pub payload: String,
}

impl<'a> Token<'a> {
    pub fn parse(text: &'a str) -> Result<Token<'a>, Flaw> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Flaw::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Flaw::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(Flaw::Form)?;
        let (algorithm, kid) = read_header(&decoded_text(header, Flaw::Header)?)?;
        Ok(Token {
            algorithm,
            kid,
            signed: signed.as_bytes(),
            signature: decoded(signature)?,
            payload: decoded_text(payload, Flaw::Payload)?,
        })
    }
}

/// Strict: padding, other characters and unused bits that are not zero are refused, so a token has one spelling.
fn decoded(part: &str) -> Result<Vec<u8>, Flaw> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Flaw::Form)
}

fn decoded_text(part: &str, flaw: Flaw) -> Result<String, Flaw> {
    String::from_utf8(decoded(part)?).map_err(|_| flaw)
}

/// Keys that a header brings or points to (`jwk`, `jku`, `x5u`, `x5c`) are passed over: only ours verify.
fn read_header(text: &str) -> Result<(Algorithm, Option<String>), Flaw> {
    let members = Members::read(text).ok_or(Flaw::Header)?;
    if members.has("crit") || members.has("b64") {
        return Err(Flaw::Extension);
    }
    if let Some(kind) = members.text("typ").map_err(|()| Flaw::Header)? {
        let kind = kind.to_ascii_lowercase();
        // RFC 8725 section 3.11: a token that was made for another purpose is not one for us.
        if !matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt") {
            return Err(Flaw::Header);
        }
    }
    let algorithm = members.text("alg").map_err(|()| Flaw::Header)?.ok_or(Flaw::Algorithm)?;
    let kid = members.text("kid").map_err(|()| Flaw::Header)?;
    Ok((Algorithm::parse(&algorithm).ok_or(Flaw::Algorithm)?, kid))
}

/// The members of a JSON object, each name once; values are read when they are asked for.
pub(super) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// `None` when the text is no object, names a member twice or has more than [`MEMBERS_MAX`].
    pub fn read(text: &'a str) -> Option<Members<'a>> {
        let mut json = serde_json::Deserializer::from_str(text);
        let members = json.deserialize_map(Distinct).ok()?;
        json.end().ok()?;
        Some(Members(members))
    }

    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// The value as JSON.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.get())
    }

    /// The value as a text; an error when it is anything else, `null` too.
    pub fn text(&self, name: &str) -> Result<Option<String>, ()> {
        self.raw(name).map(|raw| serde_json::from_str(raw).map_err(|_| ())).transpose()
    }
}

struct Distinct;

impl<'de> Visitor<'de> for Distinct {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if members.len() == MEMBERS_MAX || members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("a member twice, or too many"));
            }
            members.push((name, value));
        }
        Ok(members)
    }
}
