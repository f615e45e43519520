//! UTF-8 that comes in pieces: fails at the first byte that no continuation can mend.

/// Bytes of the longest character.
const CHARACTER_BYTES_MAX: usize = 4;

/// A character that the last piece cut short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Utf8 {
    pending: [u8; CHARACTER_BYTES_MAX - 1],
    pending_bytes: u8,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

impl Utf8 {
    /// Takes the next piece of the text.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), NotUtf8> {
        let rest = self.complete_pending(piece)?;
        if let Err(error) = str::from_utf8(rest) {
            if error.error_len().is_some() {
                return Err(NotUtf8);
            }
            self.keep(&rest[error.valid_up_to()..]);
        }
        Ok(())
    }

    /// No character is cut short: the text may end here.
    pub fn is_complete(self) -> bool {
        self.pending_bytes == 0
    }

    /// Adds bytes to the pending character until it is whole. Answers what is left of the piece.
    fn complete_pending<'p>(&mut self, mut piece: &'p [u8]) -> Result<&'p [u8], NotUtf8> {
        while let (false, Some((&byte, rest))) = (self.is_complete(), piece.split_first()) {
            let pending_bytes = usize::from(self.pending_bytes);
            let mut character = [0; CHARACTER_BYTES_MAX];
            character[..pending_bytes].copy_from_slice(&self.pending[..pending_bytes]);
            character[pending_bytes] = byte;
            match str::from_utf8(&character[..=pending_bytes]) {
                Ok(_) => self.pending_bytes = 0,
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                Err(_) => self.keep(&character[..=pending_bytes]),
            }
            piece = rest;
        }
        Ok(piece)
    }

    /// `from_utf8` calls at most three bytes incomplete: a fourth ends or breaks any character.
    fn keep(&mut self, bytes: &[u8]) {
        self.pending[..bytes.len()].copy_from_slice(bytes);
        self.pending_bytes = bytes.len() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed_in_pieces(bytes: &[u8], piece_bytes: usize) -> Result<bool, NotUtf8> {
        let mut utf8 = Utf8::default();
        for piece in bytes.chunks(piece_bytes) {
            utf8.feed(piece)?;
        }
        Ok(utf8.is_complete())
    }

    #[test]
    fn every_character_is_valid_in_pieces_of_any_size() {
        let all = (0..=0x10_ffff).filter_map(char::from_u32).collect::<String>();
        for piece_bytes in [1, 3, 5] {
            assert_eq!(fed_in_pieces(all.as_bytes(), piece_bytes), Ok(true));
        }
    }

    /// Every boundary of the table in RFC 3629 4, at each of four places.
    #[test]
    fn every_sequence_is_judged_as_by_the_standard_library() {
        const EDGES: &[u8] = b"\x00\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xff";
        let edge = |number: usize, place: u32| EDGES[number / EDGES.len().pow(place) % EDGES.len()];
        for number in 0..EDGES.len().pow(4) {
            let bytes = [0, 1, 2, 3].map(|place| edge(number, place));
            let whole = match str::from_utf8(&bytes) {
                Ok(_) => Ok(true),
                Err(error) if error.error_len().is_none() => Ok(false),
                Err(_) => Err(NotUtf8),
            };
            assert_eq!(fed_in_pieces(&bytes, 1), whole, "{bytes:x?}");
        }
    }
}
