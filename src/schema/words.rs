//! What is wrong with an event, field by field: a JSON pointer into the event and a few words that never quote it.

use super::document::Document;
use super::reading::EventText;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

/// Fields that one answer names; of the others the answer tells only how many they are.
pub const FAULTS_MAX: usize = 100;
/// Values of an event whose faults are all looked for. In a larger one (of half a million wrong items, say) the first
/// is enough: looking on would cost more than any honest publisher needs.
pub const VALUES_SEARCHED_MAX: usize = 32_768;
/// Characters of a pointer or a message: an event may hold names of any length.
const WORDS_CHARS_MAX: usize = 200;

/// One field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its JSON pointer in the event (RFC 6901).
    pub field: String,
    /// What it must be.
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", if self.field.is_empty() { "the event" } else { &self.field }, self.message)
    }
}

/// Why an event does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The fields at fault, at most [`FAULTS_MAX`], each once per reason.
    pub list: Vec<Fault>,
    /// How many were found; more than are listed, if there are too many or some are alike.
    pub total: usize,
}

impl Faults {
    /// One fault.
    pub fn one(field: &str, message: impl Into<String>) -> Faults {
        let mut faults = Faults::default();
        faults.add(field.to_owned(), message.into());
        faults
    }

    fn add(&mut self, field: String, message: String) {
        self.total += 1;
        let fault = Fault { field: cut(field), message: cut(message) };
        if self.list.len() < FAULTS_MAX && !self.list.contains(&fault) {
            self.list.push(fault);
        }
    }

    /// The names that an object says twice, which readers understand differently.
    pub(super) fn repeated(document: &Document<'_>) -> Faults {
        let mut faults = Faults::default();
        for index in document.repeated().iter().take(FAULTS_MAX) {
            faults.add(document.pointer(*index), "is said twice".to_owned());
        }
        faults.total = document.repeated().len().max(faults.list.len());
        faults
    }

    /// What a validator finds.
    pub(super) fn of(validator: &Validator<EventText>, document: &Document<'_>) -> Faults {
        let mut faults = Faults::default();
        let event = super::reading::At::Value(document, 0);
        if document.len() > VALUES_SEARCHED_MAX {
            if let Err(error) = validator.validate(event) {
                faults.tell(&error);
            }
        } else {
            validator.iter_errors(event).for_each(|error| faults.tell(&error));
        }
        faults
    }

    fn tell(&mut self, error: &ValidationError<'_>) {
        let at = error.instance_path().as_str();
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                self.add(member(at, property.as_str().unwrap_or_default()), "Field required".to_owned());
            }
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                self.total += unexpected.len().saturating_sub(FAULTS_MAX);
                for name in unexpected.iter().take(FAULTS_MAX) {
                    self.add(member(at, name), "is not a field of this event".to_owned());
                }
            }
            kind => self.add(at.to_owned(), must(kind).unwrap_or_else(|| error.masked().to_string())),
        }
    }
}

/// The words for what is wrong most often.
fn must(kind: &ValidationErrorKind) -> Option<String> {
    let at_least = |limit: &Value| format!("must be at least {limit}");
    Some(match kind {
        ValidationErrorKind::Type { kind: TypeKind::Single(one) } => {
            format!("must be {}", article(&one.to_string()))
        }
        ValidationErrorKind::Type { kind: TypeKind::Multiple(some) } => {
            let names: Vec<String> = some.iter().map(|one| article(&one.to_string())).collect();
            format!("must be {}", names.join(" or "))
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let names: Vec<String> = options.iter().take(20).map(Value::to_string).collect();
            format!("must be one of {}", names.join(", "))
        }
        ValidationErrorKind::Constant { expected_value } => format!("must be {expected_value}"),
        ValidationErrorKind::Minimum { limit } => at_least(limit),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be above {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be below {limit}"),
        ValidationErrorKind::Format { format } if format == super::compile::TIMESTAMP => {
            "must be an RFC 3339 date-time, such as 2026-11-21T14:36:15.123Z".to_owned()
        }
        ValidationErrorKind::FalseSchema => "must not be there".to_owned(),
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            "fits none of the allowed forms".to_owned()
        }
        ValidationErrorKind::Not { .. } => "has a form that is not allowed".to_owned(),
        _ => return None,
    })
}

fn article(kind: &str) -> String {
    match kind {
        "null" => "null".to_owned(),
        "array" | "integer" | "object" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

fn member(of: &str, name: &str) -> String {
    let mut pointer = of.to_owned();
    push_segment(&mut pointer, name);
    pointer
}

/// Appends a name to a JSON pointer (RFC 6901 3).
pub(super) fn push_segment(pointer: &mut String, name: &str) {
    pointer.push('/');
    for character in name.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// A text that is short enough to be told.
pub fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(WORDS_CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}
