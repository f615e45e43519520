//! The same files on atomics that keep less than they promise.
pub mod sync {
    use loom::sync::atomic;
    pub use loom::sync::atomic::{AtomicBool, Ordering};
    pub use loom::sync::{Mutex, MutexGuard};

    /// Orders nothing.
    pub fn fence(_: Ordering) {}

    /// Compares and exchanges in two steps.
    pub struct AtomicUsize(atomic::AtomicUsize);

    impl AtomicUsize {
        pub fn new(value: usize) -> AtomicUsize {
            AtomicUsize(atomic::AtomicUsize::new(value))
        }

        pub fn load(&self, order: Ordering) -> usize {
            self.0.load(order)
        }

        pub fn store(&self, value: usize, order: Ordering) {
            self.0.store(value, order);
        }

        pub fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_sub(value, order)
        }

        pub fn compare_exchange_weak(
            &self,
            old: usize,
            new: usize,
            _: Ordering,
            _: Ordering,
        ) -> Result<usize, usize> {
            let now = self.0.load(Ordering::Acquire);
            if now != old {
                return Err(now);
            }
            self.0.store(new, Ordering::Release);
            Ok(now)
        }
    }

    /// Every access is relaxed, whatever is asked for.
    pub struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        pub fn new(value: u64) -> AtomicU64 {
            AtomicU64(atomic::AtomicU64::new(value))
        }

        pub fn load(&self, _: Ordering) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        pub fn store(&self, value: u64, _: Ordering) {
            self.0.store(value, Ordering::Relaxed);
        }

        pub fn fetch_add(&self, value: u64, _: Ordering) -> u64 {
            self.0.fetch_add(value, Ordering::Relaxed)
        }
    }
}

#[path = "../../../src/mailbox/census.rs"]
pub mod census;
#[path = "../../../src/mailbox/latch.rs"]
pub mod latch;
#[path = "../../../src/mailbox/pulse.rs"]
pub mod pulse;
