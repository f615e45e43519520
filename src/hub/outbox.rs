//! What one connection is still owed: a bounded queue of shared event frames and of its own control frames, in
//! the order in which they go onto the wire. Most connections have none: it exists only while something waits.
//! Called by the pump; how it empties is in `sending`, what happens when it is full in `slow`.

use super::item::Item;
use super::members::Badge;
use super::parcel::Parcel;
use super::slow::{BANDS, RouterQueue, Slow, band};
use crate::event::Priority;
use std::collections::VecDeque;
use std::rc::Rc;

/// The bounds of one connection's queue (contract 10).
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events that may wait.
    pub events_max: usize,
    /// Bytes of events that may wait; a single larger event passes through an empty queue.
    pub bytes_max: usize,
    /// Bytes of control frames that may wait: answers to a peer that asks and does not read.
    pub control_bytes_max: usize,
    /// Instead of the first two, for events that come under the router's rule.
    pub router: RouterQueue,
}

/// The queue does not take another frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// One connection's queue.
#[derive(Default)]
pub struct Outbox {
    pub(super) items: VecDeque<Item>,
    pub(super) events: usize,
    pub(super) event_bytes: usize,
    pub(super) control_bytes: usize,
    /// Bytes of the first item that are on the wire already.
    pub(super) sent: usize,
    /// Some event is not NORMAL: each new one is put where its priority belongs.
    pub(super) mixed: bool,
    /// Where the part that is ordered by priority begins: behind the last control frame, which nothing passes.
    pub(super) ordered_from: usize,
    /// Events that may expire.
    pub(super) mortals: usize,
    /// Events under the router's rule, by band of priority.
    pub(super) bands: [u32; BANDS],
    /// The last send was cut short: wait for writability before the next.
    pub(super) blocked: bool,
    /// Listed for the flush at the end of the turn.
    pub(super) dirty: bool,
    /// A subscription that catches up waits for room, until a flush lists all that do.
    pub(super) parked: bool,
    /// Given up: takes no more events.
    pub(super) cut: bool,
    /// No event that waits is replaced by a later one (`conflating`); unset: that is not known.
    pub(super) latest_only: bool,
    /// Bytes of events that are counted as waiting for the socket (`backlog`).
    pub(super) counted: u64,
}

impl Outbox {
    /// Puts an event behind those that are no less urgent, for the subscription of this tag.
    ///
    /// # Errors
    /// [`Full`] when it does not fit the bounds; the event is not taken.
    pub fn push(
        &mut self,
        parcel: &Rc<Parcel>,
        tag: u32,
        label: Option<&Rc<Badge>>,
        bounds: &Bounds,
    ) -> Result<(), Full> {
        if self.cut || !self.has_room(parcel, bounds) {
            return Err(Full);
        }
        self.latest_only = false;
        if parcel.is_plain() && !self.mixed && label.is_none() {
            self.events += 1;
            self.event_bytes += parcel.len();
            self.items.push_back(Item::Event { parcel: parcel.clone(), tag });
        } else {
            self.add(Item::event(parcel, tag, label));
        }
        Ok(())
    }

    /// Puts an event that the crowd's turn has vouched for: a direct subscriber's share of a turn is within the
    /// bounds, because the turn is.
    pub(super) fn append(&mut self, parcel: &Rc<Parcel>, tag: u32) {
        self.latest_only = false;
        self.add(Item::event(parcel, tag, None));
    }

    pub(super) fn add(&mut self, item: Item) {
        let (parcel, _) = item.parcel().expect("only events are added");
        self.events += 1;
        self.event_bytes += item.len();
        if parcel.is_plain() && !self.mixed {
            return self.items.push_back(item);
        }
        let priority = parcel.priority();
        if parcel.slow() == Slow::Router {
            self.bands[band(priority)] += 1;
        }
        self.mortals += usize::from(parcel.is_mortal());
        if matches!(item, Item::Tracked { .. }) {
            // Its id says that all before it has come.
            self.items.push_back(item);
            self.ordered_from = self.items.len();
            return;
        }
        self.mixed |= priority != Priority::NORMAL;
        let at = self.place_of(priority);
        self.items.insert(at, item);
    }

    /// Behind which items an event of this priority goes. What has begun is passed by nobody.
    fn place_of(&self, priority: Priority) -> usize {
        let (mut low, mut high) = (self.ordered_from.max(usize::from(self.sent > 0)), self.items.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.items[middle].parcel() {
                Some((parcel, _)) if parcel.priority() < priority => high = middle,
                _ => low = middle + 1,
            }
        }
        low
    }

    /// Takes an item out, of which nothing is on the wire.
    pub(super) fn take(&mut self, at: usize) -> Item {
        let item = self.items.remove(at).expect("found by the caller");
        self.ordered_from -= usize::from(at < self.ordered_from);
        self.discount(&item);
        item
    }

    /// An item is not in the queue any more.
    #[inline]
    pub(super) fn discount(&mut self, item: &Item) {
        match item {
            Item::Control(bytes) | Item::Gap(bytes) => self.control_bytes -= bytes.len(),
            Item::Greeting(_) => {}
            Item::Event { parcel, .. } | Item::Labelled { parcel, .. } | Item::Tracked { parcel, .. } => {
                self.events -= 1;
                self.event_bytes -= item.len();
                if !parcel.is_plain() {
                    self.mortals -= usize::from(parcel.is_mortal());
                    self.bands[band(parcel.priority())] -= u32::from(parcel.slow() == Slow::Router);
                }
            }
        }
    }

    /// Puts a control frame at the end; exempt from the event bounds, within its own.
    ///
    /// # Errors
    /// [`Full`] when too many control bytes wait; the frame is not taken.
    pub fn push_control(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<(), Full> {
        if self.control_bytes > 0 && self.control_bytes + bytes.len() > bounds.control_bytes_max {
            return Err(Full);
        }
        self.push_last(bytes);
        Ok(())
    }

    /// Puts what opens the socket into an empty queue; what it may hold was bounded where the answers were.
    pub(super) fn push_greeting(&mut self, bytes: &[u8]) {
        debug_assert!(self.items.is_empty(), "a socket opens before anything is sent on it");
        self.items.push_back(Item::Greeting(bytes.into()));
        self.ordered_from = 1;
    }

    /// Whether it is held back until its greeting may go, or that has found no room yet.
    pub(super) fn is_corked(&self) -> bool {
        self.blocked && self.sent == 0 && matches!(self.items.front(), Some(Item::Greeting(_)))
    }

    /// Puts another greeting in place of everything, of which nothing is sent yet; of the first one so many bytes stay.
    pub(super) fn regreet(&mut self, kept: usize, bytes: &[u8]) {
        debug_assert!(self.sent == 0, "a corked queue sends nothing");
        let mut greeting = match self.items.pop_front() {
            Some(Item::Greeting(first)) => first[..kept].to_vec(),
            _ => Vec::new(),
        };
        greeting.extend_from_slice(bytes);
        let Outbox { blocked, dirty, cut, counted, .. } = *self;
        *self = Outbox { blocked, dirty, cut, counted, ..Outbox::default() };
        self.push_greeting(&greeting);
    }

    /// Puts a frame that tells of a loss before every event that has not begun; it needs no bound, as there is one per
    /// loss that is told, and those are bounded where they are kept.
    pub(super) fn push_gap(&mut self, bytes: &[u8]) {
        let begun = usize::from(self.sent > 0);
        let control = self.items.iter().skip(begun).take_while(|item| item.parcel().is_none()).count();
        let at = begun + control;
        self.control_bytes += bytes.len();
        self.items.insert(at.min(self.items.len()), Item::Gap(bytes.into()));
        self.ordered_from = (self.ordered_from + 1).max(at + 1);
    }

    /// Puts the last frame at the end: there is one per connection, so it needs no bound.
    pub(super) fn push_last(&mut self, bytes: &[u8]) {
        self.control_bytes += bytes.len();
        self.items.push_back(Item::Control(bytes.into()));
        self.ordered_from = self.items.len();
    }

    /// Notes that `bytes` of the first item went out already.
    pub(super) fn mark_sent(&mut self, bytes: usize) {
        debug_assert!(self.items.front().is_some_and(|item| bytes < item.len()));
        self.sent = bytes;
    }

    /// Drops everything but a frame that is half on the wire (the stream would break without its rest), a greeting, and
    /// what tells of earlier losses. Answers how many events were dropped.
    pub fn give_up(&mut self) -> usize {
        self.cut = true;
        let before = self.events;
        let begun = self.sent > 0 || matches!(self.items.front(), Some(Item::Greeting(_)));
        for at in (usize::from(begun)..self.items.len()).rev() {
            if !matches!(self.items[at], Item::Gap(_)) {
                self.take(at);
            }
        }
        before - self.events
    }

    /// Events that wait.
    pub fn events(&self) -> usize {
        self.events
    }

    /// Bytes of events that wait.
    pub fn event_bytes(&self) -> usize {
        self.event_bytes
    }

    /// Bytes of control frames that wait.
    pub fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Facts};
    use crate::hub::{Flushed, Outlet, Sent};
    use std::io::IoSlice;

    const BOUNDS: Bounds = Bounds {
        events_max: 3,
        bytes_max: 100,
        control_bytes_max: 20,
        router: RouterQueue { max: 3, multi: false },
    };

    struct Pipe {
        room: usize,
        out: Vec<u8>,
    }

    impl Outlet for Pipe {
        fn send(&mut self, _: u32, bytes: &[u8]) -> Sent {
            let n = bytes.len().min(self.room);
            self.room -= n;
            self.out.extend_from_slice(&bytes[..n]);
            Sent::Bytes(n)
        }
        fn send_all(&mut self, member: u32, slices: &[IoSlice<'_>]) -> Sent {
            let joined: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
            self.send(member, &joined)
        }
    }

    fn parcel(text: &str) -> Rc<Parcel> {
        Rc::new(Parcel::raw(Event::new(text, &Facts::default(), None, 0)))
    }

    #[test]
    fn the_bounds_hold_and_one_large_event_passes_through_an_empty_queue() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&parcel(&"x".repeat(500)), 0, None, &BOUNDS), Ok(()));
        assert_eq!(outbox.push(&parcel("x"), 0, None, &BOUNDS), Err(Full));
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            assert_eq!(outbox.push(&parcel("x"), 0, None, &BOUNDS), Ok(()));
        }
        assert_eq!(outbox.push(&parcel("x"), 0, None, &BOUNDS), Err(Full));
        assert_eq!(outbox.push_control(&[0; 20], &BOUNDS), Ok(()));
        assert_eq!(outbox.push_control(&[0], &BOUNDS), Err(Full));
    }

    #[test]
    fn frames_leave_in_order_whatever_the_kernel_takes_at_a_time() {
        for step in 1..40 {
            let mut outbox = Outbox::default();
            outbox.push(&parcel("one"), 0, None, &BOUNDS).unwrap();
            outbox.push_control(b"[ctl]", &BOUNDS).unwrap();
            outbox.push(&parcel("three"), 0, None, &BOUNDS).unwrap();
            let mut pipe = Pipe { room: 0, out: Vec::new() };
            let mut events = 0;
            loop {
                pipe.room = step;
                let progress = outbox.flush(0, 0, &mut pipe);
                events += progress.delivered;
                if progress.end == Flushed::Empty {
                    break;
                }
            }
            assert_eq!(pipe.out, b"\x81\x03one[ctl]\x81\x05three");
            assert_eq!((events, outbox.events(), outbox.event_bytes()), (2, 0, 0));
        }
    }

    #[test]
    fn giving_up_keeps_the_greeting_because_answers_before_it_may_be_half_on_the_wire() {
        let mut outbox = Outbox::default();
        outbox.push_greeting(b"rest of an answer, 101");
        outbox.push(&parcel("one"), 0, None, &BOUNDS).unwrap();
        assert_eq!(outbox.give_up(), 1);
        outbox.push_last(b"bye");
        let mut pipe = Pipe { room: 100, out: Vec::new() };
        assert_eq!(outbox.flush(0, 0, &mut pipe).end, Flushed::Empty);
        assert_eq!(pipe.out, b"rest of an answer, 101bye");
    }

    #[test]
    fn giving_up_keeps_the_rest_of_a_frame_that_is_half_on_the_wire_and_the_last_word_always_fits() {
        let mut outbox = Outbox::default();
        outbox.push(&parcel("one"), 0, None, &BOUNDS).unwrap();
        outbox.push(&parcel("two"), 0, None, &BOUNDS).unwrap();
        let mut pipe = Pipe { room: 3, out: Vec::new() };
        assert_eq!(outbox.flush(0, 0, &mut pipe).end, Flushed::Blocked);
        assert_eq!(outbox.give_up(), 1);
        outbox.push_control(&[b'.'; 20], &BOUNDS).unwrap();
        outbox.push_last(b"bye");
        assert_eq!(outbox.push(&parcel("late"), 0, None, &BOUNDS), Err(Full));
        pipe.room = 100;
        assert_eq!(outbox.flush(0, 0, &mut pipe).end, Flushed::Empty);
        assert_eq!(pipe.out, b"\x81\x03one....................bye");
    }
}
