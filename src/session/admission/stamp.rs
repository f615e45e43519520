//! The timestamp that an event lacks (contract 3.4): the one thing that is ever added to what a publisher sent.

use crate::event::Facts;
use crate::schema::Place;
use crate::session::Stamp;
use crate::stdx::clock::{Now, rfc3339_ms};
use std::borrow::Cow;

/// The event as it goes out. `place` is where its schema has a timestamp that it lacks.
#[inline]
pub fn stamped<'t>(
    text: &'t str,
    facts: &Facts<'_>,
    place: Option<Place>,
    stamp: Stamp,
    now: Now,
) -> Cow<'t, str> {
    match (stamp, place) {
        (Stamp::Validated | Stamp::Always, Some(place)) => Cow::Owned(with_stamp(text, place, now)),
        (Stamp::Always, None) if facts.timestamp.0.is_none() => {
            Cow::Owned(with_stamp(text, first(text), now))
        }
        _ => Cow::Borrowed(text),
    }
}

/// The place of an event's first field.
fn first(event: &str) -> Place {
    Place { at: event.find('{').map_or(0, |at| at + 1), alone: false }
}

/// The event with a timestamp at that place.
#[inline(never)]
fn with_stamp(event: &str, place: Place, now: Now) -> String {
    let mut stamp = [0; 24];
    rfc3339_ms(now.unix_ms, &mut stamp);
    let (before, behind) = event.split_at(place.at);
    let stamp = std::str::from_utf8(&stamp).expect("digits and signs");
    let comma = if place.alone { "" } else { "," };
    format!("{before}\"timestamp\":\"{stamp}\"{comma}{behind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { steady_us: 0, unix_ms: 1_795_271_775_123 };

    #[test]
    fn a_stamp_is_added_only_when_wanted_and_missing() {
        let out = |text: &str, stamp, place| {
            stamped(text, &Facts::read(text).unwrap(), place, stamp, NOW).into_owned()
        };
        let bare = r#" {"x":1}"#;
        assert_eq!(out(bare, Stamp::Always, None), r#" {"timestamp":"2026-11-21T14:36:15.123Z","x":1}"#);
        assert_eq!(out(bare, Stamp::Validated, None), bare);
        let own = r#"{"timestamp":"T","x":1}"#;
        assert_eq!(out(own, Stamp::Always, None), own);
        let place = Some(Place { at: 6, alone: true });
        assert_eq!(
            out(r#"{"m":{}}"#, Stamp::Validated, place),
            r#"{"m":{"timestamp":"2026-11-21T14:36:15.123Z"}}"#
        );
        assert_eq!(out(r#"{"m":{}}"#, Stamp::Never, place), r#"{"m":{}}"#);
    }
}
