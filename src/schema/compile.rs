//! From schema files to compiled forms. Every mistake is found at once: the file, where in it, and what is wrong. Nothing
//! is ever fetched: a reference leads within its file or nowhere.

use super::cost;
use super::document::Document;
use super::form::{self, Form};
use super::reading::EventText;
use super::words::cut;
use crate::event::{Pattern, too_deep, unix_ms_since};
use jsonschema::{Draft, PatternOptions, Validator, options_for};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// The format of a timestamp: an RFC 3339 date-time; without a zone, as several publishers write it, it is UTC.
pub const TIMESTAMP: &str = "courier-timestamp";
/// The keyword under which a file speaks to Courier: `type`, `channels` and `stamp`.
const COURIER: &str = "x-courier";
/// The only dialect of schemas.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The largest schema file, in bytes: two hundred times an ordinary one.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// Bytes that one pattern of a schema may take once compiled, and those of its cache: patterns come from a file, and
/// take time in proportion to the text, never more.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Bytes of an event type's name.
pub const KIND_BYTES_MAX: usize = 100;

/// A schema file, read.
pub struct Source {
    /// What it is called in messages.
    pub name: String,
    /// The event type that it describes, if it does not say so itself.
    pub kind: String,
    /// What stands in it.
    pub text: String,
}

/// One mistake in a schema file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: String,
    /// Where in it, as a JSON pointer; empty for the whole.
    pub pointer: String,
    /// What is wrong.
    pub words: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() { String::new() } else { format!("{}: ", self.pointer) };
        write!(f, "{}: {pointer}{}", self.file, self.words)
    }
}

/// What a file describes.
pub struct Compiled {
    /// The event type.
    pub kind: String,
    /// At least one.
    pub forms: Vec<Form>,
    /// In a sentence, for people.
    pub description: String,
}

/// Compiles one file.
///
/// # Errors
/// Every mistake in it.
pub fn compile(source: &Source) -> Result<Compiled, Vec<Mistake>> {
    let mistake = |pointer: &str, words: String| Mistake {
        file: source.name.clone(),
        pointer: pointer.to_owned(),
        words: cut(words),
    };
    let schema = parse(&source.text).map_err(|words| vec![mistake("", words)])?;
    let mut found = said_twice(&source.text);
    if let Some(Value::String(other)) = schema.get("$schema").filter(|named| *named != DIALECT) {
        found.push(("/$schema".to_owned(), format!("must be {DIALECT}, and is {other}")));
    }
    let (kind, channels) = about(&schema, &source.kind, &mut found);
    if found.is_empty() {
        for error in jsonschema::draft202012::meta::validator().iter_errors(&schema) {
            found.push((error.instance_path().as_str().to_owned(), error.to_string()));
        }
        stray_references(&schema, &schema, &mut String::new(), &mut found);
    }
    if found.is_empty() {
        found.extend(cost::judge(&schema).err());
    }
    let mut forms = Vec::new();
    if found.is_empty() {
        let (channels, file): (Arc<[Pattern]>, Arc<str>) = (channels.into(), source.name.as_str().into());
        for part in form::split(&schema) {
            match build(&part) {
                Ok(validator) => forms.push(Form {
                    validator,
                    channels: Arc::clone(&channels),
                    named: form::named(&part),
                    file: Arc::clone(&file),
                }),
                // Of the whole the place is right.
                Err(fault) => found.push(build(&schema).err().unwrap_or(fault)),
            }
        }
    }
    if !found.is_empty() {
        found.dedup();
        return Err(found.into_iter().map(|(pointer, words)| mistake(&pointer, words)).collect());
    }
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Compiled { kind, forms, description })
}

fn parse(text: &str) -> Result<Value, String> {
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("has {} bytes, and a schema file has at most {FILE_BYTES_MAX}", text.len()));
    }
    if too_deep(text) {
        return Err(format!("is nested deeper than {} levels", crate::event::DEPTH_MAX));
    }
    let schema: Value = serde_json::from_str(text).map_err(|error| format!("is not valid JSON: {error}"))?;
    match schema {
        Value::Object(_) | Value::Bool(_) => Ok(schema),
        _ => Err("a schema is a JSON object, true or false".to_owned()),
    }
}

/// Names that an object of the file says twice: the last would hold, and what the first asks for be let through.
fn said_twice(text: &str) -> Vec<(String, String)> {
    let Ok(document) = Document::read(text) else { return Vec::new() };
    let places = document.repeated().iter().map(|index| document.pointer(*index));
    places.map(|place| (place, "is said twice".to_owned())).collect()
}

/// The event type and the channels that the file says it is for.
fn about(schema: &Value, kind: &str, found: &mut Vec<(String, String)>) -> (String, Vec<Pattern>) {
    let empty = Map::new();
    let said = match schema.get(COURIER) {
        None => &empty,
        Some(Value::Object(map)) => map,
        Some(_) => {
            found.push((format!("/{COURIER}"), "must be an object with type, channels or stamp".to_owned()));
            &empty
        }
    };
    let mut named = kind.to_owned();
    let mut channels = Vec::new();
    for (key, value) in said {
        match (key.as_str(), value) {
            ("type", Value::String(text)) => named.clone_from(text),
            ("type", _) => found.push((format!("/{COURIER}/type"), "must be a string".to_owned())),
            ("channels", Value::Array(list)) => {
                for (at, item) in list.iter().enumerate() {
                    match item.as_str().map(Pattern::parse) {
                        Some(Ok(pattern)) => channels.push(pattern),
                        Some(Err(why)) => found.push((format!("/{COURIER}/channels/{at}"), why.to_string())),
                        None => {
                            found.push((format!("/{COURIER}/channels/{at}"), "must be a string".to_owned()))
                        }
                    }
                }
            }
            ("stamp", Value::Bool(_)) => {}
            ("stamp", _) => found.push((format!("/{COURIER}/stamp"), "must be true or false".to_owned())),
            ("channels", _) => {
                found.push((format!("/{COURIER}/channels"), "must be a list of channel patterns".to_owned()));
            }
            _ => found.push((
                format!("/{COURIER}"),
                format!("does not know {key}; it has type, channels and stamp"),
            )),
        }
    }
    if named.is_empty() || named.len() > KIND_BYTES_MAX || named.contains(char::is_control) {
        let must = format!("must have 1 to {KIND_BYTES_MAX} bytes, and no control characters");
        found.push((format!("/{COURIER}/type"), must));
    }
    (named, channels)
}

/// References that lead out of the file, or nowhere in it.
fn stray_references(whole: &Value, part: &Value, at: &mut String, found: &mut Vec<(String, String)>) {
    let inside = |to: &str| match to.split_once('#') {
        // An anchor, or a part with an id of its own: the compiler looks it up.
        Some(("", pointer)) if pointer.starts_with('/') => {
            whole.pointer(&percent_decoded(pointer)).is_some() || has_ids(whole)
        }
        Some(("", _)) => true,
        _ => to == DIALECT || has_ids(whole),
    };
    let depth = at.len();
    match part {
        Value::Object(map) => {
            for (name, value) in map {
                super::words::push_segment(at, name);
                match (name.as_str(), value) {
                    ("$ref" | "$dynamicRef", Value::String(to)) if !inside(to) => {
                        found.push((
                            at.clone(),
                            format!("leads to nothing in this file, and nothing is fetched: {to}"),
                        ));
                    }
                    // What these hold are values, not schemas.
                    ("const" | "enum" | "default" | "examples", _) => {}
                    _ => stray_references(whole, value, at, found),
                }
                at.truncate(depth);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                super::words::push_segment(at, &index.to_string());
                stray_references(whole, value, at, found);
                at.truncate(depth);
            }
        }
        _ => {}
    }
}

fn has_ids(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.contains_key("$id") || map.values().any(has_ids),
        Value::Array(list) => list.iter().any(has_ids),
        _ => false,
    }
}

fn percent_decoded(pointer: &str) -> String {
    let mut bytes = Vec::with_capacity(pointer.len());
    let mut rest = pointer.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn build(schema: &Value) -> Result<Validator<EventText>, (String, String)> {
    options_for::<EventText>()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(
            PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX),
        )
        .should_validate_formats(true)
        .with_format(TIMESTAMP, |text: &str| unix_ms_since(text).is_some())
        .build(schema)
        .map_err(|error| (error.instance_path().as_str().to_owned(), error.to_string()))
}
