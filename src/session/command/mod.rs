//! What a client asks for, in one vocabulary for all dialects. A dialect makes these from text; the runtime carries
//! them out. What can be answered without the hub is answered already ([`Command::Answer`]).

mod fields;
mod filter;
mod start;

pub use fields::{Fault, Fields, NotFields, cut};
pub use filter::{FILTER_WORDS_MAX, PriorityMode, read_filter};
pub use start::{read_start, start};

use super::dialect::freqsearch::Change;
use super::dialect::uuid::is_uuid;
use super::query::Start;
use crate::event::{Channel, Extras, Filter, Form, Label, Pattern, Position};

/// What one message of a client comes to.
#[derive(Debug)]
pub enum Command<'t> {
    /// Say this: a pong, an acknowledgement or an error. The socket stays open.
    Answer(String),
    /// Say nothing.
    Ignore,
    /// Hear a channel, a pattern or several.
    Subscribe(Box<Subscribe>),
    /// Hear it no more.
    Unsubscribe(Unsubscribe),
    /// Add to, or take from, the types and rooms that a socket of dialect `freqsearch` hears.
    Change(Change),
    /// Publish an event.
    Publish(Box<Publish<'t>>),
    /// A fresh token for the socket.
    Auth {
        /// For the answer.
        reference: Ref,
        /// The token as given; never to be logged.
        token: String,
    },
    /// Stored events of a channel.
    History(Box<History>),
    /// What became of events that the client got.
    Ack(Box<Ack>),
    /// Who hears a channel.
    Presence {
        /// For the answer.
        reference: Ref,
        /// Which.
        channel: Channel,
    },
    /// The router's figures.
    Health,
}

/// A client's own mark on a message, a JSON scalar in its text form, said back in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ref(Option<Box<str>>);

impl Ref {
    /// Bytes of the longest mark: a UUID or a sentence, but not a document.
    pub const BYTES_MAX: usize = 256;

    /// Takes the text of a JSON value; `None` when it is no scalar or too long.
    pub fn parse(json: &str) -> Option<Ref> {
        let scalar = !json.starts_with(['{', '[']) && json.len() <= Ref::BYTES_MAX;
        scalar.then(|| Ref(Some(json.into())))
    }

    /// Whether there was one.
    pub fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// The JSON to say back; `null` when there was none.
    pub fn json(&self) -> &str {
        self.0.as_deref().unwrap_or("null")
    }
}

/// What to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One channel.
    Channel(Channel),
    /// Every channel that matches.
    Pattern(Pattern),
}

impl Target {
    /// The name of the channel, or the text of the pattern.
    pub fn as_str(&self) -> &str {
        match self {
            Target::Channel(channel) => channel.as_str(),
            Target::Pattern(pattern) => pattern.as_str(),
        }
    }
}

/// A subscription asked for.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// For the answer.
    pub reference: Ref,
    /// The subscription's name on this connection: the client's own, else made here; empty in dialect `courier`,
    /// where the channel is the name. In dialect `router` always a UUID.
    pub id: Box<str>,
    /// One, or as many as the topics of a router subscription; none when no topic of it can ever exist. No target
    /// covers another, but two patterns may overlap.
    pub targets: Vec<Target>,
    /// What of it; `None` for all.
    pub filter: Option<Filter>,
    /// From when on.
    pub from: Start,
    /// How events are written.
    pub form: Form,
    /// Events are to be acknowledged.
    pub acks: Option<AckWish>,
    /// The topics of a router subscription as the client wrote them, a JSON list; empty elsewhere.
    pub topics: Box<str>,
}

impl Subscribe {
    /// The id that is spliced into each event of this subscription, where it is a UUID.
    pub fn label(&self) -> Option<Label> {
        is_uuid(&self.id).then(|| self.id.as_bytes().try_into().expect("a UUID has 36 bytes"))
    }
}

/// How the events of a subscription are to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckWish {
    /// An event comes again after so long, in microseconds.
    pub timeout_us: u64,
    /// But not before so long has passed since then, or since it was asked for again, in microseconds.
    pub delay_us: u64,
    /// It comes at most so often.
    pub attempts_max: u32,
}

/// What a client says of events that it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// For the answer, which comes only where there is one.
    pub reference: Ref,
    /// On which channel; `None`: on whichever they came.
    pub channel: Option<Channel>,
    /// In dialect `router`: through which subscription; `None`: through whichever they came.
    pub subscription: Option<Box<str>>,
    /// These.
    pub ids: Vec<Position>,
    /// Instead of those, in dialect `router`: those with these ids.
    pub names: Vec<Box<str>>,
    /// Instead of those, all up to this one.
    pub up_to: Option<Position>,
    /// Whether they were taken, are to come again, or are to be given up.
    pub outcome: AckOutcome,
}

/// What became of an event at its subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// `ack`
    Taken,
    /// `nack`
    Again,
    /// `nack` with `dead`
    Dead,
}

/// An end of a subscription asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// For the answer.
    pub reference: Ref,
    /// Which.
    pub which: Which,
}

/// How a client names a subscription that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its id.
    Id(Box<str>),
    /// By its channel, or the text of its pattern.
    Channel(Box<str>),
}

/// An event to publish.
#[derive(Debug)]
pub struct Publish<'t> {
    /// For the answer.
    pub reference: Ref,
    /// The event and where it goes.
    pub body: Body<'t>,
}

/// In what state an event arrives.
#[derive(Debug)]
pub enum Body<'t> {
    /// The message is a body of `POST /publish` (contract 3.1) with further fields: for the same admission.
    Envelope(&'t str),
    /// A router event, complete and in its final words; its sizes are still to be checked.
    Event {
        /// The topic.
        channel: Channel,
        /// The JSON text that goes out.
        text: String,
        /// What the hub has to know; `router` is set.
        extras: Box<Extras>,
        /// For the answer.
        id: Box<str>,
    },
}

/// Stored events asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// For the answer.
    pub reference: Ref,
    /// Of which channel.
    pub channel: Channel,
    /// From when on; [`Start::Live`] is the oldest kept.
    pub from: Start,
    /// At most so many, 1..=1000.
    pub limit: u32,
    /// Newest first.
    pub newest_first: bool,
}

/// What a reader has to know beside the text.
pub struct Context<'c> {
    /// The client's name in dialect `router`, a UUID.
    pub client_id: &'c str,
    /// Now, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The most topics that one subscription may have: what one connection may hear in all.
    pub topics_max: usize,
    /// Random bits, for ids.
    pub draw: &'c mut dyn FnMut() -> u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_scalar_is_a_mark_and_comes_back_as_it_was() {
        for json in ["1", "-1.50e2", "true", "null", r#""a\u00e9\"""#] {
            assert_eq!(Ref::parse(json).unwrap().json(), json);
        }
        assert_eq!(Ref::default().json(), "null");
        for json in ["{}", "[1]", &"1".repeat(Ref::BYTES_MAX + 1)] {
            assert_eq!(Ref::parse(json), None);
        }
    }
}
