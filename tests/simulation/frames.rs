//! What goes over a fake socket, written and read in the plainest way: nothing here is shared with `src/wire`.

use crate::dice::Dice;
use crate::zip::ZIPPED;

pub struct HttpAnswer {
    pub status: u16,
    pub close: bool,
    /// The body is server-sent events and ends with the connection.
    pub stream: bool,
    /// What of the socket was agreed on besides.
    pub extensions: Option<String>,
    pub body: Vec<u8>,
}

/// The first whole answer in `bytes`, and how long it is.
pub fn http_answer(bytes: &[u8]) -> Option<(HttpAnswer, usize)> {
    let head_len = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_len]).expect("heads are ASCII");
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("there is always a first");
    assert!(status_line.starts_with("HTTP/1.1 "), "not an answer: {status_line:?}");
    let status = status_line[9..12].parse().expect("three digits");
    let (mut length, mut close, mut stream, mut extensions) = (0, false, false, None);
    for line in lines {
        match line.split_once(": ") {
            Some(("Content-Length", value)) => length = value.parse().expect("a number"),
            Some(("Connection", "close")) => close = true,
            Some(("Content-Type", "text/event-stream")) => stream = true,
            Some(("Sec-WebSocket-Extensions", agreed)) => extensions = Some(agreed.to_owned()),
            _ => {}
        }
    }
    let body = bytes.get(head_len..head_len + length)?.to_vec();
    Some((HttpAnswer { status, close, stream, extensions, body }, head_len + length))
}

pub struct Frame<'b> {
    pub opcode: u8,
    /// RFC 7692.
    pub zipped: bool,
    pub payload: &'b [u8],
    pub len: usize,
}

/// The first whole frame (RFC 6455 5.2) in `bytes`.
pub fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let [first, second, ..] = *bytes else { return None };
    assert!(first & 0x30 == 0, "a reserved bit: {first:#x}");
    assert!(first & 0x80 != 0, "a fragment: {first:#x}");
    assert!(second & 0x80 == 0, "a server does not mask");
    let (at, length) = match second {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().expect("two")) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().expect("eight")) as usize),
        length => (2, length as usize),
    };
    let payload = bytes.get(at..at + length)?;
    Some(Frame { opcode: first & 0x0f, zipped: first & ZIPPED != 0, payload, len: at + length })
}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A masked frame, as clients send them.
pub fn client_frame(fin: bool, opcode: u8, payload: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mask = (dice.roll() as u32).to_be_bytes();
    let mut out = vec![opcode | if fin { 0x80 } else { 0 }];
    match payload.len() {
        n @ 0..126 => out.push(0x80 | n as u8),
        n => {
            out.push(0x80 | 126);
            out.extend((n as u16).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// A message in one frame or, at times, in several.
pub fn client_message(opcode: u8, payload: &[u8], dice: &mut Dice) -> Vec<u8> {
    if payload.len() < 2 || !dice.chance(10) {
        return client_frame(true, opcode, payload, dice);
    }
    let cut = dice.range(1, payload.len() as u64 - 1) as usize;
    let mut out = client_frame(false, opcode, &payload[..cut], dice);
    if dice.chance(30) {
        out.extend(client_frame(true, PONG, b"", dice));
    }
    out.extend(client_frame(true, 0, &payload[cut..], dice));
    out
}

pub fn upgrade(path: &str, protocol: Option<&str>) -> Vec<u8> {
    let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{protocol}\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// The first whole block of a stream of server-sent events, and how long it is.
pub fn block(bytes: &[u8]) -> Option<(&str, usize)> {
    let len = bytes.windows(2).position(|two| two == b"\n\n")? + 2;
    Some((std::str::from_utf8(&bytes[..len - 2]).expect("a stream is text"), len))
}

/// A request with one more line in its head.
pub fn with_field(request: &[u8], field: &str) -> Vec<u8> {
    const HOST: &[u8] = b"Host: x\r\n";
    let host = request.windows(HOST.len()).position(|line| line == HOST);
    let (head, rest) = request.split_at(host.map_or(0, |at| at + HOST.len()));
    if host.is_none() { request.to_vec() } else { [head, field.as_bytes(), rest].concat() }
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// A POST, its body with a length or in random chunks.
pub fn post(path: &str, body: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut out = format!("POST {path} HTTP/1.1\r\nHost: x\r\n").into_bytes();
    if dice.chance(75) || body.is_empty() {
        out.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        out.extend(body);
        return out;
    }
    out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(dice.range(1, rest.len() as u64) as usize);
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
        rest = later;
    }
    out.extend(b"0\r\n\r\n");
    out
}
