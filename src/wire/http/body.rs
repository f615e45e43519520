//! Request bodies: a `Body` is fed bytes as they come and appends what they carry to a buffer.
//!
//! Small enough to keep in each connection, and a plain state machine: the answer does not depend on where the bytes
//! were cut. Extensions and trailers of chunked bodies (RFC 9112 7.1) are passed over, within bounds.
use super::{Framing, Refusal};

/// Bytes of one chunk's extensions. Nobody here uses them; RFC 9112 7.1.1 asks for a bound.
pub const EXTENSION_BYTES_MAX: u16 = 256;

/// Bytes of all trailer lines of one body, line ends not counted. They are dropped.
pub const TRAILER_BYTES_MAX: u16 = 8 * 1024;

/// Hex digits of a chunk size: what a `u64` holds.
const SIZE_DIGITS_MAX: u16 = 16;

/// A body under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// `Content-Length`: the bytes to come.
    Length(u64),
    /// Chunked.
    Chunked(Chunked),
}

/// Where in a chunked body the next byte belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    /// The size that is being read, then the bytes of the chunk to come.
    size: u64,
    /// Digits, extension bytes or trailer bytes so far, by `at`.
    count: u16,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerLine,
    TrailerLf,
    LastLf,
    End,
}

impl Body {
    /// The body that a head with this framing announces.
    pub fn new(framing: Framing) -> Body {
        match framing {
            Framing::None => Body::Length(0),
            Framing::Length(bytes) => Body::Length(bytes),
            Framing::Chunked => Body::Chunked(Chunked { size: 0, count: 0, at: At::Size }),
        }
    }

    /// Appends the decoded bytes of `input` to `into`. Answers the bytes of `input` that belong to the body, and
    /// whether it has been seen whole: what follows is the next request.
    ///
    /// # Errors
    /// 413 as soon as a length tells that `into` would exceed `max` bytes, 400 for a malformed chunk. The body cannot
    /// be fed again after an error.
    pub fn feed(&mut self, input: &[u8], into: &mut Vec<u8>, max: usize) -> Result<(usize, bool), Refusal> {
        match self {
            Body::Length(left) => {
                refuse_over(*left, into, max)?;
                let bytes = take(left, input, into);
                Ok((bytes, *left == 0))
            }
            Body::Chunked(chunked) => chunked.feed(input, into, max),
        }
    }
}

impl Chunked {
    fn feed(&mut self, input: &[u8], into: &mut Vec<u8>, max: usize) -> Result<(usize, bool), Refusal> {
        let mut consumed = 0;
        while self.at != At::End && consumed < input.len() {
            if self.at == At::Data {
                consumed += take(&mut self.size, &input[consumed..], into);
                if self.size == 0 {
                    self.at = At::DataCr;
                }
            } else {
                self.step(input[consumed])?;
                consumed += 1;
                if self.at == At::Data {
                    refuse_over(self.size, into, max)?;
                }
            }
        }
        Ok((consumed, self.at == At::End))
    }

    /// One byte outside of a chunk's data.
    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.at = match (self.at, byte) {
            (At::Size, b'\r') if self.count > 0 => At::SizeLf,
            (At::Size, b';') if self.count > 0 => self.enter(At::Extension),
            (At::Size, _) => self.size_digit(byte)?,
            (At::Extension, b'\r') => At::SizeLf,
            (At::Extension, _) => self.skip(byte, EXTENSION_BYTES_MAX, At::Extension)?,
            (At::SizeLf, b'\n') if self.size == 0 => self.enter(At::TrailerStart),
            (At::SizeLf, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => self.enter(At::Size),
            (At::TrailerStart, b'\r') => At::LastLf,
            (At::TrailerLine, b'\r') => At::TrailerLf,
            (At::TrailerStart | At::TrailerLine, _) => self.skip(byte, TRAILER_BYTES_MAX, At::TrailerLine)?,
            (At::TrailerLf, b'\n') => At::TrailerStart,
            (At::LastLf, b'\n') => At::End,
            _ => return Err(Refusal::bad("A chunk is not framed by CRLF")),
        };
        Ok(())
    }

    fn enter(&mut self, at: At) -> At {
        self.count = 0;
        at
    }

    fn size_digit(&mut self, byte: u8) -> Result<At, Refusal> {
        let digit = char::from(byte).to_digit(16).filter(|_| self.count < SIZE_DIGITS_MAX);
        let digit = digit.ok_or(Refusal::bad("A chunk size is not a hexadecimal number of bytes"))?;
        self.size = self.size << 4 | u64::from(digit);
        self.count += 1;
        Ok(At::Size)
    }

    fn skip(&mut self, byte: u8, max: u16, at: At) -> Result<At, Refusal> {
        if byte != b'\t' && byte.is_ascii_control() {
            return Err(Refusal::bad("A chunk extension or trailer holds a control character"));
        }
        if self.count == max {
            return Err(Refusal::bad("The chunk extensions or trailers are too long"));
        }
        self.count += 1;
        Ok(at)
    }
}

/// Moves as many of the `left` bytes as `input` has.
fn take(left: &mut u64, input: &[u8], into: &mut Vec<u8>) -> usize {
    let bytes = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    into.extend_from_slice(&input[..bytes]);
    *left -= bytes as u64;
    bytes
}

fn refuse_over(more: u64, into: &[u8], max: usize) -> Result<(), Refusal> {
    if more > max.saturating_sub(into.len()) as u64 {
        let message = "The request body exceeds the limit";
        return Err(Refusal { status: 413, error: "Payload too large", message });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 64;

    /// The decoded body and the bytes consumed, fed in pieces of at most `piece_bytes`; `None` when not whole.
    fn decode(
        framing: Framing,
        text: &[u8],
        piece_bytes: usize,
    ) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
        let (mut body, mut into, mut consumed) = (Body::new(framing), Vec::new(), 0);
        loop {
            let piece = &text[consumed..text.len().min(consumed + piece_bytes)];
            let (bytes, whole) = body.feed(piece, &mut into, MAX)?;
            assert!(bytes == piece.len() || whole);
            consumed += bytes;
            if whole {
                return Ok(Some((into, consumed)));
            } else if consumed == text.len() {
                return Ok(None);
            }
        }
    }

    #[track_caller]
    fn chunked(text: &[u8]) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let whole = decode(Framing::Chunked, text, text.len());
        for piece_bytes in 1..text.len() {
            assert_eq!(decode(Framing::Chunked, text, piece_bytes), whole, "{}", text.escape_ascii());
        }
        whole.map_err(|refusal| refusal.status)
    }

    #[test]
    fn a_body_state_is_small() {
        assert!(size_of::<Body>() <= 24);
    }

    #[test]
    fn a_body_without_length_is_empty_and_the_next_request_is_left_alone() {
        assert_eq!(decode(Framing::None, b"GET", 3), Ok(Some((vec![], 0))));
        assert_eq!(decode(Framing::Length(2), b"abGET", 1), Ok(Some((b"ab".into(), 2))));
        assert_eq!(decode(Framing::Length(4), b"abc", 9), Ok(None));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_any_byte_is_kept() {
        let mut into = Vec::new();
        let refusal = Body::new(Framing::Length(MAX as u64 + 1)).feed(b"", &mut into, MAX).unwrap_err();
        assert_eq!((refusal.status, into.len()), (413, 0));
        assert_eq!(chunked(b"41\r\n"), Err(413));
        assert_eq!(chunked(b"2\r\nab\r\n3f\r\n"), Err(413));
        assert_eq!(chunked(b"ffffffffffffffff\r\n"), Err(413));
        assert_eq!(chunked(b"40\r\n"), Ok(None));
    }

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        for (text, body) in [
            (&b"0\r\n\r\n"[..], &b""[..]),
            (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET", b"abcde"),
            (b"00A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
            (b"2;x=\"y\";z\r\n\r\n\r\n0;a\r\n\r\n", b"\r\n"),
            (b"1\r\na\r\n0\r\nTrailer: x\r\nY: \tz\r\n\r\n", b"a"),
        ] {
            let (decoded, consumed) = chunked(text).unwrap().unwrap();
            assert_eq!(decoded, body);
            assert!(text[..consumed].ends_with(b"\r\n\r\n"));
            assert!(text[consumed..].is_empty() || &text[consumed..] == b"GET");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in [
            &b"\r\n"[..],
            b";x\r\n",
            b"g\r\n",
            b"+1\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"1\n",
            b"1\ra",
            b"1;x\n",
            b"1;\0",
            b"00000000000000001\r\n",
            b"1\r\nab",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"0\r\n\n",
            b"0\r\n\ra",
            b"0\r\nX: y\n",
            b"0\r\nX: y\ra",
        ] {
            assert_eq!(chunked(text), Err(400), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extended = |bytes: u16| format!("0;{}\r\n\r\n", "x".repeat(bytes.into()));
        assert!(chunked(extended(EXTENSION_BYTES_MAX).as_bytes()).unwrap().is_some());
        assert_eq!(chunked(extended(EXTENSION_BYTES_MAX + 1).as_bytes()), Err(400));
        let trailed = |lines: usize| format!("0\r\n{}\r\n", "X: y\r\n".repeat(lines));
        let lines_max = usize::from(TRAILER_BYTES_MAX) / 4;
        let status = |lines| {
            decode(Framing::Chunked, trailed(lines).as_bytes(), 999).map_err(|refusal| refusal.status)
        };
        assert!(status(lines_max).unwrap().is_some());
        assert_eq!(status(lines_max + 1), Err(400));
    }
}
