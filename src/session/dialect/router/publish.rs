//! What a client of the router publishes, made complete (`sources.md` 2.3).

use super::super::text::{plus_zero, write_string};
use super::super::uuid::{random_uuid, uuid_text};
use super::object::{CUSTOM, Head, METADATA, METADATA_STRINGS, NAMES, TYPES};
use crate::event::{Channel, Extras, Priority, unix_ms_of};
use crate::session::command::{Body, Context, Fault, Fields, cut};
use serde_json::Value;

const STATUSES: [&str; 5] = ["pending", "delivered", "failed", "retrying", "dead_letter"];

/// Bytes of the longest id: it is said back in the answer.
const ID_BYTES_MAX: usize = 256;

/// Reads a client's event and writes it out with everything that it left to be filled in.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(json: &str, context: &mut Context<'_>) -> Result<Body<'static>, String> {
    let fields = Fields::read(json, &NAMES).map_err(|_| "event must be an object")?;
    if let Some(name) = fields.stranger() {
        return Err(format!("unexpected field '{name}' in event"));
    }
    let metadata = Fields::read(fields.raw("metadata").unwrap_or("{}"), &METADATA)
        .map_err(|_| "metadata must be an object")?;
    if let Some(name) = metadata.stranger() {
        return Err(format!("unexpected field '{name}' in metadata"));
    }
    let (channel, kind) = topic(&fields)?;
    let id = id(&fields, context)?;
    let priority = priority(&fields)?;
    let mut out = Vec::with_capacity(json.len() + 512);
    let head = Head { id: &id, topic: channel.as_str(), kind, priority };
    head.write(&mut out);
    write_rest(&fields, &metadata, context, &mut out).map_err(|fault| fault.0)?;
    let extras = Extras {
        priority,
        router: true,
        target: fields.string("target").map_err(|fault| fault.0)?.map(|target| target.into()),
        correlation_id: metadata.string("correlation_id").map_err(|fault| fault.0)?.map(|id| id.into()),
        ..Extras::default()
    };
    let text = String::from_utf8(out).expect("JSON made of JSON");
    Ok(Body::Event { channel, text, extras: Box::new(extras), id })
}

/// The channel, and the type as it goes out.
fn topic(fields: &Fields<'_>) -> Result<(Channel, &'static str), String> {
    let kind = fields.string("type").map_err(|fault| fault.0)?;
    let topic = fields.string("topic").map_err(|fault| fault.0)?.filter(|topic| !topic.is_empty());
    let name = topic.or_else(|| kind.clone()).unwrap_or_default();
    let channel =
        Channel::parse(&name).map_err(|why| format!("topic '{}' is no channel: {why}", cut(&name)))?;
    let known = TYPES.iter().find(|known| kind.as_deref() == Some(**known));
    Ok((channel, known.copied().unwrap_or(CUSTOM)))
}

fn id(fields: &Fields<'_>, context: &mut Context<'_>) -> Result<Box<str>, String> {
    match fields.string("id").map_err(|fault| fault.0)?.filter(|id| !id.is_empty()) {
        Some(id) if id.len() > ID_BYTES_MAX => Err(format!("id is longer than {ID_BYTES_MAX} bytes")),
        Some(id) => Ok(id.into()),
        None => Ok(uuid_text(&random_uuid(context.draw)).into()),
    }
}

fn priority(fields: &Fields<'_>) -> Result<Priority, String> {
    let Some(json) = fields.given("priority") else { return Ok(Priority::NORMAL) };
    let value: Option<Value> = serde_json::from_str(json).ok();
    value
        .and_then(|value| Priority::parse(&value))
        .ok_or_else(|| format!("{} is not a valid EventPriority", cut(json)))
}

/// Writes what stands behind the priority: values that were given as they were given, after a look at their kind.
fn write_rest(
    fields: &Fields<'_>,
    metadata: &Fields<'_>,
    context: &Context<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let quoted = |text: &str| {
        let mut quoted = Vec::new();
        write_string(text, &mut quoted);
        String::from_utf8(quoted).expect("a JSON string")
    };
    let now = quoted(&plus_zero(context.unix_ms));
    let mut put = |name: &str, json: &str| {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        out.extend_from_slice(json.as_bytes());
    };
    let source = text(fields, "source", None)?.filter(|source| *source != "\"\"");
    put("source", source.unwrap_or(&quoted(context.client_id)));
    put("target", text(fields, "target", None)?.unwrap_or("null"));
    put("payload", fields.raw("payload").unwrap_or("{}"));
    put("metadata", &metadata_json(metadata, &now)?);
    put("timestamp", text(fields, "timestamp", Some(is_time))?.unwrap_or(&now));
    put("version", text(fields, "version", None)?.unwrap_or("\"1.0\""));
    put("delivery_status", text(fields, "delivery_status", Some(is_status))?.unwrap_or("\"pending\""));
    put("delivery_attempts", count(fields, "delivery_attempts")?);
    put("last_delivery_attempt", text(fields, "last_delivery_attempt", Some(is_time))?.unwrap_or("null"));
    put("delivery_error", text(fields, "delivery_error", None)?.unwrap_or("null"));
    out.push(b'}');
    Ok(())
}

fn metadata_json(metadata: &Fields<'_>, now: &str) -> Result<String, Fault> {
    let mut json =
        format!("{{\"created_at\":{}", text(metadata, "created_at", Some(is_time))?.unwrap_or(now));
    for name in &METADATA[..METADATA_STRINGS] {
        json += &format!(",\"{name}\":{}", text(metadata, name, None)?.unwrap_or("null"));
    }
    for name in ["tags", "headers"] {
        let map = metadata.raw(name).unwrap_or("{}");
        if !map.starts_with('{') {
            return Err(Fault(format!("{name} must be an object")));
        }
        json += &format!(",\"{name}\":{map}");
    }
    Ok(json + "}")
}

/// The text of a string field, as it was written.
fn text<'t>(
    fields: &Fields<'t>,
    name: &str,
    check: Option<fn(&str) -> bool>,
) -> Result<Option<&'t str>, Fault> {
    match (fields.string(name)?, check) {
        (Some(value), Some(check)) if !check(&value) => {
            Err(Fault(format!("'{}' is not a valid {name}", cut(&value))))
        }
        _ => Ok(fields.raw(name)),
    }
}

fn is_time(text: &str) -> bool {
    unix_ms_of(text).is_some()
}

fn is_status(text: &str) -> bool {
    STATUSES.contains(&text)
}

fn count<'t>(fields: &Fields<'t>, name: &str) -> Result<&'t str, Fault> {
    match fields.raw(name) {
        None => Ok("0"),
        Some(json) if json.parse::<u32>().is_ok() => Ok(json),
        Some(_) => Err(Fault(format!("{name} must be a number from 0 on"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_795_271_775_123;
    const ISO: &str = "2026-11-21T14:36:15.123+00:00";

    fn publish(json: &str) -> Result<(Value, Extras), String> {
        let mut draw = || u64::MAX;
        let mut context = Context { client_id: "client", unix_ms: NOW, topics_max: 9, draw: &mut draw };
        let Body::Event { channel, text, extras, id } = read(json, &mut context)? else { panic!() };
        let event: Value = serde_json::from_str(&text).expect("an event is JSON");
        assert_eq!((&event["topic"], &event["id"]), (&json!(channel.as_str()), &json!(id)));
        assert_eq!(event["priority"], extras.priority.number());
        Ok((event, *extras))
    }

    #[test]
    fn what_a_client_leaves_out_is_filled_in() {
        let (event, extras) = publish(r#"{"topic":"task.created","type":"task.created"}"#).unwrap();
        assert_eq!(
            event,
            json!({
            "id":"ffffffff-ffff-4fff-bfff-ffffffffffff","topic":"task.created","type":"task.created","priority":5,
            "source":"client","target":null,"payload":{},
            "metadata":{"created_at":ISO,"correlation_id":null,"causation_id":null,"user_id":null,
                        "session_id":null,"trace_id":null,"span_id":null,"tags":{},"headers":{}},
            "timestamp":ISO,"version":"1.0","delivery_status":"pending","delivery_attempts":0,
            "last_delivery_attempt":null,"delivery_error":null})
        );
        assert!(extras.router);
    }

    #[test]
    fn what_a_client_gives_goes_out_as_it_came() {
        let given = r#"{"id":"mine","topic":"a.b","type":"system.info","priority":9,"source":"s","target":"t",
            "payload":{"n":1.0,"e":"\u00e9"},"metadata":{"created_at":"2026-01-01T00:00:00+00:00",
            "correlation_id":"c","causation_id":"d","user_id":"u","session_id":"v","trace_id":"w","span_id":"x",
            "tags":{"k":"v"},"headers":{"h":"1"}},"timestamp":"2026-01-01T00:00:00.123456+00:00","version":"2.0",
            "delivery_status":"retrying","delivery_attempts":2,"last_delivery_attempt":"2026-01-01T00:00:00+00:00",
            "delivery_error":"e"}"#;
        let (event, extras) = publish(given).unwrap();
        assert_eq!(event, serde_json::from_str::<Value>(given).unwrap());
        assert_eq!((extras.target.as_deref(), extras.correlation_id.as_deref()), (Some("t"), Some("c")));
        assert_eq!(extras.priority, Priority::new(9).unwrap());
    }

    #[test]
    fn a_topic_may_be_named_by_the_type_and_unknown_types_are_custom() {
        let of = |json: &str| publish(json).map(|(event, _)| (event["topic"].clone(), event["type"].clone()));
        assert_eq!(of(r#"{"type":"task.failed"}"#), Ok((json!("task.failed"), json!("task.failed"))));
        assert_eq!(of(r#"{"type":"my.kind"}"#), Ok((json!("my.kind"), json!("custom"))));
        assert_eq!(of(r#"{"topic":"","type":"my.kind"}"#), Ok((json!("my.kind"), json!("custom"))));
        assert_eq!(of(r#"{"topic":"x","type":null}"#), Ok((json!("x"), json!("custom"))));
    }

    #[test]
    fn priorities_are_numbers_or_names() {
        for (given, number) in [("1", 1), ("2", 2), ("10", 10), ("\"HIGH\"", 7), ("\"system\"", 10)] {
            let (event, _) = publish(&format!(r#"{{"topic":"a","priority":{given}}}"#)).unwrap();
            assert_eq!(event["priority"], number);
        }
        for given in ["0", "11", "5.5", "null", "\"urgent\"", "[]"] {
            publish(&format!(r#"{{"topic":"a","priority":{given}}}"#)).unwrap_err();
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let long = format!(r#"{{"topic":"a","id":"{}"}}"#, "i".repeat(300));
        for (json, words) in [
            ("{}", "topic '' is no channel: Channel name cannot be empty"),
            (r#"{"topic":"a b"}"#, "topic 'a b' is no channel: "),
            (r#"{"topic":"a","type":7}"#, "type must be a string"),
            (r#"{"topic":7}"#, "topic must be a string"),
            (r#"{"topic":"a","ttl":1}"#, "unexpected field 'ttl' in event"),
            (r#"{"topic":"a","metadata":{"x":1}}"#, "unexpected field 'x' in metadata"),
            (r#"{"topic":"a","metadata":[]}"#, "metadata must be an object"),
            (r#"{"topic":"a","metadata":{"tags":[]}}"#, "tags must be an object"),
            (r#"{"topic":"a","timestamp":"now"}"#, "'now' is not a valid timestamp"),
            (r#"{"topic":"a","delivery_status":"lost"}"#, "'lost' is not a valid delivery_status"),
            (r#"{"topic":"a","delivery_attempts":-1}"#, "delivery_attempts must be a number"),
            (r#"{"topic":"a","source":1}"#, "source must be a string"),
            (&long, "id is longer than 256 bytes"),
        ] {
            assert!(publish(json).unwrap_err().starts_with(words), "{json}");
        }
    }
}
