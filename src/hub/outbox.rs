//! What one connection is still owed: a bounded queue of shared event frames and of its own control frames, in
//! the order in which they go onto the wire. Most connections have none: it exists only while something waits.
//! Called by the pump; never touches a socket but through the [`Outlet`] it is handed.

use super::outlet::{Outlet, Sent};
use crate::event::Frame;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

/// Frames per vectored send: enough to fill a socket buffer with small events, few enough to sit on the stack.
const SLICES_MAX: usize = 64;

/// The bounds of one connection's queue (contract 10).
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events that may wait.
    pub events_max: usize,
    /// Bytes of events that may wait; a single larger event passes through an empty queue.
    pub bytes_max: usize,
    /// Bytes of control frames that may wait: answers to a peer that asks and does not read.
    pub control_bytes_max: usize,
}

enum Item {
    /// What opens the socket, behind the answers that HTTP still owed. It is never dropped: they may be half out.
    Greeting(Box<[u8]>),
    Event(Rc<Frame>),
    Control(Box<[u8]>),
}

impl Item {
    fn bytes(&self) -> &[u8] {
        match self {
            Item::Event(frame) => frame.bytes(),
            Item::Greeting(bytes) | Item::Control(bytes) => bytes,
        }
    }
}

/// The queue does not take another frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// How far a flush came.
#[derive(Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing waits any more.
    Empty,
    /// The kernel takes no more now; it says so when it does again.
    Blocked,
    /// The peer is gone.
    Gone,
}

/// One connection's queue.
#[derive(Default)]
pub struct Outbox {
    items: VecDeque<Item>,
    events: usize,
    event_bytes: usize,
    control_bytes: usize,
    /// Bytes of the first item that are on the wire already.
    sent: usize,
    /// The last send was cut short: wait for writability before the next.
    pub(super) blocked: bool,
    /// Listed for the flush at the end of the turn.
    pub(super) dirty: bool,
    /// Given up: takes no more events.
    pub(super) cut: bool,
}

impl Outbox {
    /// Puts an event at the end.
    ///
    /// # Errors
    /// [`Full`] when it does not fit the bounds; the event is not taken.
    pub fn push(&mut self, frame: &Rc<Frame>, bounds: &Bounds) -> Result<(), Full> {
        let fits = self.events < bounds.events_max
            && (self.events == 0 || self.event_bytes + frame.len() <= bounds.bytes_max);
        if self.cut || !fits {
            return Err(Full);
        }
        self.append(frame);
        Ok(())
    }

    /// Puts an event at the end that the channel's turn has vouched for: a direct subscriber's share of a turn
    /// is within the bounds, because the turn is.
    pub(super) fn append(&mut self, frame: &Rc<Frame>) {
        self.events += 1;
        self.event_bytes += frame.len();
        self.items.push_back(Item::Event(frame.clone()));
    }

    /// Puts a control frame at the end; exempt from the event bounds, within its own.
    ///
    /// # Errors
    /// [`Full`] when too many control bytes wait; the frame is not taken.
    pub fn push_control(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<(), Full> {
        if self.control_bytes > 0 && self.control_bytes + bytes.len() > bounds.control_bytes_max {
            return Err(Full);
        }
        self.control_bytes += bytes.len();
        self.items.push_back(Item::Control(bytes.into()));
        Ok(())
    }

    /// Puts what opens the socket into an empty queue; what it may hold was bounded where the answers were.
    pub(super) fn push_greeting(&mut self, bytes: &[u8]) {
        debug_assert!(self.items.is_empty(), "a socket opens before anything is sent on it");
        self.items.push_back(Item::Greeting(bytes.into()));
    }

    /// Puts the last frame at the end: there is one per connection, so it needs no bound.
    pub(super) fn push_last(&mut self, bytes: &[u8]) {
        self.control_bytes += bytes.len();
        self.items.push_back(Item::Control(bytes.into()));
    }

    /// Notes that `bytes` of the first item went out already.
    pub(super) fn mark_sent(&mut self, bytes: usize) {
        debug_assert!(self.items.front().is_some_and(|item| bytes < item.bytes().len()));
        self.sent = bytes;
    }

    /// Drops everything but a frame that is half on the wire (the stream would break without its rest) and a
    /// greeting. Answers how many events were dropped.
    pub fn give_up(&mut self) -> usize {
        self.cut = true;
        let dropped = self.events;
        let begun = self.sent > 0 || matches!(self.items.front(), Some(Item::Greeting(_)));
        let keep = if begun { self.items.pop_front() } else { None };
        self.items.clear();
        (self.events, self.event_bytes, self.control_bytes) = (0, 0, 0);
        if let Some(item) = keep {
            match &item {
                Item::Event(frame) => (self.events, self.event_bytes) = (1, frame.len()),
                Item::Control(bytes) => self.control_bytes = bytes.len(),
                Item::Greeting(_) => {}
            }
            self.items.push_back(item);
        }
        dropped - self.events
    }

    /// Sends as much as the kernel takes, many frames per call. Answers also how many events are wholly out.
    pub fn flush(&mut self, member: u32, outlet: &mut impl Outlet) -> (Flushed, u64) {
        let mut events_out = 0;
        while !self.items.is_empty() {
            let wanted;
            let sent = {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = self.items.len().min(SLICES_MAX);
                for (slice, item) in slices.iter_mut().zip(&self.items) {
                    *slice = IoSlice::new(item.bytes());
                }
                slices[0] = IoSlice::new(&self.items[0].bytes()[self.sent..]);
                wanted = slices[..count].iter().map(|slice| slice.len()).sum();
                outlet.send_all(member, &slices[..count])
            };
            match sent {
                Sent::Bytes(n) => {
                    events_out += self.advance(n);
                    if n < wanted {
                        self.blocked = true;
                        return (Flushed::Blocked, events_out);
                    }
                }
                Sent::Gone => return (Flushed::Gone, events_out),
            }
        }
        (Flushed::Empty, events_out)
    }

    /// Takes `n` sent bytes off the front; answers how many events that completed.
    fn advance(&mut self, n: usize) -> u64 {
        let mut left = n + self.sent;
        let mut events_out = 0;
        while let Some(item) = self.items.front() {
            let len = item.bytes().len();
            if left < len {
                break;
            }
            left -= len;
            match item {
                Item::Event(_) => {
                    self.events -= 1;
                    self.event_bytes -= len;
                    events_out += 1;
                }
                Item::Control(_) => self.control_bytes -= len,
                Item::Greeting(_) => {}
            }
            self.items.pop_front();
        }
        self.sent = left;
        events_out
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

    const BOUNDS: Bounds = Bounds { events_max: 3, bytes_max: 100, control_bytes_max: 20 };

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

    fn frame(text: &str) -> Rc<Frame> {
        Rc::new(Frame::text(text, &mut Vec::new()))
    }

    #[test]
    fn the_bounds_hold_and_one_large_event_passes_through_an_empty_queue() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&frame(&"x".repeat(500)), &BOUNDS), Ok(()));
        assert_eq!(outbox.push(&frame("x"), &BOUNDS), Err(Full));
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            assert_eq!(outbox.push(&frame("x"), &BOUNDS), Ok(()));
        }
        assert_eq!(outbox.push(&frame("x"), &BOUNDS), Err(Full));
        assert_eq!(outbox.push_control(&[0; 20], &BOUNDS), Ok(()));
        assert_eq!(outbox.push_control(&[0], &BOUNDS), Err(Full));
    }

    #[test]
    fn frames_leave_in_order_whatever_the_kernel_takes_at_a_time() {
        for step in 1..40 {
            let mut outbox = Outbox::default();
            outbox.push(&frame("one"), &BOUNDS).unwrap();
            outbox.push_control(b"[ctl]", &BOUNDS).unwrap();
            outbox.push(&frame("three"), &BOUNDS).unwrap();
            let mut pipe = Pipe { room: 0, out: Vec::new() };
            let mut events = 0;
            loop {
                pipe.room = step;
                let (flushed, out) = outbox.flush(0, &mut pipe);
                events += out;
                if flushed == Flushed::Empty {
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
        outbox.push(&frame("one"), &BOUNDS).unwrap();
        assert_eq!(outbox.give_up(), 1);
        outbox.push_last(b"bye");
        let mut pipe = Pipe { room: 100, out: Vec::new() };
        assert_eq!(outbox.flush(0, &mut pipe).0, Flushed::Empty);
        assert_eq!(pipe.out, b"rest of an answer, 101bye");
    }

    #[test]
    fn giving_up_keeps_the_rest_of_a_frame_that_is_half_on_the_wire_and_the_last_word_always_fits() {
        let mut outbox = Outbox::default();
        outbox.push(&frame("one"), &BOUNDS).unwrap();
        outbox.push(&frame("two"), &BOUNDS).unwrap();
        let mut pipe = Pipe { room: 3, out: Vec::new() };
        assert_eq!(outbox.flush(0, &mut pipe).0, Flushed::Blocked);
        assert_eq!(outbox.give_up(), 1);
        outbox.push_control(&[b'.'; 20], &BOUNDS).unwrap();
        outbox.push_last(b"bye");
        assert_eq!(outbox.push(&frame("late"), &BOUNDS), Err(Full));
        pipe.room = 100;
        assert_eq!(outbox.flush(0, &mut pipe).0, Flushed::Empty);
        assert_eq!(pipe.out, b"\x81\x03one....................bye");
    }
}
