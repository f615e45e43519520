//! Makes tokens with a shared secret: for tests, and for people who try things. Users' tokens come from an issuer.

use super::key::Key;
use data_encoding::BASE64URL_NOPAD;

/// A token with this payload (a JSON object), signed by an HS key; `None` when the key is another, which has no secret here.
pub fn mint(key: &Key, payload: &str) -> Option<String> {
    let name = key.kid().map(|kid| format!(r#","kid":{}"#, serde_json::Value::from(kid))).unwrap_or_default();
    let header = format!(r#"{{"alg":"{}","typ":"JWT"{name}}}"#, key.algorithm());
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let signed = format!("{}.{}", part(&header), part(payload));
    let tag = key.sign(signed.as_bytes())?;
    Some(format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref())))
}
