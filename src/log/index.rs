//! Which channels the log knows, how they were numbered, and about where their records stand. The places are sparse
//! and bounded: a run begins at a record of its channel and counts those that follow, and when there are too many runs,
//! every second one of each channel goes. Reading then looks through more of the file, and finds the same.

use crate::event::{Channel, Position};
use std::collections::{HashMap, VecDeque};

/// A channel gets a new run when its next record stands in another block of so many bytes: what is read at once anyway.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Numberings that are kept per channel; each comes from a stop that was not clean. Positions of older ones are not
/// known any more.
const EPOCHS_MAX: usize = 16;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment's number.
    pub segment: u32,
    /// Bytes from its start.
    pub at: u64,
}

/// Some records of one channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Of the first.
    pub place: Place,
    pub offset: u64,
    pub at_ms: u64,
    pub count: u32,
    /// Where the last one stands; another segment only after [`Track::halve`].
    pub last_segment: u32,
}

/// One numbering of a channel, as far as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its name.
    pub epoch: u32,
    /// The first offset that is there.
    pub first: u64,
    /// The last one.
    pub last: u64,
}

#[derive(Debug, Default)]
pub(super) struct Track {
    pub runs: VecDeque<Run>,
    /// The oldest first; never empty while there are runs.
    pub epochs: Vec<Epoch>,
    pub last_ms: u64,
    /// Where the last record stands.
    pub last_segment: u32,
}

impl Track {
    /// The run in which the first record stands that has at least this offset; the first run if all have.
    pub fn run_of_offset(&self, offset: u64) -> usize {
        self.runs.partition_point(|run| run.offset <= offset).saturating_sub(1)
    }

    /// The run in which to begin for what was taken at this time or later. Clocks may have gone back meanwhile: then more
    /// is looked at than needed, or what was taken by the earlier clock is left out.
    pub fn run_of_time(&self, since_ms: u64) -> usize {
        self.runs.partition_point(|run| run.at_ms < since_ms).saturating_sub(1)
    }

    fn add(&mut self, position: Position, at_ms: u64, place: Place) -> bool {
        self.last_segment = place.segment;
        self.last_ms = at_ms;
        self.number(position);
        let same = |run: &Run| {
            run.place.segment == place.segment && run.place.at / BLOCK_BYTES == place.at / BLOCK_BYTES
        };
        if let Some(run) = self.runs.back_mut().filter(|run| same(run)) {
            run.count += 1;
            return false;
        }
        let last_segment = place.segment;
        self.runs.push_back(Run { place, offset: position.offset, at_ms, count: 1, last_segment });
        true
    }

    fn number(&mut self, Position { epoch, offset }: Position) {
        match self.epochs.last_mut() {
            Some(last) if last.epoch == epoch => last.last = offset,
            _ => {
                if self.epochs.len() == EPOCHS_MAX {
                    self.epochs.remove(0);
                }
                self.epochs.push(Epoch { epoch, first: offset, last: offset });
            }
        }
    }

    /// Every second run goes, its records are counted to the one before. Answers how many went.
    fn halve(&mut self) -> usize {
        let before = self.runs.len();
        let mut kept: VecDeque<Run> = VecDeque::with_capacity(before.div_ceil(2));
        for (number, run) in self.runs.iter().enumerate() {
            match kept.back_mut() {
                Some(last) if number % 2 == 1 => {
                    last.count += run.count;
                    last.last_segment = run.last_segment;
                }
                _ => kept.push_back(*run),
            }
        }
        self.runs = kept;
        before - self.runs.len()
    }

    /// Nothing before this segment is there any more. Answers how many runs went, if that concerned the channel.
    fn forget_before(&mut self, segment: u32) -> Option<usize> {
        self.runs.front().filter(|run| run.place.segment < segment)?;
        let gone = self.runs.partition_point(|run| run.last_segment < segment);
        self.runs.drain(..gone);
        // One that reaches into what is left begins there; its first offset is known only as "at least this".
        if let Some(run) = self.runs.front_mut().filter(|run| run.place.segment < segment) {
            run.place = Place { segment, at: 0 };
        }
        let first = self.runs.front().map_or(u64::MAX, |run| run.offset);
        self.epochs.retain(|epoch| epoch.last >= first);
        if let Some(epoch) = self.epochs.first_mut() {
            epoch.first = epoch.first.max(first);
        }
        Some(gone)
    }
}

/// All channels.
pub(super) struct Index {
    tracks: HashMap<Channel, Track, foldhash::quality::RandomState>,
    runs: usize,
    runs_max: usize,
}

impl Index {
    pub fn new(runs_max: usize) -> Index {
        Index { tracks: HashMap::default(), runs: 0, runs_max }
    }

    /// Notes a record behind all that were noted before.
    pub fn add(&mut self, channel: &Channel, position: Position, at_ms: u64, place: Place) {
        let track = match self.tracks.get_mut(channel) {
            Some(track) => track,
            None => self.tracks.entry(channel.clone()).or_default(),
        };
        self.runs += usize::from(track.add(position, at_ms, place));
        if self.runs > self.runs_max.max(2 * self.tracks.len()) {
            self.runs -= self.tracks.values_mut().map(Track::halve).sum::<usize>();
        }
    }

    pub fn get(&self, channel: &str) -> Option<&Track> {
        self.tracks.get(channel)
    }

    /// Segments before this one are gone. Answers which channels lost something, and from which offset on they have
    /// the rest (one behind the last when nothing is left, and then the channel is forgotten).
    pub fn forget_before(&mut self, segment: u32) -> Vec<(Channel, u64)> {
        let mut trimmed = Vec::new();
        let runs = &mut self.runs;
        self.tracks.retain(|channel, track| {
            let last = track.epochs.last().map_or(0, |epoch| epoch.last);
            let Some(gone) = track.forget_before(segment) else { return true };
            *runs -= gone;
            trimmed.push((channel.clone(), track.runs.front().map_or(last + 1, |run| run.offset)));
            !track.runs.is_empty()
        });
        trimmed
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Channel, &Track)> {
        self.tracks.iter()
    }

    pub fn runs(&self) -> usize {
        self.runs
    }
}
