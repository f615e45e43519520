//! What a client says in text, read as a document (tape of simd-json: no recursion, whatever the nesting).

use crate::event::Channel;
use simd_json::prelude::*;

/// What a client of the dialects `courier` asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'t> {
    /// Text `ping`, answered in kind.
    TextPing,
    /// `{"type":"ping"}`
    Ping,
    /// `{"type":"pong"}`
    Pong,
    /// `{"type":"subscribe","channel":…}`
    Subscribe(&'t str),
    /// `{"type":"unsubscribe","channel":…}`
    Unsubscribe(&'t str),
    /// Any other object, by its `type`, if that is a string.
    Other(Option<&'t str>),
    /// None of these; each fault in words.
    Invalid(String),
}

/// Reads one message; simd-json unescapes in place, so `text` is spent.
pub fn read<'t>(text: &'t mut [u8]) -> Command<'t> {
    if text == b"ping" {
        return Command::TextPing;
    }
    let tape = match simd_json::to_tape(text) {
        Ok(tape) => tape,
        Err(error) => return Command::Invalid(format!("Invalid JSON: {error}")),
    };
    let Some(object) = tape.as_value().as_object() else {
        return Command::Invalid("Message must be a JSON object".to_owned());
    };
    let field = |name: &str| object.get(name).and_then(|value| value.into_string());
    match field("type") {
        Some("ping") => Command::Ping,
        Some("pong") => Command::Pong,
        Some(kind @ ("subscribe" | "unsubscribe")) => match field("channel") {
            None => Command::Invalid(format!("{kind}: channel is required and must be a string")),
            Some(name) => match Channel::check(name) {
                Err(why) => Command::Invalid(format!("Invalid channel name: {why}")),
                Ok(()) if kind == "subscribe" => Command::Subscribe(name),
                Ok(()) => Command::Unsubscribe(name),
            },
        },
        other => Command::Other(other),
    }
}
