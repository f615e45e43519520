//! A sliding window: in no stretch of its length are more granted than its limit. What is granted counts until it is as
//! old as the window is long; what is refused does not count, so whoever waits is let in again. Called with the lock of
//! the table held in which it stands, and it does no more than a few steps for each call.

use std::collections::VecDeque;

/// Into so many parts a window is cut: what was granted within one part leaves together, with the last of it, so it counts
/// for at most 1/256 of the window too long and never too short. It bounds what is kept: 257 runs of 16 bytes.
const PARTS: u64 = 256;

/// How much is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// So many in one window; 0: no limit.
    pub limit: u32,
    /// The length of the window, in microseconds.
    pub window_us: u64,
}

impl Rate {
    /// Whether there is a limit at all.
    #[must_use]
    pub fn is_on(self) -> bool {
        self.limit > 0
    }
}

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// As many as one window allows.
    pub limit: u32,
    /// So many more would be granted now.
    pub remaining: u32,
    /// Until the next place comes free, in microseconds; 0 when all are.
    pub reset_us: u64,
}

/// What came of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// So many of those that were wanted are granted.
    pub granted: u32,
    /// What is left after that.
    pub quota: Quota,
}

/// Grants of one moment.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Rounded up to a part of the window, in steady microseconds.
    at_us: u64,
    count: u32,
}

/// What one peer was granted lately.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// In the order of their times.
    runs: VecDeque<Run>,
    counted: u32,
}

impl Window {
    /// Grants as many of `wanted` as are left. The limit may be another at each call, and the time may go back a little:
    /// the clocks of several cores are read at different moments of their turns.
    pub fn take(&mut self, wanted: u32, rate: Rate, now_us: u64) -> Taken {
        self.expire(rate, now_us);
        let granted = wanted.min(rate.limit.saturating_sub(self.counted));
        if granted > 0 {
            self.count(granted, rate, now_us);
        }
        Taken { granted, quota: self.quota(rate, now_us) }
    }

    /// Whether nothing counts any more: then it says the same as one that was never used.
    #[must_use]
    pub fn is_idle(&self, rate: Rate, now_us: u64) -> bool {
        self.runs.back().is_none_or(|run| run.at_us.saturating_add(rate.window_us) <= now_us)
    }

    fn expire(&mut self, rate: Rate, now_us: u64) {
        while let Some(run) = self.runs.front()
            && run.at_us.saturating_add(rate.window_us) <= now_us
        {
            self.counted -= run.count;
            self.runs.pop_front();
        }
    }

    fn count(&mut self, granted: u32, rate: Rate, now_us: u64) {
        let part_us = (rate.window_us / PARTS).max(1);
        let at_us = now_us.checked_next_multiple_of(part_us).unwrap_or(now_us);
        self.counted += granted;
        match self.runs.back_mut() {
            Some(run) if run.at_us >= at_us => run.count += granted,
            _ => self.runs.push_back(Run { at_us, count: granted }),
        }
    }

    fn quota(&self, rate: Rate, now_us: u64) -> Quota {
        let remaining = rate.limit.saturating_sub(self.counted);
        let mut missing = self.counted.saturating_sub(rate.limit.saturating_sub(1)).max(1);
        let frees = self.runs.iter().find(|run| {
            missing = missing.saturating_sub(run.count);
            missing == 0
        });
        let reset_us = frees.map_or(0, |run| run.at_us.saturating_add(rate.window_us).saturating_sub(now_us));
        Quota { limit: rate.limit, remaining, reset_us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const RATE: Rate = Rate { limit: 3, window_us: 256 * SECOND };

    fn quota(remaining: u32, reset_s: u64) -> Quota {
        Quota { limit: 3, remaining, reset_us: reset_s * SECOND }
    }

    #[test]
    fn one_too_many_is_refused_until_the_first_is_as_old_as_the_window() {
        let mut window = Window::default();
        for (at_s, remaining) in [(10, 2), (20, 1), (30, 0)] {
            let taken = window.take(1, RATE, at_s * SECOND);
            assert_eq!(taken, Taken { granted: 1, quota: quota(remaining, 256 + 10 - at_s) });
        }
        assert_eq!(window.take(1, RATE, 265 * SECOND), Taken { granted: 0, quota: quota(0, 1) });
        assert_eq!(window.take(1, RATE, 266 * SECOND), Taken { granted: 1, quota: quota(0, 10) });
        assert_eq!(window.take(1, RATE, 275 * SECOND).granted, 0);
    }

    #[test]
    fn of_many_that_are_wanted_at_once_as_many_are_granted_as_are_left() {
        let mut window = Window::default();
        assert_eq!(window.take(2, RATE, 0).granted, 2);
        assert_eq!(window.take(5, RATE, SECOND), Taken { granted: 1, quota: quota(0, 255) });
        assert_eq!(window.take(0, RATE, 256 * SECOND), Taken { granted: 0, quota: quota(2, 1) });
    }

    #[test]
    fn what_is_refused_does_not_count() {
        let mut window = Window::default();
        window.take(3, RATE, 0);
        (1..200).for_each(|at_s| assert_eq!(window.take(1, RATE, at_s * SECOND).granted, 0));
        assert_eq!(window.take(3, RATE, 256 * SECOND).granted, 3);
    }

    #[test]
    fn another_limit_holds_at_once_for_what_was_granted_before() {
        let mut window = Window::default();
        window.take(3, RATE, 0);
        let one = Rate { limit: 1, ..RATE };
        let told = window.take(1, one, 10 * SECOND);
        assert_eq!(
            told,
            Taken { granted: 0, quota: Quota { limit: 1, remaining: 0, reset_us: 246 * SECOND } }
        );
        assert_eq!(window.take(9, Rate { limit: 5, ..RATE }, 10 * SECOND).granted, 2);
        let short = Rate { limit: 3, window_us: 5 * SECOND };
        assert_eq!(window.take(3, short, 16 * SECOND).granted, 3);
    }

    #[test]
    fn a_clock_that_lags_grants_no_more() {
        let mut window = Window::default();
        assert_eq!(window.take(2, RATE, 100 * SECOND).granted, 2);
        assert_eq!(window.take(2, RATE, 99 * SECOND).granted, 1);
        assert_eq!(window.take(1, RATE, 355 * SECOND).granted, 0);
        assert_eq!(window.take(3, RATE, 356 * SECOND).granted, 3);
    }

    #[test]
    fn it_is_idle_when_it_says_what_a_new_one_says() {
        let mut window = Window::default();
        assert!(window.is_idle(RATE, 0));
        window.take(1, RATE, 1);
        assert!(!window.is_idle(RATE, 256 * SECOND) && window.is_idle(RATE, 257 * SECOND));
        assert_eq!(window.take(0, RATE, 257 * SECOND), Window::default().take(0, RATE, 257 * SECOND));
    }

    #[test]
    fn it_keeps_few_runs_however_many_are_granted() {
        let mut window = Window::default();
        let rate = Rate { limit: u32::MAX, window_us: 10 * SECOND };
        for at_us in (0..30 * SECOND).step_by(777) {
            window.take(1, rate, at_us);
            assert!(window.runs.len() <= PARTS as usize + 2);
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let mut window = Window::default();
        for rate in [Rate { limit: 1, window_us: u64::MAX }, Rate { limit: 1, window_us: 1 }] {
            for now_us in [0, 1, u64::MAX - 1, u64::MAX] {
                window.take(2, rate, now_us);
                assert!(!window.is_idle(rate, now_us) || now_us == u64::MAX);
            }
        }
    }
}
