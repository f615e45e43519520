//! Close frames (RFC 6455 5.5.1, 7.4). The table of reasons that this server gives lives in the session.
use super::frame::{CONTROL_BYTES_MAX, Opcode, Violation, write_header};

/// Bytes of a reason: a control frame's payload without the code.
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// Appends a close frame. A longer `reason` is cut at `REASON_BYTES_MAX` or the character before.
pub fn write_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    write_header(Opcode::Close, 2 + reason.len(), out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Whether a peer may send this code: those that RFC 6455 7.4 and its registry define for the wire, and those left to
/// libraries and applications.
pub fn valid_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The payload of a peer's close frame: nothing, or a code and a reason.
pub(super) fn read_close(payload: &[u8]) -> Result<Option<(u16, &str)>, Violation> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] if valid_code(u16::from_be_bytes([*high, *low])) => {
            let reason = str::from_utf8(reason).map_err(|_| Violation::INVALID_UTF8)?;
            Ok(Some((u16::from_be_bytes([*high, *low]), reason)))
        }
        _ => Err(Violation::PROTOCOL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let written = |reason: &str| {
            let mut out = Vec::new();
            write_close(1013, reason, &mut out);
            out
        };
        assert_eq!(written("Slow"), b"\x88\x06\x03\xf5Slow");
        assert_eq!(written(&"x".repeat(REASON_BYTES_MAX + 1)).len(), 2 + CONTROL_BYTES_MAX);
        let cut = written(&"\u{20ac}".repeat(42));
        assert_eq!(cut.len(), 4 + 41 * 3);
        assert_eq!(usize::from(cut[1]), cut.len() - 2);
    }

    #[test]
    fn a_peer_may_send_registered_and_private_codes_only() {
        let valid = (0..=u16::MAX).filter(|&code| valid_code(code)).collect::<Vec<_>>();
        let expected = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        assert_eq!(valid[..12], expected);
        assert_eq!(valid[12..], (3000..=4999).collect::<Vec<_>>());
    }

    #[test]
    fn a_close_payload_is_empty_or_a_code_with_text() {
        assert_eq!(read_close(b""), Ok(None));
        assert_eq!(read_close(b"\x03\xe8"), Ok(Some((1000, ""))));
        assert_eq!(read_close(b"\x0f\xa0bye"), Ok(Some((4000, "bye"))));
        assert_eq!(read_close(b"\x03"), Err(Violation::PROTOCOL));
        assert_eq!(read_close(b"\x03\xed"), Err(Violation::PROTOCOL));
        assert_eq!(read_close(b"\x03\xe8\xff"), Err(Violation::INVALID_UTF8));
    }
}
