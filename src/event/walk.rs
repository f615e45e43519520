//! A walk over JSON text (RFC 8259), once and without a copy: checks the grammar, hands out the strings that are asked
//! for, and passes over the rest. Made for what is forwarded verbatim, where a document is never needed. It says that
//! something is wrong, not what: that is told by a reader with better words, when it matters.

mod items;
mod scalars;
mod strings;

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
    pub(super) fn aside<T>(&mut self, rare: impl FnOnce(&mut Walk<'t>) -> T) -> T {
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

    /// Passes over the byte ahead and the space behind it: mostly none, or one blank, as Python writes.
    #[inline(always)]
    fn step(&mut self) {
        if self.behind(1) > b' ' {
            self.at += 1;
        } else if self.behind(1) == b' ' && self.behind(2) > b' ' {
            self.at += 2;
        } else {
            self.aside(Walk::step_over_space);
        }
    }

    /// The byte so many behind the one ahead, or 0.
    #[inline(always)]
    fn behind(&self, bytes: usize) -> u8 {
        self.text.as_bytes().get(self.at + bytes).copied().unwrap_or(0)
    }

    #[inline(never)]
    fn step_over_space(&mut self) {
        self.at += 1;
        self.skip_space();
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

    /// Enters the object ahead; answers whether it has members. Then the first one's key is ahead.
    pub fn enter(&mut self) -> Result<bool, Stray> {
        Ok(self.enter_between(b'{', b'}')? && self.key_is_ahead()?)
    }

    /// Behind a member's value: whether another member follows, whose key is ahead then; else the object is left.
    #[inline(always)]
    pub fn more(&mut self) -> Result<bool, Stray> {
        if self.ahead() == b',' && self.behind(1) == b'"' {
            self.at += 1;
            return Ok(true);
        }
        self.aside(Walk::more_members)
    }

    #[inline(never)]
    fn more_members(&mut self) -> Result<bool, Stray> {
        Ok(self.more_before(b'}')? && self.key_is_ahead()?)
    }

    fn key_is_ahead(&self) -> Result<bool, Stray> {
        if self.ahead() == b'"' { Ok(true) } else { Err(Stray::Syntax) }
    }

    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// The key that is ahead, in UTF-8; its value is next. One that no text can hold is empty.
    #[inline(always)]
    pub fn key(&mut self) -> Result<Cow<'t, [u8]>, Stray> {
        let (key, _) = self.pass_key()?;
        if key.escaped {
            let key = key.of(self.text).unwrap_or_default();
            return Ok(Cow::Owned(key.into_owned().into_bytes()));
        }
        Ok(Cow::Borrowed(&self.text.as_bytes()[key.start..key.end]))
    }

    /// The key that is ahead, and whether its value is known to be a string.
    #[inline(always)]
    pub fn pass_key(&mut self) -> Result<(Word, bool), Stray> {
        let (key, is_string) = self.string_before(b':')?;
        if is_string {
            return Ok((key, true));
        }
        if self.ahead() != b':' {
            self.aside(Walk::skip_space);
            if self.ahead() != b':' {
                return Err(Stray::Syntax);
            }
        }
        self.step();
        Ok((key, false))
    }

    /// The value ahead, if it is a string.
    #[inline(always)]
    pub fn string_value(&mut self) -> Result<Option<Word>, Stray> {
        if self.ahead() == b'"' {
            return self.string().map(Some);
        }
        self.aside(Walk::pass_any).map(|()| None)
    }

    /// The value ahead, which may be known to be a string: the default if it is none; and whether the next member's key is
    /// known to be ahead then. If it is not, ask [`Walk::more`].
    #[inline(always)]
    pub fn pass_value(&mut self, is_string: bool) -> Result<(Word, bool), Stray> {
        if is_string || self.ahead() == b'"' {
            return self.string_before(b',');
        }
        self.aside(Walk::pass_any).map(|()| (Word::default(), false))
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

    /// Passes over the value ahead, which is no string.
    #[inline(never)]
    fn pass_any(&mut self) -> Result<(), Stray> {
        self.aside(Walk::pass_all_of_it)
    }

    #[inline(always)]
    fn pass_all_of_it(&mut self) -> Result<(), Stray> {
        // One bit per bracket that is open, the innermost lowest: set for an object.
        let (mut objects, mut open) = (0u128, 0usize);
        loop {
            match self.ahead() {
                b'"' if open > 0 => {
                    if self.string_before(b',')?.1 {
                        if objects & 1 == 1 {
                            self.pass_key()?;
                        }
                        continue;
                    }
                }
                bracket @ (b'{' | b'[') => {
                    if self.depth + open == DEPTH_MAX {
                        return Err(Stray::TooDeep);
                    }
                    self.step();
                    // `]` and `}` stand two behind their openers.
                    if self.ahead() == bracket + 2 {
                        self.at += 1;
                    } else {
                        open += 1;
                        objects = objects << 1 | u128::from(bracket == b'{');
                        if bracket == b'{' && self.key_is_ahead()? {
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
                        self.step();
                        if in_object && self.key_is_ahead()? {
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
    fn skip_space(&mut self) {
        while matches!(self.ahead(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BadEvent, Facts};
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
            let object = expected && text.trim_start().starts_with('{');
            let read = Facts::read(&text);
            assert!(read.is_ok() == object || matches!(read, Err(BadEvent::Empty)), "{text:?}: {read:?}");
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
