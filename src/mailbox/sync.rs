//! The atomics and locks of this room. `tests/loom` puts other modules of the same name in its place.
pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
pub use std::sync::{Mutex, MutexGuard};
