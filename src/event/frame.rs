//! An event as it goes onto a socket: one WebSocket text frame, encoded once and shared by every subscriber on
//! every core (frames from a server are not masked, so one encoding serves all; RFC 6455 5.1).

use crate::wire::websocket::frame::{HEADER_BYTES_MAX, Opcode, write_header};
use std::sync::Arc;

/// A text frame with its header, immutable and shared.
#[derive(Clone)]
pub struct Frame {
    bytes: Arc<[u8]>,
}

impl Frame {
    /// Encodes `payload` as one unfragmented text frame. `scratch` is room that the caller reuses; its content
    /// is lost.
    pub fn text(payload: &str, scratch: &mut Vec<u8>) -> Frame {
        scratch.clear();
        scratch.reserve(HEADER_BYTES_MAX + payload.len());
        write_header(Opcode::Text, payload.len(), scratch);
        scratch.extend_from_slice(payload.as_bytes());
        Frame { bytes: Arc::from(&scratch[..]) }
    }

    /// Header and payload, as they go onto the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The length of [`Frame::bytes`].
    #[expect(clippy::len_without_is_empty, reason = "a frame has a header, so it is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The event itself, byte for byte as it was published.
    pub fn payload(&self) -> &[u8] {
        let header = match self.bytes[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        &self.bytes[header..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_comes_back_for_every_length_form() {
        let mut scratch = Vec::new();
        for len in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            let payload = "x".repeat(len);
            let frame = Frame::text(&payload, &mut scratch);
            assert_eq!(frame.payload(), payload.as_bytes());
            assert_eq!(frame.bytes()[0], 0x81);
        }
    }
}
