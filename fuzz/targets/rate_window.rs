//! The sliding window against a list of all that it ever granted: each wish gets what the list leaves, the quota says what
//! is left and when more comes, and in no stretch of a window is there more than the limit, rounded to nobody's favour.
#![no_main]
use arbitrary::Arbitrary;
use courier::rate::{Rate, Window};

#[derive(Arbitrary, Debug)]
struct Input {
    limit: u8,
    window_us: u16,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Take(u8),
    Pass(u8),
    PassMuch(u16),
    /// Another core's clock was read a little earlier.
    TakeEarlier(u8, u8),
    /// Other settings.
    Reload(u8),
}

/// As the window's own documentation has it: what is granted leaves with the last of its part, of which there are 256.
fn rounded_up(at_us: u64, rate: Rate) -> u64 {
    at_us.next_multiple_of((rate.window_us / 256).max(1))
}

struct Checked {
    window: Window,
    rate: Rate,
    limit_max: u32,
    /// When each was granted by the clock that was read, and the end of the part of the window in which it was.
    granted: Vec<(u64, u64)>,
    /// The latest time of all: what has left by then does not come back for a clock that lags.
    latest_us: u64,
}

impl Checked {
    fn take(&mut self, wanted: u32, now_us: u64) {
        self.latest_us = self.latest_us.max(now_us);
        let (rate, latest_us) = (self.rate, self.latest_us);
        let counting = |granted: &[(u64, u64)]| {
            let mut ends: Vec<u64> =
                granted.iter().map(|(_, at)| at + rate.window_us).filter(|end| *end > latest_us).collect();
            ends.sort_unstable();
            ends
        };
        let before = counting(&self.granted).len() as u32;
        let taken = self.window.take(wanted, rate, now_us);
        assert_eq!(taken.granted, wanted.min(rate.limit.saturating_sub(before)));
        // A clock that lags finds its grants behind those of others.
        let latest = self.granted.last().map_or(0, |(_, at)| *at);
        let at = rounded_up(now_us, rate).max(latest);
        self.granted.extend((0..taken.granted).map(|_| (now_us, at)));
        let ends = counting(&self.granted);
        let (count, quota) = (ends.len() as u32, taken.quota);
        assert_eq!((quota.limit, quota.remaining), (rate.limit, rate.limit.saturating_sub(count)));
        // The next place comes free when the oldest leaves, or, after a lower limit, the one that takes it below.
        let leaves = count.saturating_sub(rate.limit.max(1));
        let reset_us = ends.get(leaves as usize).map_or(0, |end| end - now_us);
        assert_eq!(quota.reset_us, reset_us);
        assert_eq!(self.window.is_idle(rate, now_us), count == 0);
        self.check_limit();
    }

    /// The promise itself, without any rounding.
    fn check_limit(&self) {
        let since_us = (self.latest_us + 1).saturating_sub(self.rate.window_us);
        let recent = self.granted.iter().filter(|(at, _)| *at >= since_us).count();
        assert!(recent as u32 <= self.limit_max, "{recent} in one window");
    }
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    // No clock lags by as much as a window.
    let rate = Rate { limit: input.limit.into(), window_us: 256 + u64::from(input.window_us) };
    let (window, granted) = (Window::default(), Vec::new());
    let mut checked = Checked { window, rate, limit_max: rate.limit, granted, latest_us: 0 };
    let mut now_us = 1_000;
    for step in input.steps {
        match step {
            Step::Take(wanted) => checked.take(wanted.into(), now_us),
            Step::TakeEarlier(wanted, us) => checked.take(wanted.into(), now_us - u64::from(us)),
            Step::Pass(us) => now_us += u64::from(us),
            Step::PassMuch(us) => now_us += u64::from(us),
            Step::Reload(limit) => {
                checked.rate.limit = limit.into();
                checked.limit_max = checked.limit_max.max(limit.into());
            }
        }
    }
});
