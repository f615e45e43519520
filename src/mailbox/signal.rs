//! A word that one thread sets and others read: the form of the log lines. What was written before
//! `set` is visible after a `get` that sees it. Nobody is woken: who needs that rings the doorbells.
use std::sync::atomic::{AtomicBool, Ordering};

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
