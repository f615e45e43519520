//! permessage-deflate (RFC 7692): `negotiate` answers a client's offers, a `Deflater` writes one compressed frame for all
//! who agreed, an `Inflater` reads what they send. Each shard has one of both.
//!
//! No message refers to an earlier one (no context takeover, either way): so one compressed frame serves every
//! subscriber, and no connection keeps a window.
mod offer;

use super::frame::{Opcode, Violation, write_compressed_header, write_frame};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
pub use offer::{Accepted, negotiate};

/// Base-2 logarithm of the window that the server compresses with. The least that a common client offers (`websockets`
/// for Python) and, on JSON of 16 KiB, as good as the largest (4,546 bytes against 4,594).
const WINDOW_BITS: u8 = 12;

/// Of 1 to 9. JSON of 16 KiB: 67 us and 4,546 bytes here, 36 us and 6,696 at level 1, 100 us and 4,056 at level 6.
const LEVEL: u32 = 2;

/// What a sync flush ends with; left out on the wire (RFC 7692 7.2.1).
const FLUSH_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The tail that was left out, and an empty last block. A message that is cut short swallows it; one that is whole ends
/// with it.
const ENDING: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];

/// Room for a message that does not shrink: headers of blocks, and the flush.
const EXPANSION_BYTES: usize = 64;

/// Room that a message is first inflated into; doubled as it grows.
const INFLATED_BYTES_MIN: usize = 4096;

/// Compresses messages to clients. Holds some 250 KB.
#[derive(Debug)]
pub struct Deflater {
    state: Compress,
    scratch: Vec<u8>,
}

impl Default for Deflater {
    fn default() -> Deflater {
        let state = Compress::new_with_window_bits(Compression::new(LEVEL), false, WINDOW_BITS);
        Deflater { state, scratch: Vec::new() }
    }
}

impl Deflater {
    /// Appends `text` as one whole text frame, header included. What does not shrink is written as it is, which a
    /// client takes as well (RFC 7692 6).
    pub fn compress(&mut self, text: &str, out: &mut Vec<u8>) {
        let payload = self.deflate(text.as_bytes());
        if payload.len() < text.len() {
            write_compressed_header(payload.len(), out);
            out.extend_from_slice(payload);
        } else {
            write_frame(Opcode::Text, text.as_bytes(), out);
        }
    }

    /// A compressed message's payload (RFC 7692 7.2.1).
    fn deflate(&mut self, bytes: &[u8]) -> &[u8] {
        self.state.reset();
        self.scratch.clear();
        self.scratch.reserve(bytes.len() + bytes.len() / 1024 + EXPANSION_BYTES);
        loop {
            let rest = &bytes[self.state.total_in() as usize..];
            let status = self.state.compress_vec(rest, &mut self.scratch, FlushCompress::Sync);
            status.expect("compressing into memory fails only on a broken state");
            if self.scratch.len() < self.scratch.capacity() {
                break;
            }
            self.scratch.reserve(EXPANSION_BYTES);
        }
        self.scratch.strip_suffix(&FLUSH_TAIL).expect("a sync flush ends with an empty block")
    }
}

/// Inflates messages from clients. Holds some 50 KB.
#[derive(Debug)]
pub struct Inflater {
    state: Decompress,
}

impl Default for Inflater {
    fn default() -> Inflater {
        Inflater { state: Decompress::new(false) }
    }
}

impl Inflater {
    /// The text that a `Message::CompressedText` stands for, in `out`, whose content is lost.
    ///
    /// # Errors
    /// Those of `inflate`, and 1007 for what is not UTF-8.
    pub fn text<'o>(
        &mut self,
        payload: &[u8],
        message_bytes_max: usize,
        out: &'o mut Vec<u8>,
    ) -> Result<&'o str, Violation> {
        self.inflate(payload, message_bytes_max, out)?;
        str::from_utf8(out).map_err(|_| Violation::INVALID_UTF8)
    }

    /// Inflates a whole message's payload into `out`, whose content is lost.
    ///
    /// # Errors
    /// 1009 beyond `message_bytes_max`, as soon as one byte more comes out; 1002 for what is not a whole compressed
    /// message, or refers to an earlier one.
    pub fn inflate(
        &mut self,
        payload: &[u8],
        message_bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        out.clear();
        self.state.reset(false);
        self.feed(payload, message_bytes_max, out)?;
        match self.feed(&ENDING, message_bytes_max, out)? {
            Status::StreamEnd => Ok(()),
            _ => Err(Violation::PROTOCOL),
        }
    }

    /// Inflates all of `input`. Answers `StreamEnd` if its last byte ended a stream. A stream that ends before is
    /// followed by the next one: a last block may stand anywhere (RFC 7692 7.2.3.4).
    fn feed(&mut self, mut input: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<Status, Violation> {
        loop {
            if out.len() == out.capacity() {
                let room = out.len().max(INFLATED_BYTES_MIN).min(bytes_max.saturating_add(1) - out.len());
                out.reserve_exact(room);
            }
            let taken_before = self.state.total_in();
            let status = self.state.decompress_vec(input, out, FlushDecompress::None);
            let status = status.map_err(|_| Violation::PROTOCOL)?;
            input = &input[(self.state.total_in() - taken_before) as usize..];
            if out.len() > bytes_max {
                return Err(Violation::TOO_BIG);
            }
            match status {
                Status::StreamEnd if input.is_empty() => return Ok(status),
                Status::StreamEnd => self.state.reset(false),
                // With room left, all that the input gave has come out.
                _ if out.len() < out.capacity() => return Ok(status),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    fn inflated(payload: &[u8], max: usize) -> Result<Vec<u8>, u16> {
        let mut out = b"before".to_vec();
        Inflater::default().inflate(payload, max, &mut out).map_err(|violation| violation.code)?;
        Ok(out)
    }

    /// JSON that shrinks about fourfold.
    fn json(bytes: usize) -> String {
        let mut text = String::new();
        for number in 0.. {
            text += &format!(r#"{{"type":"order.filled","price":{},"side":"buy"}},"#, number * 7919 % 10_007);
            if text.len() >= bytes {
                break;
            }
        }
        text.truncate(bytes);
        text
    }

    #[test]
    fn the_examples_of_the_rfc_are_inflated() {
        for (section, payload) in [
            ("7.2.3.1", &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..]),
            ("7.2.3.3", b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"),
            ("7.2.3.4", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
            ("7.2.3.5", b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
        ] {
            assert_eq!(inflated(payload, MAX), Ok(b"Hello".to_vec()), "{section}");
        }
        assert_eq!(inflated(b"\x00", MAX), Ok(vec![]), "7.2.3.6");
    }

    #[test]
    fn the_examples_of_the_rfc_are_compressed_as_there() {
        let mut deflater = Deflater::default();
        for _ in 0..2 {
            assert_eq!(deflater.deflate(b"Hello"), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
            assert_eq!(deflater.deflate(b""), b"\x00");
        }
    }

    /// RFC 7692 7.2.3.2: the second message of a connection with context takeover, which this server never accepts.
    #[test]
    fn a_message_that_refers_to_an_earlier_one_is_refused() {
        let mut inflater = Inflater::default();
        let mut out = Vec::new();
        assert_eq!(inflater.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", MAX, &mut out), Ok(()));
        assert_eq!(inflater.inflate(b"\xf2\x00\x11\x00\x00", MAX, &mut out), Err(Violation::PROTOCOL));
        assert_eq!(inflater.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", MAX, &mut out), Ok(()));
        assert_eq!(out, b"Hello");
    }

    #[test]
    fn what_is_compressed_comes_back_and_says_so_in_its_header() {
        let (mut deflater, mut inflater, mut out) = (Deflater::default(), Inflater::default(), Vec::new());
        for (bytes, header_bytes) in [(300, 2), (1024, 4), (16 * 1024, 4), (1 << 20, 4)] {
            let (text, mut frame) = (json(bytes), b"before".to_vec());
            deflater.compress(&text, &mut frame);
            let frame = &frame[6..];
            assert_eq!(frame[0], 0xc1);
            assert!(frame.len() < bytes / 2, "{bytes} -> {}", frame.len());
            let payload = &frame[header_bytes..];
            assert!(inflater.text(payload, bytes, &mut out) == Ok(&text), "{bytes}");
            assert_eq!(inflater.text(payload, bytes - 1, &mut out), Err(Violation::TOO_BIG));
        }
    }

    /// A client that asked for a window of 4 KiB keeps no more.
    #[test]
    fn no_match_reaches_beyond_the_window() {
        let text = json(64 * 1024);
        let payload = Deflater::default().deflate(text.as_bytes()).to_vec();
        let mut small = Decompress::new_with_window_bits(false, WINDOW_BITS);
        let mut out = Vec::with_capacity(text.len());
        // In pieces, so that what has come out is found only in the window.
        for piece in payload.chunks(16).chain([&FLUSH_TAIL[..]]) {
            let mut room = Vec::with_capacity(16 * 1024);
            small.decompress_vec(piece, &mut room, FlushDecompress::Sync).unwrap();
            out.extend(room);
        }
        assert_eq!(out, text.as_bytes());
    }

    #[test]
    fn what_does_not_shrink_is_sent_as_it_is() {
        let mut frame = Vec::new();
        Deflater::default().compress("{}", &mut frame);
        assert_eq!(frame, b"\x81\x02{}");
        frame.clear();
        Deflater::default().compress("", &mut frame);
        assert_eq!(frame, b"\x81\x00");
    }

    #[test]
    fn a_bomb_is_refused_before_it_takes_memory() {
        let bomb = Deflater::default().deflate(&vec![b' '; 64 << 20]).to_vec();
        assert!(bomb.len() < 400_000);
        let mut out = Vec::new();
        assert_eq!(Inflater::default().inflate(&bomb, 1000, &mut out), Err(Violation::TOO_BIG));
        assert!(out.capacity() <= 1001);
        assert_eq!(Inflater::default().inflate(&bomb, MAX, &mut out), Err(Violation::TOO_BIG));
        assert!(out.capacity() <= MAX + 1);
        assert_eq!(inflated(Deflater::default().deflate(&[7; 1000]), 1000), Ok(vec![7; 1000]));
        assert_eq!(inflated(b"\x00", 0), Ok(vec![]));
    }

    #[test]
    fn a_message_that_is_broken_or_cut_short_is_refused() {
        for payload in [
            &b""[..],
            b"\xf2\x48\xcd\xc9\xc9",
            b"\xf3\x48\xcd\xc9\xc9\x07\x00",
            b"\x00\x05\x00\xfa\xff\x48\x65",
            b"\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00",
            b"\x06",
            b"\xff\xff\xff",
        ] {
            assert_eq!(inflated(payload, MAX), Err(1002), "{payload:x?}");
        }
        let whole = Deflater::default().deflate(json(1000).as_bytes()).to_vec();
        assert!((0..whole.len() - 1).all(|end| inflated(&whole[..end], MAX) == Err(1002)));
        let (mut inflater, mut out) = (Inflater::default(), Vec::new());
        let not_text = b"\x00\x01\x00\xfe\xff\xff\x00";
        assert_eq!(inflater.text(not_text, MAX, &mut out), Err(Violation::INVALID_UTF8));
        assert_eq!((inflater.inflate(not_text, MAX, &mut out), &out[..]), (Ok(()), &b"\xff"[..]));
    }
}
