//! An event against the schema of its type, beside what it costs to make a document of it first.

use std::hint::black_box;
use std::sync::Arc;

use courier::event::Facts;
use courier::schema::{Mode, Policy, SHIPPED, Schemas, Verdict};
use serde_json::Value;

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] = &[
    ("schema.check", flat),
    ("schema.check_nested", nested),
    ("schema.unknown_type_16", unknown),
    ("schema.check.serde_value", serde_document),
    ("schema.parse.serde_value", serde_parse),
    ("schema.parse.simd_value", simd_parse),
];

const KIND: &str = "trade.order_filled";
const FLAT: &str = r#"{"type":"trade.order_filled","timestamp":"2026-01-02T03:04:05.678Z","source":"chevalier","trace_id":"0af7651916cd43dd","strategy_id":"s-7f3a9c","user_id":"u-12","order_id":"o-99","token":"SOL","direction":"buy","fill_price":142.75,"fill_amount":3.5,"total_value":499.625,"fees":0.25,"tx_signature":"5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnb"}"#;
const NESTED: &str = r#"{"type":"forge.job.progress","metadata":{"timestamp":"2026-01-02T03:04:05.678Z","source":"forge","correlation_id":null},"data":{"job_id":"j-7f3a9c","user_id":"u-12","progress":0.25,"stage":"compile","message":"a quarter is done"}}"#;

fn policy() -> Policy {
    let schemas = Schemas::compile(&[]).unwrap_or_else(|_| panic!("the shipped schemas are good"));
    Policy { mode: Mode::Known, channels: Vec::new(), schemas: Arc::new(schemas) }
}

fn checking(text: &'static str) -> Operation {
    let policy = policy();
    let facts = Facts::read(text).expect("the event is valid");
    assert!(matches!(policy.check("a", text, &facts), Verdict::Fits { .. }));
    Box::new(move || {
        black_box(policy.check("user.u-12", black_box(text), &facts));
    })
}

fn flat() -> Operation {
    checking(FLAT)
}

fn nested() -> Operation {
    checking(NESTED)
}

/// Of several types: a look for one is a seventh dearer if it meets a type of the same tag, which is for the table's seed to say.
fn unknown() -> Operation {
    let policy = policy();
    let texts =
        (0..16).map(|n| format!(r#"{{"type":"order.new.{n}","id":"7f3a9c","price":99.5,"side":"buy"}}"#));
    let texts: Vec<&'static str> = texts.map(|text| &*text.leak()).collect();
    let events: Vec<_> =
        texts.into_iter().map(|text| (text, Facts::read(text).expect("the event is valid"))).collect();
    for (text, facts) in &events {
        assert!(!matches!(policy.check("a", text, facts), Verdict::Fits { .. }));
    }
    Box::new(move || {
        for (text, facts) in &events {
            black_box(policy.check("user.u-12", black_box(text), facts));
        }
    })
}

/// The same schema and validator over serde_json's document.
fn serde_document() -> Operation {
    let (_, text) = SHIPPED.iter().find(|(kind, _)| *kind == KIND).expect("it is shipped");
    let mut schema: Value = serde_json::from_str(text).expect("JSON");
    let flat = schema.pointer_mut("/$defs/flat").expect("it has a flat form").take();
    let validator =
        jsonschema::options().with_format("courier-timestamp", |text: &str| text.len() > 18).build(&flat);
    let validator = validator.expect("a schema");
    Box::new(move || {
        let event: Value = serde_json::from_str(black_box(FLAT)).expect("the event is valid");
        assert!(validator.is_valid(&event));
    })
}

fn serde_parse() -> Operation {
    Box::new(|| {
        black_box(serde_json::from_str::<Value>(black_box(FLAT)).expect("the event is valid"));
    })
}

/// simd-json rewrites its input, so each repetition starts from a copy.
fn simd_parse() -> Operation {
    let mut body = FLAT.as_bytes().to_vec();
    let mut buffers = simd_json::Buffers::default();
    Box::new(move || {
        body.copy_from_slice(FLAT.as_bytes());
        black_box(
            simd_json::to_borrowed_value_with_buffers(&mut body, &mut buffers).expect("the event is valid"),
        );
    })
}
