//! Client frames: the decoder fed in pieces against a naive reading of the whole, to the message and the close code.
#![no_main]
use arbitrary::{Arbitrary, Unstructured};
use courier::wire::websocket::close::valid_code;
use courier::wire::websocket::frame::{Decoder, Message, Step};

#[derive(Arbitrary, Debug)]
struct Input {
    message_bytes_max: u8,
    compression: bool,
    cuts: [u8; 4],
    frames: Vec<Frame>,
    raw: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Frame {
    first: First,
    mask: Option<[u8; 4]>,
    length_form: u8,
    payload: Payload,
}

#[derive(Arbitrary, Debug)]
enum First {
    Text { last: bool },
    Binary { last: bool },
    Compressed { last: bool, text: bool },
    Continue { last: bool },
    Close,
    Ping,
    Pong,
    Any(u8),
}

#[derive(Arbitrary, Debug)]
enum Payload {
    Text(String),
    Bytes(Vec<u8>),
    Character { character: char, from: u8, to: u8 },
    Close { code: u16, reason: String },
    Long(u8),
}

/// A message or the end: comparable, and free of what it borrowed from.
#[derive(Debug, PartialEq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Compressed(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, Vec<u8>)>),
    Violation(u16),
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    let mut bytes = input.frames.iter().flat_map(encode).collect::<Vec<_>>();
    bytes.extend_from_slice(&input.raw);
    let max = usize::from(input.message_bytes_max) * 8;
    let compression = input.compression;
    let expected = Model { bytes: &bytes, max, compression, seen: Vec::new(), under_way: None }.run();
    let decoder = || if compression { Decoder::with_compression() } else { Decoder::new() };
    assert_eq!(decode(decoder(), &bytes, max, &[u8::MAX]), expected);
    assert_eq!(decode(decoder(), &bytes, max, &input.cuts), expected);
});

fn encode(frame: &Frame) -> Vec<u8> {
    let payload = match &frame.payload {
        Payload::Text(text) => text.clone().into_bytes(),
        Payload::Bytes(bytes) => bytes.clone(),
        Payload::Character { character, from, to } => {
            let character = character.to_string().into_bytes();
            let from = usize::from(*from) % character.len();
            character[from..from + usize::from(*to) % (character.len() - from + 1)].to_vec()
        }
        Payload::Close { code, reason } => [&code.to_be_bytes()[..], reason.as_bytes()].concat(),
        Payload::Long(hundreds) => vec![b'l'; usize::from(*hundreds) * 100],
    };
    let fin = |last: bool| if last { 0x80 } else { 0 };
    let first = match frame.first {
        First::Text { last } => 0x1 | fin(last),
        First::Binary { last } => 0x2 | fin(last),
        First::Compressed { last, text } => 0x40 | fin(last) | if text { 0x1 } else { 0x2 },
        First::Continue { last } => fin(last),
        First::Close => 0x88,
        First::Ping => 0x89,
        First::Pong => 0x8a,
        First::Any(first) => first,
    };
    let (masked, mask) =
        frame.mask.map_or((0x80, [1, 2, 3, 4]), |mask| (if mask == [0; 4] { 0 } else { 0x80 }, mask));
    let mut bytes = vec![first];
    match (frame.length_form % 4, payload.len()) {
        (3, length) => bytes.extend([&[masked | 127][..], &(length as u64).to_be_bytes()].concat()),
        (0..=2, length @ 0..126) => bytes.push(masked | length as u8),
        (_, length) => bytes.extend([&[masked | 126][..], &(length as u16).to_be_bytes()].concat()),
    }
    if masked != 0 {
        bytes.extend(mask);
    }
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

fn decode(mut decoder: Decoder, bytes: &[u8], max: usize, cuts: &[u8]) -> Vec<Seen> {
    let (mut buffer, mut seen, mut arrived) = (Vec::new(), Vec::new(), 0);
    for cut in cuts.iter().cycle() {
        let piece = if *cut == u8::MAX { bytes.len() } else { 1 + usize::from(*cut) };
        let end = bytes.len().min(arrived + piece);
        buffer.extend_from_slice(&bytes[arrived..end]);
        arrived = end;
        loop {
            let have = buffer.len();
            match decoder.next(&mut buffer, max) {
                Ok(Step::Partial { needed }) => {
                    assert!(needed > have);
                    break;
                }
                Ok(Step::Frame { consumed, message }) => {
                    seen.extend(message.map(owned));
                    buffer.drain(..consumed);
                }
                Err(violation) => {
                    seen.push(Seen::Violation(violation.code));
                    return seen;
                }
            }
            assert!(decoder.buffered_bytes() <= max);
        }
        if arrived == bytes.len() {
            break;
        }
    }
    seen
}

fn owned(message: Message) -> Seen {
    match message {
        Message::Text(text) => Seen::Text(text.into()),
        Message::Binary(bytes) => Seen::Binary(bytes.into()),
        Message::CompressedText(payload) => Seen::Compressed(true, payload.into()),
        Message::CompressedBinary(payload) => Seen::Compressed(false, payload.into()),
        Message::Ping(bytes) => Seen::Ping(bytes.into()),
        Message::Pong(bytes) => Seen::Pong(bytes.into()),
        Message::Close(close) => Seen::Close(close.map(|(code, reason)| (code, reason.into()))),
    }
}

/// Reads everything at once, byte by byte as RFC 6455 5.2 draws it.
struct Model<'b> {
    bytes: &'b [u8],
    max: usize,
    compression: bool,
    seen: Vec<Seen>,
    /// Is it text, is it compressed, and its bytes.
    under_way: Option<(bool, bool, Vec<u8>)>,
}

impl Model<'_> {
    fn run(mut self) -> Vec<Seen> {
        loop {
            match self.frame() {
                Ok(true) => {}
                Ok(false) => return self.seen,
                Err(code) => {
                    self.seen.push(Seen::Violation(code));
                    return self.seen;
                }
            }
        }
    }

    /// One frame, or false when there is no whole one left.
    fn frame(&mut self) -> Result<bool, u16> {
        let &[first, second, ref rest @ ..] = self.bytes else { return Ok(false) };
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if second & 0x80 != 0 { 4 } else { 0 };
        if rest.len() < length_bytes + mask_bytes {
            return Ok(false);
        }
        let length = rest[..length_bytes].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let length = if length_bytes == 0 { u64::from(second & 0x7f) } else { length };
        let longer_than_needed = length_bytes == 2 && length < 126 || length_bytes == 8 && length <= 0xffff;
        let (last, opcode) = (first & 0x80 != 0, first & 0xf);
        let control = opcode >= 8;
        let known = matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
        let in_turn = control || (opcode == 0) == self.under_way.is_some();
        let compressed = first & 0x40 != 0;
        if compressed && (!self.compression || !matches!(opcode, 1 | 2)) {
            return Err(1002);
        }
        if first & 0x30 != 0
            || mask_bytes == 0
            || !known
            || !in_turn
            || longer_than_needed
            || length >> 63 != 0
        {
            return Err(1002);
        } else if control && (!last || length > 125) {
            return Err(1002);
        }
        let before = self.under_way.as_ref().map_or(0, |message| message.2.len()) as u64;
        if !control && before + length > self.max as u64 {
            return Err(1009);
        }
        let mask = &rest[length_bytes..length_bytes + 4];
        let masked = &rest[length_bytes + 4..];
        let masked = &masked[..masked.len().min(length as usize)];
        let payload = masked.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect::<Vec<_>>();
        let whole = payload.len() as u64 == length;
        if whole {
            self.bytes = &rest[length_bytes + 4 + payload.len()..];
        }
        if control {
            return if whole { self.control(opcode, payload).map(|()| true) } else { Ok(false) };
        }
        let (is_text, compressed, mut message) =
            self.under_way.take().unwrap_or((opcode == 1, compressed, Vec::new()));
        message.extend(payload);
        if is_text
            && !compressed
            && std::str::from_utf8(&message).is_err_and(|error| last && whole || error.error_len().is_some())
        {
            return Err(1007);
        }
        match (whole && last, compressed, is_text) {
            (true, true, _) => self.seen.push(Seen::Compressed(is_text, message)),
            (true, false, true) => self.seen.push(Seen::Text(message)),
            (true, false, false) => self.seen.push(Seen::Binary(message)),
            _ => self.under_way = Some((is_text, compressed, message)),
        }
        Ok(whole)
    }

    fn control(&mut self, opcode: u8, payload: Vec<u8>) -> Result<(), u16> {
        self.seen.push(match (opcode, payload.len()) {
            (9, _) => Seen::Ping(payload),
            (10, _) => Seen::Pong(payload),
            (_, 0) => Seen::Close(None),
            (_, 1) => return Err(1002),
            _ => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                if !valid_code(code) {
                    return Err(1002);
                }
                let reason = String::from_utf8(payload[2..].to_vec()).map_err(|_| 1007_u16)?;
                Seen::Close(Some((code, reason.into())))
            }
        });
        Ok(())
    }
}
