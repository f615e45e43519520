//! permessage-deflate: what is compressed comes back, whatever a client sends stays within the limit and leaves nothing
//! behind, and an answer to offers repeats only what was offered.
#![no_main]
use arbitrary::{Arbitrary, Unstructured};
use courier::wire::websocket::deflate::{Deflater, Inflater, negotiate};
use std::cell::RefCell;

#[derive(Arbitrary, Debug)]
enum Input<'d> {
    Text { text: &'d str, repeated: u16 },
    Payload { payload: &'d [u8], bytes_max: u16 },
    Cut { text: &'d str, at: u8 },
    Offers(Vec<Word<'d>>),
}

#[derive(Arbitrary, Debug)]
enum Word<'d> {
    Extension,
    Parameter(u8),
    Window(u8),
    Separator(u8),
    Any(&'d str),
}

const PARAMETERS: [&str; 4] = [
    "; server_no_context_takeover",
    "; client_no_context_takeover",
    "; server_max_window_bits",
    "; client_max_window_bits",
];
const BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// Used for every input, as a shard uses them for every connection.
    static CODECS: RefCell<(Deflater, Inflater)> = RefCell::default();
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    CODECS.with_borrow_mut(|(deflater, inflater)| match input {
        Input::Text { text, repeated } => {
            let bytes_max = BYTES_MAX / text.len().max(1);
            round_trip(&text.repeat(usize::from(repeated).min(bytes_max)), deflater, inflater);
        }
        Input::Payload { payload, bytes_max } => anything(payload, usize::from(bytes_max), inflater),
        Input::Cut { text, at } => cut(&text.repeat(3), usize::from(at), deflater, inflater),
        Input::Offers(words) => offers(&words),
    });
});

/// Is it compressed, and the payload.
fn unframed(frame: &[u8]) -> (bool, &[u8]) {
    let (header_bytes, length) = match frame[1] {
        127 => (10, u64::from_be_bytes(frame[2..10].try_into().expect("8 bytes"))),
        126 => (4, u64::from(u16::from_be_bytes([frame[2], frame[3]]))),
        length => (2, u64::from(length)),
    };
    assert_eq!(length, (frame.len() - header_bytes) as u64);
    assert!(matches!(frame[0], 0x81 | 0xc1));
    (frame[0] == 0xc1, &frame[header_bytes..])
}

fn round_trip(text: &str, deflater: &mut Deflater, inflater: &mut Inflater) {
    let (mut frame, mut out) = (Vec::new(), Vec::new());
    deflater.compress(text, &mut frame);
    let (is_compressed, payload) = unframed(&frame);
    if !is_compressed {
        return assert_eq!(payload, text.as_bytes());
    }
    assert!(payload.len() < text.len());
    assert_eq!(inflater.text(payload, text.len(), &mut out), Ok(text));
    let refused = inflater.text(payload, text.len() - 1, &mut out).expect_err("beyond the limit");
    assert_eq!(refused.code, 1009);
}

fn anything(payload: &[u8], bytes_max: usize, inflater: &mut Inflater) {
    let (mut out, mut afresh) = (Vec::new(), Vec::new());
    let answer = inflater.inflate(payload, bytes_max, &mut out);
    assert!(out.capacity() <= bytes_max + 1);
    assert_eq!(answer, Inflater::default().inflate(payload, bytes_max, &mut afresh));
    assert_eq!(out, afresh);
    if answer.is_ok() {
        assert!(out.len() <= bytes_max);
        assert_eq!(inflater.inflate(payload, out.len(), &mut afresh), Ok(()));
    }
}

fn cut(text: &str, at: usize, deflater: &mut Deflater, inflater: &mut Inflater) {
    let mut frame = Vec::new();
    deflater.compress(text, &mut frame);
    let (is_compressed, payload) = unframed(&frame);
    // The last byte may hold nothing but padding.
    if is_compressed && at + 1 < payload.len() {
        let _ = inflater.inflate(&payload[..at], text.len(), &mut Vec::new());
        round_trip(text, deflater, inflater);
    }
}

fn offers(words: &[Word]) {
    let mut text = String::new();
    for word in words {
        match word {
            Word::Extension => text += "permessage-deflate",
            Word::Parameter(which) => text += PARAMETERS[usize::from(*which) % PARAMETERS.len()],
            Word::Window(bits) => text += &format!("={}", bits % 20),
            Word::Separator(which) => text += [", ", "; ", "=", "\"", "\\"][usize::from(*which) % 5],
            Word::Any(any) => text += any,
        }
    }
    if let Some(accepted) = negotiate(Some(&text)) {
        assert!(text.contains("permessage-deflate"));
        assert!(
            !accepted.header().contains("server_max_window_bits") || text.contains("server_max_window_bits")
        );
    }
}
