//! What the place from which a subscriber wants a channel's events means: which of them are there, and which are lost.

use super::super::channels::{Channels, Owned};
use crate::event::Position;
use crate::metrics::Counters;

/// From where on a subscriber wants the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// From the join on, but not before [`super::super::Hub::begin`]: nothing comes in between.
    Join,
    /// From the first event on that the server took at this time or later, in Unix milliseconds.
    Since(u64),
    /// What comes behind this one.
    After(Position),
}

/// What of the past a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Nothing is missing between what it named and the moment of the join.
    pub recovered: bool,
    /// How many events are kept from there on, before filters.
    pub replayed: u32,
    /// The first and the last event that are missing, or may be.
    pub lost: Option<(Position, Position)>,
    /// The number of the first event that it gets.
    pub(in super::super) next: u64,
    /// The time that it named: what the log has of it is found by that.
    pub(in super::super) since_ms: Option<u64>,
    /// It catches up before it hears what is live.
    pub(in super::super) behind: bool,
}

impl Channels {
    /// What a subscriber that joins now gets of the past.
    pub fn resolve(&mut self, slot: u32, from: From, now_us: u64, counters: &mut Counters) -> Recovery {
        self.trim_now(slot, now_us, counters);
        let owned = self.at(slot);
        let (wanted, missing, lost) = match from {
            From::Join => (owned.position.offset + 1, false, None),
            From::Since(unix_ms) => owned.since(unix_ms),
            From::After(position) => owned.after(position),
        };
        let next = wanted.max(owned.kept_from());
        Recovery {
            recovered: !missing,
            replayed: u32::try_from(owned.position.offset + 1 - next).unwrap_or(u32::MAX),
            lost,
            next,
            since_ms: if let From::Since(unix_ms) = from { Some(unix_ms) } else { None },
            behind: (owned.keep > 0 || owned.durable.is_some())
                && (from == From::Join || next.min(owned.kept_from()) <= owned.position.offset),
        }
    }
}

impl Owned {
    /// The number behind a position, whether anything is missing from there on, and what.
    fn after(&self, position: Position) -> (u64, bool, Option<(Position, Position)>) {
        let kept_from = self.kept_from();
        if let Some(earlier) = self.earlier(position.epoch).filter(|_| position.epoch != self.position.epoch)
        {
            // What it has seen beyond that was lost with the power, and who knows what else.
            let next = position.offset.min(earlier.last) + 1;
            let missing = position.offset > earlier.last || next < kept_from;
            let lost = (next < kept_from).then(|| (self.place(next), self.place(kept_from - 1)));
            return (next, missing, lost);
        }
        if position.epoch != self.position.epoch {
            // Another life of the channel: all of this one came later, and what else there was nobody knows.
            let first = Position { offset: position.offset.saturating_add(1), ..position };
            return (kept_from, true, Some((first, self.place(kept_from - 1))));
        }
        if position.offset >= self.position.offset {
            // One of the future was never given out.
            return (self.position.offset + 1, position.offset > self.position.offset, None);
        }
        let (next, missing) = (position.offset + 1, position.offset + 1 < kept_from);
        (next, missing, missing.then(|| (self.place(next), self.place(kept_from - 1))))
    }

    /// The number of the first event of a time, whether anything may be missing from there on, and what.
    fn since(&self, unix_ms: u64) -> (u64, bool, Option<(Position, Position)>) {
        let kept_from = self.kept_from();
        let next = self.ring.as_ref().map_or(kept_from, |ring| ring.since(unix_ms));
        // The log knows the times of what it has.
        if self.trimmed_ms >= unix_ms && kept_from < self.memory_from() {
            return (self.memory_from(), kept_from > 1, None);
        }
        let missing = self.trimmed_ms >= unix_ms;
        // Which of those before came at that time is forgotten with them.
        (next, missing, (missing && kept_from > 1).then(|| (self.place(1), self.place(kept_from - 1))))
    }
}
