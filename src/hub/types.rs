//! What goes into the hub and what comes out of it.

use super::{Bounds, ChannelOptions, LaneBounds};
use crate::event::{Channel, Position};
use crate::metrics::Snapshot;
use crate::stdx::slab::Key;

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
    /// Ephemeral channels that were published to and never heard are forgotten after so long.
    pub ephemeral_idle_us: u64,
}

/// The channel has as many members as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why a publish was not taken. Nothing of it was delivered; it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A mailbox between two shards has no room.
    MailboxFull,
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
}

/// A publish that reached everyone whom it was to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Of the event in its channel.
    pub position: Position,
    /// Into how many queues it was put, over all shards.
    pub reached: u32,
}

/// What became of a publish at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    Done,
    /// The member hears this channel already.
    Already,
    /// The channel is full.
    Full,
    /// The owner is asked; a [`Joined`] comes.
    Waiting,
}

/// A publish of another moment is done.
#[derive(Clone, Copy, Debug)]
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
    /// What.
    pub channel: Channel,
    /// Or the channel was full.
    pub outcome: Result<(), Full>,
}

/// What came out of the hub since the last look.
#[derive(Default)]
pub struct Effects {
    /// Publishes that are done.
    pub answers: Vec<Answer>,
    /// Joins that are done.
    pub joined: Vec<Joined>,
    /// Counts that all shards have answered.
    pub gathered: Vec<(Origin, Snapshot)>,
    /// Another shard wants this shard's own state; the runtime knows the rest of it.
    pub asked: Vec<(usize, Key, usize)>,
}
