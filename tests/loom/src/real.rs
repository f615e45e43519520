//! As they run in the hub.
pub mod sync {
    pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    pub use loom::sync::{Mutex, MutexGuard};
}

#[path = "../../../src/mailbox/census.rs"]
pub mod census;
#[path = "../../../src/mailbox/latch.rs"]
pub mod latch;
#[path = "../../../src/mailbox/pulse.rs"]
pub mod pulse;
#[path = "../../../src/mailbox/wakers.rs"]
pub mod wakers;
