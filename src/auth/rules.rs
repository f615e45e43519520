//! The rules (contract 12): which channels a token may read and write, by pattern, where a segment `{claim}` stands for what
//! the token says. The first rule that covers a channel and says something decides. A claim is exactly one segment, and literal:
//! a value that is not made of a segment's characters (a star, a slash, an accent) or has a dot binds nothing. With dots it would
//! be several segments, and `user.a.**` of user `a` would cover what is meant for a user `a.b`.

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
        let shortest = segments.iter().map(|segment| match segment {
            Segment::Text(part) => &**part,
            Segment::Claim(_) => "x",
        });
        Pattern::parse(&shortest.collect::<Vec<_>>().join(".")).map_err(BadRule::Pattern)?;
        Ok(Rule { segments, subscribe: None, publish: None })
    }

    /// This rule with what it says.
    #[must_use]
    pub fn saying(mut self, subscribe: Option<bool>, publish: Option<bool>) -> Rule {
        (self.subscribe, self.publish) = (subscribe, publish);
        self
    }

    /// What the rule says of which channels for the holder of these claims; `None` when it is about none. A value that is no
    /// segment allows nothing, and what is denied by it is denied as widely as it may have been meant: from its place on.
    pub(super) fn bind(&self, claims: &Claims<'_>) -> Option<Bound> {
        let mut text = String::new();
        for (i, segment) in self.segments.iter().enumerate() {
            if i > 0 {
                text.push('.');
            }
            match segment {
                Segment::Text(part) => text.push_str(part),
                Segment::Claim(name) => match claims.value(name)? {
                    value if is_segment(&value) => text.push_str(&value),
                    _ => {
                        text.push_str("**");
                        let denied = |said: Option<bool>| said.filter(|allowed| !allowed);
                        return bound(&text, denied(self.subscribe), denied(self.publish));
                    }
                },
            }
        }
        bound(&text, self.subscribe, self.publish)
    }
}

/// A rule for the holder of a token: the channels, and whether they may be read and written, where it says so.
pub(super) type Bound = (Pattern, Option<bool>, Option<bool>);

fn bound(text: &str, subscribe: Option<bool>, publish: Option<bool>) -> Option<Bound> {
    Pattern::parse(text).ok().map(|pattern| (pattern, subscribe, publish))
}

fn is_segment(value: &str) -> bool {
    Channel::check(value).is_ok() && !value.contains('.')
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
        let rule = Rule::parse("user.{user_id}.**").unwrap().saying(Some(true), None);
        let long = "x".repeat(98);
        for (user, bound) in [
            ("42", Some("user.42.**")),
            ("a.b", None),
            (".", None),
            ("a.", None),
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
            let allowed = rule.bind(&claims).filter(|(_, subscribe, _)| subscribe.is_some());
            assert_eq!(allowed.as_ref().map(|(pattern, ..)| pattern.as_str()), bound, "{user}");
        }
    }

    #[test]
    fn what_is_denied_by_a_value_that_is_no_segment_is_denied_from_its_place_on() {
        let rule = Rule::parse("room.{banned_from}.talk").unwrap().saying(Some(false), Some(true));
        let bound = |claim: &str| {
            let payload = format!(r#"{{"user_id":"u","wallet":"w","exp":2,"iat":1{claim}}}"#);
            let bound = rule.bind(&Claims::read(&payload, true).unwrap());
            bound.map(|(pattern, subscribe, publish)| (pattern.as_str().to_owned(), subscribe, publish))
        };
        assert_eq!(bound(""), None, "nobody is banned who is not said to be");
        let named = ("room.a.talk".to_owned(), Some(false), Some(true));
        assert_eq!(bound(r#","banned_from":"a""#), Some(named));
        for odd in [r#""a.b""#, r#""*""#, r#""""#, r#""a/b""#, "7", "[\"a\"]", "null"] {
            let wide = ("room.**".to_owned(), Some(false), None);
            assert_eq!(bound(&format!(r#","banned_from":{odd}"#)), Some(wide), "{odd}");
        }
    }
}
