//! Ways to read the body of `POST /publish`: bytes that are forwarded verbatim, or a document that is looked into.

use std::hint::black_box;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] = &[
    ("json.envelope_raw_value", raw_value),
    ("json.envelope_simd_tape", simd_tape),
    ("json.envelope_simd_value", simd_value),
];

const BODY: &[u8] = br#"{"channel":"orders.new","data":{"type":"order","id":"7f3a9c","quantity":12,"price":99.5,"side":"buy","symbol":"ABCD","note":"x"}}"#;

#[derive(Deserialize)]
struct Envelope<'b> {
    channel: &'b str,
    #[serde(borrow)]
    data: &'b RawValue,
}

fn raw_value() -> Operation {
    Box::new(|| {
        let envelope: Envelope = serde_json::from_slice(black_box(BODY)).expect("the body is valid");
        black_box((envelope.channel, envelope.data.get()));
    })
}

/// simd-json rewrites its input, so each repetition starts from a copy.
fn simd_tape() -> Operation {
    let mut body = BODY.to_vec();
    let mut buffers = simd_json::Buffers::default();
    Box::new(move || {
        body.copy_from_slice(BODY);
        black_box(simd_json::to_tape_with_buffers(&mut body, &mut buffers).expect("the body is valid"));
    })
}

fn simd_value() -> Operation {
    let mut body = BODY.to_vec();
    let mut buffers = simd_json::Buffers::default();
    Box::new(move || {
        body.copy_from_slice(BODY);
        black_box(
            simd_json::to_borrowed_value_with_buffers(&mut body, &mut buffers).expect("the body is valid"),
        );
    })
}
