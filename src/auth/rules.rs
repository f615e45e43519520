//! The rules (contract 12): which channels a token may read and write, by pattern, where a segment `{claim}` stands for what
//! the token says. The first rule that covers a channel and says something decides. A claim's value is always literal: one that is not
//! made of a channel's characters (a star, a slash, an accent) binds nothing, and one with dots is those very segments.

use super::claims::Claims;
use crate::event::{BadPattern, Channel, Pattern};
use std::fmt;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    segments: Box<[Segment]>,
    /// Whether matching channels may be read; unsaid: a later rule or the token says.
    pub subscribe: Option<bool>,
    /// Whether matching channels may be written; unsaid: a later rule or the token says.
    pub publish: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(Box<str>),
    Claim(Box<str>),
}

/// Why a text is not the pattern of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRule {
    /// As a pattern it is wrong.
    Pattern(BadPattern),
    /// Braces that are not around a claim's name, or not a whole segment.
    Claim,
}

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRule::Pattern(bad) => bad.fmt(f),
            BadRule::Claim => f.write_str("{claim} must be a whole segment, such as user.{user_id}.**"),
        }
    }
}

impl Rule {
    /// A rule that says nothing yet.
    ///
    /// # Errors
    /// [`BadRule`] when the text is no pattern with claims.
    pub fn parse(pattern: &str) -> Result<Rule, BadRule> {
        let segments: Box<[Segment]> = pattern.split('.').map(segment).collect::<Result<_, _>>()?;
        // With every claim bound to the shortest value it must be a pattern.
        let bound = joined(&segments, |_| Some("x".to_owned())).unwrap_or_default();
        Pattern::parse(&bound).map_err(BadRule::Pattern)?;
        Ok(Rule { segments, subscribe: None, publish: None })
    }

    /// This rule with what it says.
    #[must_use]
    pub fn saying(mut self, subscribe: Option<bool>, publish: Option<bool>) -> Rule {
        (self.subscribe, self.publish) = (subscribe, publish);
        self
    }

    /// The channels that the rule is about for the holder of these claims; `None` when it is about none.
    pub(super) fn bind(&self, claims: &Claims<'_>) -> Option<Pattern> {
        let literal = |name: &str| claims.value(name).filter(|value| Channel::check(value).is_ok());
        Pattern::parse(&joined(&self.segments, literal)?).ok()
    }
}

fn segment(text: &str) -> Result<Segment, BadRule> {
    if !text.contains(['{', '}']) {
        return Ok(Segment::Text(text.into()));
    }
    let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or(BadRule::Claim)?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || !name.bytes().all(good) {
        return Err(BadRule::Claim);
    }
    Ok(Segment::Claim(name.into()))
}

fn joined(segments: &[Segment], claim: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut text = String::new();
    for (i, segment) in segments.iter().enumerate() {
        if i > 0 {
            text.push('.');
        }
        match segment {
            Segment::Text(part) => text.push_str(part),
            Segment::Claim(name) => text.push_str(&claim(name)?),
        }
    }
    Some(text)
}

/// The rules of contract 12, for when the settings have none.
pub fn built_in() -> Vec<Rule> {
    let patterns = [
        "global",
        "user.{user_id}.**",
        "user.{user_id}",
        "dashboard.{user_id}",
        "strategy.*",
        "backtest.*",
        "forge.job.*",
    ];
    let rule = |pattern: &&str| {
        Rule::parse(pattern).expect("the built-in rules are in the grammar").saying(Some(true), None)
    };
    patterns.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_rule_says_why() {
        for (text, why) in [
            ("a.{b", BadRule::Claim),
            ("a.x{b}", BadRule::Claim),
            ("a.{}", BadRule::Claim),
            ("a.{b.c}", BadRule::Claim),
            ("a.{*}", BadRule::Claim),
            ("**.{a}", BadRule::Pattern(BadPattern::Star)),
            ("", BadRule::Pattern(BadPattern::Empty)),
        ] {
            assert_eq!(Rule::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_value_is_literal_and_never_widens_a_pattern() {
        let rule = Rule::parse("user.{user_id}.**").unwrap();
        let long = "x".repeat(98);
        for (user, bound) in [
            ("42", Some("user.42.**")),
            ("a.b", Some("user.a.b.**")),
            ("A:b-c_d", Some("user.A:b-c_d.**")),
            ("*", None),
            ("**", None),
            ("a.**", None),
            ("a.*", None),
            ("a/b", None),
            ("a%2e", None),
            ("ä", None),
            (" 42", None),
            (&long, None),
        ] {
            let payload = format!(r#"{{"user_id":"{user}","wallet":"w","exp":2,"iat":1}}"#);
            let claims = Claims::read(&payload, true).unwrap();
            assert_eq!(rule.bind(&claims).as_ref().map(Pattern::as_str), bound, "{user}");
        }
    }
}
