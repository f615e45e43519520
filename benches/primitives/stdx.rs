//! Slots and timers, beside the standard library's nearest.

use std::collections::BTreeMap;
use std::hint::black_box;

use courier::stdx::clock::rfc3339_ms;
use courier::stdx::slab::Slab;
use courier::stdx::wheel::Wheel;

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] = &[
    ("stdx.slab_get", slab_get),
    ("stdx.slab_insert_remove", slab_insert_remove),
    ("stdx.wheel_set", wheel_set),
    ("stdx.wheel_set.btree_map", btree_map_set),
    ("stdx.wheel_expired_idle", wheel_expired_idle),
    ("stdx.timestamp", timestamp),
];

/// Timers and slots in use: a shard with many connections.
const SLOTS: u32 = 10_000;
/// A heartbeat, microseconds.
const HEARTBEAT_US: u64 = 30_000_000;

fn slab_get() -> Operation {
    let mut slab = Slab::with_limit(SLOTS);
    let keys: Vec<_> = (0..SLOTS).map(|i| slab.insert(i).expect("the slab has room")).collect();
    let mut turn = 0;
    Box::new(move || {
        turn = (turn + 1) % keys.len();
        black_box(slab.get(black_box(keys[turn])));
    })
}

fn slab_insert_remove() -> Operation {
    let mut slab = Slab::with_limit(SLOTS);
    Box::new(move || {
        let key = slab.insert(black_box(7_u64)).expect("the slab is empty");
        black_box(slab.remove(key));
    })
}

/// Any inbound frame moves its connection's timer.
fn wheel_set() -> Operation {
    let mut wheel = Wheel::new(1_000, 1 << 16);
    let mut now_us = 0;
    Box::new(move || {
        now_us += 100;
        wheel.set(black_box((now_us / 100) as u32 % SLOTS), now_us + HEARTBEAT_US);
    })
}

fn btree_map_set() -> Operation {
    let mut timers = BTreeMap::new();
    let mut deadlines = vec![0; SLOTS as usize];
    let mut now_us = 0;
    Box::new(move || {
        now_us += 100;
        let slot = black_box((now_us / 100) as u32 % SLOTS);
        timers.remove(&(deadlines[slot as usize], slot));
        deadlines[slot as usize] = now_us + HEARTBEAT_US;
        timers.insert((deadlines[slot as usize], slot), ());
    })
}

/// What each turn pays when no timer is due.
fn wheel_expired_idle() -> Operation {
    let mut wheel = Wheel::new(1_000, 1 << 16);
    (0..SLOTS).for_each(|slot| wheel.set(slot, HEARTBEAT_US * 1_000));
    let mut due = Vec::new();
    let mut now_us = 0;
    Box::new(move || {
        now_us += 50;
        wheel.expired(black_box(now_us), &mut due);
        black_box(&due);
    })
}

fn timestamp() -> Operation {
    let mut out = [0; 24];
    let mut unix_ms = 1_700_000_000_000;
    Box::new(move || {
        unix_ms += 7;
        rfc3339_ms(black_box(unix_ms), &mut out);
        black_box(&out);
    })
}
