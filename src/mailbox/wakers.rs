//! Where glommio tasks leave wakers and the watchdog takes one when their executor sleeps wrongly. Waking from a foreign
//! thread is what ends such a sleep; a waker whose task is scheduled already notifies nobody, so each kick takes a
//! fresh one. Used a few times per second at most, hence the lock.
use super::sync::{Mutex, MutexGuard};
use std::sync::PoisonError;
use std::task::Waker;

/// One per shard. Holds at most one waker per task, so the number of watch tasks bounds it.
#[derive(Default)]
pub struct Wakers {
    waiting: Mutex<Vec<Waker>>,
}

impl Wakers {
    /// No waker yet.
    #[must_use]
    pub fn new() -> Wakers {
        Wakers { waiting: Mutex::new(Vec::new()) }
    }

    /// Task: wake me once. Said twice by the same task before that, it counts once.
    pub fn register(&self, waker: Waker) {
        let mut waiting = self.lock();
        if !waiting.iter().any(|known| known.will_wake(&waker)) {
            waiting.push(waker);
        }
    }

    /// Watchdog: the waker registered last, if there is one. It is the caller's to wake.
    #[must_use]
    pub fn take(&self) -> Option<Waker> {
        self.lock().pop()
    }

    /// How many tasks wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A panic under this lock leaves a vector of wakers like any other.
    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_task_is_woken_once_however_often_it_registers() {
        let tasks = [Arc::<Task>::default(), Arc::default()];
        let wakers = Wakers::new();
        for task in tasks.iter().chain(&tasks) {
            wakers.register(Waker::from(Arc::clone(task)));
        }
        assert_eq!(wakers.len(), 2);
        while let Some(waker) = wakers.take() {
            waker.wake();
        }
        assert_eq!(tasks.map(|task| task.0.load(Ordering::Relaxed)), [1, 1]);
        assert!(wakers.is_empty());
    }
}
