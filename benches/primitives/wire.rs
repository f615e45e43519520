//! Bytes in and out: a publish's head and body, its answer, a client's frame, an upgrade.

use std::hint::black_box;

use courier::wire::http::{self, Body, Framing, Response};
use courier::wire::sse;
use courier::wire::websocket::deflate::{Deflater, Inflater};
use courier::wire::websocket::frame::{Decoder, Opcode, write_frame};
use courier::wire::websocket::handshake;

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] = &[
    ("wire.head", head),
    ("wire.head.httparse_alone", httparse_alone),
    ("wire.body", body),
    ("wire.answer", answer),
    ("wire.frame_decode", frame_decode),
    ("wire.frame_write", frame_write),
    ("wire.upgrade_accept", upgrade_accept),
    ("wire.percent_decode", percent_decode),
    ("wire.sse_event", sse_event),
    ("wire.deflate_1k", || deflate(1024)),
    ("wire.deflate_16k", || deflate(16 * 1024)),
    ("wire.inflate_1k", || inflate(1024)),
];

/// What a publisher's HTTP library sends.
const HEAD: &[u8] = b"POST /publish/orders.new HTTP/1.1\r\nHost: 127.0.0.1:8766\r\nAccept: */*\r\n\
    User-Agent: publisher/1.0\r\nContent-Type: application/json\r\nContent-Length: 128\r\n\r\n";
const EVENT: [u8; 128] = [b'x'; 128];
const EVENT_BYTES_MAX: usize = 1 << 20;

fn head() -> Operation {
    Box::new(|| {
        black_box(http::head(black_box(HEAD)).expect("the head is valid"));
    })
}

fn httparse_alone() -> Operation {
    Box::new(|| {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        black_box(request.parse(black_box(HEAD)).expect("the head is valid"));
    })
}

fn body() -> Operation {
    let mut into = Vec::with_capacity(EVENT.len());
    Box::new(move || {
        into.clear();
        let mut body = Body::new(Framing::Length(EVENT.len() as u64));
        black_box(
            body.feed(black_box(&EVENT), &mut into, EVENT_BYTES_MAX).expect("the body is in the limit"),
        );
    })
}

fn answer() -> Operation {
    let mut out = Vec::with_capacity(1024);
    Box::new(move || {
        out.clear();
        let answer = Response {
            status: 200,
            content_type: Some("application/json"),
            fields: &[],
            body: &EVENT,
            close: false,
            minor: 1,
            head_only: false,
            date: "Sun, 06 Nov 1994 08:49:37 GMT",
        };
        black_box(answer).write(&mut out);
        black_box(&out);
    })
}

/// Decoding unmasks in place, so each repetition starts from a copy.
fn frame_decode() -> Operation {
    let mut masked = vec![0x81, 0x80 | 126, 0, 128, 1, 2, 3, 4];
    masked.extend(EVENT.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    let mut received = masked.clone();
    let mut decoder = Decoder::new();
    Box::new(move || {
        received.copy_from_slice(&masked);
        black_box(decoder.next(black_box(&mut received), EVENT_BYTES_MAX).expect("the frame is valid"));
    })
}

fn frame_write() -> Operation {
    let mut out = Vec::with_capacity(1024);
    Box::new(move || {
        out.clear();
        write_frame(Opcode::Text, black_box(&EVENT), &mut out);
        black_box(&out);
    })
}

fn upgrade_accept() -> Operation {
    let mut out = Vec::with_capacity(1024);
    Box::new(move || {
        out.clear();
        handshake::accept(black_box("dGhlIHNhbXBsZSBub25jZQ=="), None, None, &mut out);
        black_box(&out);
    })
}

fn percent_decode() -> Operation {
    let mut scratch = Vec::with_capacity(128);
    Box::new(move || {
        scratch.clear();
        black_box(http::percent_decode(black_box("/publish/orders%2Enew"), &mut scratch));
    })
}

fn sse_event() -> Operation {
    let text = json(EVENT.len());
    let mut out = Vec::with_capacity(1024);
    Box::new(move || {
        out.clear();
        sse::write_event(black_box("0a1b2c3d-1234"), Some("order.filled"), black_box(&text), &mut out);
        black_box(&out);
    })
}

/// An event as exchanges send it, cut to a size.
fn json(bytes: usize) -> String {
    let order = |number: usize| {
        format!(r#"{{"id":"{:x}","price":{},"side":"buy"}},"#, number * 0x9e37_79b9, number * 7919 % 10_007)
    };
    let mut text = (1..).map(order).take(1 + bytes / 32).collect::<String>();
    text.truncate(bytes);
    text
}

fn deflate(bytes: usize) -> Operation {
    let (text, mut deflater) = (json(bytes), Deflater::default());
    let mut out = Vec::with_capacity(2 * bytes);
    Box::new(move || {
        out.clear();
        deflater.compress(black_box(&text), &mut out);
        black_box(&out);
    })
}

fn inflate(bytes: usize) -> Operation {
    let (mut frame, mut out) = (Vec::new(), Vec::with_capacity(2 * bytes));
    Deflater::default().compress(&json(bytes), &mut frame);
    let mut inflater = Inflater::default();
    Box::new(move || {
        let payload = black_box(&frame[4..]);
        inflater.inflate(payload, EVENT_BYTES_MAX, &mut out).expect("a whole message");
        black_box(&out);
    })
}
