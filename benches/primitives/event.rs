//! An event's checks and its one encoding.

use std::hint::black_box;

use courier::event::{Channel, Event, Facts};

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] = &[
    ("event.facts", facts),
    ("event.facts_spaced", facts_spaced),
    ("event.facts.json_value", json_value),
    ("event.encode", encode),
    ("event.channel_check", channel_check),
    ("event.channel_owner", channel_owner),
];

const EVENT: &str = r#"{"type":"order.filled","timestamp":"2026-01-02T03:04:05.678Z","source":"matcher","data":{"id":"7f3a9c","price":99.5,"side":"buy"}}"#;
const NAME: &str = "orders.new.ABCD";

fn facts() -> Operation {
    Box::new(|| {
        black_box(Facts::read(black_box(EVENT)).expect("the event is valid"));
    })
}

/// As Python's `json.dumps` writes it: a blank behind each colon and comma.
fn facts_spaced() -> Operation {
    let event = EVENT.replace("\":", "\": ").replace(",\"", ", \"");
    Box::new(move || {
        black_box(Facts::read(black_box(&event)).expect("the event is valid"));
    })
}

fn json_value() -> Operation {
    Box::new(|| {
        let value: serde_json::Value = serde_json::from_str(black_box(EVENT)).expect("the event is valid");
        black_box(value);
    })
}

fn encode() -> Operation {
    let facts = Facts::read(EVENT).expect("the event is valid");
    Box::new(move || {
        black_box(Event::new(black_box(EVENT), &facts, None, 0));
    })
}

fn channel_check() -> Operation {
    Box::new(|| {
        let _ = black_box(Channel::check(black_box(NAME)));
    })
}

fn channel_owner() -> Operation {
    Box::new(|| {
        black_box(Channel::owner(black_box(NAME), black_box(8)));
    })
}
