//! Finds the events in what a server sends: whole messages in the bytes of a socket or a stream, and the event's own
//! text in whatever a dialect puts around it.

use std::io::{Error, ErrorKind, Result};

use flate2::{Decompress, FlushDecompress};

use crate::event::{self, Stamp};
use crate::subscriber::{Frame, first_frame};

/// What a sync flush ends with; left out on the wire (RFC 7692 7.2.1).
const FLUSH_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Room for what a dialect puts around an event, in bytes.
const ENVELOPE_BYTES_MAX: usize = 4096;

/// Reads for all subscribers of a run: they speak the same dialect, and the same event comes to many.
pub struct Reader {
    size: usize,
    stream: bool,
    /// Bytes behind the event's text in the last message that had one; a dialect's are mostly the same number.
    tail: usize,
    state: Decompress,
    compressed: Vec<u8>,
    inflated: Vec<u8>,
}

impl Reader {
    /// For events of `size` bytes, as server-sent events if `stream`.
    pub fn new(size: usize, stream: bool) -> Self {
        Self {
            size,
            stream,
            tail: 0,
            state: Decompress::new(false),
            compressed: Vec::new(),
            inflated: Vec::with_capacity(size + ENVELOPE_BYTES_MAX),
        }
    }

    /// The first whole message in `bytes` and its length; `None` while it is incomplete.
    pub fn first<'b>(&self, bytes: &'b [u8]) -> Option<(Frame<'b>, usize)> {
        if self.stream { first_block(bytes) } else { first_frame(bytes) }
    }

    /// The stamp of the event in `message`, if there is one.
    pub fn stamp(&mut self, message: &[u8]) -> Option<Stamp> {
        stamp(message, self.size, &mut self.tail)
    }

    /// As [`Self::stamp`], of a compressed message. All subscribers get the same frame, which is inflated once.
    ///
    /// # Errors
    /// A message that cannot be inflated into the room that there is.
    pub fn compressed_stamp(&mut self, payload: &[u8]) -> Result<Option<Stamp>> {
        if self.compressed != payload {
            self.inflate(payload)?;
        }
        Ok(stamp(&self.inflated, self.size, &mut self.tail))
    }

    fn inflate(&mut self, payload: &[u8]) -> Result<()> {
        self.compressed.clear();
        self.compressed.extend_from_slice(payload);
        self.compressed.extend_from_slice(&FLUSH_TAIL);
        self.inflated.clear();
        self.state.reset(false);
        let inflated = self.state.decompress_vec(&self.compressed, &mut self.inflated, FlushDecompress::Sync);
        let whole = self.state.total_in() == self.compressed.len() as u64;
        self.compressed.truncate(payload.len());
        if inflated.is_err() || !whole {
            self.compressed.clear();
            return Err(Error::new(ErrorKind::InvalidData, "a message that cannot be inflated"));
        }
        Ok(())
    }
}

/// Looks where the event stood in the last message, else everywhere; `tail` is kept for the next.
fn stamp(message: &[u8], size: usize, tail: &mut usize) -> Option<Stamp> {
    let at = |tail: usize| {
        let end = message.len().checked_sub(tail)?;
        event::read(message.get(end.checked_sub(size)?..end)?, size)
    };
    if let found @ Some(_) = at(*tail) {
        return found;
    }
    let start = message.windows(event::HEAD.len()).position(|window| window == event::HEAD)?;
    *tail = message.len().checked_sub(start + size)?;
    at(*tail)
}

/// The first block of a stream of server-sent events, up to and with the empty line behind it.
fn first_block(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let mut line = 0;
    loop {
        let end = line + bytes[line..].iter().position(|byte| *byte == b'\n')?;
        if end == line {
            return Some((Frame::Text(&bytes[..end]), end + 1));
        }
        line = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    const SIZE: usize = 200;

    fn event(seq: u32) -> Vec<u8> {
        let mut event = event::template(3, SIZE);
        event::write(&mut event, 1, seq, 5);
        event
    }

    fn seq(stamp: Option<Stamp>) -> Option<u32> {
        stamp.map(|stamp| stamp.seq)
    }

    #[test]
    fn an_event_is_found_in_any_envelope_and_nothing_else_is() {
        let mut reader = Reader::new(SIZE, false);
        for (number, (head, tail)) in
            [("", ""), ("{\"event\":", "}"), ("{\"a\":", ",\"b\":\"cd\"}"), ("", "")].iter().enumerate()
        {
            let message = [head.as_bytes(), &event(number as u32), tail.as_bytes()].concat();
            assert_eq!(seq(reader.stamp(&message)), Some(number as u32));
        }
        for message in [&b""[..], b"{\"type\":\"ping\"}", &event(1)[1..], &event(1)[..SIZE - 1], event::HEAD]
        {
            assert_eq!(reader.stamp(message), None);
        }
    }

    #[test]
    fn blocks_of_a_stream_are_told_apart_and_incomplete_ones_wait() {
        let mut reader = Reader::new(SIZE, true);
        let text = [&b"retry: 3000\n\nid: 1-7\nevent: load\ndata: "[..], &event(7), b"\n\n"].concat();
        let (Frame::Text(first), length) = reader.first(&text).expect("a whole block") else { panic!() };
        assert_eq!((length, reader.stamp(first)), (13, None));
        let (Frame::Text(second), rest) = reader.first(&text[length..]).expect("a whole block") else {
            panic!()
        };
        assert_eq!((length + rest, seq(reader.stamp(second))), (text.len(), Some(7)));
        assert!((length..text.len()).all(|end| reader.first(&text[length..end]).is_none()));
    }

    #[test]
    fn a_compressed_message_is_inflated_and_the_next_one_as_well() {
        let mut reader = Reader::new(SIZE, false);
        for number in [1, 1, 2] {
            let mut payload = Vec::with_capacity(2 * SIZE);
            let mut state = Compress::new(Compression::fast(), false);
            state.compress_vec(&event(number), &mut payload, FlushCompress::Sync).unwrap();
            payload.truncate(payload.len() - FLUSH_TAIL.len());
            assert_eq!(seq(reader.compressed_stamp(&payload).unwrap()), Some(number));
        }
        assert!(reader.compressed_stamp(b"\x06").is_err());
        assert!(reader.compressed_stamp(b"\x06").is_err());
    }
}
