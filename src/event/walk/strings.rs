//! Strings, from quote to quote (RFC 8259 7), and what nearly always comes behind them.

use super::{Stray, Walk, Word};

impl Walk<'_> {
    /// The string ahead, whose quote was seen.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Word, Stray> {
        debug_assert_eq!(self.ahead(), b'"');
        let start = self.at + 1;
        self.at = self.marks.next(self.text.as_bytes(), start);
        self.end_string(start)
    }

    #[inline(always)]
    fn end_string(&mut self, start: usize) -> Result<Word, Stray> {
        let escaped = self.ahead() != b'"';
        if escaped {
            self.aside(Walk::escaped_string)?;
        }
        let end = self.at;
        self.at += 1;
        Ok(Word { start, end, escaped })
    }

    /// As [`Walk::string`]. Nearly always a sign comes next, and then another string, at once or, as Python writes, behind
    /// a blank: that is seen in one look from the quote on. If so, the sign is passed too, and the answer is true.
    #[inline(always)]
    pub(super) fn string_before(&mut self, sign: u8) -> Result<(Word, bool), Stray> {
        debug_assert_eq!(self.ahead(), b'"');
        let start = self.at + 1;
        let end = self.marks.next(self.text.as_bytes(), start);
        let Some(behind) = self.text.as_bytes().get(end..) else { return Err(Stray::Syntax) };
        let four = behind.first_chunk().map_or(0, |four| u32::from_le_bytes(*four));
        let (is_compact, is_spaced) = (
            four & 0xff_ffff == u32::from_le_bytes([b'"', sign, b'"', 0]),
            four == u32::from_le_bytes([b'"', sign, b' ', b'"']),
        );
        if is_compact || is_spaced {
            self.at = end + if is_compact { 2 } else { 3 };
            return Ok((Word { start, end, escaped: false }, true));
        }
        self.at = end;
        Ok((self.end_string(start)?, false))
    }

    /// The rest of a string that is not plain, from its first backslash up to its closing quote.
    #[cold]
    fn escaped_string(&mut self) -> Result<(), Stray> {
        loop {
            match self.ahead() {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                _ => return Err(Stray::Syntax),
            }
            self.at = self.marks.next(self.text.as_bytes(), self.at);
        }
    }

    fn escape(&mut self) -> Result<(), Stray> {
        let escape = self.text.as_bytes().get(self.at + 1).copied();
        self.at += 2;
        match escape {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => {
                let hex = self.text.as_bytes().get(self.at..self.at + 4).ok_or(Stray::Syntax)?;
                self.at += 4;
                if hex.iter().all(u8::is_ascii_hexdigit) { Ok(()) } else { Err(Stray::Syntax) }
            }
            _ => Err(Stray::Syntax),
        }
    }
}
