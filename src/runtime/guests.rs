//! glommio tasks beside the main task of a shard: file writes, glommio timers. While there is one the shard sleeps in
//! glommio's ring and visits it; with none it sleeps in its own epoll set. A wrong park of glommio can leave guests
//! runnable while the shard rightly waits for its sockets, and nobody outside could tell. So each says when it expects to
//! run, and the turn then wakes the shard shortly after, which lets every runnable task run. With no guest nothing ticks. Who spawns a task takes its
//! first guest before that, or the shard may go to sleep before the task has run at all.
//! A panic in such a task ends its shard: glommio has nobody else to give it to.
use std::cell::RefCell;
use std::rc::Rc;

use crate::stdx::clock::Now;

/// How late a guest may run when glommio has overslept: with the watchdog's 12 ms it stays below 20 ms.
const GUEST_LATE_US: u64 = 5_000;

/// The guests of one shard.
#[derive(Clone, Debug, Default)]
pub struct Guests(Rc<RefCell<Expected>>);

#[derive(Debug, Default)]
struct Expected {
    last_key: u64,
    due: Vec<(u64, u64)>,
}

/// Held by a task for as long as it waits for glommio.
#[derive(Debug)]
pub struct Guest {
    guests: Guests,
    key: u64,
}

impl Guests {
    /// Announces a wait in glommio that ends at `due_us` of [`Now::steady_us`], or at any moment from now on (zero).
    #[must_use]
    pub fn expect(&self, due_us: u64) -> Guest {
        let mut expected = self.0.borrow_mut();
        expected.last_key += 1;
        let key = expected.last_key;
        expected.due.push((key, due_us));
        Guest { guests: self.clone(), key }
    }

    /// Whether no task waits for glommio.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().due.is_empty()
    }

    /// When the shard must turn so that no guest is left waiting, in microseconds of [`Now::steady_us`].
    pub(crate) fn look_us(&self, now: Now) -> Option<u64> {
        self.0.borrow().due.iter().map(|&(_, due_us)| due_us.max(now.steady_us) + GUEST_LATE_US).min()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.0.borrow_mut().due.retain(|&(key, _)| key != self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { steady_us: 100_000, unix_ms: 0 };

    #[test]
    fn the_earliest_guest_decides_and_a_gone_one_does_not_count() {
        let guests = Guests::default();
        assert_eq!(guests.look_us(NOW), None);
        let late = guests.expect(500_000);
        assert_eq!(guests.look_us(NOW), Some(500_000 + GUEST_LATE_US));
        let any_moment = guests.expect(0);
        assert_eq!(guests.look_us(NOW), Some(NOW.steady_us + GUEST_LATE_US));
        drop(any_moment);
        assert_eq!(guests.look_us(NOW), Some(500_000 + GUEST_LATE_US));
        drop(late);
        assert_eq!(guests.look_us(NOW), None);
    }
}
