//! Pieces of JSON written by hand, for what is written once per event.

use crate::event::is_plain;
use crate::stdx::clock::rfc3339_ms;
use crate::wire::websocket::frame::{HEADER_BYTES_MAX, Opcode, write_header};

/// Appends a JSON string. Nearly all need no escape.
#[inline]
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    if is_plain(text) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a string is always JSON, and a Vec takes all");
    }
}

/// Appends a JSON string, or `null`.
#[inline]
pub(in crate::session) fn write_nullable(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => write_string(text, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// A time as RFC 3339 with `Z`.
pub(super) fn zulu(unix_ms: u64) -> String {
    let mut stamp = [0; 24];
    rfc3339_ms(unix_ms, &mut stamp);
    String::from_utf8(stamp.to_vec()).expect("digits and signs")
}

/// A time as the router writes it: RFC 3339 with `+00:00`.
pub(super) fn plus_zero(unix_ms: u64) -> String {
    let mut stamp = zulu(unix_ms);
    stamp.pop();
    stamp + "+00:00"
}

/// Appends a text frame whose payload `body` writes; `label_bytes` more are to be spliced in. Answers where the
/// payload starts.
pub(super) fn write_text_frame(
    label_bytes: usize,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>),
) -> usize {
    // The header's length depends on the payload's, so room for the longest is left and the rest closed up.
    let start = out.len();
    out.resize(start + HEADER_BYTES_MAX, 0);
    body(out);
    let payload_bytes = out.len() - start - HEADER_BYTES_MAX + label_bytes;
    let mut header = Vec::with_capacity(HEADER_BYTES_MAX);
    write_header(Opcode::Text, payload_bytes, &mut header);
    out.drain(start..start + HEADER_BYTES_MAX - header.len());
    out[start..start + header.len()].copy_from_slice(&header);
    start + header.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::websocket::frame::write_frame;

    #[test]
    fn frames_are_those_that_the_codec_writes() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let (mut ours, mut theirs) = (b"before".to_vec(), b"before".to_vec());
            let start = write_text_frame(0, &mut ours, |out| out.extend_from_slice(&payload));
            write_frame(Opcode::Text, &payload, &mut theirs);
            assert_eq!(ours, theirs);
            assert_eq!(ours.len() - start, length);
        }
    }

    #[test]
    fn a_label_counts_for_the_header_before_it_is_there() {
        let mut out = Vec::new();
        write_text_frame(36, &mut out, |out| out.extend_from_slice(&[b'x'; 100]));
        assert_eq!(out[..4], [0x81, 126, 0, 136]);
    }

    #[test]
    fn strings_and_times_are_written_as_json() {
        for text in ["", "a.b", "a\"b\\\n\u{1}ä"] {
            let mut out = Vec::new();
            write_string(text, &mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
        assert_eq!(zulu(1_795_271_775_123), "2026-11-21T14:36:15.123Z");
        assert_eq!(plus_zero(1_795_271_775_123), "2026-11-21T14:36:15.123+00:00");
    }
}
