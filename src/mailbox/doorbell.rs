//! Wakes a parked shard. The shard keeps [`Doorbell::fd`] in its epoll set, edge-triggered. While it turns it looks into
//! its lanes each turn, so senders leave the bell alone; before it sleeps it declares that ([`Doorbell::park`]) and
//! looks a last time. Senders ring after each push, and at most one of them per park makes the system call.
//!
//! The eventfd is never read: every write is an edge of its own, and the counter would be full after 2^64 - 2 writes,
//! 58,000 years at ten million a second.
use super::latch::Latch;
use super::sync::{AtomicU64, Ordering};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{retry_on_intr, write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// One per shard, shared with all that send to it.
pub struct Doorbell {
    latch: Latch,
    rings: AtomicU64,
    eventfd: OwnedFd,
}

impl Doorbell {
    /// # Errors
    /// That of eventfd(2): too many open files.
    pub fn new() -> io::Result<Arc<Doorbell>> {
        let eventfd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Arc::new(Doorbell { latch: Latch::default(), rings: AtomicU64::new(0), eventfd }))
    }

    /// For the owner's epoll set (EPOLLIN | EPOLLET).
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Owner: I am about to sleep. MUST be followed by a last look into the lanes; if they hold anything, by `unpark`
    /// instead of sleep.
    pub fn park(&self) {
        self.latch.park();
    }

    /// Owner: I am awake and look by myself.
    pub fn unpark(&self) {
        self.latch.unpark();
    }

    /// Sender, after its push: wakes the owner if it is parked and nobody has rung since. Answers whether it did.
    pub fn ring(&self) -> bool {
        if !self.latch.claim() {
            return false;
        }
        self.rings.fetch_add(1, Ordering::Relaxed);
        let one = 1_u64.to_ne_bytes();
        retry_on_intr(|| write(&self.eventfd, &one))
            .expect("the counter never fills and the descriptor is ours");
        true
    }

    /// How often somebody rang with effect: system calls, not messages.
    #[must_use]
    pub fn rings(&self) -> u64 {
        self.rings.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{Timespec, epoll};

    fn edges(set: &OwnedFd) -> usize {
        let mut events = Vec::with_capacity(4);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(set, rustix::buffer::spare_capacity(&mut events), Some(&at_once)).expect("epoll_wait")
    }

    fn set_with(doorbell: &Doorbell) -> OwnedFd {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll_create");
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&set, doorbell.fd(), epoll::EventData::new_u64(1), flags).expect("epoll_ctl");
        set
    }

    #[test]
    fn only_the_first_ring_of_a_park_makes_a_system_call() {
        let doorbell = Doorbell::new().expect("eventfd");
        assert!(!doorbell.ring(), "the owner turns");
        doorbell.park();
        assert!(doorbell.ring());
        assert!(!doorbell.ring(), "somebody rang already");
        doorbell.unpark();
        assert!(!doorbell.ring());
        doorbell.park();
        doorbell.unpark();
        assert!(!doorbell.ring());
        assert_eq!(doorbell.rings(), 1);
    }

    #[test]
    fn every_ring_is_an_edge_though_nobody_reads() {
        let doorbell = Doorbell::new().expect("eventfd");
        let set = set_with(&doorbell);
        for _ in 0..100 {
            assert_eq!(edges(&set), 0);
            doorbell.park();
            doorbell.ring();
            assert_eq!(edges(&set), 1);
            doorbell.unpark();
        }
    }
}
