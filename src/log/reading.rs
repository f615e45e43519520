//! Reads events of one channel back, a piece at a time: finds the run by the index, looks through the segments from there,
//! and hands out what checks. What is damaged or gone is left out; the caller sees that by the offsets.

use super::disk::Disk;
use super::format::{Entry, RECORDS_AT, Record};
use super::index::{Place, Run};
use super::scan::{Found, Scan};
use super::segment;
use super::store::Log;
use std::io;

/// After so many bytes of the log a read ends, if it has found something: others wait for the same thread.
const LOOK_BYTES_MAX: u64 = 1 << 20;

/// From where on events are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// This offset, whatever the epoch.
    Offset(u64),
    /// The first that was taken at this time or later, in Unix milliseconds.
    Since(u64),
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// From here on.
    pub from: From,
    /// Up to this offset, which is not wanted itself.
    pub below: u64,
    /// At most so many.
    pub events_max: usize,
    /// At most so many bytes of text, but one event at least.
    pub bytes_max: usize,
}

/// A read under way.
struct Reading<'r> {
    channel: &'r str,
    wanted: Wanted,
    events: usize,
    bytes: usize,
    looked: u64,
}

/// What became of a run.
enum Ran {
    /// Its records were all seen.
    On,
    /// Enough: a further read begins at this offset.
    Enough(u64),
}

impl<D: Disk> Log<D> {
    /// Hands out events of a channel, the oldest first. Answers the offset from which a further read goes on: `below` when
    /// there is nothing more before it.
    ///
    /// # Errors
    /// The disk's: a segment cannot be read. What was handed out before is good.
    pub fn read(
        &mut self,
        channel: &str,
        wanted: Wanted,
        mut each: impl FnMut(&Entry<'_>),
    ) -> io::Result<u64> {
        let Some(track) = self.index.get(channel) else { return Ok(wanted.below) };
        let begin = match wanted.from {
            From::Offset(offset) => track.run_of_offset(offset),
            From::Since(since_ms) => track.run_of_time(since_ms),
        };
        let runs: Vec<Run> = track.runs.iter().skip(begin).take(RUNS_PER_READ).copied().collect();
        let more = track.runs.get(begin + runs.len()).map(|run| run.offset);
        let mut reading = Reading { channel, wanted, events: 0, bytes: 0, looked: 0 };
        for (number, run) in runs.iter().enumerate() {
            let end = runs.get(number + 1).map(|next| next.place);
            if let Ran::Enough(next) = self.read_run(run, end, &mut reading, &mut each)? {
                return Ok(next);
            }
        }
        Ok(more.map_or(wanted.below, |offset| offset.min(wanted.below)))
    }

    fn read_run(
        &mut self,
        run: &Run,
        end: Option<Place>,
        reading: &mut Reading<'_>,
        each: &mut impl FnMut(&Entry<'_>),
    ) -> io::Result<Ran> {
        let mut left = run.count;
        let first = self.segments.partition_point(|segment| segment.header.number < run.place.segment);
        for at in first..self.segments.len() {
            let number = self.segments[at].header.number;
            if left == 0 || number > run.last_segment {
                break;
            }
            let start = if number == run.place.segment { run.place.at.max(RECORDS_AT) } else { RECORDS_AT };
            let stop = end.filter(|end| end.segment == number).map_or(u64::MAX, |end| end.at);
            if let Ran::Enough(next) = self.read_segment(at, (start, stop), &mut left, reading, each)? {
                return Ok(Ran::Enough(next));
            }
        }
        Ok(Ran::On)
    }

    fn read_segment(
        &mut self,
        at: usize,
        (start, stop): (u64, u64),
        left: &mut u32,
        reading: &mut Reading<'_>,
        each: &mut impl FnMut(&Entry<'_>),
    ) -> io::Result<Ran> {
        let opened = self.open_segment(at)?;
        let segment = &self.segments[at];
        let file = opened.as_ref().or(segment.file.as_ref()).expect("it was opened if it was not open");
        let mut scan = Scan::new(segment.header.id, start, segment.end.min(stop));
        while *left > 0 {
            let checked = match scan.next(&mut self.disk, file)? {
                Found::Record(_, checked) => checked,
                Found::Hole { .. } => continue,
                Found::End => break,
            };
            reading.looked += checked.bytes;
            if let Record::Event(entry) = checked.record
                && entry.channel == reading.channel
            {
                *left -= 1;
                if let Some(next) = reading.take(&entry, each) {
                    return Ok(Ran::Enough(next));
                }
            }
        }
        Ok(Ran::On)
    }

    /// Opens a segment for one read, unless it is open because it is written.
    fn open_segment(&mut self, at: usize) -> io::Result<Option<D::File>> {
        let segment = &self.segments[at];
        match segment.file {
            Some(_) => Ok(None),
            None => self.disk.open(&segment::name(segment.header.number)).map(Some),
        }
    }
}

/// Runs that one read looks at: each brings at least one event, and a read is one of 64 events at most.
const RUNS_PER_READ: usize = 128;

impl Reading<'_> {
    /// Hands an event out if it is wanted. Answers where to go on if this read is over.
    fn take(&mut self, entry: &Entry<'_>, each: &mut impl FnMut(&Entry<'_>)) -> Option<u64> {
        let Wanted { from, below, events_max, bytes_max } = self.wanted;
        let offset = entry.position.offset;
        if offset >= below {
            return Some(below);
        }
        let early = match from {
            From::Offset(first) => offset < first,
            From::Since(since_ms) => entry.at_ms < since_ms && self.events == 0,
        };
        if early {
            return None;
        }
        let full = self.events == events_max
            || self.bytes + entry.text.len() > bytes_max
            || self.looked > LOOK_BYTES_MAX;
        if full && self.events > 0 {
            return Some(offset);
        }
        each(entry);
        self.events += 1;
        self.bytes += entry.text.len();
        None
    }
}
