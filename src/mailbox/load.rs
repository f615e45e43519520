//! How much is on its way in each lane: written by both ends, once per batch, so that the sender can stop taking
//! work before memory runs out. Approximate for a moment while a batch crosses, and exact when nothing moves.
use super::sync::{AtomicUsize, Ordering};

/// The loads of all lanes between some shards.
pub struct Loads {
    shards: usize,
    cells: Vec<Load>,
}

/// On cache lines of its own (two, as processors fetch them in pairs), since other cores write its neighbours.
#[derive(Default)]
#[repr(align(128))]
struct Load {
    events: AtomicUsize,
    bytes: AtomicUsize,
}

impl Loads {
    /// Nothing is on its way.
    #[must_use]
    pub fn new(shards: usize) -> Loads {
        Loads { shards, cells: (0..shards * shards).map(|_| Load::default()).collect() }
    }

    /// A batch is about to leave `from`; said before it is sent, so that the count never falls below nothing.
    pub fn add(&self, from: usize, to: usize, events: usize, bytes: usize) {
        let load = &self.cells[from * self.shards + to];
        load.events.fetch_add(events, Ordering::Relaxed);
        load.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A batch arrived at `to`, or came back unsent.
    pub fn remove(&self, from: usize, to: usize, events: usize, bytes: usize) {
        let load = &self.cells[from * self.shards + to];
        load.events.fetch_sub(events, Ordering::Relaxed);
        load.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Events and bytes on their way.
    #[must_use]
    pub fn of(&self, from: usize, to: usize) -> (usize, usize) {
        let load = &self.cells[from * self.shards + to];
        (load.events.load(Ordering::Relaxed), load.bytes.load(Ordering::Relaxed))
    }
}
