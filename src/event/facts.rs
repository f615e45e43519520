//! What the hub must know of an event, read in one pass over its text and without a copy: that it is a JSON
//! object with something in it, its type, its timestamp and its source. All else is forwarded unread.

use super::walk::{Stray, Walk, Word};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The deepest nesting that is let through: what common JSON readers take without running out of stack.
pub const DEPTH_MAX: usize = 128;

/// A string value, or the fact that the value was something else.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Text<'e>(pub Option<Cow<'e, str>>);

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
    fields: usize,
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
        let mut walk = Walk::new(text);
        if walk.ahead() != b'{' {
            return Err(not_an_object(text));
        }
        let facts = Facts::walk(&mut walk).and_then(|facts| walk.end().map(|()| facts));
        match facts {
            Ok(facts) if facts.is_empty() => Err(BadEvent::Empty),
            Ok(facts) => Ok(facts),
            Err(Stray::TooDeep) => Err(BadEvent::TooDeep),
            Err(Stray::Syntax) => Err(BadEvent::Syntax(syntax_words(text))),
        }
    }

    /// Reads the object ahead, which may be a part of something larger.
    ///
    /// # Errors
    /// [`Stray`] when it is not JSON.
    pub fn walk(walk: &mut Walk<'e>) -> Result<Facts<'e>, Stray> {
        let (mut kind, mut timestamp, mut source) = (None, None, None);
        let mut nested = Nested::default();
        let (mut data_bytes, mut metadata_bytes, mut fields) = (0, 0, 0);
        let mut more = walk.enter()?;
        while more {
            fields += 1;
            match &*walk.key()? {
                b"type" => kind = walk.string_value()?,
                b"timestamp" => timestamp = walk.string_value()?,
                b"source" => source = walk.string_value()?,
                b"metadata" => {
                    let start = walk.at();
                    nested = Nested::walk(walk)?;
                    metadata_bytes = walk.at() - start;
                }
                b"data" => {
                    let start = walk.at();
                    walk.pass()?;
                    data_bytes = walk.at() - start;
                }
                _ => walk.pass()?,
            }
            more = walk.more()?;
        }
        let text = |word: Option<Word>| Text(word.and_then(|word| word.of(walk.text())));
        let or_nested = |outer: Option<Word>, inner: Option<Word>| match text(outer) {
            Text(None) => text(inner),
            outer => outer,
        };
        let timestamp = or_nested(timestamp, nested.timestamp);
        let second_source = text(nested.source.filter(|_| source.is_some()));
        let source = or_nested(source, nested.source);
        Ok(Facts { kind: text(kind), timestamp, source, second_source, data_bytes, metadata_bytes, fields })
    }

    /// Whether the event is `{}`.
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }
}

/// `timestamp` and `source` of the `metadata` of the nested form; anything but an object counts as absent.
#[derive(Default)]
struct Nested {
    timestamp: Option<Word>,
    source: Option<Word>,
}

impl Nested {
    fn walk(walk: &mut Walk<'_>) -> Result<Nested, Stray> {
        let mut nested = Nested::default();
        if walk.ahead() != b'{' {
            walk.pass()?;
            return Ok(nested);
        }
        let mut more = walk.enter()?;
        while more {
            match &*walk.key()? {
                b"timestamp" => nested.timestamp = walk.string_value()?,
                b"source" => nested.source = walk.string_value()?,
                _ => walk.pass()?,
            }
            more = walk.more()?;
        }
        Ok(nested)
    }
}

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

/// The visits of a value of another kind than the one looked for: read past it, and it counts as absent.
macro_rules! absent {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        })*
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

impl<'de: 'e, 'e> Deserialize<'de> for Text<'e> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'e>, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Some(Cow::Owned(text.to_owned()))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    absent!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
}

#[cfg(test)]
mod tests {
    use super::*;

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
