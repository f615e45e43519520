//! The log at work: events go in, in batches that are written and synced together; full segments are closed, old ones
//! removed. A call does what it says and returns; when to sync is the caller's business. Opened by `recovery`, read by
//! `reading`.

use super::disk::Disk;
use super::format::{self, Entry, Record};
use super::header::Header;
use super::index::{Epoch, Index, Place};
use super::segment::Segment;
use crate::event::{Channel, Position};
use crate::stdx::clock::Now;
use std::collections::VecDeque;
use std::io;

/// After a segment could not be made, the next try waits so long: it writes a quarter of a MiB before it fails.
const RETRY_US: u64 = 200_000;

/// Smallest segment in bytes: its header's page, and some events.
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment ends before a batch that would make it longer, in bytes. One that is longer by itself has its own.
    pub segment_bytes: u64,
    /// The oldest segments go when all together are longer; 0: they may be.
    pub bytes_max: u64,
    /// A segment goes when its newest event is older, in milliseconds; 0: it stays.
    pub age_max_ms: u64,
    /// Nobody sees an event before it is synced.
    pub held: bool,
    /// Bound of the index; about 40 bytes each.
    pub runs_max: usize,
}

/// 40 MiB of index: at one run per 64 KiB and channel, 64 GiB of a log of one channel.
pub const RUNS_MAX: usize = 1 << 20;

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64 << 20, bytes_max: 0, age_max_ms: 0, held: false, runs_max: RUNS_MAX }
    }
}

impl Options {
    /// Four segments must fit, so that removing one leaves most of the history.
    pub(super) fn segment_bytes(&self) -> u64 {
        let share = if self.bytes_max == 0 { u64::MAX } else { self.bytes_max / 4 };
        self.segment_bytes.min(share).max(SEGMENT_BYTES_MIN)
    }
}

/// Where random numbers come from.
pub type Draw = Box<dyn FnMut() -> u64 + Send>;

/// An open log.
pub struct Log<D: Disk> {
    pub(super) disk: D,
    pub(super) options: Options,
    pub(super) draw: Draw,
    pub(super) index: Index,
    /// The oldest first.
    pub(super) segments: VecDeque<Segment<D::File>>,
    /// Whether the last segment is being written.
    pub(super) writing: bool,
    pub(super) next_number: u32,
    /// See [`Header::continues_from`].
    pub(super) continues_from: u32,
    /// No header says that yet: should the run end so, it would be forgotten.
    unsaid: bool,
    batch: Batch,
    retry_us: u64,
}

/// What was appended and not yet written.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    events: Vec<Noted>,
}

struct Noted {
    channel: Channel,
    position: Position,
    at_ms: u64,
    at: usize,
}

/// What the log knows of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub channel: Channel,
    /// Of its last event.
    pub last: Position,
    /// When that was taken, in Unix milliseconds.
    pub last_ms: u64,
    /// All its numberings of which there are records, the oldest first.
    pub epochs: Vec<Epoch>,
    /// Nobody can have seen a later position of this epoch: numbering may go on. Else it must go on with another epoch.
    pub continues: bool,
}

impl<D: Disk> Log<D> {
    pub(super) fn new(disk: D, options: Options, draw: Draw) -> Log<D> {
        Log {
            disk,
            draw,
            index: Index::new(options.runs_max),
            options,
            segments: VecDeque::new(),
            writing: false,
            next_number: 1,
            continues_from: 0,
            unsaid: false,
            batch: Batch::default(),
            retry_us: 0,
        }
    }

    /// Adds an event to the next batch. Positions of a channel grow, also from one epoch to the next.
    pub fn append(&mut self, channel: &Channel, entry: &Entry<'_>) {
        let Entry { position, at_ms, .. } = *entry;
        self.batch.events.push(Noted {
            channel: channel.clone(),
            position,
            at_ms,
            at: self.batch.bytes.len(),
        });
        format::encode(&Record::Event(*entry), &mut self.batch.bytes);
    }

    /// Bytes of the next batch.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        self.batch.bytes.len()
    }

    /// Writes what was appended, and syncs it if `sync`; only then is it read back.
    ///
    /// # Errors
    /// Nothing of the batch is stored, and it is forgotten; the next one may fare better (a full disk has space again).
    pub fn commit(&mut self, now: Now, sync: bool) -> io::Result<()> {
        if self.batch.events.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        let outcome = self.write(&mut batch, now, sync);
        if outcome.is_ok() {
            self.note(&batch);
        }
        batch.bytes.clear();
        batch.events.clear();
        self.batch = batch;
        outcome
    }

    fn write(&mut self, batch: &mut Batch, now: Now, sync: bool) -> io::Result<()> {
        let made = self.make_room(batch.bytes.len() as u64, now);
        let bytes_max = self.options.segment_bytes();
        let Log { segments, disk, .. } = self;
        let written = made.and_then(|()| {
            let segment = segments.back_mut().expect("there is room in it");
            segment.write(disk, &mut batch.bytes, bytes_max)
        });
        if let Err(error) = written {
            self.give_up(true);
            return Err(error);
        }
        let segment = self.segments.back_mut().expect("it was written");
        segment.wrote(batch.bytes.len());
        if sync && let Err(error) = segment.sync(&mut self.disk) {
            segment.end -= batch.bytes.len() as u64;
            self.give_up(true);
            return Err(error);
        }
        Ok(())
    }

    fn note(&mut self, batch: &Batch) {
        let segment = self.segments.back_mut().expect("it was written");
        let start = segment.end - batch.bytes.len() as u64;
        segment.records += batch.events.len() as u64;
        for noted in &batch.events {
            segment.newest_ms = segment.newest_ms.max(noted.at_ms);
            let place = Place { segment: segment.header.number, at: start + noted.at as u64 };
            self.index.add(&noted.channel, noted.position, noted.at_ms, place);
        }
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// Some of it may be lost; a new segment takes what comes.
    pub fn sync(&mut self) -> io::Result<()> {
        let Some(segment) = self.segments.back_mut().filter(|_| self.writing) else { return Ok(()) };
        let outcome = segment.sync(&mut self.disk);
        if outcome.is_err() {
            self.give_up(false);
        }
        outcome
    }

    /// Whether something was written that is not synced.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        !self.writing || self.segments.back().is_none_or(|segment| segment.synced == segment.end)
    }

    fn make_room(&mut self, bytes: u64, now: Now) -> io::Result<()> {
        if let Some(segment) = self.segments.back_mut().filter(|_| self.writing) {
            if segment.records == 0 || segment.end + bytes <= self.options.segment_bytes() {
                return Ok(());
            }
            segment.close(&mut self.disk, &Record::Sealed)?;
            self.writing = false;
        }
        self.begin_segment(now)
    }

    /// Makes the next segment.
    pub(super) fn begin_segment(&mut self, now: Now) -> io::Result<()> {
        if now.steady_us < self.retry_us {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let number = self.next_number;
        self.next_number += 1;
        let header = Header {
            number,
            id: (self.draw)(),
            made_ms: now.unix_ms,
            held: self.options.held,
            spoiled: false,
            continues_from: self.continues_from,
        };
        match Segment::create(&mut self.disk, header, self.options.segment_bytes()) {
            Ok(segment) => {
                self.segments.push_back(segment);
                (self.writing, self.unsaid) = (true, false);
                Ok(())
            }
            Err(error) => {
                self.retry_us = now.steady_us.saturating_add(RETRY_US);
                Err(error)
            }
        }
    }

    /// Something failed: the segment is not written to any more, because nobody knows what is in it behind its end
    /// (a failed sync may have thrown pages away and forgotten that). What was to be stored was or will be seen all the
    /// same, which the newest header says, if the disk still takes that, and the next one in any case.
    fn give_up(&mut self, cut: bool) {
        self.continues_from = self.next_number;
        self.unsaid = true;
        let Some(segment) = self.segments.back_mut() else { return };
        if std::mem::replace(&mut self.writing, false) {
            if cut {
                segment.cut(&mut self.disk);
            }
            // What the batches before it wrote may still be saved.
            let _ = segment.sync(&mut self.disk);
        }
        segment.file = None;
        self.say_given_up();
    }

    /// Notes in the newest header that something was given up, unless that was done, here or in a later one.
    pub(super) fn say_given_up(&mut self) {
        let Some(segment) = self.segments.back_mut().filter(|_| self.unsaid) else { return };
        self.unsaid = !segment.header.spoiled && segment.spoil(&mut self.disk).is_err();
        segment.file = None;
    }

    /// Closes the segment and begins the next.
    pub(super) fn roll(&mut self, now: Now) -> io::Result<()> {
        if let Some(segment) = self.segments.back_mut().filter(|_| self.writing) {
            self.writing = false;
            if let Err(error) = segment.close(&mut self.disk, &Record::Sealed) {
                self.writing = true;
                self.give_up(false);
                return Err(error);
            }
        }
        self.begin_segment(now)
    }

    /// Ends the log: all is synced, and unless something was lost meanwhile, numbering may go on from here.
    ///
    /// # Errors
    /// The disk's: what was not synced before may be lost, and numbering will begin anew.
    pub fn stop(mut self, now: Now) -> io::Result<()> {
        self.commit(now, true)?;
        if !self.writing {
            // Without a segment of this run the next one would take an earlier stop for this one's.
            self.begin_segment(Now { steady_us: u64::MAX, ..now })?;
        }
        let segment = self.segments.back_mut().expect("one is being written");
        segment.close(&mut self.disk, &Record::Stopped)
    }

    /// What is known of each channel.
    pub fn channels(&self) -> impl Iterator<Item = Known> {
        self.index.iter().map(|(channel, track)| {
            let last = track.epochs.last().expect("a channel is known by its records");
            Known {
                channel: channel.clone(),
                last: Position { epoch: last.epoch, offset: last.last },
                last_ms: track.last_ms,
                epochs: track.epochs.clone(),
                continues: track.last_segment >= self.continues_from,
            }
        })
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// How many segments there are.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// How many places the index keeps.
    #[must_use]
    pub fn index_runs(&self) -> usize {
        self.index.runs()
    }

    /// The disk, to look at.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }
}
