//! What the watchdog sees of a shard: how often it has turned, and what it is doing. The shard is the only writer of
//! both, so a turn costs a plain load and store. The watchdog compares two looks; it never stops the shard.
use super::sync::{AtomicU64, Ordering};

/// What a shard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Works through its epoll set; must turn again within milliseconds.
    Turning = 0,
    /// Gave glommio a pass; must be back within milliseconds.
    Visiting = 1,
    /// Sleeps in glommio until its epoll set is readable; may stay for ever.
    Parked = 2,
    /// Has ended.
    Gone = 3,
    /// Sleeps in its epoll set, where the kernel wakes it and glommio has no part; may stay for ever.
    Waiting = 4,
}

/// One per shard. On cache lines of its own (128 bytes: lines are fetched in pairs): it changes each turn.
#[repr(align(128))]
pub struct Pulse {
    turns: AtomicU64,
    phase: AtomicU64,
    kicks: AtomicU64,
}

impl Pulse {
    /// Of a shard that turns and has not turned yet.
    #[must_use]
    #[allow(clippy::new_ret_no_self, reason = "only ever shared")]
    pub fn new() -> std::sync::Arc<Pulse> {
        let phase = AtomicU64::new(Phase::Turning as u64);
        std::sync::Arc::new(Pulse { turns: AtomicU64::new(0), phase, kicks: AtomicU64::new(0) })
    }

    /// Shard only: one more turn. No read-modify-write, because there is one writer.
    pub fn turn(&self) {
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Shard only: what follows. Releases the turns before it: who sees the phase sees them too.
    pub fn set(&self, phase: Phase) {
        self.phase.store(phase as u64, Ordering::Release);
    }

    /// Turns so far.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// What the shard was doing a moment ago.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Turning,
            1 => Phase::Visiting,
            2 => Phase::Parked,
            4 => Phase::Waiting,
            _ => Phase::Gone,
        }
    }

    /// Watchdog: it woke the shard from a wrong park.
    pub fn kicked(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
    }

    /// Wrong parks ended by the watchdog.
    #[must_use]
    pub fn kicks(&self) -> u64 {
        self.kicks.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_sees_what_the_shard_wrote() {
        let pulse = Pulse::new();
        assert_eq!((pulse.turns(), pulse.phase(), pulse.kicks()), (0, Phase::Turning, 0));
        for phase in [Phase::Visiting, Phase::Parked, Phase::Waiting, Phase::Gone, Phase::Turning] {
            pulse.turn();
            pulse.set(phase);
            assert_eq!(pulse.phase(), phase);
        }
        pulse.kicked();
        assert_eq!((pulse.turns(), pulse.kicks()), (5, 1));
    }
}
