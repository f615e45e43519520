//! One connection as a state machine: bytes and the time go in, what to do and what to answer come out. A
//! connection starts as a [`publisher`] (HTTP) and may become a [`subscriber`] (WebSocket). Nothing here knows a
//! socket, a clock or the hub.

pub mod admission;
pub mod answer;
pub mod batch;
pub mod book;
mod chunked;
pub mod close;
pub mod cloudevents;
pub mod command;
pub mod credentials;
pub mod dialect;
pub mod habits;
pub mod heartbeat;
pub mod history;
pub mod letters;
pub mod origin;
pub mod pass;
pub mod publisher;
pub mod query;
pub mod quota;
pub mod refusal;
pub mod route;
pub mod subscriber;

pub use close::{Reason, Retry};
pub use refusal::Refusal;

use crate::schema::Policy;
use std::sync::Arc;

/// When a validated event gets a timestamp that it lacks (contract 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// When a schema has checked it; without schemas, never.
    Validated,
    /// Whenever it is missing.
    Always,
    /// The event goes out as it came.
    Never,
}

/// What sessions need to know once.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest event, and largest request body, in bytes.
    pub event_bytes_max: usize,
    /// Largest message from a client, in bytes.
    pub message_bytes_max: usize,
    /// Channels that one connection may hear.
    pub subscriptions_max: usize,
    /// Origins whose pages may read answers and open sockets.
    pub origins: origin::Origins,
    /// Whether `/echo` exists.
    pub echo: bool,
    /// When to add a timestamp.
    pub stamp: Stamp,
    /// What events are checked against; `None`: nothing is checked.
    pub schemas: Option<Arc<Policy>>,
    /// Between two heartbeats, in microseconds.
    pub heartbeat_us: u64,
    /// What a heartbeat looks like.
    pub heartbeat: Heartbeat,
    /// A request's head must arrive within, in microseconds.
    pub head_us: u64,
    /// Its body must arrive within, in microseconds after the head; and of answers some must be taken within.
    pub body_us: u64,
    /// An idle connection is kept so long, in microseconds.
    pub keep_alive_us: u64,
    /// The words of a close on shutdown.
    pub shutdown_reason: String,
    /// How the sockets of each listener find their dialect, by its number.
    pub doors: Vec<Door>,
    /// Messages to clients that asked for compression are compressed from so many bytes; `None`: nobody's are.
    pub compression_bytes_min: Option<usize>,
    /// Of the dialect `router`.
    pub router: RouterLimits,
    /// Every event with a time to live becomes a dead letter if it expires unseen.
    pub keep_expired: bool,
    /// Events that no schema lets through become dead letters.
    pub keep_refused: bool,
}

impl Options {
    /// How sockets that came through the listener `number` find their dialect.
    pub fn door(&self, number: u8) -> Door {
        self.doors.get(usize::from(number)).copied().unwrap_or_default()
    }
}

/// How the sockets of one listener find their dialect (contract 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// By path and subprotocol.
    #[default]
    ByPath,
    /// All speak `router`.
    Router,
    /// All speak `events`.
    Events,
    /// All speak `freqsearch`.
    FreqSearch,
}

/// Bounds of the dialect `router` (contract 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterLimits {
    /// Sockets that speak it, over all shards; 0: no limit.
    pub clients_max: usize,
    /// Events that may wait for one of them, where there is one queue.
    pub queue_events_max: usize,
    /// Whether each range of priorities has a queue of its own (`sources.md` 2.5).
    pub multi_queue: bool,
}

impl Default for RouterLimits {
    /// As in `sources.md` 2.5 and 2.7.
    fn default() -> RouterLimits {
        RouterLimits { clients_max: 1_000, queue_events_max: 10_000, multi_queue: false }
    }
}

/// What a heartbeat looks like (contract 17, `heartbeat_format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// `{"type":"ping"}`
    Json,
    /// `ping`
    Text,
    /// One after the other.
    Both,
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::{Door, Heartbeat, Options, RouterLimits, Stamp};

    pub fn options() -> Options {
        Options {
            event_bytes_max: 1000,
            message_bytes_max: 1000,
            subscriptions_max: 3,
            origins: super::origin::Origins::default(),
            echo: true,
            stamp: Stamp::Validated,
            schemas: None,
            heartbeat_us: 30_000_000,
            heartbeat: Heartbeat::Json,
            head_us: 10_000_000,
            body_us: 10_000_000,
            keep_alive_us: 75_000_000,
            shutdown_reason: "bye".to_owned(),
            doors: vec![Door::ByPath],
            compression_bytes_min: None,
            router: RouterLimits::default(),
            keep_expired: false,
            keep_refused: false,
        }
    }
}
