//! Request bodies: chunked text against a naive decoder, and what is encoded comes back, however it is cut.
#![no_main]
use courier::wire::http::{Body, EXTENSION_BYTES_MAX, Framing, Refusal, TRAILER_BYTES_MAX};

const BODY_BYTES_MAX: usize = 1000;

type Decoded = Result<Option<(Vec<u8>, usize)>, Refusal>;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [mode, seed, data @ ..] = data else { return };
    if mode % 2 == 0 { round_trip(data, *seed) } else { against_naive(&assemble(data), *seed) }
});

/// Feeds pieces of 0 to 31 bytes, or everything at once.
fn decode(framing: Framing, text: &[u8], seed: Option<u8>) -> Decoded {
    let (mut body, mut into, mut consumed, mut turn) = (Body::new(framing), Vec::new(), 0, 0);
    loop {
        let left = text.len() - consumed;
        let bytes = seed.map_or(left, |seed| left.min((usize::from(seed) * turn + turn / 3) % 32));
        let (eaten, whole) = body.feed(&text[consumed..consumed + bytes], &mut into, BODY_BYTES_MAX)?;
        assert!(into.len() <= BODY_BYTES_MAX && (eaten == bytes || whole));
        consumed += eaten;
        turn += 1;
        if whole {
            return Ok(Some((into, consumed)));
        } else if consumed == text.len() {
            return Ok(None);
        }
    }
}

/// Each byte of the input makes a chunk of so many bytes.
fn round_trip(data: &[u8], seed: u8) {
    let (mut text, mut body) = (Vec::new(), Vec::new());
    for &byte in data.iter().filter(|&&byte| byte != 0) {
        let chunk = vec![byte; usize::from(byte)];
        let extension = if byte % 3 == 0 { ";a=\"b\"" } else { "" };
        text.extend_from_slice(
            format!("{:0width$X}{extension}\r\n", chunk.len(), width = usize::from(byte % 17)).as_bytes(),
        );
        text.extend_from_slice(&[&chunk, &b"\r\n"[..]].concat());
        body.extend_from_slice(&chunk);
    }
    text.extend_from_slice(if seed % 2 == 0 { b"0\r\n\r\n" } else { b"0;x\r\nA: b\r\nC:\r\n\r\n" });
    let bytes = text.len();
    text.extend_from_slice(b"GET / HTTP/1.1");
    let whole = decode(Framing::Chunked, &text, None);
    assert_eq!(decode(Framing::Chunked, &text, Some(seed)), whole);
    if body.len() > BODY_BYTES_MAX {
        assert_eq!(whole.unwrap_err().status, 413);
    } else {
        assert_eq!(whole, Ok(Some((body.clone(), bytes))));
        let of_length = Framing::Length(body.len() as u64);
        assert_eq!(decode(of_length, &body, Some(seed)), Ok(Some((body.clone(), body.len()))));
    }
}

/// Input bytes from 0x80 on pick what chunked bodies are made of.
fn assemble(data: &[u8]) -> Vec<u8> {
    const PIECES: [&[u8]; 18] = [
        b"\r\n",
        b"\r",
        b"\n",
        b"1\r\na\r\n",
        b"1\r\na",
        b"5;x=y\r\n12345",
        b"5;x=y\r\n12345\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"X: y\r\n",
        b";",
        b"00",
        b"ffffffff",
        b"3e8\r\n",
        b"3e9\r\n",
        b"\0",
        b"\xff",
        b"f\r\n0123456789abcde\r\n",
    ];
    let mut text = Vec::new();
    for &byte in data {
        match byte {
            0..0x80 => text.push(byte),
            // Just below the bounds, so that few further bytes cross them.
            0xfe => text.extend(vec![b'e'; usize::from(EXTENSION_BYTES_MAX) - 1]),
            0xff => text.extend(vec![b't'; usize::from(TRAILER_BYTES_MAX) - 1]),
            _ => text.extend_from_slice(PIECES[usize::from(byte) % PIECES.len()]),
        }
    }
    text
}

fn against_naive(text: &[u8], seed: u8) {
    let whole = decode(Framing::Chunked, text, None);
    assert_eq!(decode(Framing::Chunked, text, Some(seed)), whole);
    match (naive(text), whole) {
        (Naive::Whole(body, consumed), whole) => assert_eq!(whole, Ok(Some((body, consumed)))),
        (Naive::Refused(status), whole) => assert_eq!(whole.unwrap_err().status, status),
        (Naive::Incomplete, whole) => assert!(!matches!(whole, Ok(Some(_)))),
    }
}

enum Naive {
    Whole(Vec<u8>, usize),
    Refused(u16),
    /// Or refused earlier by a decoder that does not wait for the end of a line.
    Incomplete,
}

/// Reads whole lines, as RFC 9112 7.1.3 has it in pseudo code.
fn naive(text: &[u8]) -> Naive {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = line(&text[at..]) else { return Naive::Incomplete };
        at += line.len() + 2;
        let (size, extension) = match line.iter().position(|&byte| byte == b';') {
            Some(semicolon) => (&line[..semicolon], &line[semicolon + 1..]),
            None => (line, &b""[..]),
        };
        let digits = size.iter().all(u8::is_ascii_hexdigit) && (1..=16).contains(&size.len());
        if !digits || extension.len() > usize::from(EXTENSION_BYTES_MAX) || !printable(extension) {
            return Naive::Refused(400);
        }
        let size = u64::from_str_radix(std::str::from_utf8(size).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        } else if size > (BODY_BYTES_MAX - body.len()) as u64 {
            return Naive::Refused(413);
        }
        let Some(chunk) = text[at..].get(..size as usize + 2) else { return Naive::Incomplete };
        if !chunk.ends_with(b"\r\n") {
            return Naive::Refused(400);
        }
        body.extend_from_slice(&chunk[..size as usize]);
        at += chunk.len();
    }
    let mut trailer_bytes = 0;
    loop {
        let Some(line) = line(&text[at..]) else { return Naive::Incomplete };
        at += line.len() + 2;
        trailer_bytes += line.len();
        if trailer_bytes > usize::from(TRAILER_BYTES_MAX) || !printable(line) {
            return Naive::Refused(400);
        } else if line.is_empty() {
            return Naive::Whole(body, at);
        }
    }
}

fn line(text: &[u8]) -> Option<&[u8]> {
    text.windows(2).position(|end| end == b"\r\n").map(|end| &text[..end])
}

fn printable(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f))
}
