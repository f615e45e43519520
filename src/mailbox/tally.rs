//! How many channels there are on all cores, and which core has the one that has been idle the longest: what a
//! limit over all cores needs to be exact.
use super::sync::{AtomicU64, AtomicUsize, Ordering};

const NONE: u64 = u64::MAX;

/// One count for all shards.
pub struct Tally {
    total: AtomicUsize,
    idle_since_us: Vec<AtomicU64>,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new(shards: usize) -> Tally {
        Tally {
            total: AtomicUsize::new(0),
            idle_since_us: (0..shards).map(|_| AtomicU64::new(NONE)).collect(),
        }
    }

    /// A shard's channels went from `before` to `after`.
    pub fn moved(&self, before: usize, after: usize) {
        self.total.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Since when `shard`'s longest idle channel is idle.
    pub fn set_idle(&self, shard: usize, since_us: Option<u64>) {
        self.idle_since_us[shard].store(since_us.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// The shard with the longest idle channel.
    #[must_use]
    pub fn longest_idle(&self) -> Option<usize> {
        let since = |shard: &usize| self.idle_since_us[*shard].load(Ordering::Relaxed);
        (0..self.idle_since_us.len()).filter(|shard| since(shard) != NONE).min_by_key(since)
    }
}
