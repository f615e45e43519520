//! What is too old or too much goes, a whole segment at a time, the oldest first.

use super::disk::Disk;
use super::segment::Segment;
use super::store::{Log, Options};
use crate::event::Channel;
use crate::stdx::clock::Now;
use std::io;

/// Longest batch that waits for more, in bytes: its memory is kept.
const BATCH_BYTES_MAX: u64 = 8 << 20;

impl<D: Disk> Log<D> {
    /// Whether the next batch is to be written, however much waits: a batch is in one segment, and the longer that is, the
    /// more goes with it.
    #[must_use]
    pub fn batch_is_full(&self) -> bool {
        self.batch_bytes() as u64 >= self.options.segment_bytes().min(BATCH_BYTES_MAX)
    }

    /// Removes the segments that are too old or too many. Answers which channels lost events, and from which offset on
    /// they have the rest. What a disk would not take when something was given up is told to it again.
    ///
    /// # Errors
    /// The disk's, when nothing was removed.
    pub fn retain(&mut self, now: Now) -> io::Result<Vec<(Channel, u64)>> {
        let Options { bytes_max, age_max_ms, .. } = self.options;
        let is_old = |segment: &Segment<D::File>| {
            age_max_ms > 0 && segment.newest_ms.saturating_add(age_max_ms) < now.unix_ms
        };
        self.say_given_up();
        if self.writing && self.segments.back().is_some_and(|last| last.records > 0 && is_old(last)) {
            self.roll(now)?;
        }
        let mut bytes = self.bytes();
        let first = self.segments.front().map(|segment| segment.header.number);
        let mut outcome = Ok(());
        while self.segments.len() > 1 {
            let too_long = bytes_max > 0 && bytes > bytes_max;
            let segment = self.segments.front().expect("there are two");
            if !too_long && !is_old(segment) {
                break;
            }
            outcome = self.disk.remove(&super::segment::name(segment.header.number));
            if outcome.is_err() {
                break;
            }
            bytes -= segment.bytes;
            self.segments.pop_front();
        }
        let left = self.segments.front().map(|segment| segment.header.number);
        if left == first {
            return outcome.map(|()| Vec::new());
        }
        // One that comes back after a power loss goes again.
        let _ = self.disk.sync_names();
        Ok(left.map(|left| self.index.forget_before(left)).unwrap_or_default())
    }
}
