//! Reads RFC 3339 timestamps (RFC 3339 5.6), as events carry them.

/// Milliseconds since 1970 in UTC, fractions below a millisecond cut off; `None` when `text` is no RFC 3339
/// date-time (a missing zone counts as UTC: several publishers write none), or lies before 1970.
pub fn unix_ms_of(text: &str) -> Option<u64> {
    u64::try_from(signed_ms_of(text)?).ok()
}

/// As [`unix_ms_of`], for a moment from which on something is wanted: one before 1970 is as good as 1970.
pub fn unix_ms_since(text: &str) -> Option<u64> {
    signed_ms_of(text).map(|ms| u64::try_from(ms).unwrap_or(0))
}

fn signed_ms_of(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    if b.len() < 19 || b[4] != b'-' || b[7] != b'-' || !matches!(b[10], b'T' | b't' | b' ') {
        return None;
    }
    if b[13] != b':' || b[16] != b':' {
        return None;
    }
    let (year, month, day) = (digits(&b[0..4])?, digits(&b[5..7])?, digits(&b[8..10])?);
    let (hour, minute, second) = (digits(&b[11..13])?, digits(&b[14..16])?, digits(&b[17..19])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    // 60 is a leap second; it counts as the first of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_ms, zone) = fraction(&b[19..])?;
    let days = days_before(year, month) + day - 1;
    let local_ms = ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + fraction_ms;
    Some(local_ms - offset_minutes(zone)? * 60_000)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of the month (civil calendar; March-based years put the leap day last).
fn days_before(year: i64, month: i64) -> i64 {
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 - 719_468
}

fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', after @ ..] = rest else { return Some((0, rest)) };
    let count = after.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let ms = (0..3).fold(0, |ms, i| ms * 10 + if i < count { i64::from(after[i] - b'0') } else { 0 });
    Some((ms, &after[count..]))
}

fn offset_minutes(zone: &[u8]) -> Option<i64> {
    match zone {
        [] | [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let magnitude = (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)?;
            Some(if *sign == b'-' { -magnitude } else { magnitude })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_are_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00.5Z", 951_825_600_500),
            ("2026-11-21T14:36:15.123456Z", 1_795_271_775_123),
            ("2026-11-21T16:36:15.123+02:00", 1_795_271_775_123),
            ("2026-11-21 14:36:15.123", 1_795_271_775_123),
            ("1985-04-12T23:20:50.52Z", 482_196_050_520),
        ] {
            assert_eq!(unix_ms_of(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "now",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T14:36:15.Z",
            "2026-11-21T14:36:15+2:00",
            "1969-12-31T23:59:59Z",
            "2026-11-21T14:36:15Zx",
            "２026-11-21T14:36:15Z",
        ] {
            assert_eq!(unix_ms_of(text), None, "{text}");
        }
    }
}
