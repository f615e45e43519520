//! One shard's hub with sockets that take everything: what Courier itself adds to the kernel's cost.

use std::hint::black_box;
use std::io::IoSlice;
use std::rc::Rc;

use courier::event::{Event, Facts, Pattern};
use courier::hub::{
    Bounds, ChannelOptions, Hub, Joining, LaneBounds, Options, Origin, Outbox, Outlet, Parcel, PatternIndex,
    RouterQueue, Sent, Wish,
};
use courier::stdx::slab::{Key, Slab};

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] = &[
    ("hub.publish_to_1", publish_to_1),
    ("hub.publish_to_1000", publish_to_1000),
    ("hub.publish_16_to_1000", publish_16_to_1000),
    ("hub.publish_to_nobody", publish_to_nobody),
    ("hub.outbox_16", outbox_16),
    ("hub.pattern_match", pattern_match),
    ("hub.pattern_match.1000_one_by_one", pattern_match_one_by_one),
    ("hub.publish_to_pattern", publish_to_pattern),
];

/// Subscribers, or channels with one subscriber each.
const MANY: u32 = 1_000;
const PAYLOAD: &str = r#"{"type":"order.filled","data":{"id":"7f3a9c","price":99.5,"side":"buy","note":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}}"#;
const BOUNDS: Bounds =
    Bounds { events_max: 256, bytes_max: 1 << 20, control_bytes_max: 1 << 16, router: ROUTER };
const ROUTER: RouterQueue = RouterQueue { max: 10_000, multi: false };

/// Sockets that take every byte at once.
struct Sink;

impl Outlet for Sink {
    fn send(&mut self, _: u32, bytes: &[u8]) -> Sent {
        Sent::Bytes(black_box(bytes).len())
    }

    fn send_all(&mut self, _: u32, slices: &[IoSlice<'_>]) -> Sent {
        Sent::Bytes(black_box(slices).iter().map(|slice| slice.len()).sum())
    }
}

/// A shard alone, with `members` connections of which member i hears channel `c.{i modulo channels}`.
fn hub(members: u32, channels: u32) -> Hub {
    let options = Options {
        shard: 0,
        shards: 1,
        outbox: BOUNDS,
        lane: LaneBounds { events_max: 1 << 16, bytes_max: 1 << 26 },
        channels: ChannelOptions::default(),
        fsync: Default::default(),
        letters: Default::default(),
        ephemeral_idle_us: 3_600_000_000,
        renderers: &[],
        lines: &[],
    };
    let mut hub = Hub::new(options, Box::new(|| 7));
    for (i, member) in keys(members).into_iter().enumerate() {
        hub.admit(member);
        let name = format!("c.{}", i as u32 % channels);
        assert!(matches!(hub.join(member, 0, &Wish::channel(&name), 0), Joining::Done(_)));
    }
    hub
}

fn keys(count: u32) -> Vec<Key> {
    let mut slab = Slab::with_limit(count);
    (0..count).map(|_| slab.insert(()).expect("the slab has room")).collect()
}

/// Each operation publishes `events` in one turn, to the next channel each, and ends the turn.
fn turns(hub: Hub, events: usize, channels: u32) -> Operation {
    let names: Vec<String> = (0..channels).map(|i| format!("c.{i}")).collect();
    publishing(hub, names, events)
}

fn publishing(mut hub: Hub, names: Vec<String>, events: usize) -> Operation {
    let origin = Origin { connection: keys(1)[0], request: 0, item: 0 };
    let mut next = 0;
    Box::new(move || {
        for _ in 0..events {
            let event = Event::new(black_box(PAYLOAD), &Facts::default(), None, 0);
            black_box(hub.publish(&names[next], event, origin, 1, &mut Sink));
            next = (next + 1) % names.len();
        }
        hub.flush(1, &mut Sink);
    })
}

fn publish_to_1() -> Operation {
    turns(hub(MANY, MANY), 1, MANY)
}

fn publish_to_1000() -> Operation {
    turns(hub(MANY, 1), 1, 1)
}

fn publish_16_to_1000() -> Operation {
    turns(hub(MANY, 1), 16, 1)
}

fn publish_to_nobody() -> Operation {
    turns(hub(1, 1), 1, 2)
}

/// Sixteen events wait and leave in one vectored send.
fn outbox_16() -> Operation {
    let parcel = Rc::new(Parcel::raw(Event::new(PAYLOAD, &Facts::default(), None, 0)));
    let mut outbox = Outbox::default();
    Box::new(move || {
        for _ in 0..16 {
            outbox.push(black_box(&parcel), 0, None, &BOUNDS).expect("the outbox has room");
        }
        black_box(outbox.flush(0, 1, &mut Sink));
    })
}

/// Patterns, and channels of which each is covered by one of them and by one that covers all.
const PATTERNS: u32 = 100_000;

fn patterns() -> Vec<Pattern> {
    let names = (0..PATTERNS).map(|i| match i % 3 {
        0 => format!("user.{i}.*"),
        1 => format!("*.{i}.trade"),
        _ => format!("desk.{}.{i}.**", i % 100),
    });
    names.map(|name| Pattern::parse(&name).expect("a pattern")).collect()
}

fn covered(i: u32) -> String {
    match i % 3 {
        0 => format!("user.{i}.orders"),
        1 => format!("eu.{i}.trade"),
        _ => format!("desk.{}.{i}.a.b", i % 100),
    }
}

/// Which of 100,000 patterns cover the next of 100,000 channels.
fn pattern_match() -> Operation {
    let mut index = PatternIndex::default();
    for (number, pattern) in patterns().iter().enumerate() {
        index.insert(pattern, number as u32);
    }
    let channels: Vec<String> = (0..PATTERNS).map(covered).collect();
    let (mut next, mut found) = (0, Vec::new());
    Box::new(move || {
        found.clear();
        index.matching(black_box(&channels[next]), &mut found);
        assert_eq!(black_box(&found).len(), 1);
        next = (next + 7_919) % channels.len();
    })
}

/// The naive form, over a hundredth of the patterns: over all of them it would take minutes to count.
fn pattern_match_one_by_one() -> Operation {
    let (mut patterns, channel) = (patterns(), covered(711));
    patterns.truncate(MANY as usize);
    Box::new(move || {
        let found = patterns.iter().filter(|pattern| pattern.matches(black_box(&channel)));
        assert_eq!(black_box(found.count()), 1);
    })
}

/// As `publish_to_1`, among 100,000 patterns: what a channel resolves to is known from its last event.
fn publish_to_pattern() -> Operation {
    let (mut hub, members) = (hub(MANY, 1), keys(MANY));
    for (tag, (pattern, member)) in patterns().iter().zip(members.iter().cycle()).enumerate() {
        assert!(matches!(hub.join(*member, tag as u32 + 1, &Wish::pattern(pattern), 0), Joining::Done(_)));
    }
    let names: Vec<String> = (0..MANY).map(covered).collect();
    publishing(hub, names, 1)
}
