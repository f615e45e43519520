//! Events on their way out as CloudEvents in the JSON format.

use super::check;
use crate::event::{Channel, Event, Position};
use crate::stdx::clock::rfc3339_ms;
use serde_json::json;
use std::borrow::Cow;

/// Appends an event as a CloudEvent in its JSON format: itself if it is one, else one whose data it is.
pub fn write(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) {
    let text = event.text();
    if check(text).is_ok() {
        return out.extend_from_slice(text.as_bytes());
    }
    let mut stamp = [0; 24];
    rfc3339_ms(event.at_ms(), &mut stamp);
    let own_source = event.source().filter(|source| !source.is_empty());
    let source = own_source.map_or_else(|| Cow::Owned(format!("/channels/{channel}")), Cow::Borrowed);
    let head = json!({
        "specversion": "1.0",
        "id": position.to_string(),
        "source": source,
        "type": event.kind().filter(|kind| !kind.is_empty()).unwrap_or("courier.event"),
        "subject": channel.as_str(),
        "time": std::str::from_utf8(&stamp).expect("digits and signs"),
        "datacontenttype": "application/json",
    })
    .to_string();
    out.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
    if let Some(traceparent) = event.extras().and_then(|extras| extras.traceparent.as_deref()) {
        out.extend_from_slice(format!(",\"traceparent\":{}", json!(traceparent)).as_bytes());
    }
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(text.trim().as_bytes());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::super::tests::{EXAMPLES, NOW, admitted};
    use super::*;
    use crate::event::{Extras, Facts};
    use serde_json::Value;

    const POSITION: Position = Position { epoch: 0xab, offset: 7 };

    fn written(event: &Event) -> String {
        let mut out = Vec::new();
        write(event, &Channel::parse("a.b").unwrap(), POSITION, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_cloudevent_goes_out_as_it_came() {
        for example in EXAMPLES {
            assert_eq!(written(&admitted(example).unwrap()), example);
        }
    }

    #[test]
    fn any_other_event_is_the_data_of_one() {
        let text = r#" {"type":"x","source":"s", "n":1.0} "#;
        let extras = Extras { traceparent: Some("trace".into()), ..Extras::default() };
        let event = Event::new(text, &Facts::read(text).unwrap(), Some(Box::new(extras)), NOW.unix_ms);
        let out = written(&event);
        assert!(out.ends_with(r#","data":{"type":"x","source":"s", "n":1.0}}"#), "{out}");
        let cloud: Value = serde_json::from_str(&out).unwrap();
        let named =
            ["id", "type", "source", "subject", "time", "traceparent"].map(|name| cloud[name].as_str());
        let expected = ["000000ab-7", "x", "s", "a.b", "2026-11-21T14:36:15.123Z", "trace"].map(Some);
        assert_eq!(named, expected);
        let bare = Event::new(r#"{"x":1}"#, &Facts::default(), None, 0);
        let cloud = written(&bare);
        admitted(&cloud).unwrap();
        assert!(cloud.contains(r#""source":"/channels/a.b""#) && cloud.contains(r#""type":"courier.event""#));
    }
}
