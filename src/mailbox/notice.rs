//! A value that one thread announces and every shard takes when it comes round: new settings. Looking costs a shard
//! one load per turn.
use super::sync::{AtomicU64, Mutex, Ordering};
use std::sync::{Arc, PoisonError};

/// The newest announcement.
pub struct Notice<T> {
    revision: AtomicU64,
    refusals: AtomicU64,
    value: Mutex<Option<Arc<T>>>,
}

impl<T> Default for Notice<T> {
    fn default() -> Notice<T> {
        Notice { revision: AtomicU64::new(0), refusals: AtomicU64::new(0), value: Mutex::new(None) }
    }
}

impl<T> Notice<T> {
    /// Announces a value in place of the last one.
    pub fn announce(&self, value: T) {
        let mut held = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Arc::new(value));
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Notes that a value was to be announced and was none.
    pub fn refuse(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Announces what `change` makes of the last value; `None` if there is none yet.
    pub fn amend(&self, change: impl FnOnce(Option<&T>) -> T) {
        let mut held = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Arc::new(change(held.as_deref())));
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// How many announcements there were.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// The newest value, if it is newer than what was seen.
    pub fn newer(&self, seen: &mut u64) -> Option<Arc<T>> {
        let revision = self.revision.load(Ordering::Acquire);
        if revision == *seen {
            return None;
        }
        *seen = revision;
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
