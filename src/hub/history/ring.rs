//! The events of one channel that are kept: a row without holes, whose numbers follow from the first.

use crate::event::Event;
use std::collections::VecDeque;

struct Kept {
    event: Event,
    /// When it was numbered, in steady microseconds.
    taken_us: u64,
    /// The same in Unix milliseconds. The event knows it too, but lies where nobody has looked for long.
    at_ms: u64,
    /// What it was counted as.
    bytes: u32,
}

/// One channel's kept events, oldest first; never empty for longer than one call.
#[derive(Default)]
pub struct Ring {
    events: VecDeque<Kept>,
    /// The number of the first.
    first: u64,
}

/// One event that has left.
pub struct Popped {
    pub event: Event,
    pub at_ms: u64,
    pub bytes: u32,
}

impl Ring {
    /// Adds the event with this number, which follows the last one.
    pub fn push(&mut self, offset: u64, event: Event, taken_us: u64, bytes: u32) {
        if self.events.is_empty() {
            self.first = offset;
        }
        debug_assert!(offset == self.end(), "a row has no holes");
        let at_ms = event.at_ms();
        self.events.push_back(Kept { event, taken_us, at_ms, bytes });
    }

    /// Takes the oldest out.
    pub fn pop(&mut self) -> Option<Popped> {
        let Kept { event, at_ms, bytes, .. } = self.events.pop_front()?;
        self.first += 1;
        Some(Popped { event, at_ms, bytes })
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The number of the first event.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number behind the last event.
    pub fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// When the oldest was taken, in steady microseconds.
    pub fn oldest_us(&self) -> Option<u64> {
        self.events.front().map(|kept| kept.taken_us)
    }

    /// The events from this number on, with their numbers.
    pub fn from(&self, offset: u64) -> impl DoubleEndedIterator<Item = (u64, &Event)> {
        let skipped = offset.saturating_sub(self.first).min(self.events.len() as u64) as usize;
        let kept = self.events.iter().enumerate().skip(skipped);
        kept.map(|(at, kept)| (self.first + at as u64, &kept.event))
    }

    /// The number of the first event that the server took at this time or later, in Unix milliseconds. Clocks jump: what
    /// comes behind it may be older.
    pub fn since(&self, unix_ms: u64) -> u64 {
        let older = self.events.iter().take_while(|kept| kept.at_ms < unix_ms).count();
        self.first + older as u64
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
            ring.push(n, Event::new("{}", &Facts::default(), None, n * 10), n, 1);
        }
        assert_eq!((ring.first(), ring.end(), ring.len(), ring.oldest_us()), (5, 9, 4, Some(5)));
        let numbers = |from| ring.from(from).map(|(n, event)| (n, event.at_ms())).collect::<Vec<_>>();
        assert_eq!(numbers(7), [(7, 70), (8, 80)]);
        assert_eq!((numbers(0).len(), numbers(9).len(), numbers(u64::MAX).len()), (4, 0, 0));
        assert_eq!([0, 50, 51, 80, 81].map(|ms| ring.since(ms)), [5, 5, 6, 8, 9]);
        assert_eq!(ring.pop().map(|popped| popped.event.at_ms()), Some(50));
        assert_eq!((ring.first(), ring.end()), (6, 9));
    }
}
