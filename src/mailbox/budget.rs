//! How many bytes all cores keep, of the past, of what is unfinished or of what waits for sockets, and which core has the
//! oldest or the largest: what one budget for all of them needs. Told when something is taken in, or once per turn where the sum may be true but for the turns that
//! run now.
use super::sync::{AtomicU64, Ordering};

const NONE: u64 = u64::MAX;

/// One for all shards.
pub struct Budget {
    used: AtomicU64,
    max: AtomicU64,
    oldest_us: Vec<AtomicU64>,
}

impl Budget {
    /// Nothing is used of `max` bytes.
    #[must_use]
    pub fn new(shards: usize, max: u64) -> Budget {
        Budget {
            used: AtomicU64::new(0),
            max: AtomicU64::new(max),
            oldest_us: (0..shards).map(|_| AtomicU64::new(NONE)).collect(),
        }
    }

    /// Another budget from now on.
    pub fn set_max(&self, max: u64) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// A shard's bytes went from `before` to `after`.
    pub fn moved(&self, before: u64, after: u64) {
        self.used.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// By how many bytes the budget is exceeded.
    #[must_use]
    pub fn over(&self) -> u64 {
        self.used.load(Ordering::Relaxed).saturating_sub(self.max.load(Ordering::Relaxed))
    }

    /// When the oldest that `shard` keeps was taken, in steady microseconds; nothing older is there.
    pub fn set_oldest(&self, shard: usize, since_us: Option<u64>) {
        self.oldest_us[shard].store(since_us.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// Where the largest goes first: how much the largest of what `shard` keeps takes.
    pub fn set_largest(&self, shard: usize, bytes: u64) {
        self.set_oldest(shard, (bytes > 0).then(|| NONE - bytes));
    }

    /// Of the shards but `me` the one that may have the largest, and how much that takes.
    #[must_use]
    pub fn largest_but(&self, me: usize) -> Option<(usize, u64)> {
        self.oldest_but(me).map(|(shard, told)| (shard, NONE - told))
    }

    /// How much there may be.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Of the shards but `me` the one that may have the oldest, and when that was taken.
    #[must_use]
    pub fn oldest_but(&self, me: usize) -> Option<(usize, u64)> {
        let others = self.oldest_us.iter().enumerate().filter(|(shard, _)| *shard != me);
        let known = others.map(|(shard, since)| (shard, since.load(Ordering::Relaxed)));
        known.filter(|(_, since)| *since != NONE).min_by_key(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_and_who_has_the_oldest() {
        let budget = Budget::new(3, 100);
        budget.moved(0, 70);
        assert_eq!(budget.over(), 0);
        budget.moved(10, 90);
        assert_eq!(budget.over(), 50);
        budget.moved(60, 20);
        assert_eq!(budget.over(), 10);
        budget.set_max(200);
        assert_eq!((budget.over(), budget.oldest_but(0)), (0, None));
        budget.set_oldest(1, Some(5));
        budget.set_oldest(2, Some(4));
        assert_eq!((budget.oldest_but(0), budget.oldest_but(2)), (Some((2, 4)), Some((1, 5))));
        budget.set_oldest(2, None);
        assert_eq!(budget.oldest_but(0), Some((1, 5)));
    }

    #[test]
    fn who_has_the_largest() {
        let budget = Budget::new(3, 100);
        assert_eq!((budget.largest_but(0), budget.max()), (None, 100));
        budget.set_largest(1, 7);
        budget.set_largest(2, 9);
        assert_eq!((budget.largest_but(0), budget.largest_but(2)), (Some((2, 9)), Some((1, 7))));
        budget.set_largest(2, 0);
        assert_eq!(budget.largest_but(0), Some((1, 7)));
    }
}
