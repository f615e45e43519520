//! A publish from its body to the event that goes out, with its answer's first part.

use std::hint::black_box;

use courier::event::Facts;
use courier::session::admission::{Limits, Said, admit, write_answer_head};
use courier::session::{Door, Heartbeat, Options, RouterLimits, Stamp};
use courier::stdx::clock::{Now, TimeText};

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] = &[
    ("admission.to_channel", to_channel),
    ("admission.envelope", envelope),
    ("admission.envelope_with_all", envelope_with_all),
    ("admission.answer", answer),
];

const EVENT: &str = r#"{"type":"order.filled","timestamp":"2026-01-02T03:04:05.678Z","source":"matcher","data":{"id":"7f3a9c","price":99.5,"side":"buy"}}"#;
const NOW: Now = Now { steady_us: 1, unix_ms: 1_795_271_775_123 };
const BYTES_MAX: usize = 1 << 20;
const LIMITS: Limits =
    Limits { event_bytes_max: BYTES_MAX, payload_bytes_max: BYTES_MAX, metadata_bytes_max: BYTES_MAX };

fn options() -> Options {
    Options {
        event_bytes_max: BYTES_MAX,
        message_bytes_max: BYTES_MAX,
        subscriptions_max: 128,
        origins: Default::default(),
        echo: false,
        stamp: Stamp::Validated,
        schemas: None,
        heartbeat_us: 30_000_000,
        heartbeat: Heartbeat::Json,
        head_us: 10_000_000,
        body_us: 10_000_000,
        keep_alive_us: 75_000_000,
        shutdown_reason: String::new(),
        doors: vec![Door::ByPath],
        compression_bytes_min: None,
        router: RouterLimits::default(),
        keep_expired: false,
        keep_refused: false,
    }
}

fn admitting(channel: Option<&'static str>, body: String) -> Operation {
    let options = options();
    Box::new(move || {
        let said = Said { channel, body: black_box(body.as_bytes()), ..Said::default() };
        let mut facts = Facts::default();
        black_box(admit(&said, &mut facts, &LIMITS, &options, NOW).expect("the publish is valid"));
    })
}

fn to_channel() -> Operation {
    admitting(Some("orders.new"), EVENT.to_owned())
}

fn envelope() -> Operation {
    admitting(None, format!(r#"{{"channel":"orders.new","data":{EVENT}}}"#))
}

fn envelope_with_all() -> Operation {
    let more = r#""priority":7,"id":"5f0c2a9e","ttl":60,"exclude":"conn_00000a0b0c0d""#;
    admitting(None, format!(r#"{{"channel":"orders.new","data":{EVENT},{more}}}"#))
}

fn answer() -> Operation {
    let facts = Facts::read(EVENT).expect("the event is valid");
    let (mut out, mut time_text) = (Vec::new(), TimeText::default());
    Box::new(move || {
        out.clear();
        write_answer_head(black_box("orders.new"), &facts, time_text.at(NOW.unix_ms), &mut out);
        black_box(&out);
    })
}
