//! The router's event object (`sources.md` 2.3), and events of other dialects in its form.

use super::super::text::{plus_zero, write_nullable, write_string};
use super::super::uuid::{event_uuid, uuid_text};
use crate::event::{Channel, DEAD_LETTERS, Event, Extras, Position, Priority, write_decimal};
use serde::Deserialize;
use std::borrow::Cow;

/// The types that the router knows; any other becomes the last.
pub const TYPES: [&str; 18] = [
    "agent.started",
    "agent.stopped",
    "agent.failed",
    "agent.completed",
    "task.created",
    "task.assigned",
    "task.started",
    "task.progress",
    "task.completed",
    "task.failed",
    "workflow.started",
    "workflow.step_completed",
    "workflow.completed",
    "workflow.failed",
    "system.alert",
    "system.error",
    "system.info",
    CUSTOM,
];
pub(super) const CUSTOM: &str = "custom";

pub(super) const NAMES: [&str; 14] = [
    "id",
    "topic",
    "type",
    "priority",
    "source",
    "target",
    "payload",
    "metadata",
    "timestamp",
    "version",
    "delivery_status",
    "delivery_attempts",
    "last_delivery_attempt",
    "delivery_error",
];

/// The strings of `metadata` besides `created_at`, then its two maps.
pub(super) const METADATA: [&str; 9] = [
    "correlation_id",
    "causation_id",
    "user_id",
    "session_id",
    "trace_id",
    "span_id",
    "created_at",
    "tags",
    "headers",
];
pub(super) const METADATA_STRINGS: usize = 6;

/// Appends the event object of an event from any dialect. One of the router's own goes out as it is; another becomes
/// the payload of one, with an id that is the same for every reader.
pub(super) fn write(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) {
    let extras = event.extras();
    if extras.is_some_and(|extras| extras.router) {
        return out.extend_from_slice(event.text().as_bytes());
    }
    write_members(event, channel, position, out);
    if channel.as_str() == DEAD_LETTERS && write_death(event, out).is_some() {
        return;
    }
    out.extend_from_slice(
        b",\"delivery_status\":\"pending\",\"delivery_attempts\":0,\
          \"last_delivery_attempt\":null,\"delivery_error\":null}",
    );
}

/// The same without the fields that say what became of its delivery.
pub(super) fn write_undelivered(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) {
    if event.extras().is_some_and(|extras| extras.router) {
        // Written in this order when it was published; behind them come only values without a name.
        let text = event.text();
        let end = text.rfind(",\"delivery_status\":").unwrap_or(text.len() - 1);
        out.extend_from_slice(&text.as_bytes()[..end]);
    } else {
        write_members(event, channel, position, out);
    }
    out.push(b'}');
}

/// A dead letter's own: how often its event was delivered, and why that came to an end.
fn write_death(event: &Event, out: &mut Vec<u8>) -> Option<()> {
    #[derive(Deserialize)]
    struct Told<'t> {
        attempts: u32,
        #[serde(borrow)]
        detail: Cow<'t, str>,
    }
    let Told { attempts, detail } = serde_json::from_str(event.text()).ok()?;
    out.extend_from_slice(b",\"delivery_status\":\"dead_letter\",\"delivery_attempts\":");
    write_decimal(attempts.into(), out);
    out.extend_from_slice(b",\"last_delivery_attempt\":null,\"delivery_error\":");
    write_string(&detail, out);
    out.push(b'}');
    Some(())
}

fn write_members(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) {
    let extras = event.extras();
    let id = event_uuid(channel, position);
    let known = TYPES.iter().find(|known| event.kind() == Some(**known));
    let kind = known.copied().unwrap_or(CUSTOM);
    let head = Head { id: uuid_text(&id), topic: channel.as_str(), kind, priority: event.priority() };
    head.write(out);
    out.extend_from_slice(b",\"source\":");
    write_string(event.source().unwrap_or("courier"), out);
    out.extend_from_slice(b",\"target\":");
    write_nullable(extras.and_then(|extras| extras.target.as_deref()), out);
    out.extend_from_slice(b",\"payload\":");
    out.extend_from_slice(event.text().as_bytes());
    let at = plus_zero(event.at_ms());
    out.extend_from_slice(b",\"metadata\":{\"created_at\":");
    write_string(&at, out);
    write_trace(extras, out);
    out.extend_from_slice(b",\"tags\":{},\"headers\":{}},\"timestamp\":");
    write_string(&at, out);
    out.extend_from_slice(b",\"version\":\"1.0\"");
}

/// The strings of `metadata`: a trace context is taken apart (W3C Trace Context 3.2.2: version, trace, span, flags).
fn write_trace(extras: Option<&Extras>, out: &mut Vec<u8>) {
    let mut parts = extras.and_then(|extras| extras.traceparent.as_deref()).unwrap_or("").split('-').skip(1);
    let (trace, span) = (parts.next(), parts.next());
    for name in &METADATA[..METADATA_STRINGS] {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        let value = match *name {
            "correlation_id" => extras.and_then(|extras| extras.correlation_id.as_deref()),
            "trace_id" => trace,
            "span_id" => span,
            _ => None,
        };
        write_nullable(value, out);
    }
}

/// The fields that every event object begins with.
pub(super) struct Head<'e> {
    pub id: &'e str,
    pub topic: &'e str,
    pub kind: &'static str,
    pub priority: Priority,
}

impl Head<'_> {
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":");
        write_string(self.id, out);
        out.extend_from_slice(b",\"topic\":");
        write_string(self.topic, out);
        out.extend_from_slice(b",\"type\":\"");
        out.extend_from_slice(self.kind.as_bytes());
        out.extend_from_slice(b"\",\"priority\":");
        write_decimal(self.priority.number().into(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Facts;
    use serde_json::{Value, json};

    const NOW: u64 = 1_795_271_775_123;
    const ISO: &str = "2026-11-21T14:36:15.123+00:00";

    fn fields_of(value: &Value) -> Vec<String> {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    fn sorted(names: &[&str]) -> Vec<String> {
        let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        names.sort_unstable();
        names
    }

    fn shown(text: &str, extras: Option<Extras>) -> Value {
        let event = Event::new(text, &Facts::read(text).unwrap(), extras.map(Box::new), NOW);
        let mut out = Vec::new();
        write(&event, &Channel::parse("a.b").unwrap(), Position { epoch: 1, offset: 2 }, &mut out);
        serde_json::from_slice(&out).expect("an event is JSON")
    }

    #[test]
    fn an_event_of_another_dialect_is_the_payload_of_one() {
        let extras = Extras {
            priority: Priority::new(8).unwrap(),
            target: Some("t".into()),
            correlation_id: Some("c".into()),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            ..Extras::default()
        };
        let event = shown(r#"{"type":"trade","source":"svc","x":1}"#, Some(extras));
        assert_eq!(fields_of(&event), sorted(&NAMES));
        assert_eq!(fields_of(&event["metadata"]), sorted(&METADATA));
        for (name, value) in [
            ("topic", json!("a.b")),
            ("type", json!("custom")),
            ("priority", json!(8)),
            ("source", json!("svc")),
            ("target", json!("t")),
            ("payload", json!({"type":"trade","source":"svc","x":1})),
            ("timestamp", json!(ISO)),
            ("delivery_attempts", json!(0)),
        ] {
            assert_eq!(event[name], value, "{name}");
        }
        let metadata = &event["metadata"];
        assert_eq!((&metadata["correlation_id"], &metadata["user_id"]), (&json!("c"), &Value::Null));
        assert_eq!(metadata["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(metadata["span_id"], "b7ad6b7169203331");
    }

    #[test]
    fn a_bare_event_is_wrapped_too_and_keeps_a_type_that_the_router_knows() {
        let event = shown(r#"{"type":"task.failed"}"#, None);
        assert_eq!(
            (&event["type"], &event["priority"], &event["source"]),
            (&json!("task.failed"), &json!(5), &json!("courier"))
        );
        assert_eq!(event["id"], shown(r#"{"x":1}"#, None)["id"]);
    }

    #[test]
    fn an_event_of_the_routers_own_goes_out_as_it_is() {
        let text = r#"{"id":"i", "topic":"a.b"}"#;
        let extras = Extras { router: true, ..Extras::default() };
        assert_eq!(shown(text, Some(extras)), json!({"id":"i","topic":"a.b"}));
    }
}
