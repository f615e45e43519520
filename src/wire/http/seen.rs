//! The field lines of an earlier request with a body on the same connection. A client that keeps its connection sends the
//! same ones each time, but for the number in `Content-Length`: a head that says the same again is compared with them (240
//! instructions) and not taken apart again (2,100).
//!
//! Only bytes that `Head::read` has found sound are kept, and only the same bytes are taken for the same: whatever differs,
//! however slightly, is read the long way. A connection is compared with what came over it, never with what others said:
//! how long a comparison takes would tell of their secrets. Who shares a connection behind a proxy shares that too.
use super::head::{Framing, HEAD_BYTES_MAX, Head};
use super::method::Method;
use super::target::extent;
use std::ops::Range;

/// Bytes of the lines that are kept: those of a client with a token. More would be a browser's with cookies. With copies of
/// the values a connection keeps 2.3 KiB at most; how many there are bounds the sum.
pub const SEEN_BYTES_MAX: usize = 1024;

/// What stands before and behind the target of a request that can be known again.
const BEFORE: &[u8; 5] = b"POST ";
const BEHIND: &[u8; 11] = b" HTTP/1.1\r\n";

/// Digits that make no number beyond `u64`. A longer length is read the long way.
const DIGITS_MAX: usize = 18;

/// The lines of one head, and what they mean with `POST` and HTTP/1.1.
#[derive(Debug)]
pub struct Seen {
    /// With the blank line.
    lines: Box<[u8]>,
    /// Where in them the number of `Content-Length` stands.
    digits: Range<usize>,
    keep_alive: bool,
    is_traced: bool,
    is_cloud_event: bool,
    host: Option<Box<str>>,
    origin: Option<Box<str>>,
    accept: Option<Box<str>>,
    content_type: Option<Box<str>>,
    service_name: Option<Box<str>>,
    authorization: Option<Box<str>>,
    idempotency_key: Option<Box<str>>,
}

impl Seen {
    /// The lines of a head that was read, unless they are of a kind that is not kept.
    pub fn of(head: &Head<'_>) -> Option<Seen> {
        let plain =
            head.method == Method::Post && head.minor == 1 && matches!(head.framing, Framing::Length(_));
        let rare = head.expect_continue || head.upgrade_requested || head.request_method.is_some();
        if !plain || rare || head.lines.len() > SEEN_BYTES_MAX {
            return None;
        }
        let length = head.value("Content-Length")?;
        let start = length.as_ptr().addr() - head.lines.as_ptr().addr();
        let kept = |value: Option<&str>| value.map(Box::from);
        Some(Seen {
            lines: head.lines.into(),
            digits: start..start + length.len(),
            keep_alive: head.keep_alive,
            is_traced: head.is_traced,
            is_cloud_event: head.is_cloud_event,
            // Not `head.host`: that may have come from the target.
            host: kept(head.field("Host")),
            origin: kept(head.origin),
            accept: kept(head.accept),
            content_type: kept(head.content_type),
            service_name: kept(head.service_name),
            authorization: kept(head.authorization),
            idempotency_key: kept(head.idempotency_key),
        })
    }

    /// Reads a head that has these lines. Answers false, and leaves `head` alone, if it has others or anything about it
    /// wants a closer look.
    pub(super) fn read<'b>(&'b self, bytes: &'b [u8], head: &mut Head<'b>) -> bool {
        let Some((target, path_bytes)) = target(bytes) else { return false };
        let start = BEFORE.len() + target.len() + BEHIND.len();
        let Some((length, lines_bytes)) = self.length(&bytes[start..]) else { return false };
        let len = start + lines_bytes;
        if len > HEAD_BYTES_MAX {
            return false;
        }
        *head = Head {
            method: Method::Post,
            path: &target[..path_bytes],
            query: target.get(path_bytes + 1..).unwrap_or_default(),
            minor: 1,
            len,
            framing: Framing::Length(length),
            keep_alive: self.keep_alive,
            expect_continue: false,
            upgrade: None,
            upgrade_requested: false,
            host: self.host.as_deref(),
            origin: self.origin.as_deref(),
            accept: self.accept.as_deref(),
            content_type: self.content_type.as_deref(),
            service_name: self.service_name.as_deref(),
            authorization: self.authorization.as_deref(),
            request_method: None,
            idempotency_key: self.idempotency_key.as_deref(),
            is_cloud_event: self.is_cloud_event,
            is_traced: self.is_traced,
            lines: &bytes[start..len],
        };
        true
    }

    /// The number in `Content-Length`, and the bytes of all the lines; `None` if these are others.
    fn length(&self, lines: &[u8]) -> Option<(u64, usize)> {
        let rest = lines.strip_prefix(&self.lines[..self.digits.start])?;
        let (mut length, mut digits) = (0, 0);
        while let Some(byte @ b'0'..=b'9') = rest.get(digits) {
            length = length * 10 + u64::from(byte - b'0');
            digits += 1;
            if digits > DIGITS_MAX {
                return None;
            }
        }
        let behind = &self.lines[self.digits.end..];
        let same = digits > 0 && rest[digits..].starts_with(behind);
        same.then_some((length, self.digits.start + digits + behind.len()))
    }
}

/// The target of a request line of the plainest form, a path, and the bytes of it before its query.
fn target(bytes: &[u8]) -> Option<(&str, usize)> {
    let rest = bytes.strip_prefix(BEFORE)?;
    let (end, path_bytes) = extent(rest);
    if !rest.starts_with(b"/") || !rest[end..].starts_with(BEHIND) {
        return None;
    }
    let judged_together = || {
        let start = simdutf8::basic::from_utf8(bytes.first_chunk::<JUDGED_BYTES>()?).ok()?;
        start.get(BEFORE.len()..BEFORE.len() + end)
    };
    let target = judged_together().or_else(|| str::from_utf8(&rest[..end]).ok())?;
    Some((target, path_bytes))
}

/// What is judged at once to be text: of so many bytes that takes half as long as of a short target alone.
const JUDGED_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::head;
    use super::*;

    fn text(target: &str, fields: &str) -> String {
        format!("POST {target} HTTP/1.1\r\nHost: h:1\r\nAccept: */*\r\n{fields}\r\n\r\n{{}}")
    }

    fn seen(text: &str) -> Option<Seen> {
        Seen::of(&head(text.as_bytes()).unwrap().unwrap())
    }

    /// Whether `text` is known again; if it is, it must be what it is the long way.
    #[track_caller]
    fn is_known(seen: &Seen, text: &[u8]) -> bool {
        let mut again = Head::default();
        let known = seen.read(text, &mut again);
        if known {
            assert_eq!(head(text), Ok(Some(again)), "{}", text.escape_ascii());
        } else {
            assert_eq!(again, Head::default());
        }
        known
    }

    const FIELDS: &str = "Content-Type: application/json\r\nContent-Length: 12\r\nX-Service-Name: \u{fc}\r\n\
        authorization: Bearer t\r\nIdempotency-Key: k\r\ntraceparent: 00\r\nce-specversion: 1.0\r\nOrigin: http://o";

    #[test]
    fn the_same_lines_are_known_with_any_path_and_length() {
        let seen = seen(&text("/publish/a", FIELDS)).unwrap();
        let long = format!("/{}", "x".repeat(2 * JUDGED_BYTES));
        for target in ["/publish/a", "/", "/publish/b%2Ec?x=1?&y", "/?", "//h/{|}\"<>\\^`", &long] {
            for length in ["0", "12", "007", "999999999999999999"] {
                let fields = FIELDS.replace("12", length);
                assert!(is_known(&seen, text(target, &fields).as_bytes()), "{target} {length}");
            }
        }
    }

    #[test]
    fn what_differs_in_any_byte_is_read_the_long_way_or_means_what_it_does_there() {
        let sent = text("/publish/a?b", FIELDS).into_bytes();
        let seen = seen(str::from_utf8(&sent).unwrap()).unwrap();
        let end = sent.len() - 2;
        for at in 0..end {
            for byte in
                [b'\0', b'\t', b'\n', b'\r', b' ', b'#', b'/', b'0', b':', b'?', b'a', b'A', 0x7f, 0xfc]
            {
                let mut other = sent.clone();
                other[at] = byte;
                is_known(&seen, &other);
                other[at] = sent[at];
                other.insert(at, byte);
                is_known(&seen, &other);
            }
            let mut shorter = sent.clone();
            shorter.remove(at);
            is_known(&seen, &shorter);
            assert!(!is_known(&seen, &sent[..at]), "{at}");
        }
        assert!(is_known(&seen, &sent[..end]));
    }

    #[test]
    fn lengths_that_are_no_numbers_and_others_than_plain_paths_are_read_the_long_way() {
        let seen = seen(&text("/a", "Content-Length: 5")).unwrap();
        for length in ["", "+5", "5 ", " 5", "5, 5", "0x5", "18446744073709551616", "1000000000000000000"] {
            assert!(
                !is_known(&seen, text("/a", &format!("Content-Length: {length}")).as_bytes()),
                "{length}"
            );
        }
        for target in ["", "*", "a", "http://h/a", "/a#b", "/a b", "/\u{fc}"] {
            assert!(!is_known(&seen, text(target, "Content-Length: 5").as_bytes()), "{target}");
        }
        let sent = text("/a", "Content-Length: 5");
        assert!(!is_known(&seen, format!("\r\n{sent}").as_bytes()));
        assert!(!is_known(&seen, sent.replace("POST", "PUT").as_bytes()));
        assert!(!is_known(&seen, sent.replace("/1.1", "/1.0").as_bytes()));
    }

    #[test]
    fn the_host_that_is_kept_is_that_of_the_field() {
        let absolute = seen(&text("http://other/a", "Content-Length: 5")).unwrap();
        assert!(is_known(&absolute, text("/a", "Content-Length: 5").as_bytes()));
    }

    #[test]
    fn a_head_beyond_the_limit_is_not_let_through() {
        let seen = seen(&text("/a", "Content-Length: 5")).unwrap();
        let around = text("", "Content-Length: 5").len() - 2;
        let sized = |bytes: usize| text(&format!("/{}", "x".repeat(bytes - around - 1)), "Content-Length: 5");
        assert!(is_known(&seen, sized(HEAD_BYTES_MAX).as_bytes()));
        assert!(!is_known(&seen, sized(HEAD_BYTES_MAX + 1).as_bytes()));
    }

    #[test]
    fn only_lines_of_plain_publishes_are_kept() {
        for fields in [
            "X: y",
            "Transfer-Encoding: chunked",
            "Content-Length: 5\r\nExpect: 100-continue",
            "Content-Length: 5\r\nUpgrade: x",
            "Content-Length: 5\r\nAccess-Control-Request-Method: PUT",
            &format!("Content-Length: 5\r\nX: {}", "x".repeat(SEEN_BYTES_MAX)),
        ] {
            assert!(seen(&text("/a", fields)).is_none(), "{fields}");
        }
        assert!(seen(&text("/a", "Content-Length: 5").replace("POST", "PUT")).is_none());
        assert!(seen(&text("/a", "Content-Length: 5").replace("/1.1", "/1.0")).is_none());
    }
}
