//! Values that are neither strings nor made of others: numbers, and the three words (RFC 8259 3, 6).

use super::{Stray, Walk};

impl Walk<'_> {
    pub(super) fn literal(&mut self, word: &str) -> Result<(), Stray> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(Stray::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    pub(super) fn number(&mut self) -> Result<(), Stray> {
        self.at += usize::from(self.ahead() == b'-');
        match self.ahead() {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.ahead() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.ahead(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.ahead(), b'+' | b'-'));
            self.digits()?;
        }
        Ok(())
    }

    /// One or more.
    fn digits(&mut self) -> Result<(), Stray> {
        let start = self.at;
        while self.ahead().is_ascii_digit() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Stray::Syntax) }
    }
}
