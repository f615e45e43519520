//! A client's message, or a part of it, as the few fields that its reader knows. Values stay text until somebody
//! looks at them, so that what is forwarded is forwarded verbatim; whatever else is in the object costs one pass over
//! its bytes and no memory.

use crate::event::{Text, too_deep};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The most names that a reader knows; `courier.v1` has the most.
const NAMES_MAX: usize = 20;

/// The known fields of one object.
pub struct Fields<'t> {
    names: &'static [&'static str],
    values: [Option<&'t RawValue>; NAMES_MAX],
    stranger: Option<String>,
}

/// Why a text is no object with fields.
#[derive(Debug, PartialEq, Eq)]
pub enum NotFields {
    /// Not JSON; the parser's words with line and column.
    Syntax(String),
    /// JSON, but no object.
    NotAnObject,
    /// Nested deeper than an event may be.
    TooDeep,
}

impl fmt::Display for NotFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotFields::Syntax(words) => f.write_str(words),
            NotFields::NotAnObject => f.write_str("message must be a JSON object"),
            NotFields::TooDeep => f.write_str("nested too deep"),
        }
    }
}

/// What is wrong with a field, in words that name it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'t> Fields<'t> {
    /// Reads the object's fields of these names. Of a repeated key the last counts.
    ///
    /// # Errors
    /// [`NotFields`] when `text` is no JSON object.
    pub fn read(text: &'t str, names: &'static [&'static str]) -> Result<Fields<'t>, NotFields> {
        debug_assert!(names.len() <= NAMES_MAX);
        if too_deep(text) {
            return Err(NotFields::TooDeep);
        }
        let syntax = |e: serde_json::Error| NotFields::Syntax(e.to_string());
        if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            serde_json::from_str::<IgnoredAny>(text).map_err(syntax)?;
            return Err(NotFields::NotAnObject);
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let fields = deserializer.deserialize_map(Names(names)).map_err(syntax)?;
        deserializer.end().map_err(syntax)?;
        Ok(fields)
    }

    /// The value's text, unless it is missing or `null`.
    pub fn raw(&self, name: &str) -> Option<&'t str> {
        self.given(name).filter(|json| *json != "null")
    }

    /// The value's text, `null` included.
    pub fn given(&self, name: &str) -> Option<&'t str> {
        let at = self.names.iter().position(|known| *known == name);
        debug_assert!(at.is_some(), "a name that was not asked for: {name}");
        self.values[at?].map(RawValue::get)
    }

    /// The first field that is none of the names.
    pub fn stranger(&self) -> Option<&str> {
        self.stranger.as_deref()
    }

    /// A string.
    ///
    /// # Errors
    /// [`Fault`] when the value is something else.
    pub fn string(&self, name: &str) -> Result<Option<Cow<'t, str>>, Fault> {
        let Some(json) = self.raw(name) else { return Ok(None) };
        match serde_json::from_str(json) {
            Ok(Text(Some(text))) => Ok(Some(text)),
            _ => Err(Fault(format!("{name} must be a string"))),
        }
    }

    /// A list of strings.
    ///
    /// # Errors
    /// [`Fault`] when it is something else or longer than `max`.
    pub fn strings(&self, name: &str, max: usize) -> Result<Vec<Cow<'t, str>>, Fault> {
        let words = || Fault(format!("{name} must be a list of strings"));
        let Some(json) = self.raw(name) else { return Ok(Vec::new()) };
        let list: Vec<Text<'t>> = serde_json::from_str(json).map_err(|_| words())?;
        if list.len() > max {
            return Err(Fault(format!("{name} has {} items, {max} are allowed", list.len())));
        }
        list.into_iter().map(|Text(item)| item.ok_or_else(words)).collect()
    }
}

struct Names(&'static [&'static str]);

impl<'de> Visitor<'de> for Names {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields { names: self.0, values: [None; NAMES_MAX], stranger: None };
        while let Some(key) = map.next_key_seed(Key { names: self.0, wanted: fields.stranger.is_none() })? {
            match key {
                Known::At(at) => fields.values[at] = Some(map.next_value()?),
                Known::Stranger(name) => {
                    fields.stranger = fields.stranger.or(name);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

enum Known {
    At(usize),
    Stranger(Option<String>),
}

/// Reads a key: which of the names it is, or itself when it is the first stranger.
struct Key {
    names: &'static [&'static str],
    wanted: bool,
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Known;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Known, D::Error> {
        // As bytes, because a key may escape a lone surrogate, which no text can hold.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Known;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: de::Error>(self, name: &[u8]) -> Result<Known, E> {
        Ok(match self.names.iter().position(|known| known.as_bytes() == name) {
            Some(at) => Known::At(at),
            None => Known::Stranger(self.wanted.then(|| cut(&String::from_utf8_lossy(name)).to_owned())),
        })
    }
}

/// At most so many characters of a client's words are said back to it.
const SHOWN_CHARS_MAX: usize = 100;

/// The beginning of a client's words, fit for an answer.
pub fn cut(words: &str) -> &str {
    words.char_indices().nth(SHOWN_CHARS_MAX).map_or(words, |(end, _)| &words[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Fields<'_>, NotFields> {
        Fields::read(text, &["a", "b"])
    }

    #[test]
    fn known_fields_are_kept_verbatim_and_the_first_stranger_is_named() {
        let fields =
            read(r#" {"a" : [1.0 ,{"x":"\u00e9"}], "s\udfff":1, "t":2, "b":"1","b":"\u0062"} "#).unwrap();
        assert_eq!(fields.raw("a"), Some(r#"[1.0 ,{"x":"\u00e9"}]"#));
        assert_eq!(fields.string("b").unwrap().as_deref(), Some("b"));
        assert!(fields.stranger().unwrap().starts_with('s'));
        assert!(read(r#"{"a":null}"#).unwrap().raw("a").is_none());
        assert_eq!(read(r#"{"a":null}"#).unwrap().given("a"), Some("null"));
    }

    #[test]
    fn what_is_no_object_says_why() {
        assert!(matches!(read("ping"), Err(NotFields::Syntax(_))));
        assert!(matches!(read("{\"a\":1} x"), Err(NotFields::Syntax(_))));
        assert!(matches!(read("{\"a\":}"), Err(NotFields::Syntax(_))));
        assert!(matches!(read("[1]"), Err(NotFields::NotAnObject)));
        assert!(matches!(read(&"[".repeat(100_000)), Err(NotFields::TooDeep)));
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        let fields = read(r#"{"a":1,"b":["x",2]}"#).unwrap();
        assert_eq!(fields.string("a"), Err(Fault("a must be a string".to_owned())));
        assert_eq!(fields.strings("a", 9), Err(Fault("a must be a list of strings".to_owned())));
        assert_eq!(fields.strings("b", 9), Err(Fault("b must be a list of strings".to_owned())));
        assert_eq!(fields.strings("b", 1), Err(Fault("b has 2 items, 1 are allowed".to_owned())));
    }

    #[test]
    fn words_are_cut_between_characters() {
        assert_eq!(cut("äb"), "äb");
        assert_eq!(cut(&"ä".repeat(150)).chars().count(), SHOWN_CHARS_MAX);
    }
}
