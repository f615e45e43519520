//! For readers that want the whole document: lists are entered as objects are, and strings tell where they stand.

use super::{DEPTH_MAX, Stray, Walk, Word, unescaped};
use std::borrow::Cow;
use std::ops::Range;

impl Word {
    /// Where it stands in what was walked over, between its quotes.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// How much its text takes, with its quotes.
    pub fn quoted_bytes(self) -> usize {
        self.end - self.start + 2
    }

    /// Whether there is no string.
    #[inline(always)]
    pub fn is_none(self) -> bool {
        self.start == 0
    }

    /// Whether it holds a backslash.
    pub fn is_escaped(self) -> bool {
        self.escaped
    }

    /// A string as it stands between its quotes, made text. Half a character, which no text can hold, stays as it is
    /// written.
    #[cold]
    pub fn text_of(raw: &str) -> Cow<'_, str> {
        unescaped(raw).map_or(Cow::Borrowed(raw), Cow::Owned)
    }
}

impl Walk<'_> {
    /// Enters the list ahead; answers whether it has items.
    pub fn enter_list(&mut self) -> Result<bool, Stray> {
        self.enter_between(b'[', b']')
    }

    /// Behind an item: whether another follows; else the list is left.
    pub fn more_items(&mut self) -> Result<bool, Stray> {
        self.more_before(b']')
    }

    #[inline(always)]
    pub(super) fn enter_between(&mut self, opens: u8, closes: u8) -> Result<bool, Stray> {
        if self.ahead() != opens {
            return Err(Stray::Syntax);
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Stray::TooDeep);
        }
        self.step();
        if self.ahead() != closes {
            return Ok(true);
        }
        self.leave();
        Ok(false)
    }

    pub(super) fn more_before(&mut self, closes: u8) -> Result<bool, Stray> {
        self.skip_space();
        match self.ahead() {
            b',' => {
                self.step();
                Ok(true)
            }
            other if other == closes => {
                self.leave();
                Ok(false)
            }
            _ => Err(Stray::Syntax),
        }
    }

    /// As [`Walk::key`], but only where it stands.
    #[inline(always)]
    pub fn key_word(&mut self) -> Result<Word, Stray> {
        self.pass_key().map(|(key, _)| key)
    }
}
