//! Channels whose events are kept on disk: what goes to the log, what comes back of it, and who sees an event when.
//! The log itself is another's: the hub hands it writes and is told how they ended.
//!
//! Under [`Fsync::Always`] an event is numbered at once and seen by nobody before its write has ended: no power loss
//! takes back what somebody saw. Under the others it is delivered at once and written behind.

use super::channels::Owned;
use super::pump::Reach;
use super::{Hub, Mail, Outlet, Published, Publishing, Refusal, Ticket};
use crate::event::{Channel, Event, Position};
use crate::stdx::slab::Key;
use std::collections::VecDeque;

/// Bytes of frames that one shard may have handed to its log and not heard of: a second of a slow disk. Beyond it
/// publishes to durable channels are refused.
const UNWRITTEN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// When an event counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// When it is on the disk, before anybody sees it.
    Always,
    /// At once; it is forced to the disk soon after.
    #[default]
    Interval,
    /// At once; the kernel writes it when it likes.
    Never,
}

/// Where an event of a durable channel is when its publish is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It survives a loss of power.
    Disk,
    /// On its way there.
    Memory,
    /// It was delivered, and could not be written.
    Nowhere,
}

/// One event for the log.
#[derive(Clone, Debug)]
pub struct LogWrite {
    /// Counts the writes of this shard, from 1 and without a hole.
    pub sequence: u64,
    /// Of which channel.
    pub channel: Channel,
    /// Where it stands there.
    pub position: Position,
    /// It.
    pub event: Event,
}

/// How writes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOutcome {
    /// Written, and under [`Fsync::Always`] on the disk.
    Stored,
    /// Not written, and never will be.
    Failed,
}

/// All writes up to one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The last of them.
    pub up_to: u64,
    /// How.
    pub outcome: LogOutcome,
}

/// A channel that the log knows.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Its name.
    pub channel: Channel,
    /// Where its numbering goes on: the last number given, and the epoch of the next.
    pub position: Position,
    /// Each numbering of which the log has events, the oldest first.
    pub epochs: Vec<LogEpoch>,
    /// When the server took the last event, in Unix milliseconds.
    pub last_ms: u64,
}

/// What the log has of one numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEpoch {
    /// Its name.
    pub epoch: u32,
    /// The number of the first event.
    pub first: u64,
    /// And of the last.
    pub last: u64,
}

/// What an owner knows of a durable channel besides.
#[derive(Debug, Default)]
pub(super) struct Durable {
    /// Numbers that were given to events that nobody sees yet.
    pub held: u64,
    /// Numberings of earlier lives, the oldest first.
    pub epochs: Vec<LogEpoch>,
    /// The number of the first event in the log; 0: it has none.
    pub first: u64,
}

/// An event that waits for its write.
struct Held {
    sequence: u64,
    slot: Key,
    event: Event,
    position: Position,
    /// Who is to be answered; nobody waits for what the hub itself tells.
    ticket: Option<Ticket>,
}

/// The hub's side of its log.
#[derive(Default)]
pub(super) struct Log {
    sequence: u64,
    /// Bytes of each write that has not ended, in order, and their sum.
    unwritten: VecDeque<usize>,
    unwritten_bytes: usize,
    held: VecDeque<Held>,
    /// The last write failed.
    down: bool,
}

impl Log {
    pub fn has_room(&self) -> bool {
        self.unwritten_bytes < UNWRITTEN_BYTES_MAX
    }

    /// What an event that is delivered before it is written is told to be.
    pub fn stored(&self) -> Stored {
        if self.down { Stored::Nowhere } else { Stored::Memory }
    }

    /// Who is to be answered for the event that was held last.
    pub fn answer_last_to(&mut self, ticket: Ticket) {
        if let Some(held) = self.held.back_mut() {
            held.ticket = Some(ticket);
        }
    }

    fn end(&mut self, logged: Logged) {
        let first = self.sequence + 1 - self.unwritten.len() as u64;
        for _ in first..=logged.up_to.min(self.sequence) {
            self.unwritten_bytes -= self.unwritten.pop_front().unwrap_or(0);
        }
        self.down = logged.outcome == LogOutcome::Failed;
    }
}

impl Owned {
    /// Whether the event at `position` waits for the disk before it is delivered. One of an earlier life of the channel does
    /// not: its numbers say nothing here.
    pub fn holds(&self, position: Position) -> bool {
        self.durable.is_some()
            && position.epoch == self.position.epoch
            && position.offset > self.position.offset
    }
}

impl Published {
    pub(super) fn new(position: Position, reach: Reach, stored: Option<Stored>) -> Published {
        let Reach { reached, dropped } = reach;
        Published { position, reached, dropped, first: None, stored }
    }

    /// The answer to it.
    pub(super) fn outcome(self) -> Result<Published, Refusal> {
        if self.stored == Some(Stored::Nowhere) { Err(Refusal::NotStored) } else { Ok(self) }
    }
}

impl Publishing {
    pub(super) fn of(published: Published) -> Publishing {
        published.outcome().map_or_else(Publishing::Refused, Publishing::Done)
    }
}

impl Hub {
    /// Whether an event of this channel is to be held until it is written.
    pub(super) fn holds(&self) -> bool {
        self.options.fsync == Fsync::Always
    }

    /// Hands an event to the log.
    pub(super) fn log(&mut self, slot: u32, position: Position, event: &Event) {
        let owned = self.channels.at(slot);
        let durable = owned.durable.as_mut().expect("asked for by the caller");
        if durable.first == 0 {
            // Should its write fail, whoever reads finds a hole and is told.
            durable.first = position.offset;
        }
        let channel = owned.channel.clone();
        let bytes = event.frame().len();
        self.log.sequence += 1;
        self.log.unwritten.push_back(bytes);
        self.log.unwritten_bytes += bytes;
        let write = LogWrite { sequence: self.log.sequence, channel, position, event: event.clone() };
        self.effects.log.push(write);
    }

    /// Numbers an event and holds it until it is written. Answers its position.
    pub(super) fn hold(&mut self, slot: u32, event: &Event) -> Position {
        let owned = self.channels.at(slot);
        let durable = owned.durable.as_mut().expect("asked for by the caller");
        durable.held += 1;
        let position = Position { offset: owned.position.offset + durable.held, ..owned.position };
        self.log(slot, position, event);
        let slot = self.channels.key_of(slot);
        let (sequence, event) = (self.log.sequence, event.clone());
        self.log.held.push_back(Held { sequence, slot, event, position, ticket: None });
        position
    }

    /// Writes have ended: what waited for them is delivered and answered.
    pub fn logged(&mut self, logged: Logged, now_us: u64, outlet: &mut impl Outlet) {
        self.log.end(logged);
        let stored = match logged.outcome {
            LogOutcome::Stored => Stored::Disk,
            LogOutcome::Failed => Stored::Nowhere,
        };
        while self.log.held.front().is_some_and(|held| held.sequence <= logged.up_to)
            && let Some(held) = self.log.held.pop_front()
        {
            self.release(held, stored, now_us, outlet);
        }
    }

    fn release(&mut self, held: Held, stored: Stored, now_us: u64, outlet: &mut impl Outlet) {
        let Held { slot: key, event, position, ticket, .. } = held;
        let (mut reach, mut reports) = (Reach::default(), 0);
        if let Some(durable) = self.channels.durable_at(key) {
            durable.held -= 1;
            reports = self.channels.targets(key.slot, &mut self.watched).len();
            let (seen, reached) = self.number(key.slot, event.clone(), now_us, outlet);
            debug_assert!(seen == position, "what is held is numbered once");
            self.send_on(key.slot, &event, position, ticket);
            reach = reached;
            if let Some(id) = event.extras().and_then(|extras| extras.id.as_deref()) {
                self.remembered.written(&self.channels.at(key.slot).channel, id, reach, stored);
            }
        }
        let Some(Ticket { shard, key }) = ticket else { return };
        let (reached, dropped, stored) = (reach.reached, reach.dropped, Some(stored));
        if usize::from(shard) == self.options.shard {
            return self.numbered(key, position, reach, reports as i64, stored);
        }
        let reports = reports as u32;
        self.post.push(shard.into(), Mail::Numbered { key, position, reached, dropped, reports, stored });
    }

    /// Before anything is served: channels that the log knows go on where they were. Those of other shards are passed
    /// over.
    pub fn restore(&mut self, restored: Vec<Restored>, now_us: u64) {
        for Restored { channel, position, epochs, last_ms } in restored {
            if self.owner(channel.as_str()) != self.options.shard {
                continue;
            }
            let slot = self.owned(&channel, now_us);
            let owned = self.channels.at(slot);
            owned.position = position;
            owned.trimmed_ms = owned.trimmed_ms.max(last_ms);
            if let Some(durable) = &mut owned.durable {
                durable.first = epochs.first().map_or(0, |epoch| epoch.first);
                durable.epochs = epochs;
            }
        }
        self.recall_letters();
    }

    /// The channel's log begins at this number now.
    pub fn log_trimmed(&mut self, channel: &str, first: u64) {
        let Some(slot) = self.channels.find(channel) else { return };
        if let Some(durable) = &mut self.channels.at(slot).durable {
            durable.first = first;
            durable.epochs.retain(|epoch| epoch.last >= first);
        }
    }
}
