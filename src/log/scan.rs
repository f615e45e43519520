//! Walks through the records of one segment, in whatever state it is: what checks is a record, what does not is a hole
//! that ends at the next record that does. Reads ahead in pieces; used at start, for reading back, and by `courier log`.

use super::disk::{Disk, read_full};
use super::format::{self, ALIGN, Checked, RECORD_HEAD_BYTES};
use std::io;

/// Bytes of the first look ahead: enough for some events, where more are not wanted.
const FIRST_PIECE_BYTES: usize = 16 * 1024;
/// Bytes of later ones: long enough that a call costs little beside checking what it brings.
const PIECE_BYTES: usize = 256 * 1024;

/// What stands at a place.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'e> {
    /// A record that begins there.
    Record(u64, Checked<'e>),
    /// From here on up to there nothing checks, and not all of it is zero or a record follows.
    Hole {
        /// The first byte.
        from: u64,
        /// The first byte behind it.
        to: u64,
    },
    /// Nothing but zeros up to the end, or nothing at all.
    End,
}

/// A walk. Kept apart from disk and file, so that it can rest.
pub struct Scan {
    id: u64,
    /// Where the next look is.
    at: u64,
    /// Nothing is looked at from here on.
    end: u64,
    piece: Vec<u8>,
    piece_at: u64,
}

/// What [`Scan::step`] found, without what it says.
enum Step {
    Record { at: u64, length: usize },
    Hole { from: u64, to: u64 },
    End,
}

impl Scan {
    /// Begins at `at`, a place where a record may begin, and looks no further than `end`.
    #[must_use]
    pub fn new(id: u64, at: u64, end: u64) -> Scan {
        Scan { id, at, end, piece: Vec::new(), piece_at: at }
    }

    /// Finds what comes next.
    ///
    /// # Errors
    /// The disk's; the next call tries again.
    pub fn next<D: Disk>(&mut self, disk: &mut D, file: &D::File) -> io::Result<Found<'_>> {
        Ok(match self.step(disk, file)? {
            Step::End => Found::End,
            Step::Hole { from, to } => Found::Hole { from, to },
            Step::Record { at, length } => {
                let record = format::check(self.bytes(at, length), self.id, at);
                Found::Record(at, record.expect("it was checked in this step"))
            }
        })
    }

    fn step<D: Disk>(&mut self, disk: &mut D, file: &D::File) -> io::Result<Step> {
        let from = self.at;
        if let Some(length) = self.record_at(disk, file, from)? {
            self.at = from + (length as u64).next_multiple_of(ALIGN);
            return Ok(Step::Record { at: from, length });
        }
        let (mut at, mut written_to) = (from, None);
        while self.load(disk, file, at, ALIGN as usize)? > 0 {
            let (candidate, written) = self.skim(at);
            written_to = written.or(written_to);
            at = candidate;
            if format::begins(self.bytes(at, ALIGN as usize)) {
                if self.record_at(disk, file, at)?.is_some() {
                    self.at = at;
                    return Ok(Step::Hole { from, to: at });
                }
                at += ALIGN;
                written_to = Some(at);
            }
        }
        self.at = at;
        Ok(written_to.map_or(Step::End, |to| Step::Hole { from, to: to.min(self.end) }))
    }

    /// The next place in the piece, from `at` on, where a record may begin, or the piece's end; and the end of the last
    /// word before it that is not zero.
    fn skim(&self, at: u64) -> (u64, Option<u64>) {
        let mut written = None;
        for (word, place) in
            self.bytes(at, usize::MAX).chunks(ALIGN as usize).zip((at..).step_by(ALIGN as usize))
        {
            if format::begins(word) {
                return (place, written);
            }
            if word != &[0; ALIGN as usize][..word.len()] {
                written = Some(place + ALIGN);
            }
        }
        ((self.piece_at + self.piece.len() as u64).next_multiple_of(ALIGN), written)
    }

    /// The length of the record at `at`, if a whole one stands there.
    fn record_at<D: Disk>(&mut self, disk: &mut D, file: &D::File, at: u64) -> io::Result<Option<usize>> {
        self.load(disk, file, at, RECORD_HEAD_BYTES)?;
        let Some(length) = format::length(self.bytes(at, RECORD_HEAD_BYTES)) else { return Ok(None) };
        self.load(disk, file, at, length)?;
        Ok(format::check(self.bytes(at, length), self.id, at).map(|_| length))
    }

    /// Brings `wanted` bytes from `at` on into the piece, or what there is; answers how many are there.
    fn load<D: Disk>(&mut self, disk: &mut D, file: &D::File, at: u64, wanted: usize) -> io::Result<usize> {
        let piece_end = self.piece_at + self.piece.len() as u64;
        let left = self.end.saturating_sub(at);
        if at < self.piece_at || piece_end < at + left.min(wanted as u64) {
            let ahead = if self.piece.is_empty() { FIRST_PIECE_BYTES } else { PIECE_BYTES };
            self.piece.resize(left.min(ahead.max(wanted) as u64) as usize, 0);
            self.piece_at = at;
            let read = read_full(disk, file, at, &mut self.piece);
            self.piece.truncate(*read.as_ref().unwrap_or(&0));
            if read? < wanted {
                self.end = self.end.min(at + self.piece.len() as u64);
            }
        }
        Ok(self.bytes(at, wanted).len())
    }

    /// What was loaded from `at` on, at most `length` bytes.
    fn bytes(&self, at: u64, length: usize) -> &[u8] {
        let start = at.checked_sub(self.piece_at).map_or(self.piece.len(), |start| start as usize);
        let rest = self.piece.get(start..).unwrap_or_default();
        &rest[..rest.len().min(length)]
    }
}
