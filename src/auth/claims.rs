//! The claims of a verified token (RFC 7519 section 4, contract 12): read strictly, since a value of another type or a
//! name that is given twice is how one reader is made to see what another did not.

use super::denied::Flaw;
use super::token::Members;
use crate::event::Pattern;

/// The longest user id, wallet, token id or issuer, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Most patterns in `channels` or in `publish`: each is asked per channel.
const PATTERNS_MAX: usize = 128;

/// What a payload says.
pub(super) struct Claims<'a> {
    pub user: String,
    pub wallet: Option<String>,
    pub token_id: Option<String>,
    pub issuer: Option<String>,
    pub audience: Vec<String>,
    pub issued_at_s: u64,
    pub expires_at_s: u64,
    pub not_before_s: Option<u64>,
    /// Patterns that the token itself may read.
    pub channels: Vec<Pattern>,
    /// Patterns that the token itself may write.
    pub publish: Vec<Pattern>,
    members: Members<'a>,
}

impl<'a> Claims<'a> {
    /// Contract 12: `user_id` or `sub`, `wallet_address` or `wallet` (unless the operator does without), `exp` and `iat`.
    /// Where both names are given the first counts.
    pub fn read(payload: &'a str, wallet_required: bool) -> Result<Claims<'a>, Flaw> {
        let members = Members::read(payload).ok_or(Flaw::Payload)?;
        let user = either(&members, "user_id", "sub")?.ok_or(Flaw::Lacks("user_id"))?;
        let wallet = either(&members, "wallet_address", "wallet")?;
        if wallet.is_none() && wallet_required {
            return Err(Flaw::Lacks("wallet_address"));
        }
        Ok(Claims {
            user,
            wallet,
            token_id: text(&members, "jti")?,
            issuer: text(&members, "iss")?,
            audience: audience(&members)?,
            issued_at_s: date(&members, "iat")?.ok_or(Flaw::Lacks("iat"))?,
            expires_at_s: date(&members, "exp")?.ok_or(Flaw::Lacks("exp"))?,
            not_before_s: date(&members, "nbf")?,
            channels: patterns(&members, "channels")?,
            publish: patterns(&members, "publish")?,
            members,
        })
    }

    /// What `{name}` in a rule stands for; `None` when the token has no such claim. One that is no text stands for nothing.
    pub fn value(&self, name: &str) -> Option<String> {
        match name {
            "user_id" => Some(self.user.clone()),
            "wallet_address" | "wallet" => self.wallet.clone(),
            _ => self.members.text(name).unwrap_or_else(|()| Some(String::new())),
        }
    }
}

fn either(members: &Members<'_>, first: &'static str, second: &'static str) -> Result<Option<String>, Flaw> {
    let (first, second) = (text(members, first)?, text(members, second)?);
    Ok(first.or(second))
}

/// A text that can stand in a log line: neither empty nor endless, and without control characters.
fn text(members: &Members<'_>, name: &'static str) -> Result<Option<String>, Flaw> {
    let text = members.text(name).map_err(|()| Flaw::Claim(name))?;
    let good = |text: &String| {
        !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
    };
    if text.as_ref().is_none_or(good) { Ok(text) } else { Err(Flaw::Claim(name)) }
}

/// RFC 7519 section 2: NumericDate, seconds since 1970, which may have a fraction.
fn date(members: &Members<'_>, name: &'static str) -> Result<Option<u64>, Flaw> {
    let Some(raw) = members.raw(name) else { return Ok(None) };
    let number: serde_json::Number = serde_json::from_str(raw).map_err(|_| Flaw::Claim(name))?;
    // 2^53: every whole number up to there is exact, and it is 285 million years away.
    let seconds = number.as_f64().filter(|seconds| (0.0..=9_007_199_254_740_992.0).contains(seconds));
    seconds.map(|seconds| Some(seconds as u64)).ok_or(Flaw::Claim(name))
}

/// RFC 7519 section 4.1.3: one text, or a list of texts.
fn audience(members: &Members<'_>) -> Result<Vec<String>, Flaw> {
    match members.raw("aud") {
        None => Ok(Vec::new()),
        Some(raw) if raw.starts_with('[') => serde_json::from_str(raw).map_err(|_| Flaw::Claim("aud")),
        Some(_) => Ok(text(members, "aud")?.into_iter().collect()),
    }
}

fn patterns(members: &Members<'_>, name: &'static str) -> Result<Vec<Pattern>, Flaw> {
    let Some(raw) = members.raw(name) else { return Ok(Vec::new()) };
    let texts: Vec<String> = serde_json::from_str(raw).map_err(|_| Flaw::Claim(name))?;
    if texts.len() > PATTERNS_MAX {
        return Err(Flaw::Claim(name));
    }
    texts.iter().map(|text| Pattern::parse(text).map_err(|_| Flaw::Claim(name))).collect()
}
