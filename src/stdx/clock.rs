//! The only place that reads the time. The runtime reads it once per turn and hands a [`Now`] down, so that every
//! state machine below runs the same under virtual time. Also writes a time as text, without allocation.
//! It never waits and knows no time zone.
use rustix::time::{ClockId, Timespec, clock_gettime};

const US_PER_SECOND: u64 = 1_000_000;
const MS_PER_SECOND: u64 = 1_000;
const MS_PER_DAY: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z, the last instant that RFC 3339 can write (four digits of year).
const RFC3339_UNIX_MS_MAX: u64 = 253_402_300_799_999;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since the clock was started. Never goes back; for deadlines and durations.
    pub steady_us: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z. Jumps when the machine's clock is set; for timestamps only.
    pub unix_ms: u64,
}

/// The earlier of two moments that may be none.
#[must_use]
pub fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

/// The process clock. Started once and copied to every shard, so that all of them count from the same instant.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_us: u64,
}

impl Clock {
    /// Makes this instant the zero of `steady_us`.
    #[must_use]
    pub fn start() -> Clock {
        Clock { origin_us: monotonic_us() }
    }

    /// Reads both clocks: two vDSO calls, no system call.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { steady_us: monotonic_us() - self.origin_us, unix_ms: unix_ms() }
    }
}

fn monotonic_us() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    count(time, US_PER_SECOND)
}

fn unix_ms() -> u64 {
    count(clock_gettime(ClockId::Realtime), MS_PER_SECOND)
}

/// A machine whose clock stands before 1970 counts as 1970.
fn count(time: Timespec, per_second: u64) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * per_second + nanoseconds / (1_000_000_000 / per_second)
}

/// The text of a time that many ask for: written once per millisecond, which is 190 instructions saved for each of the
/// others.
#[derive(Debug)]
pub struct TimeText {
    unix_ms: u64,
    text: [u8; 24],
}

impl Default for TimeText {
    fn default() -> TimeText {
        let mut text = TimeText { unix_ms: 0, text: [0; 24] };
        rfc3339_ms(0, &mut text.text);
        text
    }
}

impl TimeText {
    /// The time, in Unix milliseconds, as [`rfc3339_ms`] writes it.
    pub fn at(&mut self, unix_ms: u64) -> &[u8; 24] {
        if unix_ms != self.unix_ms {
            self.unix_ms = unix_ms;
            rfc3339_ms(unix_ms, &mut self.text);
        }
        &self.text
    }
}

/// Writes `unix_ms` as RFC 3339 section 5.6 in UTC with milliseconds: `2026-11-21T14:36:15.123Z`.
/// Instants after the year 9999, which the format cannot express, are written as its last one.
pub fn rfc3339_ms(unix_ms: u64, out: &mut [u8; 24]) {
    let unix_ms = unix_ms.min(RFC3339_UNIX_MS_MAX);
    let (year, month, day) = civil_date(unix_ms / MS_PER_DAY);
    let ms_of_day = unix_ms % MS_PER_DAY;
    *out = *b"0000-00-00T00:00:00.000Z";
    digits(&mut out[0..4], year);
    digits(&mut out[5..7], month);
    digits(&mut out[8..10], day);
    digits(&mut out[11..13], ms_of_day / 3_600_000);
    digits(&mut out[14..16], ms_of_day / 60_000 % 60);
    digits(&mut out[17..19], ms_of_day / 1_000 % 60);
    digits(&mut out[20..23], ms_of_day % 1_000);
}

/// Days since 1970-01-01 to year, month (1..=12) and day (1..=31) in the Gregorian calendar. Years are counted from
/// 1 March, which puts the leap day last, so that month lengths follow one straight line of 153 days per 5 months.
fn civil_date(unix_days: u64) -> (u64, u64, u64) {
    const DAYS_FROM_0000_03_01_TO_1970: u64 = 719_468;
    const DAYS_PER_400_YEARS: u64 = 146_097;
    let days = unix_days + DAYS_FROM_0000_03_01_TO_1970;
    let era = days / DAYS_PER_400_YEARS;
    let day_of_era = days % DAYS_PER_400_YEARS;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_ms: u64) -> String {
        let mut out = [0; 24];
        rfc3339_ms(unix_ms, &mut out);
        String::from_utf8(out.to_vec()).expect("ASCII digits")
    }

    #[test]
    fn known_instants_are_written_as_date_of_gnu_coreutils_writes_them() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(1_709_251_200_001), "2024-03-01T00:00:00.001Z");
        assert_eq!(text(1_795_271_775_123), "2026-11-21T14:36:15.123Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn an_instant_after_the_year_9999_is_written_as_the_last_one_of_it() {
        assert_eq!(text(RFC3339_UNIX_MS_MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(text(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn every_day_of_the_calendar_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for unix_days in 0..=RFC3339_UNIX_MS_MAX / MS_PER_DAY {
            assert_eq!(civil_date(unix_days), (year, month, day));
            day += 1;
            if day > days_in(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!(year, 10_000);
    }

    fn days_in(year: u64, month: u64) -> u64 {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    #[test]
    fn steady_time_starts_at_zero_and_never_goes_back() {
        let clock = Clock::start();
        let mut before = clock.now();
        assert!(before.steady_us < 60 * US_PER_SECOND);
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now.steady_us >= before.steady_us);
            before = now;
        }
    }

    #[test]
    fn unix_time_agrees_with_the_standard_library() {
        #[allow(clippy::disallowed_methods, reason = "the other clock to compare with")]
        let std_now = std::time::SystemTime::now();
        let std_ms = std_now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        assert!(Clock::start().now().unix_ms.abs_diff(std_ms) < 60_000);
    }
}
