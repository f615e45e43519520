//! The events of one channel that are kept: a row without holes, whose numbers follow from the first. Small ones stand
//! in the row itself as bytes, one behind the other; the others are handles, and so are those that somebody asked for
//! who is likely not the only one.

use crate::event::{Event, Marks};
use crate::stdx::records::Records;
use std::collections::VecDeque;

/// One channel's kept events, oldest first; never empty for longer than one call.
#[derive(Default)]
pub struct Ring {
    /// Each event's [`Head`], and behind it its frame unless it is a handle. Beside it, when it was numbered, in Unix
    /// milliseconds.
    records: Records<u64>,
    /// While there is one among them.
    handles: Option<Box<Handles>>,
    /// The number of the first.
    first: u64,
}

/// The events that are handles.
#[derive(Default)]
struct Handles {
    /// One for each event of the row.
    row: VecDeque<Option<Handle>>,
    /// How many there are.
    count: usize,
}

struct Handle {
    event: Event,
    /// What it was counted as, with the copy that is in the row besides.
    bytes: u32,
}

struct Head {
    /// When it was numbered, in steady microseconds.
    taken_us: u64,
    marks: Marks,
}

const HEAD_BYTES: usize = 24;

impl Head {
    fn write(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&self.taken_us.to_ne_bytes());
        head[8..17].copy_from_slice(&self.marks);
        head
    }

    fn read(record: &[u8]) -> Head {
        let within = "each record has a head";
        let taken_us = u64::from_ne_bytes(*record.first_chunk().expect(within));
        Head { taken_us, marks: *record[8..].first_chunk().expect(within) }
    }
}

/// A row of that many bytes takes no more copies, only handles, so that it stays below what [`Records`] take, with as
/// many heads as a channel may have.
const COPIED_BYTES_MAX: usize = 2 << 30;

/// One event that has left.
pub struct Popped {
    /// If it was a handle.
    pub event: Option<Event>,
    pub at_ms: u64,
    pub bytes: u32,
}

impl Ring {
    /// What an event counts as when it is kept: the memory that it takes, about, in bytes.
    #[inline]
    pub fn cost(event: &Event) -> usize {
        match event.pack() {
            Some((_, frame)) => Ring::cost_of_record(HEAD_BYTES + frame.len()),
            None => event.footprint(),
        }
    }

    /// With its place and the half of room that the row keeps for what comes.
    fn cost_of_record(len: usize) -> usize {
        len / 2 * 3 + 32
    }

    /// Adds the event with this number, which follows the last one.
    pub fn push(&mut self, offset: u64, event: &Event, taken_us: u64) {
        if self.is_empty() {
            self.first = offset;
        }
        debug_assert!(offset == self.end(), "a row has no holes");
        let packed = event.pack().filter(|_| self.records.used() < COPIED_BYTES_MAX);
        let (marks, frame) = packed.unwrap_or_default();
        let record = self.records.push(HEAD_BYTES + frame.len(), event.at_ms());
        record[..HEAD_BYTES].copy_from_slice(&Head { taken_us, marks }.write());
        record[HEAD_BYTES..].copy_from_slice(frame);
        if packed.is_none() {
            self.set_handle(self.len() - 1, event.clone(), Ring::cost(event) as u32);
        } else if let Some(handles) = &mut self.handles {
            handles.row.push_back(None);
        }
    }

    #[inline(never)]
    fn set_handle(&mut self, index: usize, event: Event, bytes: u32) {
        let handles = self.handles.get_or_insert_default();
        handles.row.resize_with(self.records.len(), || None);
        handles.count += 1;
        handles.row[index] = Some(Handle { event, bytes });
    }

    #[inline(never)]
    fn pop_handle(&mut self) -> Option<Handle> {
        let handles = self.handles.as_mut()?;
        let handle = handles.row.pop_front()?;
        handles.count -= usize::from(handle.is_some());
        if handles.count == 0 && !handles.row.is_empty() {
            self.handles = None;
        }
        handle
    }

    /// Takes the oldest out.
    pub fn pop(&mut self) -> Option<Popped> {
        let (len, at_ms) = self.records.pop()?;
        self.first += 1;
        let handle = if self.handles.is_some() { self.pop_handle() } else { None };
        Some(match handle {
            Some(Handle { event, bytes }) => Popped { event: Some(event), at_ms, bytes },
            None => Popped { event: None, at_ms, bytes: Ring::cost_of_record(len) as u32 },
        })
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The number of the first event.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number behind the last event.
    pub fn end(&self) -> u64 {
        self.first + self.len() as u64
    }

    /// When the oldest was taken, in steady microseconds.
    pub fn oldest_us(&self) -> Option<u64> {
        self.records.at(0).map(|(record, _)| Head::read(record).taken_us)
    }

    fn index(&self, offset: u64) -> usize {
        offset.saturating_sub(self.first).min(self.len() as u64) as usize
    }

    /// The events from this number on, with their numbers.
    pub fn from(&self, offset: u64) -> impl DoubleEndedIterator<Item = (u64, Event)> {
        (self.index(offset)..self.len()).map(|index| (self.first + index as u64, self.event(index)))
    }

    fn handle(&self, index: usize) -> Option<&Handle> {
        self.handles.as_ref()?.row.get(index)?.as_ref()
    }

    fn event(&self, index: usize) -> Event {
        if let Some(handle) = self.handle(index) {
            return handle.event.clone();
        }
        let (record, at_ms) = self.records.at(index).expect("within the row");
        Event::unpack(Head::read(record).marks, &record[HEAD_BYTES..], at_ms)
    }

    /// The event with this number, from now on a handle: what is rendered of it serves all who ask for it. Answers also
    /// how many bytes more it counts as.
    pub fn share(&mut self, offset: u64) -> Option<(Event, u64)> {
        let index = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        let len = self.records.at(index)?.0.len();
        let event = self.event(index);
        if self.handle(index).is_some() {
            return Some((event, 0));
        }
        let more = event.footprint();
        self.set_handle(index, event.clone(), (Ring::cost_of_record(len) + more) as u32);
        Some((event, more as u64))
    }

    /// The number of the first event that the server took at this time or later, in Unix milliseconds. Clocks jump: what
    /// comes behind it may be older.
    pub fn since(&self, unix_ms: u64) -> u64 {
        self.first + self.records.words().take_while(|at_ms| *at_ms < unix_ms).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Facts;

    #[test]
    fn numbers_follow_from_the_first_and_times_find_their_event() {
        let mut ring = Ring::default();
        for n in 5..9 {
            ring.push(n, &Event::new("{}", &Facts::default(), None, n * 10), n);
        }
        assert_eq!((ring.first(), ring.end(), ring.len(), ring.oldest_us()), (5, 9, 4, Some(5)));
        let numbers = |from| ring.from(from).map(|(n, event)| (n, event.at_ms())).collect::<Vec<_>>();
        assert_eq!(numbers(7), [(7, 70), (8, 80)]);
        assert_eq!((numbers(0).len(), numbers(9).len(), numbers(u64::MAX).len()), (4, 0, 0));
        assert_eq!([0, 50, 51, 80, 81].map(|ms| ring.since(ms)), [5, 5, 6, 8, 9]);
        assert_eq!(ring.pop().map(|popped| popped.at_ms), Some(50));
        assert_eq!((ring.first(), ring.end()), (6, 9));
    }

    /// What each event of the row is: a handle, or bytes.
    fn handles(ring: &Ring) -> Vec<bool> {
        (0..ring.len()).map(|index| ring.handle(index).is_some()).collect()
    }

    #[test]
    fn small_events_are_bytes_until_somebody_shares_them_and_large_ones_handles() {
        let (small, large) = (r#"{"n":1}"#.to_owned(), format!(r#"{{"n":"{}"}}"#, "x".repeat(2_000)));
        let mut ring = Ring::default();
        for (n, text) in [&small, &large, &small, &small].into_iter().enumerate() {
            let event = Event::new(text, &Facts::read(text).unwrap(), None, n as u64);
            ring.push(n as u64, &event, 0);
        }
        assert_eq!(handles(&ring), [false, true, false, false]);
        assert!(ring.from(0).map(|(_, event)| event.text().len()).eq([7, 2_008, 7, 7]));
        let (first, more) = ring.share(2).unwrap();
        let (again, no_more) = ring.share(2).unwrap();
        assert!(std::ptr::eq(first.text(), again.text()), "one event for all");
        assert_eq!((more, no_more), (first.footprint() as u64, 0));
        assert_eq!((ring.share(1).unwrap().1, ring.share(4).is_none()), (0, true));
        assert_eq!(handles(&ring), [false, true, true, false]);
        let popped: Vec<_> = std::iter::from_fn(|| ring.pop()).collect();
        let counted = Ring::cost(&first) as u32;
        assert!(popped.iter().map(|one| one.event.is_some()).eq([false, true, true, false]));
        assert_eq!((popped[2].bytes, popped[3].bytes), (counted + more as u32, counted));
        assert!(ring.handles.is_none());
    }
}
