//! One shard's hub with sockets that take everything: what Courier itself adds to the kernel's cost.

use std::hint::black_box;
use std::io::IoSlice;
use std::rc::Rc;

use courier::event::Frame;
use courier::hub::{Bounds, ChannelOptions, Hub, Joining, LaneBounds, Options, Origin, Outbox, Outlet, Sent};
use courier::stdx::slab::{Key, Slab};

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] = &[
    ("hub.publish_to_1", publish_to_1),
    ("hub.publish_to_1000", publish_to_1000),
    ("hub.publish_16_to_1000", publish_16_to_1000),
    ("hub.publish_to_nobody", publish_to_nobody),
    ("hub.outbox_16", outbox_16),
];

/// Subscribers, or channels with one subscriber each.
const MANY: u32 = 1_000;
const PAYLOAD: &str = r#"{"type":"order.filled","data":{"id":"7f3a9c","price":99.5,"side":"buy","note":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}}"#;
const BOUNDS: Bounds = Bounds { events_max: 256, bytes_max: 1 << 20, control_bytes_max: 1 << 16 };

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
        ephemeral_idle_us: 3_600_000_000,
    };
    let mut hub = Hub::new(options, Box::new(|| 7));
    for (i, member) in keys(members).into_iter().enumerate() {
        hub.admit(member);
        assert_eq!(hub.join(member, &format!("c.{}", i as u32 % channels), 0), Joining::Done);
    }
    hub
}

fn keys(count: u32) -> Vec<Key> {
    let mut slab = Slab::with_limit(count);
    (0..count).map(|_| slab.insert(()).expect("the slab has room")).collect()
}

/// Each operation publishes `events` in one turn, to the next channel each, and ends the turn.
fn turns(mut hub: Hub, events: usize, channels: u32) -> Operation {
    let names: Vec<String> = (0..channels).map(|i| format!("c.{i}")).collect();
    let origin = Origin { connection: keys(1)[0], request: 0 };
    let (mut scratch, mut next) = (Vec::new(), 0);
    Box::new(move || {
        for _ in 0..events {
            let frame = Frame::text(black_box(PAYLOAD), &mut scratch);
            black_box(hub.publish(&names[next], frame, origin, 1, &mut Sink));
            next = (next + 1) % names.len();
        }
        hub.flush(&mut Sink);
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
    let frame = Rc::new(Frame::text(PAYLOAD, &mut Vec::new()));
    let mut outbox = Outbox::default();
    Box::new(move || {
        for _ in 0..16 {
            outbox.push(black_box(&frame), &BOUNDS).expect("the outbox has room");
        }
        black_box(outbox.flush(0, &mut Sink));
    })
}
