//! What the operator took back: tokens by their id (`jti`), and users. A text file, one line each:
//!
//! ```text
//! # a comment
//! token 7f2c9e
//! user u-42
//! user u-43 before 1767225600      (tokens issued before that second, by `iat`; later ones are good)
//! ```

use std::collections::{HashMap, HashSet};

/// Most lines that revoke: at some hundred bytes each they take some megabytes.
pub const REVOKED_MAX: usize = 100_000;
/// Longest file, in bytes.
pub const REVOKED_BYTES_MAX: usize = 16 << 20;

/// Revoked tokens and users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    tokens: HashSet<Box<str>>,
    /// With the second before which a token must have been issued to be revoked.
    users: HashMap<Box<str>, u64>,
}

impl Revoked {
    /// Reads the file's text.
    ///
    /// # Errors
    /// The first line that is wrong, with its number.
    pub fn parse(text: &str) -> Result<Revoked, String> {
        let mut revoked = Revoked::default();
        for (i, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let until = match words[..] {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                ["token", id] => {
                    revoked.tokens.insert(id.into());
                    continue;
                }
                ["user", _] => Some(u64::MAX),
                ["user", _, "before", second] => second.parse().ok(),
                _ => None,
            };
            let until = until.ok_or_else(|| {
                format!("line {}: must be `token ID`, `user ID` or `user ID before SECONDS`", i + 1)
            })?;
            let known = revoked.users.entry(words[1].into()).or_default();
            *known = until.max(*known);
        }
        if revoked.tokens.len() + revoked.users.len() > REVOKED_MAX {
            return Err(format!("more than {REVOKED_MAX} tokens and users; tokens that have expired can go"));
        }
        Ok(revoked)
    }

    /// Whether a token is revoked.
    pub(super) fn covers(&self, token_id: Option<&str>, user: &str, issued_at_s: u64) -> bool {
        token_id.is_some_and(|id| self.tokens.contains(id))
            || self.users.get(user).is_some_and(|until| issued_at_s < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_revoke_tokens_and_users() {
        let text = "# none\n\n token t1 \nuser u1\r\nuser u2 before 100\nuser u2 before 50\n";
        let revoked = Revoked::parse(text).unwrap();
        for (token, user, at, covered) in [
            (Some("t1"), "x", 1, true),
            (Some("t2"), "x", 1, false),
            (None, "u1", u64::MAX - 1, true),
            (None, "u2", 99, true),
            (None, "u2", 100, false),
            (None, "t1", 1, false),
        ] {
            assert_eq!(revoked.covers(token, user, at), covered, "{token:?} {user} {at}");
        }
    }

    #[test]
    fn wrong_line_is_told_by_its_number() {
        for line in ["token", "token a b", "users x", "user x before", "user x before noon", "user x after 5"]
        {
            let told = Revoked::parse(&format!("token a\n{line}\n")).unwrap_err();
            assert!(told.starts_with("line 2: must be"), "{line}: {told}");
        }
        let many: String = (0..=REVOKED_MAX).map(|i| format!("token {i}\n")).collect();
        assert!(Revoked::parse(&many).unwrap_err().starts_with("more than"));
    }
}
