//! The words spoken on a socket: one file per dialect, each no more than how it reads a client's text into a
//! [`Command`], how it writes an event, what it says of its own accord and in answer, and its [`Manners`]. The hub
//! knows none of this but the numbers of [`forms`].

pub mod answers;
pub mod compressed;
pub mod courier;
pub mod events;
pub mod forms;
pub mod freqsearch;
pub mod router;
pub(super) mod text;
pub mod uuid;
pub mod v1;

use super::command::{Command, Context};
use crate::event::Form;

/// The words spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Contract 4.
    Courier,
    /// Contract 5.
    V1,
    /// `sources.md` 4.
    Events,
    /// `sources.md` 2.
    Router,
    /// `sources.md` 3.
    FreqSearch,
}

/// How a dialect behaves where it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Bytes of the longest message from a client, where it is not the one of the settings.
    pub message_bytes_max: Option<usize>,
    /// How it finds out that nobody is there.
    pub heartbeat: Heartbeat,
    /// How events are written, when the client asks for nothing else.
    pub form: Form,
    /// Each subscription gets its own copy of an event; else a connection gets it once.
    pub each: bool,
}

/// How a dialect finds out that nobody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// A message in the form of the settings, as often as they say; a protocol ping when nothing comes back.
    Configured,
    /// `{"type":"ping"}` whatever the form of the settings, as often as they say; a protocol ping as above.
    Json,
    /// Only protocol pings.
    Protocol {
        /// From one to the next, in microseconds; `None` as often as the settings say.
        every_us: Option<u64>,
        /// A peer that is silent for so long is gone, in microseconds; `None` after two further heartbeats.
        silence_us_max: Option<u64>,
    },
}

const SECOND_US: u64 = 1_000_000;

/// The manners of `courier`, from which the others differ.
const COURIER: Manners =
    Manners { message_bytes_max: None, heartbeat: Heartbeat::Configured, form: Form::RAW, each: false };

/// Every message of the server is an object with `type`, so the text form of a heartbeat is not for it.
const V1: Manners = Manners { heartbeat: Heartbeat::Json, form: forms::V1, ..COURIER };

const EVENTS: Manners =
    Manners { heartbeat: Heartbeat::Protocol { every_us: None, silence_us_max: None }, ..COURIER };

/// `sources.md` 2.1: a ping every 20 s, and 20 s for the pong.
const ROUTER: Manners = Manners {
    message_bytes_max: Some(router::MESSAGE_BYTES_MAX),
    heartbeat: Heartbeat::Protocol { every_us: Some(20 * SECOND_US), silence_us_max: Some(40 * SECOND_US) },
    form: forms::ROUTER,
    each: true,
};

/// `sources.md` 3.1-3.3: a ping every 54 s, something within 60 s, 512 bytes, 256 events.
const FREQSEARCH: Manners = Manners {
    message_bytes_max: Some(512),
    heartbeat: Heartbeat::Protocol { every_us: Some(54 * SECOND_US), silence_us_max: Some(60 * SECOND_US) },
    form: forms::FREQSEARCH,
    ..COURIER
};

impl Dialect {
    /// All of them, for documents and tests.
    pub const ALL: [Dialect; 5] =
        [Dialect::Courier, Dialect::V1, Dialect::Events, Dialect::Router, Dialect::FreqSearch];

    /// The name in settings and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::Courier => "courier",
            Dialect::V1 => v1::SUBPROTOCOL,
            Dialect::Events => "events",
            Dialect::Router => "router",
            Dialect::FreqSearch => "freqsearch",
        }
    }

    /// How it behaves.
    pub const fn manners(self) -> &'static Manners {
        match self {
            Dialect::Courier => &COURIER,
            Dialect::V1 => &V1,
            Dialect::Events => &EVENTS,
            Dialect::Router => &ROUTER,
            Dialect::FreqSearch => &FREQSEARCH,
        }
    }

    /// Reads one text message of a client.
    pub fn read<'t>(self, text: &'t str, context: &mut Context<'_>) -> Command<'t> {
        match self {
            Dialect::Courier => courier::read(text),
            Dialect::V1 => v1::read(text, context),
            Dialect::Events => events::read(text),
            Dialect::Router => router::read(text, context),
            Dialect::FreqSearch => freqsearch::read(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_heartbeats_are_those_of_the_sources() {
        let router = Dialect::Router.manners();
        assert_eq!((router.message_bytes_max, router.each), (Some(10_000_000), true));
        let freqsearch = Dialect::FreqSearch.manners();
        assert_eq!(freqsearch.message_bytes_max, Some(512));
        let heartbeat = Heartbeat::Protocol { every_us: Some(54_000_000), silence_us_max: Some(60_000_000) };
        assert_eq!(freqsearch.heartbeat, heartbeat);
    }

    #[test]
    fn a_text_ping_is_heard_by_those_that_know_it() {
        for dialect in Dialect::ALL {
            let mut draw = || 0;
            let mut context = Context { client_id: "c", unix_ms: 0, topics_max: 1, draw: &mut draw };
            let answer = match dialect.read("ping", &mut context) {
                Command::Answer(answer) => answer,
                _ => String::new(),
            };
            match dialect {
                Dialect::Courier | Dialect::FreqSearch => assert_eq!(answer, "pong"),
                Dialect::V1 => assert_eq!(answer, r#"{"type":"pong","ref":null}"#),
                Dialect::Router => assert!(answer.contains("Invalid JSON: ")),
                Dialect::Events => assert_eq!(answer, ""),
            }
        }
    }
}
