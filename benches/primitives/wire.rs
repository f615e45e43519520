//! Bytes in and out: a publish's head and body, its answer, a client's frame, an upgrade.

use std::hint::black_box;

use courier::wire::http::{self, Body, Framing, Response};
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
        handshake::accept(black_box("dGhlIHNhbXBsZSBub25jZQ=="), None, &mut out);
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
