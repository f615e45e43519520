//! A walk over JSON text (RFC 8259), once and without a copy: checks the grammar, hands out the strings that are asked
//! for, and passes over the rest. Made for what is forwarded verbatim, where a document is never needed. It says that
//! something is wrong, not what: that is told by a reader with better words, when it matters.

mod items;
mod scalars;

use super::facts::DEPTH_MAX;
use super::plain::Marks;
use std::borrow::Cow;

/// Where a walk stands. What is rare is done by a copy, so that on the common way all of it can stay in registers.
#[derive(Clone, Copy)]
pub struct Walk<'t> {
    text: &'t str,
    at: usize,
    /// Objects that were entered.
    depth: usize,
    marks: Marks,
}

/// Why a walk ended early. As wide as what comes in its place if nothing is wrong, which so is never taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stray {
    /// The text is not JSON.
    Syntax,
    /// It nests deeper than [`DEPTH_MAX`].
    TooDeep,
}

/// Where a string stands between its quotes. Most strings are passed over, so that text is made only of those that
/// somebody reads. The default is no string: none starts where no quote can stand before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Word {
    start: usize,
    end: usize,
    escaped: bool,
}

impl Word {
    /// The string, unless it escapes half a character, which no text can hold. `text` is what was walked over.
    #[inline]
    pub fn of(self, text: &str) -> Option<Cow<'_, str>> {
        let raw = &text[self.start..self.end];
        if self.escaped { unescaped(raw).map(Cow::Owned) } else { Some(Cow::Borrowed(raw)) }
    }
}

#[cold]
fn unescaped(raw: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{raw}\"")).ok()
}

impl<'t> Walk<'t> {
    /// Stands before the first value.
    pub fn new(text: &'t str) -> Walk<'t> {
        let mut walk = Walk { text, at: 0, depth: 0, marks: Marks::default() };
        walk.skip_space();
        walk
    }

    /// Does something rare.
    #[inline(always)]
    pub(super) fn aside<T>(
        &mut self,
        rare: impl FnOnce(&mut Walk<'t>) -> Result<T, Stray>,
    ) -> Result<T, Stray> {
        let mut copy = *self;
        let done = rare(&mut copy);
        *self = copy;
        done
    }

    /// The byte ahead; 0, which no JSON holds outside of its strings, at the end.
    #[inline(always)]
    pub fn ahead(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The byte behind the one ahead, or 0.
    #[inline(always)]
    fn behind(&self) -> u8 {
        self.text.as_bytes().get(self.at + 1).copied().unwrap_or(0)
    }

    /// Where it stands, in bytes.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What was passed since then.
    pub fn since(&self, start: usize) -> &'t str {
        &self.text[start..self.at]
    }

    /// What it walks over.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Nothing may follow but space.
    pub fn end(&mut self) -> Result<(), Stray> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(Stray::Syntax) }
    }

    /// Enters the object ahead; answers whether it has members. Then comes [`Walk::key`].
    pub fn enter(&mut self) -> Result<bool, Stray> {
        self.enter_between(b'{', b'}')
    }

    /// Behind a member's value: whether another member follows; else the object is left.
    #[inline(always)]
    pub fn more(&mut self) -> Result<bool, Stray> {
        self.more_before(b'}')
    }

    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// The key of the member ahead, in UTF-8; its value is next. One that no text can hold is empty.
    #[inline(always)]
    pub fn key(&mut self) -> Result<Cow<'t, [u8]>, Stray> {
        let key = self.pass_key()?;
        if key.escaped {
            let key = key.of(self.text).unwrap_or_default();
            return Ok(Cow::Owned(key.into_owned().into_bytes()));
        }
        Ok(Cow::Borrowed(&self.text.as_bytes()[key.start..key.end]))
    }

    #[inline(always)]
    fn pass_key(&mut self) -> Result<Word, Stray> {
        let key = self.string()?;
        // Most have no space there: one look instead of three.
        if self.ahead() == b':' && self.behind() > b' ' {
            self.at += 1;
        } else {
            self.aside(Walk::pass_colon)?;
        }
        Ok(key)
    }

    #[inline(never)]
    fn pass_colon(&mut self) -> Result<(), Stray> {
        self.skip_space();
        self.take(b':')?;
        self.skip_space();
        Ok(())
    }

    /// The value ahead, if it is a string.
    #[inline(always)]
    pub fn string_value(&mut self) -> Result<Option<Word>, Stray> {
        self.word_value().map(|word| (!word.is_none()).then_some(word))
    }

    /// [`Walk::string_value`] without moving as much: the default if it is none.
    #[inline(always)]
    pub fn word_value(&mut self) -> Result<Word, Stray> {
        if self.ahead() == b'"' {
            return self.string();
        }
        self.aside(Walk::pass_any).map(|()| Word::default())
    }

    /// Passes over the value ahead, whatever it is; answers its text.
    pub fn value(&mut self) -> Result<&'t str, Stray> {
        let start = self.at;
        self.pass()?;
        Ok(self.since(start))
    }

    /// Passes over the value ahead, whatever it is.
    #[inline(always)]
    pub fn pass(&mut self) -> Result<(), Stray> {
        // What nearly all are.
        if self.ahead() == b'"' { self.string().map(|_| ()) } else { self.pass_any() }
    }

    #[inline(never)]
    fn pass_any(&mut self) -> Result<(), Stray> {
        // One bit per bracket that is open, the innermost lowest: set for an object.
        let (mut objects, mut open) = (0u128, 0usize);
        loop {
            match self.ahead() {
                b'"' => {
                    self.string()?;
                }
                bracket @ (b'{' | b'[') => {
                    if self.depth + open == DEPTH_MAX {
                        return Err(Stray::TooDeep);
                    }
                    self.at += 1;
                    self.skip_space();
                    // `]` and `}` stand two behind their openers.
                    if self.ahead() == bracket + 2 {
                        self.at += 1;
                    } else {
                        open += 1;
                        objects = objects << 1 | u128::from(bracket == b'{');
                        if bracket == b'{' {
                            self.pass_key()?;
                        }
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => return Err(Stray::Syntax),
            }
            loop {
                if open == 0 {
                    return Ok(());
                }
                self.skip_space();
                let in_object = objects & 1 == 1;
                match self.ahead() {
                    b',' => {
                        self.at += 1;
                        self.skip_space();
                        if in_object {
                            self.pass_key()?;
                        }
                        break;
                    }
                    b'}' if in_object => {}
                    b']' if !in_object => {}
                    _ => return Err(Stray::Syntax),
                }
                self.at += 1;
                objects >>= 1;
                open -= 1;
            }
        }
    }

    #[inline(always)]
    fn take(&mut self, byte: u8) -> Result<(), Stray> {
        if self.ahead() != byte {
            return Err(Stray::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    fn skip_space(&mut self) {
        while matches!(self.ahead(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn string(&mut self) -> Result<Word, Stray> {
        if self.ahead() != b'"' {
            return Err(Stray::Syntax);
        }
        let start = self.at + 1;
        self.at = self.marks.next(self.text.as_bytes(), start);
        let escaped = self.ahead() != b'"';
        if escaped {
            self.aside(Walk::escaped_string)?;
        }
        let end = self.at;
        self.at += 1;
        Ok(Word { start, end, escaped })
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    fn walked(text: &str) -> Result<&str, Stray> {
        let mut walk = Walk::new(text);
        let value = walk.value()?;
        walk.end()?;
        Ok(value)
    }

    /// Words of a JSON text and of what is nearly one.
    #[rustfmt::skip]
    const WORDS: [&str; 34] = [
        "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"\\n\"", "\"\\u00e9\"", "\"\\ud800\"", "\"\\x\"",
        "\"\\u12\"", "\\", "0", "-", "01", "1.5", "1.", "1e5", "1e", "-0.0E+3", "true", "nul", "null",
        "false", " ", "\n", "\u{1}", "\"é\"", "\"123456789\"", "\"1234567\u{1}\"", "\"12345678\\\"\"",
        "\u{a0}",
    ];

    #[test]
    fn verdicts_are_those_of_a_parser() {
        let mut state = 1u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut good = 0;
        for _ in 0..200_000 {
            let mut text: String = (0..draw(4) * draw(4)).map(|_| WORDS[draw(WORDS.len())]).collect();
            if draw(3) > 0 {
                let word = || text.clone();
                text = match draw(4) {
                    0 => format!("[{}]", word()),
                    1 => format!("{{\"k\":{}}}", word()),
                    2 => format!("[1,{},\"\"]", WORDS[draw(WORDS.len())]),
                    _ => format!("{{\"k\" : 1,\"l\":[{}]}}", WORDS[draw(WORDS.len())]),
                };
            }
            let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            assert_eq!(walked(&text).is_ok(), expected, "{text:?}");
            good += usize::from(expected);
        }
        assert!(good > 20_000, "too few texts were JSON: {good}");
    }

    #[test]
    fn depth_is_bounded_to_the_level() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(walked(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(walked(&nested(DEPTH_MAX + 1)), Err(Stray::TooDeep));
        let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        assert!(walked(&objects(DEPTH_MAX)).is_ok());
        assert_eq!(walked(&objects(DEPTH_MAX + 1)), Err(Stray::TooDeep));
    }
}
