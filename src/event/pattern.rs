//! A pattern over channel names (contract 1): a whole segment may be `*`, which is exactly one segment, the last may
//! be `**`, which is one or more, and `*` alone is every channel.

use super::channel::{BadChannel, CHANNEL_BYTES_MAX, Channel};
use std::fmt;
use std::sync::Arc;

/// The longest pattern, in bytes. A longer one covers no channel: each of its segments stands for at least one byte
/// but for a `*` of none and the second star of `**`.
pub const PATTERN_BYTES_MAX: usize = CHANNEL_BYTES_MAX;

/// A valid pattern, cheap to clone and to hand to another core.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPattern {
    /// No bytes at all.
    Empty,
    /// More than [`PATTERN_BYTES_MAX`] bytes.
    TooLong,
    /// A byte outside the grammar.
    Character,
    /// A star that is not a whole segment, or `**` before the end.
    Star,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadPattern::Empty => "Pattern cannot be empty",
            BadPattern::TooLong => "Pattern too long (max 100 characters)",
            BadPattern::Character => {
                "Pattern must contain only letters, digits, dots, underscores, colons, hyphens and stars"
            }
            BadPattern::Star => "A star must be a whole segment, and ** the last one",
        })
    }
}

impl Pattern {
    /// Takes a pattern, or a channel's name, which is one that covers only itself.
    ///
    /// # Errors
    /// [`BadPattern`] when the text is outside the grammar.
    pub fn parse(text: &str) -> Result<Pattern, BadPattern> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(BadPattern::TooLong);
        }
        let mut segments = text.split('.').peekable();
        while let Some(segment) = segments.next() {
            match segment {
                "" | "*" => {}
                "**" if segments.peek().is_none() => {}
                _ if segment.contains('*') => return Err(BadPattern::Star),
                _ => Channel::check(segment).map_err(|_| BadPattern::Character)?,
            }
        }
        match Channel::check(text) {
            Err(BadChannel::Empty) => Err(BadPattern::Empty),
            _ => Ok(Pattern(text.into())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it covers every channel: `*` alone, or `**`.
    pub fn is_all(&self) -> bool {
        matches!(&*self.0, "*" | "**")
    }

    /// Whether it covers a channel of this name.
    pub fn matches(&self, channel: &str) -> bool {
        matches(&self.0, channel)
    }
}

/// Whether the text of a pattern covers a channel of this name.
pub fn matches(pattern: &str, channel: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let mut wanted = pattern.split('.').peekable();
    let mut given = channel.split('.');
    while let Some(segment) = wanted.next() {
        let Some(actual) = given.next() else { return false };
        if segment == "**" && wanted.peek().is_none() {
            return true;
        }
        if segment != "*" && segment != actual {
            return false;
        }
    }
    given.next().is_none()
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_the_contract_says() {
        for (pattern, channel, covered) in [
            ("*", "a.b.c", true),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.x", "a.x", true),
            ("a.**", "a.b.c", true),
            ("a.**", "a", false),
            ("a.b", "a.b", true),
            ("A.b", "a.b", false),
            ("*.*", "a", false),
            ("*.*", ".", true),
            ("**", "a.b", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(channel), covered, "{pattern} {channel}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let long = "*.".repeat(50) + "*";
        for (text, why) in [
            ("", BadPattern::Empty),
            (&*long, BadPattern::TooLong),
            ("a*", BadPattern::Star),
            ("**.a", BadPattern::Star),
            ("a.***", BadPattern::Star),
            ("a.b c", BadPattern::Character),
            ("ä", BadPattern::Character),
        ] {
            assert_eq!(Pattern::parse(text), Err(why), "{text}");
        }
        Pattern::parse(&long[..99]).unwrap();
    }
}
