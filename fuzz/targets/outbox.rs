//! One connection's queue against a list: events of any priority and rule, control frames, flushes into a socket that
//! takes any number of bytes at a time, and giving up at any moment. What is sent is what the list says: a higher priority
//! before a lower one that has not begun, never past a control frame, equal ones in order; what goes for want of room is
//! what its rule says, and first what is replaced where it conflates; and the bounds hold.
#![no_main]
use arbitrary::Arbitrary;
use courier::event::{Channel, Event, Extras, Facts, Form, Position, Priority};
use courier::hub::{Bounds, Flushed, Outbox, Outlet, Parcel, Progress, Put, RouterQueue, Sent, Slow};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

#[derive(Arbitrary, Debug)]
struct Input {
    events_max: u8,
    bytes_max: u16,
    control_bytes_max: u8,
    router_max: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Event { bytes: u8, priority: u8, slow: u8, key: u8, mortal: bool },
    Control { bytes: u8 },
    Flush { room: u16, later: u8 },
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

/// What the list knows of an event.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    priority: u8,
    slow: Slow,
    key: u8,
    tag: u32,
    /// A later one has a greater number.
    number: u32,
    until: Option<u64>,
}

impl Known {
    /// Whether the later of the two replaces the other.
    fn agrees(&self, other: &Known) -> bool {
        let conflates = |known: &Known| known.slow == Slow::Conflate && known.key > 0;
        conflates(self) && conflates(other) && self.key == other.key
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Item {
    bytes: Vec<u8>,
    /// `None`: a control frame.
    event: Option<Known>,
}

struct Checked {
    outbox: Outbox,
    bounds: Bounds,
    pipe: Pipe,
    /// What waits, front first.
    queue: VecDeque<Item>,
    /// Bytes of the first that are out.
    sent: usize,
    wanted: Vec<u8>,
    cut: bool,
    count: u32,
    now_us: u64,
}

impl Checked {
    fn waiting(&self, events: bool) -> (usize, usize) {
        let found = self.queue.iter().filter(|item| item.event.is_some() == events);
        found.fold((0, 0), |(count, bytes), item| (count + 1, bytes + item.bytes.len()))
    }

    fn router_bytes_max(&self) -> usize {
        self.bounds.bytes_max.max(self.bounds.router.max * 4096)
    }

    fn fits(&self, slow: Slow, len: usize) -> bool {
        let (events, bytes) = self.waiting(true);
        let (events_max, bytes_max) = match slow {
            Slow::Router => (self.bounds.router.max, self.router_bytes_max()),
            _ => (self.bounds.events_max, self.bounds.bytes_max),
        };
        events < events_max && (events == 0 || bytes + len <= bytes_max)
    }

    fn event(&mut self, bytes: u8, mut known: Known) {
        self.count += 1;
        known.number = self.count;
        let key = if known.key == 0 { String::new() } else { format!(r#","key":"{}""#, known.key) };
        let text = format!(r#"{{"n":{}{key},"x":"{}"}}"#, self.count, "x".repeat(bytes.into()));
        let priority = Priority::new(known.priority.into()).expect("1 to 10");
        let extras = Extras { priority, expires_us: known.until, ..Extras::default() };
        let event = Event::new(&text, &Facts::default(), Some(Box::new(extras)), 0);
        let (channel, position) = (Channel::parse("c").expect("a name"), Position { epoch: 1, offset: self.count.into() });
        let parcel = Rc::new(Parcel::new(event, Form::RAW, position, known.slow, &channel));
        let fits = self.fits(known.slow, parcel.len()) && !self.cut;
        assert_eq!(self.outbox.push(&parcel, known.tag, None, &self.bounds).is_ok(), fits);
        let item = Item { bytes: parcel.bytes().to_vec(), event: Some(known.clone()) };
        if fits {
            return self.insert(item);
        }
        let mut lost = Vec::new();
        let put = self.outbox.force(&parcel, known.tag, None, &self.bounds, &mut lost);
        let lost: Vec<Vec<u8>> = lost.iter().map(|(parcel, _)| parcel.bytes().to_vec()).collect();
        if self.cut || known.slow == Slow::Disconnect {
            assert_eq!((put, lost.len()), (Put::Refused, 0));
            return;
        }
        let mut gone = self.conflate(&known, item.bytes.len());
        while !self.fits(known.slow, item.bytes.len()) {
            let Some(victim) = self.victim(&known, item.bytes.len()) else {
                gone.push(item.bytes);
                assert_eq!((put, lost), (Put::Dropped, gone));
                return;
            };
            gone.push(self.queue.remove(victim).expect("found").bytes);
        }
        assert_eq!((put, lost), (Put::Taken, gone));
        self.insert(item);
    }

    fn insert(&mut self, item: Item) {
        let priority = |item: &Item| item.event.as_ref().map(|event| event.priority);
        let mut at = self.queue.len();
        while at > usize::from(self.sent > 0)
            && priority(&self.queue[at - 1]).is_some_and(|before| Some(before) < priority(&item))
        {
            at -= 1;
        }
        self.queue.insert(at, item);
    }

    /// Takes out what is replaced: the first that the new event replaces, or else all.
    fn conflate(&mut self, new: &Known, len: usize) -> Vec<Vec<u8>> {
        let (begun, mut gone) = (usize::from(self.sent > 0), Vec::new());
        if !matches!(new.slow, Slow::DropOldest | Slow::Conflate) {
            return gone;
        }
        let own = |item: &Item| item.event.as_ref().is_some_and(|event| event.agrees(new));
        if let Some(at) = (begun..self.queue.len()).find(|at| own(&self.queue[*at])) {
            gone.push(self.queue.remove(at).expect("found").bytes);
            if self.fits(new.slow, len) {
                return gone;
            }
        }
        let waiting = self.queue.iter().skip(begun).filter_map(|item| item.event.clone());
        let all: Vec<Known> = waiting.chain([new.clone()]).collect();
        let is_replaced = |event: &Known| all.iter().any(|other| other.agrees(event) && other.number > event.number);
        let mut at = 0;
        self.queue.retain(|item| {
            at += 1;
            let goes = at > begun && item.event.as_ref().is_some_and(is_replaced);
            if goes {
                gone.push(item.bytes.clone());
            }
            !goes
        });
        gone
    }

    /// Which waiting event goes for a new one.
    fn victim(&self, new: &Known, len: usize) -> Option<usize> {
        let begun = usize::from(self.sent > 0);
        let events: Vec<(usize, &Known, usize)> = (self.queue.iter().enumerate().skip(begun))
            .filter_map(|(at, item)| item.event.as_ref().map(|event| (at, event, item.bytes.len())))
            .collect();
        if new.slow == Slow::Router {
            let below = || events.iter().filter(|(_, e, _)| e.slow == Slow::Router && e.priority < new.priority);
            let over = (self.waiting(true).1 + len).saturating_sub(self.router_bytes_max());
            let lowest = below().map(|(_, e, _)| e.priority).min()?;
            let enough = below().map(|(_, _, bytes)| bytes).sum::<usize>() >= over;
            return below().rev().find(|(_, e, _)| e.priority == lowest).filter(|_| enough).map(|(at, _, _)| *at);
        }
        let tells = |e: &Known| matches!(e.slow, Slow::DropOldest | Slow::Conflate);
        let lowest = events.iter().filter(|(_, e, _)| tells(e)).map(|(_, e, _)| e.priority).min()?;
        let oldest = events.iter().find(|(_, e, _)| tells(e) && e.priority == lowest);
        oldest.filter(|_| lowest <= new.priority).map(|(at, _, _)| *at)
    }

    fn control(&mut self, bytes: u8) {
        self.count += 1;
        let frame = vec![self.count as u8; usize::from(bytes) + 1];
        let (_, waiting) = self.waiting(false);
        let fits = waiting == 0 || waiting + frame.len() <= self.bounds.control_bytes_max;
        assert_eq!(self.outbox.push_control(&frame, &self.bounds).is_ok(), fits);
        if fits {
            self.queue.push_back(Item { bytes: frame, event: None });
        }
    }

    fn flush(&mut self, room: usize) {
        self.pipe.room = room;
        let progress = self.outbox.flush(0, self.now_us, &mut self.pipe);
        let Progress { end, delivered, expired } = progress;
        let (now_us, begun, before) = (self.now_us, self.sent > 0, self.queue.len());
        let mut at = 0;
        self.queue.retain(|item| {
            at += 1;
            let late = item.event.as_ref().and_then(|event| event.until).is_some_and(|until| until <= now_us);
            !late || begun && at == 1
        });
        assert_eq!(expired as usize, before - self.queue.len());
        let mut left = if self.pipe.gone { 0 } else { room };
        let mut done = 0;
        while let Some(item) = self.queue.front() {
            let n = left.min(item.bytes.len() - self.sent);
            self.wanted.extend_from_slice(&item.bytes[self.sent..self.sent + n]);
            left -= n;
            self.sent += n;
            if self.sent < item.bytes.len() {
                break;
            }
            done += u64::from(item.event.is_some());
            self.sent = 0;
            self.queue.pop_front();
        }
        assert_eq!(delivered, done);
        let expected = match (self.queue.is_empty(), self.pipe.gone) {
            (true, _) => Flushed::Empty,
            (false, true) => Flushed::Gone,
            (false, false) => Flushed::Blocked,
        };
        assert_eq!(end, expected);
    }

    fn give_up(&mut self) {
        let kept = if self.sent > 0 { self.queue.pop_front() } else { None };
        let dropped = self.waiting(true).0;
        self.queue.clear();
        self.queue.extend(kept);
        self.cut = true;
        assert_eq!(self.outbox.give_up(), dropped);
    }

    fn check(&self) {
        assert_eq!(self.pipe.out, self.wanted);
        assert_eq!((self.outbox.events(), self.outbox.event_bytes()), self.waiting(true));
        assert_eq!(self.outbox.control_bytes(), self.waiting(false).1);
        assert_eq!(self.outbox.is_empty(), self.queue.is_empty());
        assert!(self.outbox.events() <= self.bounds.events_max.max(self.bounds.router.max));
    }
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let bounds = Bounds {
        events_max: usize::from(input.events_max % 16) + 1,
        bytes_max: input.bytes_max.into(),
        control_bytes_max: input.control_bytes_max.into(),
        router: RouterQueue { max: usize::from(input.router_max % 16) + 1, multi: false },
    };
    let mut checked = Checked {
        outbox: Outbox::default(),
        bounds,
        pipe: Pipe { room: 0, gone: false, out: Vec::new() },
        queue: VecDeque::new(),
        sent: 0,
        wanted: Vec::new(),
        cut: false,
        count: 0,
        now_us: 0,
    };
    for step in input.steps {
        match step {
            Step::Event { bytes, priority, slow, key, mortal } => {
                let slow = [Slow::Disconnect, Slow::DropOldest, Slow::Conflate, Slow::Router][usize::from(slow % 4)];
                let priority = if priority < 128 { 5 } else { priority % 10 + 1 };
                let until = mortal.then_some(checked.now_us + 100);
                let (key, tag) = (key % 4, u32::from(key / 128));
                checked.event(bytes, Known { priority, slow, key, tag, number: 0, until });
            }
            Step::Control { bytes } => checked.control(bytes),
            Step::Flush { room, later } => {
                checked.now_us += u64::from(later);
                checked.flush(room.into());
            }
            Step::FlushAll => checked.flush(1 << 30),
            Step::Gone => checked.pipe.gone = true,
            Step::GiveUp => checked.give_up(),
        }
        checked.check();
    }
});
