//! The shard's deadline as a timerfd in its epoll set. It is set again only when an earlier deadline than the armed one is
//! needed; a later one lets it fire early, which costs one empty turn. So a busy shard makes no calls for its timers.
use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::runtime::readiness::Readiness;
use crate::stdx::clock::Clock;

#[derive(Debug)]
pub(crate) struct Deadline {
    fd: OwnedFd,
    armed_us: Option<u64>,
}

impl Deadline {
    pub(crate) fn new(set: &Readiness, token: u64) -> io::Result<Deadline> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        set.add_wake(&fd, token)?;
        Ok(Deadline { fd, armed_us: None })
    }

    /// The set has reported the timer.
    pub(crate) fn fired(&mut self) {
        self.armed_us = None;
    }

    /// Makes the set readable at `due_us`, or earlier. In microseconds of the clock's steady time.
    pub(crate) fn arm(&mut self, due_us: u64, clock: &Clock) -> io::Result<()> {
        if self.armed_us.is_some_and(|armed| armed <= due_us) {
            return Ok(());
        }
        // A value of zero would disarm the timer.
        let wait_us = due_us.saturating_sub(clock.now().steady_us).max(1);
        let after =
            Timespec { tv_sec: (wait_us / 1_000_000) as i64, tv_nsec: (wait_us % 1_000_000 * 1_000) as i64 };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: after };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once)?;
        self.armed_us = Some(due_us);
        Ok(())
    }
}
