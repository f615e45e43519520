//! Events to entries and back. An event that comes back is as it was published, but for who was to be left out and under
//! which id it was sent: both are forgotten with the connections and answers of their time.

use super::format::{Details, Entry};
use crate::event::{BadEvent, DEAD_LETTERS, Event, Extras, Facts, Position, Priority, Text};
use crate::stdx::clock::Now;
use serde::Deserialize;
use std::borrow::Cow;

impl<'e> Entry<'e> {
    /// The entry of an event that was numbered.
    #[must_use]
    pub fn of(event: &'e Event, channel: &'e str, position: Position, now: Now) -> Entry<'e> {
        let extras = event.extras();
        let expires_us = extras.and_then(|extras| extras.expires_us);
        Entry {
            channel,
            position,
            at_ms: event.at_ms(),
            expires_ms: expires_us.map_or(0, |expires_us| to_unix_ms(expires_us, now)),
            priority: event.priority().number(),
            details: extras.map(details).unwrap_or_default(),
            text: event.text(),
        }
    }

    /// The event again; `None` when the text is not one, which only somebody else can have written.
    #[must_use]
    pub fn event(&self, now: Now) -> Option<Event> {
        let facts = match Facts::read(self.text) {
            // What is told of a dead letter has its event inside, which may be as deep as any may.
            Err(BadEvent::TooDeep) if self.channel == DEAD_LETTERS => kind_alone(self.text)?,
            facts => facts.ok()?,
        };
        Some(Event::new(self.text, &facts, self.extras(now), self.at_ms))
    }

    fn extras(&self, now: Now) -> Option<Box<Extras>> {
        let copy = |value: Option<&str>| value.map(Box::from);
        let Details { router, target, correlation_id, traceparent } = self.details;
        let extras = Extras {
            priority: Priority::new(self.priority.into()).unwrap_or_default(),
            expires_us: (self.expires_ms > 0).then(|| to_steady_us(self.expires_ms, now)),
            router,
            target: copy(target),
            correlation_id: copy(correlation_id),
            traceparent: copy(traceparent),
            ..Extras::default()
        };
        (extras != Extras::default()).then(|| Box::new(extras))
    }
}

/// The type of an event, however deep the rest is.
fn kind_alone(text: &str) -> Option<Facts<'_>> {
    #[derive(Deserialize)]
    struct Told<'t> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'t, str>,
    }
    let Told { kind } = serde_json::from_str(text).ok()?;
    let mut facts = Facts::default();
    facts.kind = Text(Some(kind));
    Some(facts)
}

fn details(extras: &Extras) -> Details<'_> {
    Details {
        router: extras.router,
        target: extras.target.as_deref(),
        correlation_id: extras.correlation_id.as_deref(),
        traceparent: extras.traceparent.as_deref(),
    }
}

/// Rounded up, and never 0, which means that it does not expire.
fn to_unix_ms(steady_us: u64, now: Now) -> u64 {
    let ahead_ms = steady_us.saturating_sub(now.steady_us).div_ceil(1_000);
    let behind_ms = now.steady_us.saturating_sub(steady_us) / 1_000;
    now.unix_ms.saturating_add(ahead_ms).saturating_sub(behind_ms).max(1)
}

fn to_steady_us(unix_ms: u64, now: Now) -> u64 {
    let ahead_us = unix_ms.saturating_sub(now.unix_ms).saturating_mul(1_000);
    let behind_us = now.unix_ms.saturating_sub(unix_ms).saturating_mul(1_000);
    now.steady_us.saturating_add(ahead_us).saturating_sub(behind_us)
}
