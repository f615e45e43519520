//! Server-sent events: whatever is written comes back through a client that reads as WHATWG HTML 9.2.6 says.
#![no_main]
use arbitrary::{Arbitrary, Unstructured};
use courier::wire::sse::{EVENT_OVERHEAD_BYTES, write_comment, write_event, write_retry};

#[derive(Arbitrary, Debug)]
enum Item<'d> {
    Event { id: &'d str, event_type: Option<&'d str>, data: &'d str },
    Comment(&'d str),
    Retry(u32),
}

/// An event as a listener gets it.
#[derive(Debug, PartialEq)]
struct Dispatched {
    last_id: String,
    event_type: String,
    data: String,
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(items) = Vec::<Item>::arbitrary(&mut Unstructured::new(data)) else { return };
    let (mut stream, mut expected, mut retry) = (Vec::new(), Vec::new(), None);
    for item in &items {
        match item {
            Item::Event { id, event_type, data } => {
                let before = stream.len();
                write_event(id, *event_type, data, &mut stream);
                let one_line = !data.contains(['\r', '\n']);
                let length = id.len() + event_type.map_or(0, str::len) + data.len() + EVENT_OVERHEAD_BYTES;
                assert!(!one_line || stream.len() - before <= length);
                expected.push(dispatched(id, *event_type, data));
            }
            Item::Comment(text) => write_comment(text, &mut stream),
            Item::Retry(milliseconds) => {
                write_retry(*milliseconds, &mut stream);
                retry = Some(*milliseconds);
            }
        }
    }
    assert_eq!(read(&String::from_utf8(stream).expect("text")), (expected, retry));
});

fn dispatched(id: &str, event_type: Option<&str>, data: &str) -> Dispatched {
    let in_one_line = |text: &str| text.replace(['\r', '\n', '\0'], "");
    let event_type = in_one_line(event_type.unwrap_or_default());
    Dispatched {
        last_id: in_one_line(id),
        event_type: if event_type.is_empty() { "message".into() } else { event_type },
        data: data.replace("\r\n", "\n").replace('\r', "\n"),
    }
}

/// Step by step; answers the events and the last `retry`.
fn read(stream: &str) -> (Vec<Dispatched>, Option<u32>) {
    let (mut events, mut retry) = (Vec::new(), None);
    let (mut last_id, mut event_type, mut data) = (String::new(), String::new(), String::new());
    for line in stream.replace("\r\n", "\n").replace('\r', "\n").split_terminator('\n') {
        if line.is_empty() {
            if let Some(data) = data.strip_suffix('\n') {
                let kind = if event_type.is_empty() { "message" } else { &event_type };
                events.push(Dispatched {
                    last_id: last_id.clone(),
                    event_type: kind.into(),
                    data: data.into(),
                });
            }
            data.clear();
            event_type.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event_type = value.into(),
            "data" => data.extend([value, "\n"]),
            "id" if !value.contains('\0') => last_id = value.into(),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => retry = value.parse().ok(),
            _ => {}
        }
    }
    (events, retry)
}
