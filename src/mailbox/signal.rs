//! Words that one thread sets and all shards read each turn: draining, the level of logging. What was written before
//! `set` is visible after a `get` that sees it. Nobody is woken: who needs that rings the doorbells.
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Yes or no, starting with no.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// A flag that is not set.
    #[must_use]
    pub const fn new() -> Flag {
        Flag(AtomicBool::new(false))
    }

    /// Raises or lowers it.
    pub fn set(&self, raised: bool) {
        self.0.store(raised, Ordering::Release);
    }

    /// A plain load on x86-64.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A small number, starting with 0; its setter says what it means.
#[derive(Debug, Default)]
pub struct Level(AtomicU8);

impl Level {
    /// Level 0.
    #[must_use]
    pub const fn new() -> Level {
        Level(AtomicU8::new(0))
    }

    /// Moves it.
    pub fn set(&self, level: u8) {
        self.0.store(level, Ordering::Release);
    }

    /// A plain load on x86-64.
    #[must_use]
    pub fn get(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }
}
