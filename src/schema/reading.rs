//! How the validator reads an event: [`Document`] under the traits of `jsonschema`. An event stands in its text; only
//! what a message needs is ever copied.

use super::document::{Children, Document, Kind};
use crate::event::Word;
use jsonschema::JsonType;
use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object};
use jsonschema_value::LazyInstance;
use serde_json::{Number, Value};
use std::borrow::Cow;

/// Events, to the validator.
pub struct EventText;

/// A value of an event, or a member's name as a value of its own.
#[derive(Clone, Copy)]
pub enum At<'a> {
    /// A value.
    Value(&'a Document<'a>, u32),
    /// A name.
    Name(&'a str),
}

impl Json for EventText {
    type Node<'a> = At<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = ();

    // A look-up walks over the members: one pass over all of them costs less than a few look-ups.
    const KEYS_PER_LOOKUP: usize = 64;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(At<'_>) -> T) -> T {
        f(At::Name(string))
    }
}

impl<'a> At<'a> {
    #[inline]
    fn kind(self) -> Kind {
        #[cfg(test)]
        looks::count();
        match self {
            At::Value(document, index) => document.slot(index).kind,
            At::Name(_) => Kind::String,
        }
    }

    fn raw(self) -> &'a str {
        match self {
            At::Value(document, index) => document.raw(index),
            At::Name(name) => name,
        }
    }

    fn holder(self, kind: Kind) -> Option<Holder<'a>> {
        #[cfg(test)]
        looks::count();
        match self {
            At::Value(document, index) if document.slot(index).kind == kind => Some(Holder(document, index)),
            _ => None,
        }
    }

    /// Its text as JSON.
    fn json(self) -> &'a [u8] {
        match self {
            At::Value(document, index) => {
                let slot = document.slot(index);
                let quotes = u32::from(matches!(slot.kind, Kind::String | Kind::EscapedString));
                &document.text().as_bytes()[(slot.start - quotes) as usize..(slot.end + quotes) as usize]
            }
            At::Name(name) => name.as_bytes(),
        }
    }
}

impl<'a> Node<'a, EventText> for At<'a> {
    type Object = Holder<'a>;
    type Array = Holder<'a>;
    type Number = Digits<'a>;

    fn as_object(&self) -> Option<Holder<'a>> {
        self.holder(Kind::Object)
    }

    fn as_array(&self) -> Option<Holder<'a>> {
        self.holder(Kind::Array)
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self.kind() {
            Kind::String => Some(Cow::Borrowed(self.raw())),
            Kind::EscapedString => Some(Word::text_of(self.raw())),
            _ => None,
        }
    }

    fn as_number(&self) -> Option<Digits<'a>> {
        (self.kind() == Kind::Number).then(|| Digits(self.raw()))
    }

    fn as_boolean(&self) -> Option<bool> {
        match self.kind() {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    fn is_number(&self) -> bool {
        self.kind() == Kind::Number
    }

    fn json_type(&self) -> JsonType {
        match self.kind() {
            Kind::Null => JsonType::Null,
            Kind::True | Kind::False => JsonType::Boolean,
            Kind::Number => JsonType::Number,
            Kind::String | Kind::EscapedString => JsonType::String,
            Kind::Array => JsonType::Array,
            Kind::Object => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self.kind(), expected) {
            (Kind::String, Value::String(text)) => self.raw() == text,
            (Kind::EscapedString, Value::String(text)) => Word::text_of(self.raw()) == text.as_str(),
            (Kind::String | Kind::EscapedString, _) | (_, Value::String(_)) => false,
            _ => jsonschema::json::cmp::equal(&self.to_value(), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        match self {
            At::Name(name) => Cow::Owned(Value::from(*name)),
            At::Value(..) => Cow::Owned(value_of(self.json())),
        }
    }

    /// Messages never quote an event, so that most instances of an error are never made.
    fn lazy_value(&self) -> LazyInstance<'a> {
        match self {
            At::Name(_) => LazyInstance::Ready(self.to_value()),
            At::Value(..) => LazyInstance::Deferred {
                bytes: self.json(),
                tag: 0,
                make: |bytes, _| value_of(bytes),
                cell: Default::default(),
            },
        }
    }

    fn identity(&self) -> Option<NodeIdentity> {
        match self {
            // One document is looked at in one call, where a slot is its number.
            At::Value(_, index) => Some(NodeIdentity::tagged(*index as usize, 1)),
            // By this a reference that leads back to itself ends at a name too, which is looked at while it stands there.
            At::Name(name) => Some(NodeIdentity::tagged(name.as_ptr() as usize, 2)),
        }
    }
}

/// A value as serde_json has it; what that cannot hold (a lone surrogate, 1e999) makes it null.
fn value_of(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or(Value::Null)
}

/// An object or an array.
#[derive(Clone, Copy)]
pub struct Holder<'a>(&'a Document<'a>, u32);

impl<'a> Object<'a, EventText> for Holder<'a> {
    type Node = At<'a>;
    type MemberName = Cow<'a, str>;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        self.0.slot(self.1).count as usize
    }

    #[inline]
    fn get(&self, key: &Box<str>) -> Option<At<'a>> {
        self.0.member(self.1, key).map(|index| At::Value(self.0, index))
    }

    fn members(&self) -> Members<'a> {
        Members(self.0, self.0.children(self.1))
    }
}

impl<'a> Array<'a, EventText> for Holder<'a> {
    type Node = At<'a>;
    type ElementsIter = Elements<'a>;

    fn len(&self) -> usize {
        self.0.slot(self.1).count as usize
    }

    fn elements(&self) -> Elements<'a> {
        Elements(self.0, self.0.children(self.1))
    }
}

/// Names and values of an object.
pub struct Members<'a>(&'a Document<'a>, Children<'a, 'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, At<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Cow<'a, str>, At<'a>)> {
        self.1.next().map(|index| (self.0.name(index), At::Value(self.0, index)))
    }
}

/// Items of an array.
pub struct Elements<'a>(&'a Document<'a>, Children<'a, 'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = At<'a>;

    fn next(&mut self) -> Option<At<'a>> {
        self.1.next().map(|index| At::Value(self.0, index))
    }
}

/// A number as it is written. One beyond all doubles counts as the largest of them.
#[derive(Clone, Copy)]
pub struct Digits<'a>(&'a str);

impl Digits<'_> {
    fn double(self) -> f64 {
        self.0.parse().unwrap_or(0.0f64).clamp(f64::MIN, f64::MAX)
    }

    fn is_whole(self) -> bool {
        !self.0.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
    }
}

impl JsonNumber for Digits<'_> {
    fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    fn as_f64(&self) -> Option<f64> {
        Some(self.double())
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.0)
    }

    fn to_number(&self) -> Cow<'_, Number> {
        let whole = self.as_u64().map(Number::from).or_else(|| self.as_i64().map(Number::from));
        Cow::Owned(whole.or_else(|| Number::from_f64(self.double())).unwrap_or_else(|| Number::from(0)))
    }

    fn is_integer(&self) -> bool {
        self.is_whole() || self.double().fract() == 0.0
    }
}

/// How often the validator looked at a value on this thread: what a schema costs, whatever the machine.
#[cfg(test)]
pub(super) mod looks {
    use std::cell::Cell;

    thread_local!(static LOOKS: Cell<u64> = const { Cell::new(0) });

    pub fn count() {
        LOOKS.set(LOOKS.get() + 1);
    }

    /// Those since it was asked last.
    pub fn taken() -> u64 {
        LOOKS.replace(0)
    }
}
