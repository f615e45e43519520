//! Frames (RFC 6455 5): writing those of the server, which carry no mask, so that one encoding serves every
//! subscriber. `Decoder` reads those of clients.
mod assembly;
mod decoder;
mod header;

pub use decoder::Decoder;

/// Bytes of the longest header of a frame to a client.
pub const HEADER_BYTES_MAX: usize = 10;

/// Bytes of a control frame's payload (RFC 6455 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The frame ends its message (RFC 6455 5.2).
const FIN: u8 = 0x80;

/// The message is compressed (RFC 7692 6).
const RSV1: u8 = 0x40;

/// What a frame carries, by its number on the wire (RFC 6455 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A message of UTF-8 text.
    Text = 0x1,
    /// A message of bytes.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping, or tells of life unasked.
    Pong = 0xa,
}

/// A message from a client. Borrows from the received bytes or, if it came in fragments, from the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'b> {
    /// Text.
    Text(&'b str),
    /// Bytes.
    Binary(&'b [u8]),
    /// Text to be inflated (`deflate::Inflater::text`). Only where compression was agreed upon.
    CompressedText(&'b [u8]),
    /// Bytes to be inflated (`deflate::Inflater::inflate`). Only where compression was agreed upon.
    CompressedBinary(&'b [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'b [u8]),
    /// An answer to a ping.
    Pong(&'b [u8]),
    /// The peer's code and reason, if it gave any.
    Close(Option<(u16, &'b str)>),
}

/// A peer broke the protocol: close with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// 1002 protocol error, 1007 invalid UTF-8 or 1009 message too big.
    pub code: u16,
}

impl Violation {
    pub(super) const PROTOCOL: Violation = Violation { code: 1002 };
    pub(super) const INVALID_UTF8: Violation = Violation { code: 1007 };
    pub(super) const TOO_BIG: Violation = Violation { code: 1009 };
}

/// What `Decoder::next` found at the start of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'b> {
    /// No whole frame yet: call again with the same bytes and more behind them.
    Partial {
        /// Bytes in all before another try can find more; a hint for growing the buffer.
        needed: usize,
    },
    /// A frame.
    Frame {
        /// Bytes of the frame; the next one starts behind them.
        consumed: usize,
        /// The message that it completes. `None` for a fragment that was stored.
        message: Option<Message<'b>>,
    },
}

/// Appends the header of a whole, unmasked message or control frame; at most `HEADER_BYTES_MAX` bytes.
pub fn write_header(opcode: Opcode, payload_bytes: usize, out: &mut Vec<u8>) {
    write_first_and_length(FIN | opcode as u8, payload_bytes, out);
}

/// Appends the header of a whole, unmasked, compressed text message (RFC 7692 6.1).
pub(super) fn write_compressed_header(payload_bytes: usize, out: &mut Vec<u8>) {
    write_first_and_length(FIN | RSV1 | Opcode::Text as u8, payload_bytes, out);
}

/// The length takes its shortest form (RFC 6455 5.2). By hand, and not by tungstenite's `FrameHeader`, which takes
/// 27 instructions more for each frame (of 127).
#[inline]
fn write_first_and_length(first: u8, payload_bytes: usize, out: &mut Vec<u8>) {
    match payload_bytes {
        0..=125 => out.extend_from_slice(&[first, payload_bytes as u8]),
        126..=0xffff => {
            let [high, low] = (payload_bytes as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, high, low]);
        }
        _ => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}

/// Appends a whole, unmasked frame. A control frame's payload must not exceed `CONTROL_BYTES_MAX`.
pub fn write_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(
        payload.len() <= CONTROL_BYTES_MAX || matches!(opcode, Opcode::Text | Opcode::Binary),
        "a control frame that clients refuse"
    );
    write_header(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_as_in_the_examples_of_the_rfc() {
        let written = |opcode, payload: &[u8]| {
            let mut out = Vec::new();
            write_frame(opcode, payload, &mut out);
            out
        };
        assert_eq!(written(Opcode::Text, b"Hello"), b"\x81\x05Hello");
        assert_eq!(written(Opcode::Ping, b"Hello"), b"\x89\x05Hello");
        assert_eq!(written(Opcode::Pong, b""), b"\x8a\x00");
        assert_eq!(written(Opcode::Close, b""), b"\x88\x00");
        assert_eq!(written(Opcode::Binary, &[7; 256])[..5], [0x82, 0x7e, 0x01, 0x00, 7]);
        assert_eq!(written(Opcode::Binary, &[7; 65536])[..11], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0, 7]);
    }

    #[test]
    fn a_length_takes_its_shortest_form() {
        for (payload_bytes, header_bytes) in
            [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, HEADER_BYTES_MAX)]
        {
            let mut out = Vec::new();
            write_header(Opcode::Text, payload_bytes, &mut out);
            assert_eq!(out.len(), header_bytes);
        }
    }
}
