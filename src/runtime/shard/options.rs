//! What a shard is told, and what it shares with the others.

use super::super::driver::Driver;
use super::Shard;
use super::limits::{Counts, Rates};
use crate::admin::Facts;
use crate::auth::Gate;
use crate::hub;
use crate::mailbox::budget::Budget;
use crate::mailbox::census::Census;
use crate::mailbox::doorbell::Doorbell;
use crate::mailbox::drain::Drain;
use crate::mailbox::load::Loads;
use crate::mailbox::notice::Notice;
use crate::mailbox::tally::Tally;
use crate::mailbox::users::Users;
use crate::session::admission::Limits;
use crate::session::dialect::compressed::compress_from;
use crate::stdx::clock::Now;
use crossbeam_channel::Sender;
use std::sync::Arc;

/// Who may come in (contract 12).
#[derive(Clone, Debug)]
pub struct Auth {
    /// Judges tokens and keys.
    pub gate: Arc<Gate>,
    /// Sockets that are refused are answered 401 or 403, in place of an accepted socket that is closed.
    pub reject_by_status: bool,
    /// Where to say that a token names a key that nobody knows, if keys are fetched.
    pub unknown_key: Option<Sender<()>>,
    /// The cookie that may bring a token; empty: none.
    pub cookie: Box<str>,
}

/// What every shard needs to know once.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of sessions.
    pub session: crate::session::Options,
    /// Sizes of events.
    pub limits: Limits,
    /// How much may come in a while.
    pub rates: Rates,
    /// Of the hub; the shard's number is in here.
    pub hub: hub::Options,
    /// Who may come in; `None`: everybody.
    pub auth: Option<Auth>,
    /// Connections that are told in one turn that their rights have ended, or judged again after the rules have changed.
    pub judged_per_turn: usize,
    /// Reads after which what they brought is looked at and answered, before more is read.
    pub reads_together: usize,
    /// Connections of any kind that this shard may have.
    pub connections_max: u32,
    /// Sockets over all shards, for messages; 0: no limit.
    pub sockets_max: usize,
    /// Sockets of one address over all shards, for messages; 0: no limit.
    pub sockets_per_address_max: usize,
    /// Sockets of one user over all shards, for messages; 0: no limit.
    pub sockets_per_user_max: usize,
    /// Channels over all shards; 0: no limit.
    pub channels_max: usize,
    /// On a stop sockets are closed over so long, in microseconds.
    pub grace_us: u64,
    /// A stop takes at most so long, in microseconds.
    pub drain_us: u64,
    /// What reports say of the server.
    pub facts: Facts,
}

/// What all shards of a server share; every part is an atomic or never changes.
pub struct Shared {
    /// Sockets, counted over all shards.
    pub census: Census,
    /// Sockets of dialect `router`, counted over all shards; no limit per address.
    pub routers: Census,
    /// What came in lately, counted over all shards.
    pub counts: Counts,
    /// Sockets and streams of each user, counted over all shards.
    pub users: Users,
    /// Bytes of unfinished requests and messages, over all shards.
    pub kept: Budget,
    /// Channels, counted over all shards.
    pub tally: Tally,
    /// Bytes kept of the past, over all shards.
    pub history: Budget,
    /// Bytes of events in queues that wait for their sockets, over all shards.
    pub backlog: Budget,
    /// How far a stop is.
    pub drain: Drain,
    /// What is on its way between shards.
    pub loads: Loads,
    /// New options, for all shards alike; each keeps its own number.
    pub reload: Notice<Options>,
    /// To wake everybody when a stage of the stop begins.
    pub doorbells: Vec<Arc<Doorbell>>,
}

impl Shared {
    /// Wakes every shard.
    pub fn ring_all(&self) {
        for doorbell in &self.doorbells {
            doorbell.ring();
        }
    }
}

impl<D: Driver> Shard<D> {
    /// Takes new options, if there are any. Connections stay; what was refused before may be taken now.
    pub(super) fn reload(&mut self, now: Now) {
        let Some(newer) = self.shared.reload.newer(&mut self.revision) else { return };
        let before = std::mem::replace(&mut self.options, Options::clone(&newer));
        self.options.hub.shard = before.hub.shard;
        self.options.connections_max = before.connections_max;
        self.options.facts.started_us = before.facts.started_us;
        compress_from(self.options.session.compression_bytes_min.unwrap_or(usize::MAX));
        self.change_guard(self.options.auth.clone());
        self.judge_some(now);
        self.hub.reload(self.options.hub.clone(), now.steady_us);
        if self.options.sockets_per_address_max > 0 && !self.counts_addresses {
            self.count_addresses();
        }
    }
}
