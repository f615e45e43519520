//! Whether a shard sleeps, so that a sender makes a system call only for one that does. Atomics alone: the doorbell
//! adds the descriptor, `tests/loom` a counter in its place.
//!
//! ```text
//!   owner                               sender
//!   parked = true                       push into a lane
//!   fence                               fence
//!   last look into the lanes            parked?  -> take the mark, wake the owner
//! ```
//!
//! Each side writes, then reads what the other one writes. Without the fences both could read the old value from
//! before the other's write, and the owner would sleep on a message. With them one of the two sees the other's.
use super::sync::{AtomicBool, Ordering, fence};

/// One per shard; see the module. On a cache line of its own (128 bytes: lines are fetched in pairs), because every
/// sender reads it and nearby words change often.
#[repr(align(128))]
pub struct Latch {
    /// Set by the owner, taken by the owner or by the one sender that will wake it.
    parked: AtomicBool,
}

impl Default for Latch {
    fn default() -> Latch {
        Latch { parked: AtomicBool::new(false) }
    }
}

impl Latch {
    /// Owner: from now on somebody must wake me. A last look into the lanes must follow before sleeping.
    pub fn park(&self) {
        // A store would do on the machines we know. But loom knows no order between it and an exchange in `claim` that
        // the owner has not seen, and reports a lost wake; an exchange before a sleep costs next to nothing.
        self.parked.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Owner: I look by myself. A sender that took the mark just before still wakes once, for nothing.
    pub fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Sender, after its push: whether the owner must be woken, and by this sender. One per park is told so.
    pub fn claim(&self) -> bool {
        fence(Ordering::SeqCst);
        self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::Relaxed)
    }
}
