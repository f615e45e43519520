//! One shard: its connections, its part of the hub, its mail, its timers. Fed by the turn (or a simulation) with
//! what is ready and the time; acts through a [`Driver`]. Free of glommio, epoll and clocks.
//!
//! * `intake`: what peers say, read and handed on
//! * `requests`, `reports`, `publishing`, `batches`: connections that speak HTTP, and events on their way in
//! * `opening`, `awaiting`, `streams`, `plan`, `messages`, `talk`, `said`, `interest`, `heartbeat`: sockets and streams, from the
//!   handshake on
//! * `guard`, `rights`, `suspects`: who may come in, and whose rights end or change
//! * `timers`: what happens at a moment; `limits`: how much may come in a while; `keeping`: bounds over all shards; `ending`: how connections and the whole shard end
//!
//! What a usual publish passes by is `#[inline(never)]`: inlined, it stood between the code that one runs, which a core has to
//! fetch anew after each system call.

mod acks;
mod answering;
mod awaiting;
mod batches;
mod connection;
mod effects;
mod ending;
mod guard;
mod heartbeat;
mod history;
mod intake;
mod interest;
mod keeping;
mod letters;
mod limits;
mod log;
mod messages;
mod opening;
mod options;
mod outlet;
mod plan;
mod publishing;
mod reports;
mod requests;
mod rights;
mod said;
mod streams;
mod suspects;
mod talk;
mod timers;

pub use connection::Connection;
pub use limits::{Counts, Rates};
pub use options::{Auth, Options, Shared};

use super::driver::Driver;
use crate::hub::{Batch, Counters, Hub, Load};
use crate::mailbox::drain::Stage;
use crate::mailbox::lanes::Port;
use crate::mailbox::pulse::Pulse;
use crate::metrics::ShardState;
use crate::session::answer::JSON;
use crate::session::dialect::compressed::compress_from;
use crate::stdx::clock::{Now, TimeText, earlier};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::wheel::Wheel;
use crate::wire::http::Letterhead;
use crate::wire::websocket::deflate::Inflater;
use answering::Pass;
use connection::Protocol;
use outlet::Sockets;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Timers are at most this late; 1,024 buckets of it are 67 s, and later deadlines go round again.
const TIMER_GRANULARITY_US: u64 = 65_536;
const TIMER_BUCKETS: usize = 1024;

/// While the server stops it looks at least so often whether time is up.
const DRAIN_LOOK_US: u64 = 50_000;

/// What the turn should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Turn again then at the latest, in steady microseconds.
    pub deadline_us: Option<u64>,
    /// Work is left now.
    pub again: bool,
    /// The shard has ended.
    pub done: bool,
}

/// One shard.
pub struct Shard<D: Driver> {
    options: Options,
    shared: Arc<Shared>,
    port: Port<Batch>,
    pulse: Arc<Pulse>,
    hub: Hub,
    connections: Slab<Connection<D::Socket>>,
    sockets: usize,
    /// Connections over TLS, as the edge has told.
    tls_sockets: usize,
    wheel: Wheel,
    /// Connections with answers to write.
    writers: Vec<Key>,
    /// Connections that were not read to the end; the next turn reads on.
    hungry: Vec<Key>,
    /// Those of the last turn.
    fed: Vec<Key>,
    /// Connections to be half-closed once nothing is owed to them.
    parting: Vec<Key>,
    kept_bytes: usize,
    told: keeping::Told,
    /// Sockets are counted by their addresses too: there was a limit on those once.
    counts_addresses: bool,
    revision: u64,
    guard: Option<Box<guard::Guard>>,
    suspects: suspects::Suspects,
    stage: Stage,
    stage_done: bool,
    drain_since_us: u64,
    random: u64,
    letterhead: Letterhead,
    /// The time of this turn, for answers.
    time_text: TimeText,
    intake: intake::Intake,
    answer: Vec<u8>,
    said: Vec<u8>,
    inflater: Inflater,
    under_way: batches::UnderWay,
    /// Dead letters that are published again.
    retrying: Slab<letters::Retrying>,
    due: Vec<u32>,
}

impl<D: Driver> Shard<D> {
    /// An empty shard. `draw` gives random numbers, for epochs and for the jitter of a stop.
    pub fn new(
        options: Options,
        shared: Arc<Shared>,
        port: Port<Batch>,
        pulse: Arc<Pulse>,
        mut draw: Box<dyn FnMut() -> u32 + Send>,
    ) -> Shard<D> {
        compress_from(options.session.compression_bytes_min.unwrap_or(usize::MAX));
        let random = u64::from(draw()) << 32 | u64::from(draw()) | 1;
        let counts_addresses = options.sockets_per_address_max > 0;
        Shard {
            hub: Hub::new(options.hub.clone(), draw),
            connections: Slab::with_limit(options.connections_max),
            guard: options.auth.clone().map(guard::Guard::new),
            suspects: suspects::Suspects::default(),
            options,
            shared,
            port,
            pulse,
            sockets: 0,
            tls_sockets: 0,
            wheel: Wheel::new(TIMER_GRANULARITY_US, TIMER_BUCKETS),
            writers: Vec::new(),
            hungry: Vec::new(),
            fed: Vec::new(),
            parting: Vec::new(),
            kept_bytes: 0,
            told: keeping::Told::default(),
            counts_addresses,
            revision: 0,
            stage: Stage::Serving,
            stage_done: false,
            drain_since_us: 0,
            random,
            letterhead: Letterhead::undated(JSON),
            time_text: TimeText::default(),
            intake: intake::Intake::new(),
            answer: Vec::new(),
            said: Vec::new(),
            inflater: Inflater::default(),
            under_way: batches::UnderWay::default(),
            retrying: Slab::with_limit(letters::RETRIES_MAX),
            due: Vec::new(),
        }
    }

    /// The hub of this shard, to look at.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Connections of any kind.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How far a stop is, as far as this shard has followed it.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Bytes of unfinished requests and messages.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Before anything of a turn: whose rights have ended gets nothing of it (seed 4916 of the simulation got an event that
    /// came in the turn in which its token was found to have ended).
    pub fn begin_turn(&mut self, now: Now) {
        if self.stage < Stage::Done {
            self.look_at_passes(now);
            self.judge_some(now);
        }
    }

    /// Takes a new connection that came through the listener `door`, under the token that it answers; its readiness is
    /// to be reported from now on. One beyond the limit is closed at once.
    pub fn accepted(&mut self, socket: D::Socket, peer: IpAddr, door: u8, now: Now) -> Option<u64> {
        self.hub.counters.accepted += 1;
        if self.options.rates.connects.is_on() && !self.may_connect(now) {
            return None;
        }
        self.hub.tell_time(now);
        let connection = Connection::new(socket, peer, door, now.steady_us);
        let Ok(key) = self.connections.insert(connection) else {
            self.hub.counters.turned_away += 1;
            return None;
        };
        self.wheel.set(key.slot, now.steady_us + self.options.session.keep_alive_us);
        Some(key.to_u64())
    }

    /// What the edge has counted of TLS.
    pub fn tell_tls(&mut self, sockets: usize, count: impl FnOnce(&mut Counters)) {
        self.tls_sockets = sockets;
        count(&mut self.hub.counters);
    }

    /// The socket of a connection, to be watched.
    pub fn socket(&self, token: u64) -> Option<&D::Socket> {
        self.connections.get(Key::from_u64(token)).map(|connection| &connection.socket)
    }

    /// A connection that was just accepted cannot be watched.
    pub fn turn_back(&mut self, token: u64, now: Now) {
        self.hub.counters.turned_away += 1;
        self.forget(Key::from_u64(token), now);
    }

    /// A connection is ready. A token of one that is gone is passed over.
    pub fn ready(&mut self, driver: &mut D, token: u64, what: super::core::Ready, now: Now) {
        let key = Key::from_u64(token);
        if what.writable() {
            self.writable(driver, key, now);
        }
        if what.readable() {
            self.read(driver, key, what.hangup(), now);
        }
    }

    fn writable(&mut self, driver: &D, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match &mut connection.protocol {
            Protocol::Http(publisher) => {
                if driver.has_moved(&connection.socket) {
                    publisher.sent_some(now.steady_us);
                }
                if publisher.blocked {
                    publisher.blocked = false;
                    self.writers.push(key);
                }
            }
            // Whatever the peer says is told as room too, and is no reason to wait longer for its end.
            Protocol::Ending(end) if end.half_closed => {}
            Protocol::Ending(end) => {
                // It reads still, if slowly.
                self.wheel.set(key.slot, now.steady_us + end.patience_us(&self.options.session));
                self.hub.writable(key);
                self.parting.push(key);
            }
            // Nothing is sent before it opens.
            Protocol::Opening(_) => {}
            Protocol::Socket(_) => {
                self.tell_gaps(key);
                self.hub.writable(key);
            }
        }
    }

    /// Reads on where the last turn stopped.
    fn feed_hungry(&mut self, driver: &mut D, now: Now) {
        if self.fed.is_empty() && self.hungry.is_empty() {
            return;
        }
        let mut fed = std::mem::take(&mut self.fed);
        for key in fed.drain(..) {
            self.guarded(key, now, |shard| shard.read(driver, key, true, now));
        }
        self.fed = std::mem::replace(&mut self.hungry, fed);
    }

    /// Serves a connection outside its own readiness: a panic ends that connection, not the shard.
    fn guarded(&mut self, key: Key, now: Now, serve: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| serve(self))).is_err() {
            self.panicked(key.to_u64(), now);
        }
    }

    fn take_in(&mut self, driver: &mut D, key: Key, bytes: &mut [u8], now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match connection.protocol {
            Protocol::Http(_) => self.requests(driver, key, bytes, now),
            Protocol::Socket(_) => self.messages(driver, key, bytes, now),
            Protocol::Opening(_) => self.keep_early(key, bytes, now),
            Protocol::Ending(_) => {}
        }
    }

    /// Takes one batch of mail from shard `from`, if there is one. Answers whether there was.
    #[inline(never)]
    pub fn mail_from(&mut self, driver: &mut D, from: usize, now: Now) -> bool {
        self.take_in_read(driver, now);
        let Some(batch) = self.port.receive(from) else { return false };
        if batch.load != Load::default() {
            self.shared.loads.remove(from, self.port.shard(), batch.load.events, batch.load.bytes);
        }
        for mail in batch.mail {
            self.judge_hearers_of(&mail, now);
            let mut outlet = Sockets { driver: &mut *driver, connections: &self.connections };
            self.hub.receive(from, mail, now.steady_us, &mut outlet);
            self.effects(driver, now);
        }
        true
    }

    /// Looks into all lanes. Answers whether something was there.
    pub fn mail(&mut self, driver: &mut D, now: Now) -> bool {
        let mut found = false;
        for from in 0..self.port.shards() {
            // What arrives meanwhile is for the next turn: this one has answers to write.
            for _ in 0..self.port.depth(from) {
                found |= self.mail_from(driver, from, now);
            }
        }
        found
    }

    /// Whether a lane holds something, or all shards are asked for something.
    pub fn mail_waiting(&self) -> bool {
        !self.port.is_empty()
            || self.shared.drain.stage() != self.stage
            || self.shared.reload.revision() != self.revision
    }

    /// This shard's own state, but for what the hub knows.
    fn state(&self) -> ShardState {
        ShardState {
            shard: self.options.hub.shard,
            connections: self.connections.len(),
            sockets: self.sockets,
            tls_sockets: self.tls_sockets,
            kicks: self.pulse.kicks(),
            ..ShardState::default()
        }
    }

    /// After the readies and the mail of this turn: the last answers, then the fan-out, then mail and timers.
    pub fn end_turn(&mut self, driver: &mut D, now: Now) -> Rest {
        self.take_in_read(driver, now);
        self.hub.counters.turns += 1;
        self.hub.tell_time(now);
        self.reload(now);
        self.hear_log(driver, now);
        self.feed_hungry(driver, now);
        if self.stage < Stage::Done {
            self.expire(driver, now);
        }
        self.follow_drain(driver, now);
        // Before the fan-out, so that the publishers' next requests arrive while it runs.
        self.write_answers(driver, Pass::Last, now);
        if !self.has_suspects() {
            self.hub.replay(now.steady_us);
        }
        self.cut(now);
        self.flush(driver, now);
        if self.hub.has_cut() {
            self.cut(now);
            self.flush(driver, now);
        }
        self.effects(driver, now);
        self.part(driver, now);
        self.tell_log(driver);
        self.tell_kept();
        self.keep_channels_within();
        self.keep_history_within();
        self.keep_backlogs_within();
        self.send_mail();
        self.rest(driver, now)
    }

    fn flush(&mut self, driver: &mut D, now: Now) {
        self.judge_hearers_of_news(now);
        self.hub.flush(now.steady_us, &mut Sockets { driver, connections: &self.connections });
    }

    fn rest(&mut self, driver: &D, now: Now) -> Rest {
        let mut deadline_us = earlier(self.wheel.next_deadline(now.steady_us), self.hub.sweep_due_us());
        deadline_us = earlier(deadline_us, self.pass_due_us(now));
        deadline_us = earlier(deadline_us, self.hub.acks_due_us(now.steady_us));
        let look = Some(now.steady_us + DRAIN_LOOK_US);
        match self.stage {
            Stage::Serving => {}
            Stage::Settling | Stage::Parting => deadline_us = earlier(deadline_us, look),
            Stage::Done => deadline_us = look,
        }
        Rest {
            deadline_us,
            again: !self.fed.is_empty()
                || !self.hungry.is_empty()
                || !self.writers.is_empty()
                || self.hub.is_dirty()
                || self.hub.has_cut()
                || self.hub.is_replaying()
                || self.has_suspects()
                || !self.hub.post.is_empty(),
            done: self.stage == Stage::Done
                && (self.is_through(driver, Stage::Done) && driver.log_is_idle() || self.drain_is_late(now)),
        }
    }

    fn send_mail(&mut self) {
        let me = self.port.shard();
        if self.stage == Stage::Done {
            // Others may have ended already; nothing that concerns a client is told any more.
            (0..self.port.shards()).for_each(|to| drop(self.hub.post.take(to)));
        }
        for to in (0..self.port.shards()).filter(|to| *to != me) {
            if let Some(batch) = self.hub.post.take(to) {
                let load = batch.load;
                if load != Load::default() {
                    self.shared.loads.add(me, to, load.events, load.bytes);
                }
                if let Err(batch) = self.port.send(to, batch) {
                    self.hub.counters.lanes_full += 1;
                    if load != Load::default() {
                        self.shared.loads.remove(me, to, load.events, load.bytes);
                    }
                    self.hub.post.put_back(to, batch);
                }
            }
        }
        self.look_at_lanes();
    }

    /// How much of what was sent the other shards have not taken yet.
    fn look_at_lanes(&mut self) {
        let me = self.port.shard();
        for to in (0..self.port.shards()).filter(|to| *to != me) {
            let (events, bytes) = self.shared.loads.of(me, to);
            self.hub.post.set_in_lane(to, Load { events, bytes });
        }
    }

    /// What answers begin with, written once a second.
    fn refresh_date(&mut self, now: Now) {
        self.letterhead.tell_time(now.unix_ms / 1000);
    }

    /// Random bits: to spread closes in time, and for ids that are no secrets.
    fn random_bits(&mut self) -> u64 {
        xorshift(&mut self.random)
    }

    fn random_below(&mut self, bound: u64) -> u64 {
        let bits = self.random_bits();
        if bound == 0 { 0 } else { bits % bound }
    }
}

/// xorshift64.
fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
