//! What a turn takes and gives back: empty vectors of events and empty queues, so that a subscriber that is sent to costs no
//! allocation.

use super::outbox::Outbox;
use super::parcel::Carried;

/// Empty turns, for crowds that have an event to send. A crowd has none of its own between its turns: one that was just
/// used is still in the core's cache, and a million quiet channels keep no memory for it.
#[derive(Default)]
pub(super) struct SpareTurns(Vec<Vec<Carried>>);

/// Turns that are kept: more crowds than a turn of the shard usually has events.
const SPARE_TURNS_MAX: usize = 1024;
/// Larger ones go back to the allocator, so that all that are kept take a few MiB at most.
const SPARE_TURN_EVENTS_MAX: usize = 64;

impl SpareTurns {
    pub fn take(&mut self) -> Vec<Carried> {
        self.0.pop().unwrap_or_default()
    }

    /// `turn` is empty.
    pub fn give(&mut self, turn: Vec<Carried>) {
        debug_assert!(turn.is_empty(), "it would be sent again");
        if self.0.len() < SPARE_TURNS_MAX && turn.capacity() <= SPARE_TURN_EVENTS_MAX {
            self.0.push(turn);
        }
    }
}

/// Empty queues, for members that are owed something until the turn ends. Between turns they have none, as crowds.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "the box is what a member has: it goes there as it is")]
pub(super) struct SpareOutboxes(Vec<Box<Outbox>>);

/// Queues that are kept: as many as one event usually goes into. They take half a MiB at most.
const SPARE_OUTBOXES_MAX: usize = 1024;
/// Longer ones go back to the allocator.
const SPARE_OUTBOX_ITEMS_MAX: usize = 8;

impl SpareOutboxes {
    pub fn take(&mut self) -> Box<Outbox> {
        self.0.pop().unwrap_or_default()
    }

    /// What of `outbox` is kept for another member is its memory alone.
    pub fn give(&mut self, mut outbox: Box<Outbox>) {
        let items = std::mem::take(&mut outbox.items);
        if self.0.len() < SPARE_OUTBOXES_MAX && items.is_empty() && items.capacity() <= SPARE_OUTBOX_ITEMS_MAX
        {
            *outbox = Outbox { items, ..Outbox::default() };
            self.0.push(outbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Bounds;
    use crate::hub::slow::RouterQueue;

    const NO_BOUNDS: Bounds = Bounds {
        events_max: 0,
        bytes_max: 0,
        control_bytes_max: 0,
        router: RouterQueue { max: 0, multi: false },
    };

    #[test]
    fn an_outbox_that_is_used_again_has_nothing_of_the_member_before() {
        let mut spares = SpareOutboxes::default();
        let mut used = spares.take();
        used.push_greeting(b"hello");
        used.push_control(b"pong", &NO_BOUNDS).expect("the first fits always");
        (used.blocked, used.dirty, used.parked, used.cut, used.counted) = (true, true, true, true, 7);
        used.items.clear();
        let room = used.items.capacity();
        spares.give(used);
        let again = spares.take();
        assert_eq!(again.items.capacity(), room);
        assert_eq!((again.ordered_from, again.counted, again.control_bytes()), (0, 0, 0));
        assert!(!again.blocked && !again.dirty && !again.parked && !again.cut);
    }

    #[test]
    fn an_outbox_that_holds_something_or_was_long_is_not_kept() {
        let mut spares = SpareOutboxes::default();
        let mut owed = spares.take();
        owed.push_greeting(b"hello");
        spares.give(owed);
        let mut long = spares.take();
        long.items.reserve(SPARE_OUTBOX_ITEMS_MAX + 1);
        spares.give(long);
        assert!(spares.0.is_empty());
    }
}
