//! What a publisher says about an event beside the event itself, and what became of it since.

use super::{ConnectionId, Event, Priority};
use std::sync::OnceLock;

/// What a publisher said about an event; made only when something of it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// How urgent.
    pub priority: Priority,
    /// Not to be delivered from then on, in steady microseconds.
    pub expires_us: Option<u64>,
    /// Who is not to get it.
    pub exclude: Option<ConnectionId>,
    /// A repeat with the same one within five minutes is answered as the first was, and not delivered.
    pub id: Option<Box<str>>,
    /// The text is an event object of the router dialect.
    pub router: bool,
    /// Carried along.
    pub target: Option<Box<str>>,
    /// Carried along.
    pub correlation_id: Option<Box<str>>,
    /// Carried along (W3C trace context).
    pub traceparent: Option<Box<str>>,
    /// It becomes a dead letter if its time is over before anybody has received it.
    pub keep: bool,
    /// Somebody has received it; looked at only where `keep` is set.
    pub seen: OnceLock<()>,
    /// It was a dead letter before.
    pub deaths: Deaths,
}

/// What was tried with an event before it was published again as a dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// Deliveries that nobody acknowledged.
    pub attempts: u32,
    /// How often it was published again.
    pub retries: u32,
}

impl Event {
    /// Somebody has received it.
    pub fn see(&self) {
        if let Some(extras) = self.extras().filter(|extras| extras.keep) {
            // Whoever comes first has said it for all.
            let _ = extras.seen.set(());
        }
    }

    /// Whether it is to be kept when its time is over, and nobody has received it yet.
    pub fn is_missed(&self) -> bool {
        self.extras().is_some_and(|extras| extras.keep && extras.seen.get().is_none())
    }
}
