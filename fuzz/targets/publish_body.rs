//! The body of a publish, any bytes, against `serde_json::Value`: the same verdict on what is JSON, an object, empty and
//! too deep; the event forwarded to the byte; the facts those of the document.
#![no_main]
use courier::event::{BadEvent, DEPTH_MAX, Facts};
use courier::session::admission::{Limits, Said, admit, write_answer_head, write_answer_tail};
use courier::session::origin::Origins;
use courier::session::{Heartbeat, Options, RouterLimits, Stamp, batch, cloudevents};
use courier::stdx::clock::{Now, TimeText};
use serde_json::Value;

const NOW: Now = Now { steady_us: 0, unix_ms: 1_795_271_775_123 };
const BYTES_MAX: usize = 3000;

fn options() -> Options {
    Options {
        event_bytes_max: BYTES_MAX,
        message_bytes_max: BYTES_MAX,
        subscriptions_max: 0,
        origins: Origins::default(),
        echo: false,
        stamp: Stamp::Always,
        schemas: None,
        heartbeat_us: 1,
        heartbeat: Heartbeat::Json,
        head_us: 1,
        body_us: 1,
        keep_alive_us: 1,
        shutdown_reason: String::new(),
        doors: Vec::new(),
        compression_bytes_min: None,
        router: RouterLimits::default(),
        keep_expired: false,
        keep_refused: false,
    }
}

/// How deep brackets nest, outside of strings.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn read(text: &str) {
    let facts = Facts::read(text);
    if let Err(BadEvent::TooDeep) = facts {
        let openers = text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
        return assert!(openers > DEPTH_MAX);
    }
    // serde_json's own limit of 128 levels is ours; numbers beyond a double and halves of characters are let through.
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        let unread = text.contains(['e', 'E']) || text.contains("\\u") || text.len() > 300;
        return assert!(facts.is_err() || unread, "what is no JSON was let in");
    };
    assert!(depth(&value) <= DEPTH_MAX);
    match (&value, facts) {
        (Value::Object(map), Err(BadEvent::Empty)) => assert!(map.is_empty()),
        (Value::Object(map), Ok(facts)) => {
            assert!(!map.is_empty());
            assert_eq!(facts.kind.0.as_deref(), value["type"].as_str());
            let flat_or_nested = |name: &str| match &value[name] {
                Value::String(text) => Some(text.clone()),
                _ => value["metadata"].get(name).and_then(Value::as_str).map(str::to_owned),
            };
            assert_eq!(facts.timestamp.0.as_deref().map(str::to_owned), flat_or_nested("timestamp"));
            assert_eq!(facts.source.0.as_deref().map(str::to_owned), flat_or_nested("source"));
            assert_eq!(facts.data_bytes == 0, map.get("data").is_none());
        }
        (Value::Object(_), Err(why)) => panic!("an event was refused: {why}"),
        (_, facts) => assert!(matches!(facts, Err(BadEvent::NotAnObject))),
    }
}

fn publish(channel: Option<&str>, body: &[u8], stamp: Stamp) {
    let options = Options { stamp, ..options() };
    let limits = Limits { event_bytes_max: BYTES_MAX, payload_bytes_max: 500, metadata_bytes_max: 200 };
    let said = Said { channel, body, service: Some("a"), ..Said::default() };
    let mut facts = Facts::default();
    match admit(&said, &mut facts, &limits, &options, NOW) {
        Err(refusal) => {
            assert!(matches!(refusal.status, 400 | 413), "{refusal:?}");
            serde_json::from_slice::<Value>(&refusal.body(false)).expect("a refusal is JSON");
            serde_json::from_slice::<Value>(&refusal.body(true)).expect("a refusal is JSON");
        }
        Ok(admitted) => {
            let text = std::str::from_utf8(body).expect("only UTF-8 is admitted");
            if stamp == Stamp::Never {
                assert!(text.contains(admitted.event.text()), "not verbatim");
                assert!(channel.is_none() || admitted.event.text() == text);
            }
            assert!(admitted.event.text().len() <= BYTES_MAX + 64);
            Facts::read(admitted.event.text()).expect("what goes out is an event");
            let mut answer = Vec::new();
            write_answer_head(&admitted.channel, admitted.facts, TimeText::default().at(NOW.unix_ms), &mut answer);
            write_answer_tail(courier::event::Position { epoch: 1, offset: 2 }, 3, None, &mut answer);
            let answer: Value = serde_json::from_slice(&answer).expect("the answer is JSON");
            assert_eq!(answer["channel"], &*admitted.channel);
            assert_eq!(answer["event_type"].as_str(), admitted.facts.kind.0.as_deref());
        }
    }
}

fn others(body: &[u8]) {
    if let Ok(items) = batch::items(None, body) {
        assert_eq!(items.len(), items.count());
    }
    let limits = Limits { event_bytes_max: BYTES_MAX, payload_bytes_max: 500, metadata_bytes_max: 200 };
    let said = Said { channel: Some("c"), body, ..Said::default() };
    let mut facts = Facts::default();
    if let Ok(admitted) = cloudevents::admit(&said, &mut facts, &limits, &Options { stamp: Stamp::Never, ..options() }, NOW) {
        assert_eq!(admitted.event.payload(), body);
    }
}

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    others(body);
    if let Ok(text) = std::str::from_utf8(body) {
        read(text);
        let wrapped = format!("{{\"channel\":\"c\",\"data\":{text}}}");
        publish(None, wrapped.as_bytes(), Stamp::Never);
    }
    for stamp in [Stamp::Never, Stamp::Always] {
        publish(Some("c"), body, stamp);
        publish(None, body, stamp);
    }
});
