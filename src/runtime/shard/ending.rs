//! How connections end, and how the shard does: close frames, half-closes, peers that vanish, and the stages of a
//! stop.

use super::super::driver::Driver;
use super::Shard;
use super::connection::{Connection, End, Protocol};
use super::requests::LINGER_US;
use crate::hub::Cut;
use crate::mailbox::drain::Stage;
use crate::session::Reason;
use crate::session::dialect::Dialect;
use crate::session::subscriber::Speech;
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::websocket::close::write_close;
use std::net::IpAddr;

impl<D: Driver> Shard<D> {
    /// Sends what is queued and a close frame, then waits for the peer to go. What it lost and was not told of, as its
    /// socket took nothing, is told before. `counted`: it is one of the sockets that the census counts.
    pub(super) fn end_socket(&mut self, key: Key, reason: Reason, counted: bool, now: Now) {
        self.tell_gaps(key);
        self.hub.retire(key, now.steady_us);
        if self.is_stream(key) {
            return self.end_quietly(key, counted, now);
        }
        self.answer.clear();
        let words = match reason {
            Reason::Shutdown => &*self.options.session.shutdown_reason,
            _ => reason.text(),
        };
        write_close(reason.code(), words, &mut self.answer);
        self.hub.push_last(key, &self.answer);
        self.end_quietly(key, counted, now);
    }

    /// Something panicked while this connection was served: it is closed, the others go on.
    pub fn panicked(&mut self, token: u64, now: Now) {
        tracing::error!(token, "a panic in the work of one connection; it is closed");
        self.hub.counters.panics += 1;
        let key = Key::from_u64(token);
        let open = matches!(self.connections.get(key).map(|c| &c.protocol), Some(Protocol::Socket(_)));
        if open {
            self.end_socket(key, Reason::Internal, true, now);
        } else {
            let peer = self.connections.get(key).map(Connection::peer);
            self.forget(key, now);
            self.recount(peer);
        }
    }

    /// Counts anew what a panic may have left half counted; `peer` is whose connection it was.
    fn recount(&mut self, peer: Option<IpAddr>) {
        self.kept_bytes = self.connections.iter().map(|(_, c)| kept_bytes(&c.protocol)).sum();
        let sockets = self.connections.iter().filter(|(_, c)| c.protocol.is_counted()).count();
        if self.sockets > sockets
            && let Some(peer) = peer
        {
            self.shared.census.leave(self.counts_addresses.then_some(peer));
        }
        self.sockets = sockets;
    }

    /// Counts those who are in by their addresses from now on.
    pub(super) fn count_addresses(&mut self) {
        self.counts_addresses = true;
        for (_, connection) in self.connections.iter().filter(|(_, c)| c.protocol.is_counted()) {
            self.shared.census.adopt(connection.peer());
        }
    }

    /// A stream of server-sent events ends without a word.
    fn is_stream(&mut self, key: Key) -> bool {
        self.open_at(key).is_some_and(|open| open.subscriber.speech() == Speech::Stream)
    }

    /// As [`Shard::end_socket`], when the last word is queued already.
    pub(super) fn end_quietly(&mut self, key: Key, counted: bool, now: Now) {
        self.hub.retire(key, now.steady_us);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let ending = Protocol::Ending(End { socket: counted, half_closed: false });
        let before = std::mem::replace(&mut connection.protocol, ending);
        self.kept_bytes -= kept_bytes(&before);
        self.count_out(&before);
        self.forget_moment(key, &before);
        self.parting.push(key);
        self.wheel.set(key.slot, now.steady_us + LINGER_US);
    }

    /// Half-closes connections to which nothing is owed any more.
    pub(super) fn part(&mut self, driver: &mut D, now: Now) {
        if self.parting.is_empty() {
            return;
        }
        let mut parting = std::mem::take(&mut self.parting);
        for key in parting.drain(..) {
            let owes_nothing = self.hub.owes_nothing(key);
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if let Protocol::Ending(end) = &mut connection.protocol
                && owes_nothing
                && !end.half_closed
                && driver.is_flushed(&connection.socket)
            {
                end.half_closed = true;
                driver.half_close(&connection.socket);
                self.wheel.set(key.slot, now.steady_us + LINGER_US);
            }
        }
        self.parting = parting;
    }

    /// Ends the members that the hub has given up.
    pub(super) fn cut(&mut self, now: Now) {
        while let Some((key, why)) = self.hub.take_cut() {
            match (why, self.connections.get(key).map(|connection| &connection.protocol)) {
                (Cut::Slow, Some(Protocol::Socket(_))) => {
                    self.hub.give_up(key, now.steady_us);
                    self.end_socket(key, Reason::SlowConsumer, true, now);
                }
                // It was told to go in the same turn, and its time to go runs.
                (Cut::Slow, Some(Protocol::Ending(_))) => {}
                _ => self.forget(key, now),
            }
        }
    }

    /// The peer sends no more. A publisher may still read its answers; a socket is gone.
    pub(super) fn ended_by_peer(&mut self, driver: &mut D, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let is_flushed = driver.is_flushed(&connection.socket);
        match &mut connection.protocol {
            Protocol::Http(publisher) if !publisher.is_drained() => publisher.closing = true,
            Protocol::Http(_) if !is_flushed => self.end_http(driver, key, now),
            // Its last answer is on its way still.
            Protocol::Ending(end) if !end.socket && !is_flushed => {}
            _ => self.forget(key, now),
        }
    }

    /// Removes a connection, whatever it was doing.
    pub(super) fn forget(&mut self, key: Key, now: Now) {
        self.hub.dismiss(key, now.steady_us);
        let Some(connection) = self.connections.remove(key) else { return };
        self.wheel.cancel(key.slot);
        self.under_way.forget(key);
        self.kept_bytes -= kept_bytes(&connection.protocol);
        self.count_out(&connection.protocol);
        self.forget_moment(key, &connection.protocol);
        if connection.protocol.is_counted() {
            self.sockets -= 1;
            self.hub.counters.sockets_closed += 1;
            self.shared.census.leave(self.counts_addresses.then_some(connection.peer()));
        }
    }

    /// Users and the dialect `router` have limits of their own, which do not wait for the last byte.
    fn count_out(&self, protocol: &Protocol) {
        let subscriber = match protocol {
            Protocol::Socket(open) => &open.subscriber,
            Protocol::Opening(opening) => &opening.subscriber,
            Protocol::Http(_) | Protocol::Ending(_) => return,
        };
        if let Some(user) = subscriber.counted_for() {
            self.shared.users.leave(user);
        }
        if subscriber.dialect() == Some(Dialect::Router) {
            self.shared.routers.leave(None);
        }
    }

    /// Takes this shard's part in a stop.
    pub(super) fn follow_drain(&mut self, driver: &mut D, now: Now) {
        let stage = self.shared.drain.stage();
        if stage == Stage::Serving {
            return;
        }
        if self.stage == Stage::Serving {
            self.drain_since_us = now.steady_us;
        }
        if stage != self.stage {
            self.stage = stage;
            self.stage_done = false;
            match stage {
                Stage::Parting => self.send_away(now),
                Stage::Done => self.send_away_late(driver, now),
                Stage::Serving | Stage::Settling => {}
            }
        }
        if stage == Stage::Done {
            return;
        }
        if !self.stage_done && self.is_through(driver, stage) {
            self.stage_done = true;
            if self.shared.drain.arrive(stage) {
                self.shared.ring_all();
            }
        }
        if self.drain_is_late(now) && self.shared.drain.advance(stage) {
            tracing::warn!(
                ?stage,
                connections = self.connections.len(),
                "the stop took too long and goes on without waiting"
            );
            self.shared.ring_all();
        }
    }

    /// Whether this shard has done its part of a stage. Looks at every connection, in a stop only.
    pub(super) fn is_through(&self, driver: &D, stage: Stage) -> bool {
        let none = |holds: fn(&D, &Connection<D::Socket>) -> bool| {
            self.connections.iter().all(|(_, connection)| !holds(driver, connection))
        };
        match stage {
            Stage::Settling => {
                let is_opening = |_: &D, c: &Connection<_>| matches!(c.protocol, Protocol::Opening(_));
                self.hub.pending() == 0 && self.hub.post.is_empty() && none(is_opening)
            }
            Stage::Parting => {
                self.sockets == 0
                    && none(|driver, c| match &c.protocol {
                        Protocol::Http(publisher) => !publisher.is_drained() || !driver.is_flushed(&c.socket),
                        // One that was turned away counts as no socket, and is told why all the same.
                        Protocol::Ending(end) => !end.half_closed,
                        Protocol::Opening(_) | Protocol::Socket(_) => false,
                    })
            }
            // A request may have come after this shard had said that it was through: no answer is cut in two.
            Stage::Done => none(|driver, c| match &c.protocol {
                Protocol::Http(publisher) => {
                    publisher.out.len() > publisher.out_sent || !driver.is_flushed(&c.socket)
                }
                Protocol::Ending(end) => !end.socket && !end.half_closed,
                Protocol::Opening(_) | Protocol::Socket(_) => false,
            }),
            Stage::Serving => false,
        }
    }

    /// Whether the stop has taken as long as it may.
    pub(super) fn drain_is_late(&self, now: Now) -> bool {
        now.steady_us - self.drain_since_us > self.options.drain_us
    }

    /// Time is up: whoever is still here is told why, as far as its socket takes it.
    fn send_away_late(&mut self, driver: &mut D, now: Now) {
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            if matches!(self.connections.get(key).map(|c| &c.protocol), Some(Protocol::Socket(_))) {
                self.end_socket(key, Reason::Shutdown, true, now);
            }
        }
        let mut outlet = super::Sockets { driver: &mut *driver, connections: &self.connections };
        self.hub.flush(now.steady_us, &mut outlet);
        self.part(driver, now);
    }

    /// Tells every subscriber that the server goes, and gives each a moment at which it is closed, so that they do
    /// not all come back at once.
    fn send_away(&mut self, now: Now) {
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let moment = now.steady_us + self.random_below(self.options.grace_us);
            let Some(connection) = self.connections.get_mut(key) else { continue };
            match &mut connection.protocol {
                Protocol::Socket(open) => {
                    let dialect = open.subscriber.dialect();
                    self.wheel.set(key.slot, moment);
                    let words = &self.options.session.shutdown_reason;
                    let farewell = dialect.and_then(|dialect| dialect.shutdown(words));
                    self.say_if(key, farewell);
                }
                Protocol::Opening(_) => self.forget(key, now),
                Protocol::Http(_) | Protocol::Ending(_) => {}
            }
        }
    }
}

/// What a connection keeps of what its peer sent.
pub(super) fn kept_bytes(protocol: &Protocol) -> usize {
    match protocol {
        Protocol::Http(publisher) => publisher.kept_bytes(),
        Protocol::Socket(open) => {
            open.kept.as_ref().map_or(0, |kept| kept.bytes.capacity()) + open.subscriber.kept_bytes()
        }
        Protocol::Opening(opening) => opening.kept.capacity(),
        Protocol::Ending(_) => 0,
    }
}
