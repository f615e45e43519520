//! Request heads: the same answer whole and in pieces, and no head that a stricter look would have refused.
#![no_main]
use courier::wire::http::{FIELDS_MAX, Framing, HEAD_BYTES_MAX, Head, Seen, head};

/// What requests are made of. Input bytes from 0x80 on pick one; the others stand for themselves.
const PIECES: [&[u8]; 52] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b": ",
    b":",
    b" ",
    b"\t",
    b"\0",
    b",",
    b"\x80",
    b"\xff",
    b"\xc3\xbc",
    b"GET ",
    b"POST ",
    b"OPTIONS * ",
    b"CONNECT a:1 ",
    b"PRI * HTTP/2.0\r\n",
    b"/",
    b"/a?b=c",
    b"http://h/p?q",
    b"*",
    b"%2e",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/2",
    b"Host: a\r\n",
    b"Host: [::1]:8",
    b"Content-Length: 5\r\n",
    b"Content-Length: ",
    b"Content-Length:",
    b"18446744073709551615",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: ",
    b"chunked",
    b"gzip, ",
    b"Connection: close\r\n",
    b"Connection: keep-alive, Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: ",
    b"X: y\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"Origin: ",
    b"Accept: */*\r\n",
    b"X-Service-Name: a\r\n",
    b"ce-specversion: 1.0\r\n",
    b"Ce-Id: \"a%20",
    b"Idempotency-Key: ",
    b"Last-Event-ID: ",
];

/// The piece that brings a head to its limits.
const MANY_FIELDS: &[u8] = b"f:\r\n";
const LONG_VALUE_BYTES: usize = 2048;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&seed, data)) = data.split_first() else { return };
    let text = assemble(data);
    let whole = head(&text);
    let mut end = 0;
    let in_pieces = loop {
        let answer = head(&text[..end]);
        if answer != Ok(None) || end == text.len() {
            break answer;
        }
        end = text.len().min(end + 1 + (usize::from(seed) * (end + 7)) % 61 + end / 16);
    };
    assert_eq!(in_pieces, whole);
    match whole {
        Ok(Some(head)) => {
            check(&text, &head);
            check_again(&text, &head, seed, data);
        }
        Ok(None) => assert!(text.len() < HEAD_BYTES_MAX),
        Err(refusal) => assert!([400, 417, 431, 501, 505].contains(&refusal.status)),
    }
});

fn assemble(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for &byte in data {
        match byte {
            0..0x80 => text.push(byte),
            0xfe => text.extend(MANY_FIELDS.repeat(FIELDS_MAX / 2)),
            0xff => text.extend(vec![b'v'; LONG_VALUE_BYTES]),
            _ => text.extend_from_slice(PIECES[usize::from(byte) % PIECES.len()]),
        }
    }
    text
}

/// A head that is taken for one whose lines came before means what it would have meant without.
fn check_again(text: &[u8], read: &Head, seed: u8, data: &[u8]) {
    let Some(seen) = Seen::of(read) else { return };
    let mut others = vec![text.to_vec()];
    for (number, &byte) in data.iter().enumerate().take(16) {
        let at = (usize::from(seed) * (number + 1) * 7 + usize::from(byte) * 3) % text.len();
        let mut changed = text.to_vec();
        changed[at] = byte;
        others.push(changed);
        let mut longer = text.to_vec();
        longer.insert(at, if number % 2 == 0 { b'0' + byte % 10 } else { byte });
        others.push(longer);
    }
    for other in others {
        let mut again = Head::default();
        if again.read_again(&other, &seen) {
            assert_eq!(head(&other), Ok(Some(again)));
        }
    }
}

/// A second, naive reading of a head that was let through.
fn check(text: &[u8], read: &Head) {
    let bytes = &text[..read.len];
    assert!(read.len <= HEAD_BYTES_MAX && bytes.ends_with(b"\r\n\r\n"));
    assert_eq!(head(bytes), Ok(Some(*read)));
    assert_eq!(head(&bytes[..bytes.len() - 1]), Ok(None));
    let text = bytes.iter().map(|&byte| char::from(byte)).collect::<String>();
    let lines = text.trim_start_matches("\r\n").split("\r\n").collect::<Vec<_>>();
    assert!(lines.iter().all(|line| !line.contains(['\r', '\n', '\0'])));
    let [request_line, fields @ .., "", ""] = &lines[..] else { panic!("{text}") };
    assert_eq!(request_line.split(' ').count(), 3);
    assert!(
        read.path.is_ascii() && (read.path.starts_with('/') || read.path == "*") && !read.path.contains('?')
    );
    let values = |name: &str| {
        let named = fields
            .iter()
            .filter_map(|line| line.split_once(':'))
            .filter(|field| field.0.eq_ignore_ascii_case(name));
        named.map(|field| field.1.trim_matches([' ', '\t']).to_owned()).collect::<Vec<_>>()
    };
    assert!(fields.len() <= FIELDS_MAX && fields.iter().all(|line| line.contains(':')));
    assert!(values("host").len() == 1 || read.minor == 0);
    assert_eq!(read.is_cloud_event, !values("ce-specversion").is_empty());
    for (name, value) in read.field_lines() {
        // Each byte is a character here.
        let bytes = |known: &String| known.chars().map(|char| char as u8).collect::<Vec<u8>>();
        assert!(values(name).iter().any(|known| bytes(known).trim_ascii() == value));
    }
    match read.framing {
        Framing::None => {
            assert!(values("content-length").is_empty() && values("transfer-encoding").is_empty())
        }
        Framing::Length(length) => {
            assert!(values("content-length").len() == 1 && values("transfer-encoding").is_empty());
            assert_eq!(values("content-length")[0].parse(), Ok(length));
        }
        Framing::Chunked => {
            assert!(values("content-length").is_empty() && read.minor == 1);
            assert!(
                matches!(&values("transfer-encoding")[..], [coding] if coding.eq_ignore_ascii_case("chunked"))
            );
        }
    }
}
