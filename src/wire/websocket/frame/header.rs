//! The header of a client's frame (RFC 6455 5.2), with the rules that hold for each frame alone.
use super::{CONTROL_BYTES_MAX, RSV1, Violation};
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

/// The bits of a first byte that RFC 6455 gives no meaning.
const RESERVED_BITS: u8 = 0x70;

pub(super) struct Header {
    /// Bytes of the header itself.
    pub bytes: usize,
    pub payload_bytes: u64,
    pub mask: [u8; 4],
    pub is_final: bool,
    pub opcode: OpCode,
    /// The first reserved bit: a message begins that is compressed (RFC 7692 6).
    pub is_compressed: bool,
}

impl Header {
    /// The header at the start of `bytes`, once it is whole. `extension_bits` are those that were agreed upon: `RSV1`,
    /// or none.
    pub fn read(bytes: &[u8], extension_bits: u8) -> Result<Option<Header>, Violation> {
        let mut cursor = Cursor::new(bytes);
        // The one error there is with bytes in memory: a reserved opcode.
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Violation::PROTOCOL)?;
        let Some((header, payload_bytes)) = parsed else {
            return Ok(None);
        };
        let shortest = cursor.position() as usize == shortest_header_bytes(payload_bytes);
        let reserved = bytes[0] & RESERVED_BITS & !extension_bits != 0;
        let (true, true, false, Some(mask)) =
            (is_sound(&header, payload_bytes), shortest, reserved, header.mask)
        else {
            return Err(Violation::PROTOCOL);
        };
        let is_compressed = bytes[0] & RSV1 != 0;
        let FrameHeader { is_final, opcode, .. } = header;
        let bytes = cursor.position() as usize;
        Ok(Some(Header { bytes, payload_bytes, mask, is_final, opcode, is_compressed }))
    }

    /// Bytes of the header at the start of `bytes`, as far as they tell.
    pub fn bytes_needed(bytes: &[u8]) -> usize {
        let [_, second, ..] = bytes else {
            return 2;
        };
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length_bytes + if second & 0x80 != 0 { 4 } else { 0 }
    }
}

/// The highest bit of a length is zero, and control frames are short and whole (RFC 6455 5.2, 5.5) and not compressed
/// (RFC 7692 6.1).
fn is_sound(header: &FrameHeader, payload_bytes: u64) -> bool {
    let is_control = matches!(header.opcode, OpCode::Control(_));
    let fits = !is_control || (header.is_final && !header.rsv1 && payload_bytes <= CONTROL_BYTES_MAX as u64);
    fits && i64::try_from(payload_bytes).is_ok()
}

/// The least bytes of a masked header; no more may be used (RFC 6455 5.2).
fn shortest_header_bytes(payload_bytes: u64) -> usize {
    match payload_bytes {
        0..=125 => 6,
        126..=0xffff => 8,
        _ => 14,
    }
}

/// Applies or removes the mask (RFC 6455 5.3), eight bytes at a time.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (at, byte) in rest.iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_header_is_told_from_its_first_bytes() {
        for (bytes, needed) in [
            (&b""[..], 2),
            (b"\x81", 2),
            (b"\x81\x85", 6),
            (b"\x81\xfe", 8),
            (b"\x81\xff", 14),
            (b"\x81\x05", 2),
            (b"\x81\x7e", 4),
            (b"\x81\x7f", 10),
        ] {
            assert_eq!(Header::bytes_needed(bytes), needed);
            assert!(Header::read(bytes, 0).is_ok_and(|header| header.is_none()) || bytes[1] == 5);
        }
    }

    #[test]
    fn a_length_in_a_longer_form_than_needed_is_refused() {
        for bytes in [&b"\x82\xfe\0\x7d\0\0\0\0"[..], b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0"] {
            assert!(Header::read(bytes, 0).is_err_and(|violation| violation.code == 1002));
        }
        for bytes in [&b"\x82\xfe\0\x7e\0\0\0\0"[..], b"\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0"] {
            assert!(Header::read(bytes, 0).is_ok_and(|header| header.is_some()));
        }
    }

    #[test]
    fn each_frame_alone_obeys_the_rules() {
        let judged = |bytes: &[u8], bits| Header::read(bytes, bits).map(|_| ());
        let refused = |bytes: &[u8]| judged(bytes, 0) == Err(Violation::PROTOCOL);
        for first in [0x81, 0x82, 0x80, 0x01, 0x88, 0x89, 0x8a] {
            assert!(!refused(&[first, 0x80, 0, 0, 0, 0]), "{first:x}");
            assert!(refused(&[first, 0x00]), "{first:x} without mask");
            for reserved in [0x10, 0x20, 0x40, 0x70] {
                assert!(refused(&[first | reserved, 0x80, 0, 0, 0, 0]), "{first:x} with reserved bits");
                let is_data = first & 0x8 == 0;
                let agreed = judged(&[first | reserved, 0x80, 0, 0, 0, 0], RSV1).is_ok();
                assert_eq!(agreed, is_data && reserved == 0x40, "{first:x} with compression");
            }
        }
        for first in
            [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|opcode| 0x80 | opcode).into_iter().chain([0x8, 0x9, 0xa])
        {
            assert!(refused(&[first, 0x80, 0, 0, 0, 0]), "{first:x}");
        }
        assert!(refused(b"\x89\xfe\0\x7e\0\0\0\0"));
        assert!(refused(b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0"));
        assert!(!refused(b"\x82\xff\x7f\0\0\0\0\0\0\0\0\0\0\0"));
    }

    #[test]
    fn unmasking_is_the_same_eight_bytes_at_a_time_as_one_by_one() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..40 {
            let mut payload = (0..length).collect::<Vec<u8>>();
            unmask(&mut payload, mask);
            assert!((0..length).all(|at| payload[usize::from(at)] == at ^ mask[usize::from(at % 4)]));
        }
    }
}
