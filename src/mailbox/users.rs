//! How many connections each user has, over all cores. A shard enters a connection before it serves it and leaves when it
//! ends. Every user is counted, whatever the limit, so that another limit is exact from the moment it is set.
use super::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};
use std::collections::HashMap;
use std::sync::PoisonError;

/// One per process; see the module.
pub struct Users {
    /// Users without a connection are forgotten, so its size is bounded by the connections.
    inside: Mutex<HashMap<Box<str>, usize>>,
    per_user_max: AtomicUsize,
}

impl Users {
    /// At most so many connections of one user; 0 is no limit.
    #[must_use]
    pub fn new(per_user_max: usize) -> Users {
        Users { inside: Mutex::default(), per_user_max: AtomicUsize::new(per_user_max) }
    }

    /// Another limit from now on; those who are in stay.
    pub fn set_limit(&self, per_user_max: usize) {
        self.per_user_max.store(per_user_max, Ordering::Relaxed);
    }

    /// A connection of a user comes in, if the limit lets it. If so it must [`Users::leave`] once.
    #[must_use]
    pub fn enter(&self, user: &str) -> bool {
        let max = self.per_user_max.load(Ordering::Relaxed);
        let mut inside = self.lock();
        match inside.get_mut(user) {
            Some(known) if max > 0 && *known >= max => return false,
            Some(known) => *known += 1,
            None => drop(inside.insert(user.into(), 1)),
        }
        true
    }

    /// A connection that was let in is gone.
    pub fn leave(&self, user: &str) {
        let mut inside = self.lock();
        let known = inside.get_mut(user).expect("who leaves has entered");
        *known -= 1;
        if *known == 0 {
            inside.remove(user);
        }
    }

    /// How many users have a connection.
    #[must_use]
    pub fn users(&self) -> usize {
        self.lock().len()
    }

    /// A panic under this lock can only be the broken invariant in `leave`, before anything was changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_so_many_and_who_has_none_is_forgotten() {
        let users = Users::new(2);
        assert_eq!(["a", "a", "b", "a"].map(|user| users.enter(user)), [true, true, true, false]);
        users.leave("a");
        assert!(users.enter("a"));
        users.leave("b");
        assert_eq!(users.users(), 1);
    }

    #[test]
    fn a_limit_that_is_set_later_counts_those_who_are_in() {
        let users = Users::new(0);
        assert!((0..5).all(|_| users.enter("a")));
        users.set_limit(3);
        assert!(!users.enter("a"));
        (0..3).for_each(|_| users.leave("a"));
        assert_eq!([users.enter("a"), users.enter("a")], [true, false]);
    }

    #[test]
    fn racing_threads_never_exceed_the_limit() {
        let users = Users::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let entered = (0..2).filter(|_| users.enter("a")).count();
                        (0..entered).for_each(|_| users.leave("a"));
                    }
                });
            }
        });
        assert_eq!(users.users(), 0);
        assert_eq!((0..9).filter(|_| users.enter("a")).count(), 3);
    }
}
