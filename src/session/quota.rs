//! What a limit on publishes says in answers (contract 14): the header fields that every answer carries where there is
//! such a limit, and the refusal of what is too much.

use super::Refusal;
use crate::rate::{Quota, Rate, Who};
use crate::stdx::clock::{Now, rfc3339_ms};
use serde_json::{Value, json};

/// Pages of other origins may read these fields too (Fetch standard, CORS protocol).
pub const EXPOSED: (&str, &str) = (
    "Access-Control-Expose-Headers",
    "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, X-RateLimit-Limit, X-RateLimit-Remaining, \
     X-RateLimit-Reset, Retry-After",
);

/// A quota as header fields.
#[derive(Clone, Debug)]
pub struct Shown {
    limit: String,
    remaining: String,
    reset_s: String,
    reset_unix_s: String,
}

impl Shown {
    /// As it is now.
    #[must_use]
    pub fn new(quota: &Quota, now: Now) -> Shown {
        Shown {
            limit: quota.limit.to_string(),
            remaining: quota.remaining.to_string(),
            reset_s: seconds(quota).to_string(),
            reset_unix_s: reset_unix_ms(quota, now).div_ceil(1000).to_string(),
        }
    }

    /// The fields. What is reset, both times, is when the next place comes free: after so many seconds, and in seconds
    /// since 1970 (`sources.md` 1.6).
    #[must_use]
    pub fn fields(&self) -> [(&str, &str); 6] {
        [
            ("RateLimit-Limit", &self.limit),
            ("RateLimit-Remaining", &self.remaining),
            ("RateLimit-Reset", &self.reset_s),
            ("X-RateLimit-Limit", &self.limit),
            ("X-RateLimit-Remaining", &self.remaining),
            ("X-RateLimit-Reset", &self.reset_unix_s),
        ]
    }
}

/// Until the next place comes free, rounded up so that nobody comes back too early.
#[must_use]
pub fn seconds(quota: &Quota) -> u64 {
    quota.reset_us.div_ceil(1_000_000)
}

fn reset_unix_ms(quota: &Quota, now: Now) -> u64 {
    now.unix_ms.saturating_add(quota.reset_us.div_ceil(1000))
}

/// One publish more than there may be.
#[must_use]
pub fn too_many(who: Who<'_>, quota: &Quota, rate: Rate, now: Now) -> Refusal {
    let (wait_s, mut reset_at) = (seconds(quota).max(1), [0; 24]);
    rfc3339_ms(reset_unix_ms(quota, now), &mut reset_at);
    let window_s = match rate.window_us % 1_000_000 {
        0 => json!(rate.window_us / 1_000_000),
        _ => json!(rate.window_us as f64 / 1e6),
    };
    Refusal::new(429, "Rate limit exceeded", format!("Too many requests from {who}"))
        .fact("limit", rate.limit)
        .fact("window_seconds", window_s)
        .fact("remaining", quota.remaining)
        .fact("retry_after_seconds", wait_s)
        .fact("reset_at", std::str::from_utf8(&reset_at).expect("digits and signs"))
        .field("Retry-After", wait_s.to_string())
}

/// A publisher that must say its name and does not (`sources.md` 6.2, P15).
#[must_use]
pub fn nameless() -> Refusal {
    let errors: Value = json!([{ "field": "/header/X-Service-Name", "message": "Field required" }]);
    Refusal::new(422, "Service name required", "The header X-Service-Name must say who publishes")
        .fact("validation_errors", errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { steady_us: 5, unix_ms: 1_795_271_775_123 };
    const RATE: Rate = Rate { limit: 100, window_us: 60_000_000 };

    #[test]
    fn times_are_rounded_so_that_nobody_comes_back_too_early() {
        let shown = Shown::new(&Quota { limit: 100, remaining: 7, reset_us: 2_000_001 }, NOW);
        let values: Vec<&str> = shown.fields().iter().map(|(_, value)| *value).collect();
        assert_eq!(values, ["100", "7", "3", "100", "7", "1795271778"]);
    }

    #[test]
    fn a_refusal_says_how_much_and_when_again() {
        let refusal =
            too_many(Who::Service("a\"b"), &Quota { limit: 100, remaining: 0, reset_us: 1 }, RATE, NOW);
        let body: Value = serde_json::from_slice(&refusal.body(false)).expect("it is JSON");
        assert_eq!(
            body,
            json!({"detail": {"error": "Rate limit exceeded", "message": "Too many requests from service 'a\"b'",
                   "limit": 100, "window_seconds": 60, "remaining": 0, "retry_after_seconds": 1,
                   "reset_at": "2026-11-21T14:36:15.124Z"}})
        );
        assert_eq!((refusal.status, &refusal.fields[..]), (429, &[("Retry-After", "1".to_owned())][..]));
        let half = Rate { window_us: 500_000, ..RATE };
        let long = Who::Service(&"x".repeat(100_000)).to_string();
        assert!(long.len() < 200);
        assert_eq!(
            too_many(Who::Service("a"), &Quota { limit: 1, remaining: 0, reset_us: 1 }, half, NOW).facts["window_seconds"],
            0.5
        );
    }
}
