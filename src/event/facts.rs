//! What the hub must know of an event, read in one pass over its text and without a copy: that it is a JSON
//! object with something in it, its type, its timestamp and its source. All else is forwarded unread.

use super::Text;
use super::walk::{Stray, Walk, Word};
use serde::de::IgnoredAny;
use std::fmt;

/// The deepest nesting that is let through: what common JSON readers take without running out of stack.
pub const DEPTH_MAX: usize = 128;

/// The facts of one event, borrowed from its text.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Facts<'e> {
    /// `type`, when it is a string.
    pub kind: Text<'e>,
    /// `timestamp` of the flat form, else `metadata.timestamp` of the nested one, when it is a string.
    pub timestamp: Text<'e>,
    /// `source` of the flat form, else `metadata.source` of the nested one, when it is a string.
    pub source: Text<'e>,
    /// `metadata.source` beside `source`: who reads the nested form takes this one.
    pub second_source: Text<'e>,
    /// The length of `data`'s text, 0 when there is none.
    pub data_bytes: usize,
    /// The length of `metadata`'s text, 0 when there is none.
    pub metadata_bytes: usize,
    has_fields: bool,
}

/// Why a text is not an event.
#[derive(Debug)]
pub enum BadEvent {
    /// Not JSON; the parser's words with line and column.
    Syntax(String),
    /// JSON, but not an object.
    NotAnObject,
    /// `{}`.
    Empty,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
}

impl fmt::Display for BadEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadEvent::Syntax(words) => write!(f, "Not valid JSON: {words}"),
            BadEvent::NotAnObject => f.write_str("Event must be a JSON object"),
            BadEvent::Empty => f.write_str("Event cannot be empty"),
            BadEvent::TooDeep => write!(f, "Event is nested deeper than {DEPTH_MAX} levels"),
        }
    }
}

impl<'e> Facts<'e> {
    /// Reads one event. Of a repeated key the last counts, as in every browser.
    ///
    /// # Errors
    /// [`BadEvent`] when `text` is not a non-empty JSON object.
    pub fn read(text: &'e str) -> Result<Facts<'e>, BadEvent> {
        let mut facts = Facts::default();
        facts.fill(text).map(|()| facts)
    }

    /// [`Facts::read`] where they are to stay, which has none yet: moving them costs as much as reading a member.
    ///
    /// # Errors
    /// As [`Facts::read`]; then nothing of what is here counts.
    pub fn fill(&mut self, text: &'e str) -> Result<(), BadEvent> {
        let mut walk = Walk::new(text);
        if walk.ahead() != b'{' {
            return Err(not_an_object(text));
        }
        match self.walk(&mut walk).and_then(|()| walk.end()) {
            Ok(()) if self.is_empty() => Err(BadEvent::Empty),
            Ok(()) => Ok(()),
            Err(stray) => Err(strayed(stray, text)),
        }
    }

    /// Reads the object ahead, which may be a part of something larger, into what has no facts yet.
    ///
    /// # Errors
    /// [`Stray`] when it is not JSON; then nothing of what is here counts.
    pub fn walk(&mut self, walk: &mut Walk<'e>) -> Result<(), Stray> {
        let mut nested = None;
        let mut own = *walk;
        let mut more = own.enter()?;
        self.has_fields = more;
        while more {
            let (key, is_string) = own.pass_key()?;
            let (field, start) = (Field::of(key, own.text()), own.at());
            if field == Field::Metadata {
                nested = Some(own.aside(Nested::walk)?);
                self.metadata_bytes = own.at() - start;
                more = own.more()?;
                continue;
            }
            let (word, key_is_ahead) = own.pass_value(is_string)?;
            if field != Field::Other {
                self.take(field, word, own.text());
                if field == Field::Data {
                    self.data_bytes = if word.is_none() { own.at() - start } else { word.quoted_bytes() };
                }
            }
            more = key_is_ahead || own.more()?;
        }
        *walk = own;
        if let Some(nested) = nested {
            self.add_nested(&nested, walk.text());
        }
        Ok(())
    }

    /// The value of a field that is asked for, or the default if it is no string. The last one counts.
    #[inline(always)]
    fn take(&mut self, field: Field, value: Word, text: &'e str) {
        let place = match field {
            Field::Kind => &mut self.kind,
            Field::Timestamp => &mut self.timestamp,
            Field::Source => &mut self.source,
            Field::Other | Field::Data | Field::Metadata => return,
        };
        *place = text_of(value, text);
    }

    /// What only the nested form says, and a second source, which nobody may hide behind the first.
    #[inline(never)]
    fn add_nested(&mut self, nested: &Nested, text: &'e str) {
        if self.timestamp.0.is_none() {
            self.timestamp = text_of(nested.timestamp, text);
        }
        let source = text_of(nested.source, text);
        let place = if self.source.0.is_none() { &mut self.source } else { &mut self.second_source };
        *place = source;
    }

    /// Whether the event is `{}`.
    pub fn is_empty(&self) -> bool {
        !self.has_fields
    }
}

#[inline(always)]
fn text_of(word: Word, text: &str) -> Text<'_> {
    Text(if word.is_none() { None } else { word.of(text) })
}

/// The fields that the hub asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Other,
    Kind,
    Timestamp,
    Source,
    Data,
    Metadata,
}

impl Field {
    #[inline(always)]
    fn of(key: Word, text: &str) -> Field {
        if key.is_escaped() {
            return Field::of_escaped(&text[key.range()]);
        }
        Field::named(&text.as_bytes()[key.range()])
    }

    #[cold]
    fn of_escaped(name: &str) -> Field {
        Field::named(Word::text_of(name).as_bytes())
    }

    #[inline(always)]
    fn named(name: &[u8]) -> Field {
        // By length first: a pattern would be compared byte by byte.
        match name.len() {
            4 if name == b"type" => Field::Kind,
            4 if name == b"data" => Field::Data,
            6 if name == b"source" => Field::Source,
            8 if name == b"metadata" => Field::Metadata,
            9 if name == b"timestamp" => Field::Timestamp,
            _ => Field::Other,
        }
    }
}

/// `timestamp` and `source` of the `metadata` of the nested form; anything but an object counts as absent.
#[derive(Default)]
struct Nested {
    timestamp: Word,
    source: Word,
}

impl Nested {
    #[inline(never)]
    fn walk(walk: &mut Walk<'_>) -> Result<Nested, Stray> {
        let mut nested = Nested::default();
        if walk.ahead() != b'{' {
            walk.pass()?;
            return Ok(nested);
        }
        let mut more = walk.enter()?;
        while more {
            let (key, is_string) = walk.pass_key()?;
            let field = Field::of(key, walk.text());
            let (word, key_is_ahead) = walk.pass_value(is_string)?;
            match field {
                Field::Timestamp => nested.timestamp = word,
                Field::Source => nested.source = word,
                _ => {}
            }
            more = key_is_ahead || walk.more()?;
        }
        Ok(nested)
    }
}

#[cold]
fn strayed(stray: Stray, text: &str) -> BadEvent {
    match stray {
        Stray::TooDeep => BadEvent::TooDeep,
        Stray::Syntax => BadEvent::Syntax(syntax_words(text)),
    }
}

#[cold]
fn not_an_object(text: &str) -> BadEvent {
    if too_deep(text) {
        return BadEvent::TooDeep;
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => BadEvent::NotAnObject,
        Err(error) => BadEvent::Syntax(error.to_string()),
    }
}

/// What a parser says of a text that is not JSON, with line and column.
pub fn syntax_words(text: &str) -> String {
    serde_json::from_str::<IgnoredAny>(text).err().map_or_else(String::new, |error| error.to_string())
}

/// Whether brackets nest deeper than [`DEPTH_MAX`]. Most events have fewer brackets than that in all, which a
/// vectorised count settles; only the rest is looked at byte by byte.
pub fn too_deep(text: &str) -> bool {
    let openers = text.bytes().filter(|b| matches!(b, b'{' | b'[')).count();
    if openers <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn text(value: &str) -> Text<'_> {
        Text(Some(Cow::Borrowed(value)))
    }

    #[test]
    fn flat_and_nested_forms_are_read() {
        let flat = Facts::read(r#"{"type":"a.b","timestamp":"T","source":"s","x":[{}]}"#).unwrap();
        assert_eq!((flat.kind, flat.timestamp, flat.source), (text("a.b"), text("T"), text("s")));
        let nested = Facts::read(r#"{"metadata":{"source":"s","q":1,"timestamp":"T"},"type":null}"#).unwrap();
        assert_eq!((nested.kind, nested.timestamp, nested.source), (Text(None), text("T"), text("s")));
    }

    #[test]
    fn values_of_any_kind_are_let_through() {
        for value in
            ["1", "-1", "1.5", "1e999", "true", "null", "[1,[2]]", r#"{"a":{}}"#, r#""\ud83d\ude00""#]
        {
            let text = format!(r#"{{"type":{value},"timestamp":{value},"metadata":{value},"x":{value}}}"#);
            Facts::read(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            Facts::read(&format!(r#"{{"x":{value}}}"#)).unwrap_or_else(|e| panic!("{value}: {e}"));
        }
    }

    #[test]
    fn space_around_signs_makes_no_difference_and_what_is_cut_short_is_refused() {
        let spaces = ["", " ", "  ", "\n", " \t", "\r\n    "];
        for (before, behind) in spaces.iter().flat_map(|before| spaces.map(|behind| (before, behind))) {
            let (colon, comma) = (format!("{before}:{behind}"), format!("{before},{behind}"));
            let compact = r#"{"type":"a","n":1,"data":{"x":"y","z":[1,"w"]},"metadata":{"source":"s","timestamp":"T"}}"#;
            let spaced = compact.replace(':', &colon).replace(',', &comma);
            let facts = Facts::read(&spaced).unwrap();
            assert_eq!((facts.kind, facts.timestamp, facts.source), (text("a"), text("T"), text("s")));
            assert_eq!(
                facts.data_bytes,
                r#"{"x":"y","z":[1,"w"]}"#.replace(':', &colon).replace(',', &comma).len()
            );
            for end in 0..spaced.len() {
                let cut = &spaced[..end];
                assert!(matches!(Facts::read(cut), Err(BadEvent::Syntax(_))), "{cut:?}");
            }
        }
        for space in ["\u{b}", "\u{c}", "\0", "\u{a0}", "!"] {
            for text in [format!("{{\"a\":{space}\"b\"}}"), format!("{{\"a\":1,{space}\"b\":1}}")] {
                assert!(Facts::read(&text).is_err(), "{text:?}");
            }
        }
    }

    #[test]
    fn a_lone_surrogate_may_stand_anywhere_and_is_no_type() {
        Facts::read(r#"{"lone\udfff":"\ud800","type":"a"}"#).unwrap();
        assert_eq!(Facts::read(r#"{"type":"\ud800"}"#).unwrap().kind, Text(None));
    }

    #[test]
    fn what_is_no_event_says_why() {
        assert!(matches!(Facts::read("{}"), Err(BadEvent::Empty)));
        assert!(matches!(Facts::read(" [1]"), Err(BadEvent::NotAnObject)));
        assert!(matches!(Facts::read("{\"a\":1} x"), Err(BadEvent::Syntax(_))));
        assert!(matches!(Facts::read("{\"a\":}"), Err(BadEvent::Syntax(_))));
        assert!(matches!(Facts::read(""), Err(BadEvent::Syntax(_))));
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(Facts::read(&nested(DEPTH_MAX - 1)).is_ok());
        assert!(matches!(Facts::read(&nested(DEPTH_MAX)), Err(BadEvent::TooDeep)));
        assert!(matches!(Facts::read(&nested(100_000)), Err(BadEvent::TooDeep)));
        assert!(Facts::read(&format!(r#"{{"a":"{}\"["}}"#, "[{".repeat(500))).is_ok());
        assert!(Facts::read(&format!(r#"{{"a":[{}{{}}]}}"#, "{},".repeat(500))).is_ok());
    }
}
