//! Any event in every form: what goes onto the socket is one frame of the right length, or one server-sent event, that
//! holds the event verbatim and is JSON.
#![no_main]
use courier::event::{Attempt, Channel, Event, Extras, Facts, Form, LABEL_BYTES, Position, Priority};
use courier::session::dialect::forms::{FREQSEARCH_Z, RAW_Z, RENDERERS, ROUTER_ACKED, SSE, SSE_CLOUD, V1_Z};
use courier::session::dialect::router;
use serde_json::Value;

const POSITION: Position = Position { epoch: 0xab, offset: 7 };

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(facts) = Facts::read(text) else { return };
    let channel = Channel::parse("a.b").expect("a channel");
    let extras = Extras {
        priority: Priority::new(8).expect("a priority"),
        target: Some(text.into()),
        correlation_id: Some(text.into()),
        traceparent: Some(text.into()),
        ..Extras::default()
    };
    for extras in [None, Some(Box::new(extras))] {
        let event = Event::new(text, &facts, extras, 7);
        for (number, render) in RENDERERS.iter().enumerate() {
            let mut out = b"before".to_vec();
            let splice_at = render(&event, &channel, POSITION, &mut out);
            if let Some(at) = splice_at.map(|at| at as usize) {
                out.splice(at..at, [b'-'; LABEL_BYTES]);
            }
            let rendered = &out[b"before".len()..];
            match Form(number as u8) {
                SSE | SSE_CLOUD => stream(rendered, text),
                // Inflating is the codec's own target.
                RAW_Z | V1_Z | FREQSEARCH_Z if rendered[0] == 0xc1 => {}
                ROUTER_ACKED => headed(payload(rendered, text), text),
                _ => whole(payload(rendered, text), text),
            }
        }
    }
});

/// What is in a frame, which holds the event's text.
fn payload<'f>(frame: &'f [u8], text: &str) -> &'f str {
    assert_eq!(frame[0], 0x81);
    let (header, length) = match frame[1] {
        126 => (4, u64::from(u16::from_be_bytes([frame[2], frame[3]]))),
        127 => (10, u64::from_be_bytes(frame[2..10].try_into().expect("eight bytes"))),
        short => (2, short.into()),
    };
    assert_eq!(frame.len() as u64 - header as u64, length);
    let payload = std::str::from_utf8(&frame[header..]).expect("a text frame is UTF-8");
    assert!(payload.contains(text.trim()));
    payload
}

/// Each subscription has a beginning of its own in place of the first brace.
fn headed(payload: &str, text: &str) {
    let attempt = Attempt { number: 2, subscription: "\"s\"", before_ms: Some(7), error: Some(text) };
    let rest = payload.strip_prefix('{').expect("an object");
    whole(&(router::heading(&attempt) + rest), text);
}

fn stream(bytes: &[u8], text: &str) {
    let event = std::str::from_utf8(bytes).expect("UTF-8");
    assert!(event.starts_with("id: 000000ab-7\n") && event.ends_with("\n\n"));
    let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    whole(&data.join("\n"), text);
}

/// What is around an event is JSON as far as the event itself is for this reader (numbers beyond a double are not),
/// and nests a few levels deeper.
fn whole(json: &str, text: &str) {
    if serde_json::from_str::<Value>(text).is_ok()
        && text.bytes().filter(|b| matches!(b, b'{' | b'[')).count() < 120
    {
        serde_json::from_str::<Value>(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    }
}
