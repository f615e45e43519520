//! Dialect `router` (`sources.md` 2, contract 6): topics are channels, events are objects with fixed fields, and each
//! matching subscription gets its own copy with its id in it. Errors never close.

mod acks;
mod answers;
mod object;
mod publish;
mod subscription;

pub use acks::{heading, is_named};
pub use answers::*;
pub use object::TYPES;

use super::text::write_text_frame;
use crate::event::{Channel, Event, LABEL_BYTES, Position};
use crate::session::command::{Command, Context, Fields, NotFields, Publish, Ref, Unsubscribe, Which, cut};

/// Bytes of the longest message from a client (`sources.md` 2.1).
pub const MESSAGE_BYTES_MAX: usize = 10_000_000;

const NAMES: [&str; 8] =
    ["type", "event", "subscription", "subscription_id", "echo", "event_id", "event_ids", "dead_letter"];

/// Reads one message.
pub fn read<'t>(text: &'t str, context: &mut Context<'_>) -> Command<'t> {
    let now = context.unix_ms;
    let fields = match Fields::read(text, &NAMES) {
        Ok(fields) => fields,
        Err(why @ NotFields::NotAnObject) => {
            return Command::Answer(error(&format!("Internal error: {why}"), now));
        }
        Err(why) => return Command::Answer(error(&format!("Invalid JSON: {why}"), now)),
    };
    let kind = fields.string("type").unwrap_or_default();
    match kind.as_deref() {
        Some("ping") => Command::Answer(pong(fields.raw("echo"), now)),
        Some("publish") => publish(&fields, context),
        Some("subscribe") => match subscription::read(fields.raw("subscription"), context) {
            Ok(wish) => Command::Subscribe(Box::new(wish)),
            Err(why) => Command::Answer(error(&format!("Failed to subscribe: {why}"), now)),
        },
        Some("unsubscribe") => match fields.string("subscription_id") {
            Ok(Some(id)) => {
                Command::Unsubscribe(Unsubscribe { reference: Ref::default(), which: Which::Id(id.into()) })
            }
            _ => Command::Answer(error(NOT_FOUND, now)),
        },
        Some("get_health") => Command::Health,
        Some(kind @ ("ack" | "nack")) => match acks::read(&fields, kind == "nack") {
            Ok(ack) => Command::Ack(Box::new(ack)),
            Err(why) => Command::Answer(error(&format!("Failed to {kind}: {why}"), now)),
        },
        other => {
            let shown = other.or(fields.raw("type")).unwrap_or("None");
            Command::Answer(error(&format!("Unknown message type: {}", cut(shown)), now))
        }
    }
}

fn publish(fields: &Fields<'_>, context: &mut Context<'_>) -> Command<'static> {
    match publish::read(fields.raw("event").unwrap_or("{}"), context) {
        Ok(body) => Command::Publish(Box::new(Publish { reference: Ref::default(), body })),
        Err(why) => Command::Answer(error(&format!("Failed to publish event: {why}"), context.unix_ms)),
    }
}

/// Appends `{"type":"event","event","subscription_id"}`; the id is to be spliced in.
pub fn render(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) -> Option<u32> {
    const END: &[u8] = b"\"}";
    write_text_frame(LABEL_BYTES, out, |out| {
        out.extend_from_slice(b"{\"type\":\"event\",\"event\":");
        object::write(event, channel, position, out);
        out.extend_from_slice(b",\"subscription_id\":\"");
        out.extend_from_slice(END);
    });
    Some((out.len() - END.len()) as u32)
}

/// Appends what of that goes behind the heading of an event that is to be acknowledged, which says what the event object
/// says of its delivery: `{`, the other fields, and both ends.
pub fn render_acked(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) -> Option<u32> {
    write_text_frame(0, out, |out| {
        object::write_undelivered(event, channel, position, out);
        out.push(b'}');
    });
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Facts;
    use serde_json::{Value, json};

    const NOW: u64 = 1_795_271_775_123;
    const ISO: &str = "2026-11-21T14:36:15.123+00:00";
    const OWN_ID: &str = "01234567-89ab-CDEF-0123-456789abcdef";

    fn with<T>(text: &str, look: impl FnOnce(Command<'_>) -> T) -> T {
        let mut draw = || u64::MAX;
        look(read(text, &mut Context { client_id: "client", unix_ms: NOW, topics_max: 128, draw: &mut draw }))
    }

    fn said(text: &str) -> Value {
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn answer(text: &str) -> Value {
        with(text, |command| match command {
            Command::Answer(answer) => said(&answer),
            other => panic!("{text}: {other:?}"),
        })
    }

    #[test]
    fn a_ping_is_answered_with_the_same_echo() {
        for echo in ["1732199775.5", r#"{"a":[1.0,"\u00e9"]}"#, "null", "false"] {
            let text = format!(r#"{{"type":"ping","echo":{echo}}}"#);
            let pong = answer(&text);
            assert_eq!(pong, json!({"type":"pong","timestamp":ISO,"echo":said(echo)}));
        }
        assert_eq!(answer(r#"{"type":"ping"}"#)["echo"], Value::Null);
    }

    #[test]
    fn what_is_not_understood_is_told_in_the_originals_words() {
        let deep = "[".repeat(100_000);
        for (text, words) in [
            ("ping", "Invalid JSON: "),
            ("", "Invalid JSON: "),
            (&deep, "Invalid JSON: "),
            ("[1]", "Internal error: "),
            ("7", "Internal error: "),
            ("{}", "Unknown message type: None"),
            (r#"{"type":"dance"}"#, "Unknown message type: dance"),
            (r#"{"type":[1]}"#, "Unknown message type: [1]"),
            (r#"{"type":"unsubscribe"}"#, "Subscription not found"),
            (r#"{"type":"unsubscribe","subscription_id":7}"#, "Subscription not found"),
            (r#"{"type":"publish"}"#, "Failed to publish event: "),
            (r#"{"type":"publish","event":7}"#, "Failed to publish event: event must be an object"),
        ] {
            let error = answer(text);
            assert!(error["error"].as_str().unwrap().starts_with(words), "{text}: {error}");
            assert_eq!((error.as_object().unwrap().len(), &error["timestamp"]), (3, &json!(ISO)));
        }
        let long = answer(&format!(r#"{{"type":"{}"}}"#, "x".repeat(100_000)));
        assert!(long.to_string().len() < 300);
    }

    #[test]
    fn the_other_commands_are_read() {
        with(r#"{"type":"get_health"}"#, |command| assert!(matches!(command, Command::Health)));
        with(r#"{"type":"unsubscribe","subscription_id":"i"}"#, |command| {
            assert!(matches!(command, Command::Unsubscribe(end) if end.which == Which::Id("i".into())));
        });
    }

    #[test]
    fn the_subscriptions_id_is_spliced_into_a_whole_frame() {
        let text = r#"{"x":1}"#;
        let event = Event::new(text, &Facts::read(text).unwrap(), None, NOW);
        let mut bytes = b"before".to_vec();
        let channel = Channel::parse("a").unwrap();
        let at = render(&event, &channel, Position { epoch: 1, offset: 2 }, &mut bytes).unwrap() as usize;
        bytes.splice(at..at, OWN_ID.bytes());
        let frame = &bytes[6..];
        assert_eq!(u16::from_be_bytes([frame[2], frame[3]]) as usize, frame.len() - 4);
        assert_eq!(OWN_ID.len(), LABEL_BYTES);
        let message = said(std::str::from_utf8(&frame[4..]).unwrap());
        assert_eq!((message.as_object().unwrap().len(), &message["type"]), (3, &json!("event")));
        assert_eq!(message["subscription_id"], OWN_ID);
        assert_eq!(message["event"]["payload"], json!({"x":1}));
    }
}
