//! One shard of the hub: the channels it owns, the members it has, and what it tells the other shards. Driven
//! by the runtime (or a simulation), which calls in with what happened and takes the effects; it never awaits,
//! holds no socket and reads no clock. The promise: per channel every member on every shard gets every event
//! exactly once and in the owner's order, from the moment its join was answered until it leaves or is cut off.
//!
//! * `channels`: what this shard owns, `names`: how it is found; `publishing`: how an event is taken and numbered
//! * `subscriptions`, `crowds`, `members`, `locals`: who hears what; `joining`: how they come and go
//! * `history`: what owners keep of the past; `behind`: how subscribers that begin there catch up
//! * `durable`: channels on disk; `recall`: reading what is kept, in memory or on disk
//! * `patterns`, `index`: which patterns cover a channel; `watching`: how shards tell each other of them
//! * `rights`: what becomes of subscriptions when their member's rights change
//! * `pump`, `outbox`, `flush`: the way of an event to the sockets; `slow`, `conflating`: what goes where one is full;
//!   `backlog`: what waits for all; `approach`: what is looked at early
//! * `acks`, `redelivery`: what subscribers acknowledge; `letters`: events that nobody took
//! * `mail`: what shards tell each other; `pending`: publishes that wait for it

mod acks;
mod approach;
mod backlog;
mod behind;
mod channels;
mod conflating;
mod connections;
mod crowds;
mod durable;
mod flush;
mod gaps;
mod history;
mod idle;
mod index;
mod item;
mod joining;
mod letters;
mod lines;
mod locals;
mod mail;
mod members;
mod names;
mod outbox;
mod outlet;
mod parcel;
mod patterns;
mod pending;
mod places;
mod presence;
mod publishing;
mod pump;
mod recall;
mod redelivery;
mod remembered;
mod rights;
mod rules;
mod sending;
mod slow;
mod spares;
mod state;
mod subscriptions;
#[cfg(test)]
mod tests;
mod types;
mod watching;

pub use crate::metrics::Counters;
pub use acks::{AckWish, Acked, Scope, Settled, Verdict};
pub use approach::Near;
pub use behind::Chunk;
pub use durable::{Fsync, LogEpoch, LogOutcome, LogWrite, Logged, Restored, Stored};
pub use history::{From, Keep, Page, PageWish, Recovery};
pub use index::PatternIndex;
pub use letters::{
    Dead, Letter, LetterAnswer, LetterAsk, LetterBounds, LetterFilter, LetterPage, Retried, RetryOrder,
};
pub use mail::{Batch, Door, LaneBounds, Load, Mail, Post, Ticket};
pub use outbox::{Bounds, Outbox};
pub use outlet::{Outlet, Sent};
pub use parcel::Parcel;
pub use recall::{LogFound, LogFrom, LogRead};
pub use rights::Heard;
pub use rules::{ChannelOptions, ChannelRule};
pub use sending::{Flushed, Progress};
pub use slow::{Put, RouterQueue, Slow};
pub use types::*;

use crate::event::{Channel, ConnectionId};
use crate::metrics::Snapshot;
use crate::stdx::slab::Slab;
use channels::Channels;
use patterns::Watched;
use pending::Pending;
use pump::{Arrival, Reach};
use recall::Wanted;
use remembered::Remembered;
use std::collections::BTreeMap;
use subscriptions::Subscriptions;

struct Gathering {
    origin: Origin,
    names: Names,
    missing: usize,
    snapshot: Snapshot,
}

/// One shard.
pub struct Hub {
    options: Options,
    channels: Channels,
    subscriptions: Subscriptions,
    /// What other shards hear.
    watched: Watched,
    /// Mail for other shards.
    pub post: Post,
    pending: Slab<Pending>,
    remembered: Remembered,
    /// The channels of which presence has something to tell at the end of the turn.
    news: Vec<Channel>,
    /// The time of day at which the steady clock would have been 0.
    unix_ms_at_0: u64,
    gathering: Slab<Gathering>,
    /// What the log was handed, and who waits for what it has.
    log: durable::Log,
    readers: Slab<recall::Reader>,
    guesses: approach::Guesses,
    desk: letters::Desk,
    /// What came out since the last look.
    pub effects: Effects,
    /// What was counted; the runtime counts here too.
    pub counters: Counters,
    /// Publishes refused by their schema, by event type (`ShardState::misfits`).
    pub misfits: BTreeMap<Box<str>, u64>,
    /// When the last event was numbered here, in Unix milliseconds.
    last_event_ms: Option<u64>,
    draw_epoch: Box<dyn FnMut() -> u32 + Send>,
}

/// Publishes and gathers that one shard may have waiting: more than its connections may have in flight together.
const PENDING_MAX: u32 = 1 << 24;

impl Hub {
    /// An empty shard. `draw_epoch` gives a random number for each new channel.
    pub fn new(options: Options, draw_epoch: Box<dyn FnMut() -> u32 + Send>) -> Hub {
        let mut hub = Hub {
            channels: Channels::new(options.channels.clone()),
            subscriptions: Subscriptions::new(&options),
            watched: Watched::new(),
            post: Post::new(options.shards, options.lane),
            pending: Slab::with_limit(PENDING_MAX),
            remembered: Remembered::default(),
            news: Vec::new(),
            unix_ms_at_0: 0,
            gathering: Slab::with_limit(PENDING_MAX),
            log: durable::Log::default(),
            readers: Slab::with_limit(PENDING_MAX),
            guesses: approach::Guesses::default(),
            desk: letters::Desk::new(options.letters),
            effects: Effects::default(),
            counters: Counters::default(),
            misfits: BTreeMap::new(),
            last_event_ms: None,
            draw_epoch,
            options,
        };
        hub.make_configured(0);
        hub
    }

    /// Other bounds and channel rules from now on; members stay.
    pub fn reload(&mut self, options: Options, now_us: u64) {
        (self.subscriptions.bounds, self.subscriptions.lines) = (options.outbox, options.lines);
        self.post.set_bounds(options.lane);
        self.desk.letters.bounds = options.letters;
        self.channels.reload(options.channels.clone(), now_us, &mut self.counters);
        self.options = options;
        let channels = &self.channels;
        for (_, local) in self.subscriptions.locals.iter_mut() {
            local.slow = channels.slow_of(local.channel.as_str());
        }
        self.make_configured(now_us);
    }

    fn make_configured(&mut self, now_us: u64) {
        for channel in self.options.channels.configured.clone() {
            if self.owner(channel.as_str()) == self.options.shard {
                self.owned(&channel, now_us);
            }
        }
    }

    fn owner(&self, channel: &str) -> usize {
        Channel::owner(channel, self.options.shards)
    }

    fn owned(&mut self, channel: &Channel, now_us: u64) -> u32 {
        match self.channels.find(channel.as_str()) {
            Some(slot) => slot,
            None => self.channels.create(channel, (self.draw_epoch)(), now_us),
        }
    }

    /// Takes one piece of mail from shard `from`.
    pub fn receive(&mut self, from: usize, mail: Mail, now_us: u64, outlet: &mut impl Outlet) {
        match mail {
            Mail::Publish { channel, event, ticket } => {
                self.publish_for(&channel, event, ticket, now_us, outlet)
            }
            Mail::Deliver { door, event, position, ticket, .. } => {
                let arrival = Arrival { event, position, now_us };
                self.deliver_for(from, &door, arrival, ticket, outlet);
            }
            Mail::Numbered { key, position, reached, dropped, reports, stored } => {
                let reach = Reach { reached, dropped };
                self.numbered(key, position, reach, i64::from(reports), stored);
            }
            Mail::Reached { key, reached, dropped } => self.report(key, None, reached, dropped, -1),
            Mail::Refused { key, refusal } => self.settled(key, Err(refusal)),
            Mail::Repeated { key, first } => self.settled(key, first.outcome()),
            Mail::Remember { channel, id, body } => {
                self.counters.ids_dropped += self.remembered.answer(&channel, &id, body);
            }
            Mail::Ask { channel, origin } => {
                let present = self.present(channel.as_str());
                self.post.push(from, Mail::Present { origin, present });
            }
            Mail::Read { channel, origin, wish } => {
                self.recall_page(from, &channel, wish, origin, now_us);
            }
            Mail::Page { origin, page } => self.effects.pages.push((origin, *page)),
            Mail::Bury(dead) => self.bury_here(*dead),
            Mail::AskLetters { origin, ask } => self.letters_asked(from, *ask, origin, now_us),
            Mail::Letters { origin, answer } => self.effects.letters.push((origin, *answer)),
            Mail::Present { origin, present } => self.effects.present.push((origin, present)),
            Mail::Join { channel, slot, member, tag, ephemeral, in_order, from: start } => {
                let (who, remote) = (ConnectionId::new(from, member), Some((from as u16, slot)));
                let outcome = self.let_in(&channel, remote, who, ephemeral, start, now_us);
                let outcome = outcome.map(|(owned, standing)| {
                    if in_order && !std::mem::replace(&mut self.channels.at(owned).in_order, true) {
                        self.post.seal();
                    }
                    standing
                });
                self.post.push(from, Mail::Joined { slot, member, tag, outcome });
            }
            Mail::Joined { slot, member, tag, outcome } => self.joined(slot, member, tag, outcome),
            Mail::Catch { replay, channel, from: start, events_max, bytes_max } => {
                let (events_max, bytes_max) = (events_max as usize, bytes_max as usize);
                let wanted = Wanted { from: start, events_max, bytes_max };
                self.recall(from, replay, &channel, wanted, now_us);
            }
            Mail::Caught { replay, chunk } => self.caught(replay, *chunk, now_us),
            Mail::Leave { channel, member } => {
                self.let_go(&channel, Some(from as u16), ConnectionId::new(from, member), now_us);
            }
            Mail::Watch { pattern, slot } => self.watch(from, &pattern, slot),
            Mail::Watching { slot } => self.watching(slot),
            Mail::Unwatch { pattern } => self.watched.remove(&pattern, from as u16),
            Mail::Look => {}
            Mail::Gather { key, names } => self.effects.asked.push((from, key, names)),
            Mail::Gathered { key, snapshot } => self.gathered(key, *snapshot),
        }
    }
}
