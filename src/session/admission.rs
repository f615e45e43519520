//! From a publish request's body to an event that may go out, and the answer to it (contract 3.1, 3.3, 3.4).
//! What is checked here is never checked again.

use super::refusal::Refusal;
use super::route::bad_channel;
use super::{Options, Stamp};
use crate::event::{BadEvent, Channel, Facts, Position, Text, too_deep, unix_ms_of};
use crate::stdx::clock::{Now, rfc3339_ms};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// An event on its way: valid, within the limits, from whom it says.
#[derive(Debug)]
pub struct Admitted<'b> {
    /// Where to.
    pub channel: Cow<'b, str>,
    /// What subscribers get, to the byte.
    pub event: Cow<'b, str>,
    /// What was read of it.
    pub facts: Facts<'b>,
}

/// The body of `POST /publish`. Unknown fields are let through, for clients of a later version.
#[derive(Deserialize)]
struct Envelope<'b> {
    #[serde(borrow, default)]
    channel: Option<Text<'b>>,
    #[serde(borrow, default)]
    data: Option<&'b RawValue>,
    #[serde(default)]
    priority: Option<Value>,
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    ttl: Option<Value>,
    #[serde(default)]
    exclude: Option<Value>,
}

/// Checks a publish. `channel` is the decoded one of the path, or `None` when the body names it.
///
/// # Errors
/// 400 or 413 as a [`Refusal`] that names every field at fault.
pub fn admit<'b>(
    channel: Option<&'b str>,
    body: &'b [u8],
    service: Option<&str>,
    limits: &Limits,
    options: &Options,
    now: Now,
) -> Result<Admitted<'b>, Refusal> {
    let text = std::str::from_utf8(body).map_err(|e| {
        let at = e.valid_up_to();
        Refusal::new(400, "Invalid JSON", format!("The body is not UTF-8: byte {at} cannot stand there"))
    })?;
    let (channel, event) = match channel {
        Some(channel) => (Cow::Borrowed(channel), text),
        None => open(text)?,
    };
    let facts = Facts::read(event).map_err(bad_event)?;
    check_sizes(event, &facts, limits)?;
    check_source(&facts, service)?;
    let event = match options.stamp {
        Stamp::Always if facts.timestamp.0.is_none() => Cow::Owned(stamped(event, now)),
        _ => Cow::Borrowed(event),
    };
    Ok(Admitted { channel, event, facts })
}

/// The sizes of contract 14, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a whole event.
    pub event_bytes_max: usize,
    /// Of its `data`.
    pub payload_bytes_max: usize,
    /// Of its `metadata`.
    pub metadata_bytes_max: usize,
}

fn open(text: &str) -> Result<(Cow<'_, str>, &str), Refusal> {
    if too_deep(text) {
        return Err(bad_event(BadEvent::TooDeep));
    }
    let object = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    if !object {
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(invalid_json)?;
        return Err(Refusal::new(400, "Invalid request", "The body must be a JSON object")
            .at("", "must be an object"));
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(invalid_json)?;
    let mut faults: Vec<(&str, String)> = Vec::new();
    let name_fault = match &envelope.channel {
        None => Some("Field required".to_owned()),
        Some(Text(None)) => Some("must be a string".to_owned()),
        Some(Text(Some(name))) => Channel::check(name).err().map(|why| why.to_string()),
    };
    faults.extend(name_fault.map(|why| ("/channel", why)));
    match envelope.data {
        None => faults.push(("/data", "Field required".to_owned())),
        Some(data) if !data.get().starts_with('{') => faults.push(("/data", "must be an object".to_owned())),
        Some(_) => {}
    }
    optional_faults(&envelope, &mut faults);
    let empty = |data: &RawValue| data.get()[1..].trim_start().starts_with('}');
    if !faults.is_empty() && envelope.data.is_some_and(empty) {
        // Alone, it is told in words of its own by the check of the event.
        faults.push(("/data", "must not be empty".to_owned()));
    }
    match (envelope.channel, envelope.data, &faults[..]) {
        (Some(Text(Some(channel))), Some(data), []) => Ok((channel, data.get())),
        (Some(Text(Some(_))), _, [("/channel", why)]) => Err(bad_channel(why, "/channel")),
        _ => Err(field_faults(&faults)),
    }
}

fn optional_faults(envelope: &Envelope<'_>, faults: &mut Vec<(&str, String)>) {
    const NAMES: [&str; 6] = ["LOWEST", "LOW", "NORMAL", "HIGH", "CRITICAL", "SYSTEM"];
    let priority = |p: &Value| match p {
        Value::String(name) => NAMES.contains(&name.to_ascii_uppercase().as_str()),
        number => number.as_u64().is_some_and(|n| (1..=10).contains(&n)),
    };
    if envelope.priority.as_ref().is_some_and(|p| !priority(p)) {
        faults.push(("/priority", format!("must be 1 to 10, or {}", NAMES.join(", "))));
    }
    if envelope.id.as_ref().is_some_and(|id| id.as_str().is_none_or(str::is_empty)) {
        faults.push(("/id", "must be a non-empty string".to_owned()));
    }
    if envelope.ttl.as_ref().is_some_and(|ttl| ttl.as_f64().is_none_or(|s| s <= 0.0)) {
        faults.push(("/ttl", "must be a number of seconds above 0".to_owned()));
    }
    if envelope.exclude.as_ref().is_some_and(|id| !id.is_string()) {
        faults.push(("/exclude", "must be a connection id".to_owned()));
    }
}

fn field_faults(faults: &[(&str, String)]) -> Refusal {
    let words: Vec<String> = faults.iter().map(|(field, why)| format!("{}: {why}", &field[1..])).collect();
    let list: Vec<Value> =
        faults.iter().map(|(field, why)| json!({ "field": field, "message": why })).collect();
    Refusal::new(400, "Invalid request", words.join("; ")).fact("validation_errors", list)
}

fn invalid_json(error: serde_json::Error) -> Refusal {
    let words = error.to_string();
    if words.starts_with("duplicate field") {
        return Refusal::new(400, "Invalid request", format!("The body says something twice: {words}"));
    }
    Refusal::new(400, "Invalid JSON", format!("The body is not valid JSON: {words}"))
}

fn bad_event(why: BadEvent) -> Refusal {
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

fn check_sizes(event: &str, facts: &Facts<'_>, limits: &Limits) -> Result<(), Refusal> {
    for (component, size, max) in [
        ("event", event.len(), limits.event_bytes_max),
        ("payload", facts.data_bytes, limits.payload_bytes_max),
        ("metadata", facts.metadata_bytes, limits.metadata_bytes_max),
    ] {
        if size > max {
            let mut refusal = too_large(component, size as u64, max);
            add_kind(&mut refusal.facts, facts);
            return Err(refusal);
        }
    }
    Ok(())
}

fn check_source(facts: &Facts<'_>, service: Option<&str>) -> Result<(), Refusal> {
    let (Some(source), Some(service)) = (&facts.source.0, service) else { return Ok(()) };
    if source == service {
        return Ok(());
    }
    let words = format!("Event source '{source}' does not match X-Service-Name header '{service}'");
    let mut refusal = Refusal::new(400, "Event source mismatch", words);
    add_kind(&mut refusal.facts, facts);
    Err(refusal)
}

fn add_kind(to: &mut Map<String, Value>, facts: &Facts<'_>) {
    to.insert("event_type".to_owned(), json!(facts.kind.0));
}

/// The event with a timestamp as its first field.
fn stamped(event: &str, now: Now) -> String {
    let mut stamp = [0; 24];
    rfc3339_ms(now.unix_ms, &mut stamp);
    let body = event.trim_start_matches([' ', '\t', '\r', '\n']).strip_prefix('{').unwrap_or_default();
    let stamp = std::str::from_utf8(&stamp).expect("digits and signs");
    format!("{{\"timestamp\":\"{stamp}\",{body}")
}

/// The first part of the answer, which is known before the event is numbered.
pub fn write_answer_head(admitted: &Admitted<'_>, now: Now, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"status\":\"published\",\"channel\":\"");
    out.extend_from_slice(admitted.channel.as_bytes());
    out.extend_from_slice(b"\",\"event_type\":");
    match &admitted.facts.kind.0 {
        None => out.extend_from_slice(b"null"),
        Some(kind) => write_string(kind, out),
    }
    out.extend_from_slice(b",\"timestamp\":\"");
    let own = admitted.facts.timestamp.0.as_deref().and_then(unix_ms_of);
    let mut stamp = [0; 24];
    rfc3339_ms(own.unwrap_or(now.unix_ms), &mut stamp);
    out.extend_from_slice(&stamp);
    out.push(b'"');
}

/// The rest of the answer.
pub fn write_answer_tail(position: Position, reached: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"clients_reached\":");
    crate::event::write_decimal(reached.into(), out);
    out.extend_from_slice(b",\"id\":\"");
    position.write(out);
    out.extend_from_slice(b"\"}");
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    let plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\';
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a string is always JSON, and a Vec takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { event_bytes_max: 1000, payload_bytes_max: 100, metadata_bytes_max: 50 };
    const NOW: Now = Now { steady_us: 0, unix_ms: 1_795_271_775_123 };

    fn options(stamp: Stamp) -> Options {
        Options { stamp, ..crate::session::tests_support::options() }
    }

    fn refused(channel: Option<&str>, body: &str, service: Option<&str>) -> Refusal {
        admit(channel, body.as_bytes(), service, &LIMITS, &options(Stamp::Validated), NOW).unwrap_err()
    }

    #[test]
    fn both_forms_give_the_event_verbatim() {
        let event = r#"{ "b" : 1.0e0, "a":"\u00e9", "a":2 }"#;
        let options = options(Stamp::Validated);
        let whole = format!("{{\"data\": {event} ,\"channel\":\"\\u0063\"}}");
        let admitted = admit(None, whole.as_bytes(), None, &LIMITS, &options, NOW).unwrap();
        assert_eq!((&*admitted.channel, &*admitted.event), ("c", event));
        let admitted = admit(Some("c"), event.as_bytes(), None, &LIMITS, &options, NOW).unwrap();
        assert_eq!(&*admitted.event, event);
    }

    #[test]
    fn every_fault_is_named() {
        for (body, error, fields) in [
            ("{}", "Invalid request", "/channel /data"),
            (r#"{"channel":1,"data":[]}"#, "Invalid request", "/channel /data"),
            (r#"{"channel":"a b","data":{"x":1}}"#, "Invalid channel name", "/channel"),
            (r#"{"channel":"a","data":{}}"#, "Invalid message data", "/data"),
            (r#"{"channel":"a","data":{"x":1},"priority":11,"ttl":-1}"#, "Invalid request", "/priority /ttl"),
            (r#"["a",{"x":1}]"#, "Invalid request", ""),
            (r#"{"channel":"a","data":{"x":}}"#, "Invalid JSON", "none"),
            (r#"{"channel":"a","channel":"b","data":{"x":1}}"#, "Invalid request", "none"),
        ] {
            let refusal = refused(None, body, None);
            let fields_found: Vec<&str> = match refusal.facts.get("validation_errors") {
                Some(list) => list.as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect(),
                None => vec!["none"],
            };
            assert_eq!((refusal.status, refusal.error), (400, error), "{body}");
            assert_eq!(fields_found.join(" "), fields, "{body}");
        }
    }

    #[test]
    fn sizes_and_source_are_checked() {
        let long = "x".repeat(120);
        let refusal = refused(Some("c"), &format!(r#"{{"type":"t","data":"{long}"}}"#), None);
        assert_eq!((refusal.status, &refusal.facts["component"]), (413, &json!("payload")));
        let refusal = refused(Some("c"), &format!(r#"{{"metadata":{{"a":"{long}"}}}}"#), None);
        assert_eq!((refusal.status, &refusal.facts["component"]), (413, &json!("metadata")));
        let refusal = refused(Some("c"), r#"{"type":"t","metadata":{"source":"a"}}"#, Some("b"));
        assert_eq!(refusal.error, "Event source mismatch");
        assert_eq!(refusal.facts["event_type"], "t");
    }

    #[test]
    fn the_answer_is_json_with_the_events_own_time_in_utc() {
        let event = r#"{"type":"a\"b","timestamp":"2026-11-21T16:36:15.9+02:00"}"#;
        let admitted =
            admit(Some("c"), event.as_bytes(), None, &LIMITS, &options(Stamp::Validated), NOW).unwrap();
        let mut out = Vec::new();
        write_answer_head(&admitted, NOW, &mut out);
        write_answer_tail(Position { epoch: 0xab, offset: 7 }, 3, &mut out);
        let answer: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            answer,
            json!({"status":"published","channel":"c","event_type":"a\"b","clients_reached":3,
                   "timestamp":"2026-11-21T14:36:15.900Z","id":"000000ab-7"})
        );
    }

    #[test]
    fn a_stamp_is_added_only_when_wanted_and_missing() {
        let bare = br#" {"x":1}"#;
        let out = admit(Some("c"), bare, None, &LIMITS, &options(Stamp::Always), NOW).unwrap();
        assert_eq!(&*out.event, r#"{"timestamp":"2026-11-21T14:36:15.123Z","x":1}"#);
        let out = admit(Some("c"), bare, None, &LIMITS, &options(Stamp::Validated), NOW).unwrap();
        assert_eq!(&*out.event, r#" {"x":1}"#);
    }
}
