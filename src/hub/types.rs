//! What goes into the hub and what comes out of it.

use super::acks::AckWish;
use super::durable::{Fsync, LogWrite, Stored};
use super::history::{From, Page, Recovery};
use super::letters::{LetterAnswer, LetterBounds, RetryOrder};
use super::recall::LogRead;
use super::{Bounds, ChannelOptions, LaneBounds};
use crate::event::{Channel, ConnectionId, Filter, Form, Label, Pattern, Position, Reach, Renderers};
use crate::metrics::Snapshot;
use crate::stdx::slab::Key;
use std::sync::Arc;

/// What the hub needs to know once.
#[derive(Clone, Debug)]
pub struct Options {
    /// This shard's number.
    pub shard: usize,
    /// How many shards there are.
    pub shards: usize,
    /// Of one connection's queue.
    pub outbox: Bounds,
    /// Of what may be on its way to another shard.
    pub lane: LaneBounds,
    /// How channels are made and kept.
    pub channels: ChannelOptions,
    /// When an event of a durable channel counts as stored.
    pub fsync: Fsync,
    /// How many dead letters are kept, over all shards.
    pub letters: LetterBounds,
    /// Ephemeral channels that were published to and never heard are forgotten after so long.
    pub ephemeral_idle_us: u64,
    /// How each form of an event is made.
    pub renderers: Renderers,
    /// The forms in which events that are sent together go in one message, each on a line of its own.
    pub lines: &'static [Form],
}

/// What a subscription is to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// One channel; the name must be valid.
    Channel(&'a str),
    /// Every channel that a pattern covers.
    Pattern(&'a Pattern),
}

/// What becomes of events for which a subscriber's queue has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The channel's option says.
    #[default]
    Channel,
    /// The way of the router dialect (sources 2.5).
    Router,
}

/// A subscription that a member asks for.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// To what.
    pub target: Target<'a>,
    /// In which form.
    pub form: Form,
    /// Of which events; `None`: all.
    pub filter: Option<Filter>,
    /// Spliced into each event, where the form has a place for it.
    pub label: Option<Label>,
    /// Whether this subscription gets a copy of its own; else the member gets one for all of those together.
    pub each: bool,
    /// When its queue is full.
    pub rule: Rule,
    /// Events are to be acknowledged, in a form whose text begins with a brace, with a copy of its own; of a channel, if it
    /// resumes.
    pub acks: Option<AckWish<'a>>,
    /// A channel that is made by this vanishes with its last member.
    pub ephemeral: bool,
    /// Each event's id tells the member's places in so many channels, which are its first subscriptions, in order; 0:
    /// the id is the event's own position.
    pub tracks: u32,
    /// From where on, of a channel; `None`: what comes from now on.
    pub from: Option<From>,
}

impl<'a> Wish<'a> {
    /// All events of a channel, raw.
    pub fn channel(name: &'a str) -> Wish<'a> {
        Wish {
            target: Target::Channel(name),
            form: Form::RAW,
            filter: None,
            label: None,
            each: false,
            rule: Rule::Channel,
            acks: None,
            ephemeral: false,
            from: None,
            tracks: 0,
        }
    }

    /// All events of all channels that a pattern covers, raw.
    pub fn pattern(pattern: &'a Pattern) -> Wish<'a> {
        Wish { target: Target::Pattern(pattern), ..Wish::channel("") }
    }
}

/// Where a new subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The channel's last event before the first that comes; `None` for a pattern.
    pub position: Option<Position>,
    /// Subscriptions of the channel over all shards, this one included; 0 for a pattern.
    pub members: u32,
    /// What of the past comes, where it was asked for.
    pub recovery: Option<Recovery>,
}

/// The channel has as many members as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why a publish was not taken. Nothing of it was delivered, unless it says so; it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A mailbox between two shards has no room.
    MailboxFull,
    /// The disk does not keep up with what is to be stored, or what it repeats is still being written.
    LogBehind,
    /// It was delivered, and could not be stored.
    NotStored,
}

/// Why a member was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It did not read what it asked for.
    Slow,
    /// Its socket failed.
    Gone,
}

/// Where the answer of a publish goes: a connection of this shard, and which of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The connection.
    pub connection: Key,
    /// Counts the connection's requests.
    pub request: u32,
    /// Which event of that request, where it brings several.
    pub item: u32,
}

/// A publish that reached everyone whom it was to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Of the event in its channel.
    pub position: Position,
    /// Into how many queues it was put, over all shards.
    pub reached: u32,
    /// How many subscriptions found their queue full and did not get it ([`Rule::Router`]).
    pub dropped: u32,
    /// An earlier publish had the same id; this one was not delivered.
    pub first: Option<Box<First>>,
    /// Where it is, if its channel is durable.
    pub stored: Option<Stored>,
}

/// The publish that another one repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// When the server took its event, in Unix milliseconds.
    pub at_ms: u64,
    /// Its answer, if that is known yet.
    pub answer: Option<Arc<[u8]>>,
}

/// What became of a publish at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publishing {
    /// Done.
    Done(Published),
    /// Not taken.
    Refused(Refusal),
    /// Other shards are asked; an [`Answer`] comes.
    Waiting,
}

/// What became of a join at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    /// Every later event comes.
    Done(Standing),
    /// The member has a subscription of this tag already.
    Already,
    /// The channel is full.
    Full,
    /// Other shards are asked; a [`Joined`] comes.
    Waiting,
}

/// A publish of another moment is done.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whose.
    pub origin: Origin,
    /// What became of it.
    pub outcome: Result<Published, Refusal>,
}

/// A join of another moment is done.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Who.
    pub member: Key,
    /// Which of its subscriptions.
    pub tag: u32,
    /// To which channel; `None` for a pattern.
    pub channel: Option<Channel>,
    /// Or the channel was full.
    pub outcome: Result<Standing, Full>,
}

/// Events of a channel that a subscriber's queue had no room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapTold {
    /// Whose.
    pub member: Key,
    /// Through which of its subscriptions it would have got them.
    pub tag: u32,
    /// Of which channel.
    pub channel: Channel,
    /// The first of them.
    pub from: Position,
    /// The last of them.
    pub to: Position,
}

/// Which channels a report names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// At most so many.
    pub max: usize,
    /// Only those in here, where somebody asks who may not know of all.
    pub within: Option<Reach>,
}

impl std::convert::From<usize> for Names {
    fn from(max: usize) -> Names {
        Names { max, within: None }
    }
}

/// What came out of the hub since the last look.
#[derive(Default)]
pub struct Effects {
    /// Publishes that are done.
    pub answers: Vec<Answer>,
    /// Joins that are done; see [`super::Hub::next_joined`].
    pub(super) joined: Vec<Joined>,
    /// Subscriptions to a pattern that may be let in: member, tag, and the pattern's slot.
    pub(super) watched: Vec<(Key, u32, u32)>,
    /// Counts that all shards have answered.
    pub gathered: Vec<(Origin, Snapshot)>,
    /// Another shard wants this shard's own state; the runtime knows the rest of it.
    pub asked: Vec<(usize, Key, Names)>,
    /// Losses to be told; at most one per subscription, channel and turn.
    pub gaps: Vec<GapTold>,
    /// Who hears a channel.
    pub present: Vec<(Origin, Vec<ConnectionId>)>,
    /// Events for the log.
    pub log: Vec<LogWrite>,
    /// Events that are wanted from the log.
    pub reads: Vec<LogRead>,
    /// What is kept of a channel.
    pub pages: Vec<(Origin, Page)>,
    /// What became of questions about dead letters.
    pub letters: Vec<(Origin, LetterAnswer)>,
    /// Dead letters to be published again.
    pub retries: Vec<RetryOrder>,
}

impl Effects {
    /// Whether there is nothing for the runtime, but for the log.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
            && self.joined.is_empty()
            && self.watched.is_empty()
            && self.gathered.is_empty()
            && self.asked.is_empty()
            && self.gaps.is_empty()
            && self.present.is_empty()
            && self.pages.is_empty()
            && self.letters.is_empty()
            && self.retries.is_empty()
    }
}
