//! The words in which a publish is refused (contract 3.3).

use crate::event::BadEvent;
use crate::session::Refusal;
use serde_json::{Value, json};

/// A refusal that names every field at fault.
pub(in crate::session) fn field_faults(error: &'static str, faults: &[(&str, String)]) -> Refusal {
    let words: Vec<String> = faults.iter().map(|(field, why)| format!("{}: {why}", &field[1..])).collect();
    let list: Vec<Value> =
        faults.iter().map(|(field, why)| json!({ "field": field, "message": why })).collect();
    Refusal::new(400, error, words.join("; ")).fact("validation_errors", list)
}

pub(in crate::session) fn invalid_json(error: serde_json::Error) -> Refusal {
    let words = error.to_string();
    if words.starts_with("duplicate field") {
        return Refusal::new(400, "Invalid request", format!("The body says something twice: {words}"));
    }
    Refusal::new(400, "Invalid JSON", format!("The body is not valid JSON: {words}"))
}

pub(in crate::session) fn bad_event(why: BadEvent) -> Refusal {
    match why {
        BadEvent::Syntax(words) => Refusal::new(400, "Invalid JSON", format!("Not valid JSON: {words}")),
        BadEvent::Empty => {
            Refusal::new(400, "Invalid message data", "Invalid message data: Message data cannot be empty")
                .at("/data", "must not be empty")
        }
        other => Refusal::new(400, "Invalid event", other.to_string()).at("/data", &other.to_string()),
    }
}

/// The refusal of an event, or a part of it, that is too large.
pub fn too_large(component: &str, size: u64, max: usize) -> Refusal {
    let (shown, name) = match component {
        "event" => ("Event", "event"),
        "payload" => ("Payload", "payload"),
        _ => ("Metadata", "metadata"),
    };
    let words = format!("{shown} size {size} bytes exceeds maximum allowed {max} bytes");
    Refusal::new(413, "Event size exceeded", words)
        .fact("component", name)
        .fact("size_bytes", size)
        .fact("max_size_bytes", max)
        .field("X-Event-Size", size.to_string())
        .field("X-Event-Max-Size", max.to_string())
}
