//! The forms of one event type. A file whose top is an `anyOf` describes several: an event passes if it fits one, and
//! what is wrong with it is said by the form it comes closest to. So is a type that several files describe.

use super::document::Document;
use super::reading::{At, EventText};
use super::words::Faults;
use crate::event::{Pattern, matches};
use jsonschema::Validator;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Steps along `$ref` and `allOf` on the way to the fields that a form requires.
const STEPS_MAX: usize = 32;

/// One form of an event type.
pub struct Form {
    pub(super) validator: Validator<EventText>,
    /// The channels that it is for; empty: all.
    pub(super) channels: Arc<[Pattern]>,
    /// The fields that it names at the top.
    pub(super) named: Named,
    /// The file that it comes from.
    pub(super) file: Arc<str>,
}

impl Form {
    /// Whether it is for events of this channel.
    pub fn is_for(&self, channel: &str) -> bool {
        self.channels.is_empty() || self.channels.iter().any(|pattern| matches(pattern.as_str(), channel))
    }

    /// Whether an event fits.
    pub fn holds(&self, document: &Document<'_>) -> bool {
        self.validator.is_valid(At::Value(document, 0))
    }

    /// Whether its events carry their timestamp in `metadata`.
    pub fn is_nested(&self) -> bool {
        let requires = |name: &str| self.named.required.iter().any(|field| &**field == name);
        requires("metadata") && requires("data")
    }

    /// How many of the fields that it names are there.
    fn likeness(&self, document: &Document<'_>) -> usize {
        self.named.all.iter().filter(|name| document.member(0, name).is_some()).count()
    }
}

/// What is wrong with an event that fits none of `forms`, in the words of the form that names most of its
/// fields, then finds the fewest faults, then stands first.
pub fn faults_of_nearest<'f>(forms: impl Iterator<Item = &'f Form>, document: &Document<'_>) -> Faults {
    let mut nearest: Option<(usize, Faults)> = None;
    for form in forms {
        let (likeness, faults) = (form.likeness(document), Faults::of(&form.validator, document));
        let nearer = nearest.as_ref().is_none_or(|(best, least)| {
            likeness > *best || (likeness == *best && faults.total < least.total)
        });
        if nearer {
            nearest = Some((likeness, faults));
        }
    }
    nearest.map(|(_, faults)| faults).unwrap_or_default()
}

/// The schemas of a file's forms: each branch of the `anyOf` at its top together with all that stands beside it. A
/// file that refers to a branch by its place there is one form.
pub fn split(schema: &Value) -> Vec<Value> {
    let branches = schema.get("anyOf").and_then(Value::as_array).filter(|branches| branches.len() > 1);
    let (Some(branches), Some(top)) = (branches, schema.as_object()) else { return vec![schema.clone()] };
    if branches.len() > FORMS_MAX || refers_to_branches(schema) {
        return vec![schema.clone()];
    }
    branches.iter().map(|branch| Value::Object(with_branch(top, branch))).collect()
}

/// Forms of one file that are looked at one by one.
const FORMS_MAX: usize = 16;

fn with_branch(top: &Map<String, Value>, branch: &Value) -> Map<String, Value> {
    let mut form = top.clone();
    form.remove("anyOf");
    let mut all = match form.remove("allOf") {
        Some(Value::Array(all)) => all,
        _ => Vec::new(),
    };
    all.push(branch.clone());
    form.insert("allOf".to_owned(), Value::Array(all));
    form
}

fn refers_to_branches(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(name, value)| match (name.as_str(), value) {
            ("$ref" | "$dynamicRef", Value::String(to)) => {
                to == "#" || to.starts_with("#/anyOf") || to.starts_with("#/allOf")
            }
            _ => refers_to_branches(value),
        }),
        Value::Array(list) => list.iter().any(refers_to_branches),
        _ => false,
    }
}

/// The fields that a schema names at the top.
#[derive(Default)]
pub struct Named {
    /// Its events go out as they came, with a timestamp or without.
    pub unstamped: bool,
    pub required: Vec<Box<str>>,
    pub all: Vec<Box<str>>,
}

/// Where a form says whether its events get the timestamp that they lack.
const STAMP: &str = "/x-courier/stamp";

/// The fields that a schema names at the top, through `allOf` and references within the file.
pub fn named(schema: &Value) -> Named {
    let mut named = Named::default();
    let (mut waiting, mut steps) = (vec![schema], 0);
    while let (Some(part), true) = (waiting.pop(), steps < STEPS_MAX) {
        steps += 1;
        named.unstamped |= part.pointer(STAMP) == Some(&Value::Bool(false));
        let required = part.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            add(name, &mut named.required);
            add(name, &mut named.all);
        }
        let properties = part.get("properties").and_then(Value::as_object).into_iter().flatten();
        properties.for_each(|(name, _)| add(name, &mut named.all));
        waiting.extend(part.get("allOf").and_then(Value::as_array).into_iter().flatten());
        let to = part.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
        waiting.extend(to.and_then(|pointer| schema.pointer(pointer)));
    }
    named
}

/// Fields of a form that are looked for when its likeness is judged.
const NAMES_MAX: usize = 100;

fn add(name: &str, names: &mut Vec<Box<str>>) {
    if names.len() < NAMES_MAX && !names.iter().any(|known| &**known == name) {
        names.push(name.into());
    }
}
