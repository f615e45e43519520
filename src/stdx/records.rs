//! A queue of byte records of any length in one piece of memory that is used round and round: each record stands in one
//! piece. Beside each stands a word of the caller's, with its place: what must be known to let go of it, so that this
//! does not touch the record itself, which lies where nobody has looked for long.

use std::collections::VecDeque;

/// A queue with more than one record takes so much memory at least, so that its first few are not moved each time, and
/// gives none of that back before it goes.
const FEW_BYTES: usize = 1024;

/// Records, the oldest first.
#[derive(Debug, Default)]
pub struct Records<T> {
    /// As long as it was ever used; its capacity is what there is.
    memory: Vec<u8>,
    spans: VecDeque<Span<T>>,
    /// Where the next record goes, if there is room.
    tail: usize,
    /// Bytes of all records.
    used: usize,
}

/// Where a record stands. Four gigabytes are enough: see [`BYTES_MAX`].
#[derive(Clone, Copy, Debug)]
struct Span<T> {
    at: u32,
    len: u32,
    word: T,
}

/// The records of one queue may take so many bytes in all: with half as much room besides, 32 bits name each place.
pub const BYTES_MAX: usize = (4 << 30) / 3 * 2;

impl<T> Span<T> {
    fn range(self) -> std::ops::Range<usize> {
        self.at as usize..(self.at + self.len) as usize
    }
}

impl<T: Copy> Records<T> {
    /// Adds a record of so many bytes, more than 0, to be filled by the caller, and the word beside it.
    ///
    /// # Panics
    /// If all records together are larger than [`BYTES_MAX`].
    pub fn push(&mut self, len: usize, word: T) -> &mut [u8] {
        debug_assert!(len > 0, "an empty record has no place of its own");
        let at = self.room(len).unwrap_or_else(|| {
            self.resize(self.used + len);
            self.tail
        });
        if at + len > self.memory.len() {
            self.memory.resize(at + len, 0);
        }
        self.tail = at + len;
        self.used += len;
        self.spans.push_back(Span { at: at as u32, len: len as u32, word });
        &mut self.memory[at..at + len]
    }

    /// Where a record of so many bytes has room.
    fn room(&self, len: usize) -> Option<usize> {
        let end = self.memory.capacity();
        let Some(first) = self.spans.front() else { return (len <= end).then_some(0) };
        let head = first.at as usize;
        if self.tail <= head {
            return (len <= head - self.tail).then_some(self.tail);
        }
        if len <= end - self.tail { Some(self.tail) } else { (len <= head).then_some(0) }
    }

    /// Moves all records into memory that has room for so many bytes of them, and half as much besides, so that the next
    /// move is far.
    #[cold]
    #[inline(never)]
    fn resize(&mut self, bytes: usize) {
        assert!(bytes <= BYTES_MAX, "the caller keeps to the limit");
        let few = if self.spans.is_empty() { 0 } else { FEW_BYTES };
        let capacity = (bytes + bytes / 2).max(few);
        let head = self.spans.front().map_or(0, |span| span.at as usize);
        if head == 0 && self.tail == self.used && capacity > self.memory.capacity() {
            // A row that only grew: what stands there may stay.
            self.memory.truncate(self.tail);
            return self.memory.reserve_exact(capacity - self.tail);
        }
        let before = std::mem::replace(&mut self.memory, Vec::with_capacity(capacity));
        for span in &mut self.spans {
            let from = span.range();
            span.at = self.memory.len() as u32;
            self.memory.extend_from_slice(&before[from]);
        }
        self.tail = self.memory.len();
    }

    /// Forgets the oldest record: its length and its word.
    pub fn pop(&mut self) -> Option<(usize, T)> {
        let span = self.spans.pop_front()?;
        self.used -= span.len as usize;
        if self.used < self.memory.capacity() / 3 && self.memory.capacity() > FEW_BYTES {
            self.resize(self.used);
        }
        Some((span.len as usize, span.word))
    }

    /// The words, the oldest first.
    pub fn words(&self) -> impl Iterator<Item = T> {
        self.spans.iter().map(|span| span.word)
    }

    /// A record, counted from the oldest, and its word.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<(&[u8], T)> {
        self.spans.get(index).map(|span| (&self.memory[span.range()], span.word))
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of all records.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same records, each in memory of its own.
    #[derive(Default)]
    struct Both {
        records: Records<usize>,
        naive: VecDeque<Vec<u8>>,
    }

    impl Both {
        fn push(&mut self, len: usize, fill: u8) {
            self.records.push(len, len).fill(fill);
            self.naive.push_back(vec![fill; len]);
        }

        fn pop(&mut self) {
            let len = self.naive.pop_front().map(|record| record.len());
            assert_eq!(self.records.pop(), len.map(|len| (len, len)));
        }

        fn check(&self) {
            let all = (0..=self.naive.len())
                .map_while(|index| self.records.at(index).map(|(record, _)| record.to_vec()));
            assert_eq!(all.collect::<VecDeque<_>>(), self.naive);
            assert!(self.records.words().eq(self.naive.iter().map(Vec::len)));
            assert_eq!(self.records.used(), self.naive.iter().map(Vec::len).sum::<usize>());
        }
    }

    #[test]
    fn records_of_all_lengths_come_back_whatever_comes_and_goes() {
        let (mut both, mut dice) = (Both::default(), 7_u32);
        for step in 0..20_000_u32 {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // It grows for a while, and then shrinks, to nothing and again.
            let grows = dice >> 24 < if step / 2_000 % 2 == 0 { 150 } else { 90 };
            match grows {
                true => both.push(1 + (dice >> 8) as usize % 300, step as u8),
                false => both.pop(),
            }
            if step % 16 == 0 {
                both.check();
            }
            assert_eq!(both.records.len(), both.naive.len());
        }
    }

    #[test]
    fn a_full_queue_moves_no_more_and_one_that_empties_gives_memory_back() {
        let mut records = Records::default();
        (0..100).for_each(|_| records.push(168, ()).fill(1));
        let full = records.memory.as_ptr();
        for _ in 0..10_000 {
            records.pop().expect("it is full");
            records.push(168, ()).fill(2);
        }
        assert_eq!(full, records.memory.as_ptr());
        assert!(records.memory.capacity() <= 2 * records.used(), "{} bytes", records.memory.capacity());
        (0..95).for_each(|_| assert!(records.pop().is_some()));
        assert!(records.memory.capacity() <= FEW_BYTES.max(3 * records.used()));
        assert_eq!(records.at(4).map(|(record, _)| record[0]), Some(2));
    }
}
