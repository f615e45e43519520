//! One connection's queue against a list of bytes: events, control frames, a greeting and a last word in, flushes into a
//! socket that takes any number of bytes at a time, and giving up at any moment. What is sent is a prefix of what was
//! queued, cut only between frames, and the bounds hold.
#![no_main]
use arbitrary::Arbitrary;
use courier::event::Frame;
use courier::hub::{Bounds, Flushed, Outbox, Outlet, Sent};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

#[derive(Arbitrary, Debug)]
struct Input {
    events_max: u8,
    bytes_max: u16,
    control_bytes_max: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Event { bytes: u8 },
    Control { bytes: u8 },
    Flush { room: u16 },
    FlushAll,
    Gone,
    GiveUp,
}

/// A socket that takes `room` bytes more, or none ever again.
struct Pipe {
    room: usize,
    gone: bool,
    out: Vec<u8>,
}

impl Outlet for Pipe {
    fn send(&mut self, _: u32, bytes: &[u8]) -> Sent {
        self.send_all(0, &[IoSlice::new(bytes)])
    }

    fn send_all(&mut self, _: u32, slices: &[IoSlice<'_>]) -> Sent {
        assert!(slices.iter().all(|slice| !slice.is_empty()), "an empty slice");
        if self.gone {
            return Sent::Gone;
        }
        let before = self.out.len();
        for slice in slices {
            let n = slice.len().min(self.room);
            self.out.extend_from_slice(&slice[..n]);
            self.room -= n;
        }
        Sent::Bytes(self.out.len() - before)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Event,
    Control,
}

struct Checked {
    outbox: Outbox,
    bounds: Bounds,
    pipe: Pipe,
    /// What waits, front first.
    queue: VecDeque<(Kind, Vec<u8>)>,
    /// Bytes of the first that are out.
    sent: usize,
    wanted: Vec<u8>,
    events_out: u64,
    cut: bool,
    count: u32,
}

impl Checked {
    fn waiting(&self, kind: Kind) -> (usize, usize) {
        let found = self.queue.iter().filter(|item| item.0 == kind);
        found.fold((0, 0), |(count, bytes), item| (count + 1, bytes + item.1.len()))
    }

    fn event(&mut self, bytes: u8) {
        self.count += 1;
        let frame = Frame::text(&format!("{}{}", self.count, "x".repeat(bytes.into())), &mut Vec::new());
        let (events, waiting) = self.waiting(Kind::Event);
        let fits = events < self.bounds.events_max
            && (events == 0 || waiting + frame.len() <= self.bounds.bytes_max)
            && !self.cut;
        assert_eq!(self.outbox.push(&Rc::new(frame.clone()), &self.bounds).is_ok(), fits);
        if fits {
            self.queue.push_back((Kind::Event, frame.bytes().to_vec()));
        }
    }

    fn control(&mut self, bytes: u8) {
        self.count += 1;
        let frame = vec![self.count as u8; usize::from(bytes) + 1];
        let (_, waiting) = self.waiting(Kind::Control);
        let fits = waiting == 0 || waiting + frame.len() <= self.bounds.control_bytes_max;
        assert_eq!(self.outbox.push_control(&frame, &self.bounds).is_ok(), fits);
        if fits {
            self.queue.push_back((Kind::Control, frame));
        }
    }

    fn flush(&mut self, room: usize) {
        self.pipe.room = room;
        let (flushed, events) = self.outbox.flush(0, &mut self.pipe);
        let mut left = if self.pipe.gone { 0 } else { room };
        let mut done = 0;
        while let Some((kind, bytes)) = self.queue.front() {
            let n = left.min(bytes.len() - self.sent);
            self.wanted.extend_from_slice(&bytes[self.sent..self.sent + n]);
            left -= n;
            self.sent += n;
            if self.sent < bytes.len() {
                break;
            }
            done += u64::from(*kind == Kind::Event);
            self.sent = 0;
            self.queue.pop_front();
        }
        self.events_out += events;
        assert_eq!(events, done);
        let expected = match (self.queue.is_empty(), self.pipe.gone) {
            (true, _) => Flushed::Empty,
            (false, true) => Flushed::Gone,
            (false, false) => Flushed::Blocked,
        };
        assert_eq!(flushed, expected);
    }

    fn give_up(&mut self) {
        let kept = if self.sent > 0 { self.queue.pop_front() } else { None };
        let dropped = self.waiting(Kind::Event).0;
        self.queue.clear();
        self.queue.extend(kept);
        self.cut = true;
        assert_eq!(self.outbox.give_up(), dropped);
    }

    fn check(&self) {
        assert_eq!(self.pipe.out, self.wanted);
        assert_eq!((self.outbox.events(), self.outbox.event_bytes()), self.waiting(Kind::Event));
        assert_eq!(self.outbox.is_empty(), self.queue.is_empty());
        assert!(self.outbox.events() <= self.bounds.events_max);
    }
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let bounds = Bounds {
        events_max: usize::from(input.events_max) + 1,
        bytes_max: input.bytes_max.into(),
        control_bytes_max: input.control_bytes_max.into(),
    };
    let mut checked = Checked {
        outbox: Outbox::default(),
        bounds,
        pipe: Pipe { room: 0, gone: false, out: Vec::new() },
        queue: VecDeque::new(),
        sent: 0,
        wanted: Vec::new(),
        events_out: 0,
        cut: false,
        count: 0,
    };
    for step in input.steps {
        match step {
            Step::Event { bytes } => checked.event(bytes),
            Step::Control { bytes } => checked.control(bytes),
            Step::Flush { room } => checked.flush(room.into()),
            Step::FlushAll => checked.flush(1 << 30),
            Step::Gone => checked.pipe.gone = true,
            Step::GiveUp => checked.give_up(),
        }
        checked.check();
    }
});
