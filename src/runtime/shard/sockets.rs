//! Connections that speak WebSocket: how they open, what is done with what they say, their heartbeat.

use super::super::driver::Driver;
use super::Shard;
use super::connection::{Open, Opening, Protocol};
use super::requests::draining;
use crate::event::Channel;
use crate::hub::{Joined, Joining};
use crate::mailbox::census::Refused;
use crate::mailbox::drain::Stage;
use crate::session::dialect::courier::{self, LimitType};
use crate::session::publisher::{Publisher, origin_allowed};
use crate::session::route::Socket;
use crate::session::subscriber::{Beat, Dialect, Subscriber};
use crate::session::{Reason, Refusal};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::http::Head;
use crate::wire::websocket::frame::{Opcode, write_frame};
use crate::wire::websocket::handshake;

/// The owner of a channel answers within a turn or two; after so long something is broken, and the client may try
/// again.
const JOIN_US: u64 = 10_000_000;

impl<D: Driver> Shard<D> {
    /// Turns a connection into a socket, if the request is a sound handshake. What is refused after that is
    /// refused on the socket, because a browser's page cannot read an HTTP status.
    pub(super) fn open(
        &mut self,
        driver: &mut D,
        key: Key,
        publisher: &mut Publisher,
        head: &Head<'_>,
        wanted: Socket<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        let accept = handshake::check(head).map_err(|refusal| match refusal.status {
            426 => Refusal::new(426, refusal.error, refusal.message)
                .field("Sec-WebSocket-Version", "13")
                .field("Upgrade", "websocket")
                .field("Connection", "Upgrade"),
            _ => refusal.into(),
        })?;
        if self.stage > Stage::Serving {
            return Err(draining());
        }
        if !publisher.is_settled() {
            return Err(
                Refusal::new(400, "Bad request", "An upgrade must wait for the answers before it").closing()
            );
        }
        let mut greeting = publisher.out.split_off(publisher.out_sent);
        handshake::accept(accept, None, &mut greeting);
        self.hub.admit(key);
        let foreign = head.origin.is_some_and(|origin| {
            !is_same_origin(origin, head.host) && !origin_allowed(origin, &self.options.session)
        });
        self.enter(driver, key, wanted, greeting, foreign, now);
        Ok(())
    }

    fn enter(
        &mut self,
        driver: &mut D,
        key: Key,
        wanted: Socket<'_>,
        greeting: Vec<u8>,
        foreign: bool,
        now: Now,
    ) {
        if foreign {
            return self.turn_away(key, &greeting, None, Reason::Origin, now);
        }
        if wanted == Socket::Channel(None) {
            return self.turn_away(key, &greeting, None, Reason::InvalidChannel, now);
        }
        let peer = self.connections.get(key).expect("it has just asked").peer;
        if let Err(refused) = self.shared.census.enter(peer) {
            let (limit, max) = match refused {
                Refused::Total => (LimitType::Global, self.options.sockets_max),
                Refused::Address => (LimitType::PerAddress, self.options.sockets_per_address_max),
            };
            return self.turn_away(key, &greeting, Some((limit, max)), courier::limit_reason(limit), now);
        }
        self.sockets += 1;
        self.hub.counters.sockets_opened += 1;
        match wanted {
            Socket::Channel(Some(channel)) => self.enter_channel(driver, key, channel, greeting, now),
            Socket::Echo => self.begin(driver, key, Subscriber::new(Dialect::Echo), &greeting, &mut [], now),
            _ => self.begin(driver, key, Subscriber::new(Dialect::Courier), &greeting, &mut [], now),
        }
    }

    /// The greeting goes out only when every later event will come too: at once where this shard owns the
    /// channel, else when the owner has answered.
    fn enter_channel(&mut self, driver: &mut D, key: Key, channel: &str, greeting: Vec<u8>, now: Now) {
        let subscriber = Subscriber::new(Dialect::Courier);
        if Channel::owner(channel, self.port.shards()) != self.port.shard() {
            let opening = Opening { handshake: greeting, subscriber, kept: Vec::new(), unread: false };
            self.set_protocol(key, Protocol::Opening(Box::new(opening)));
            self.wheel.set(key.slot, now.steady_us + JOIN_US);
            self.hub.join(key, channel, now.steady_us);
            return;
        }
        self.begin(driver, key, subscriber, &greeting, &mut [], now);
        if self.hub.join(key, channel, now.steady_us) == Joining::Full {
            self.channel_full(key, channel, now);
        }
    }

    fn set_protocol(&mut self, key: Key, protocol: Protocol) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.protocol = protocol;
        }
    }

    /// Opens the socket only to say why it is closed.
    fn turn_away(
        &mut self,
        key: Key,
        greeting: &[u8],
        limit: Option<(LimitType, usize)>,
        reason: Reason,
        now: Now,
    ) {
        self.hub.push_greeting(key, greeting);
        if let Some((limit, max)) = limit {
            self.say(key, &courier::limit_reached(limit, max));
        }
        self.end_socket(key, reason, false, now);
    }

    fn begin(
        &mut self,
        driver: &mut D,
        key: Key,
        subscriber: Subscriber,
        greeting: &[u8],
        said: &mut [u8],
        now: Now,
    ) {
        self.hub.push_greeting(key, greeting);
        self.set_protocol(
            key,
            Protocol::Socket(Open { subscriber, kept: None, leaving: false, joining: false, unread: false }),
        );
        self.wheel.set(key.slot, now.steady_us + self.options.session.heartbeat_us);
        if !said.is_empty() {
            self.guarded(key, now, |shard| shard.messages(driver, key, said, now));
        }
    }

    pub(super) fn say(&mut self, key: Key, text: &str) {
        self.answer.clear();
        write_frame(Opcode::Text, text.as_bytes(), &mut self.answer);
        self.hub.push_control(key, &self.answer);
    }

    pub(super) fn clients_max_of(&mut self, channel: &str) -> usize {
        self.hub.clients_max(channel) as usize
    }

    fn channel_full(&mut self, key: Key, channel: &str, now: Now) {
        let max = self.clients_max_of(channel);
        self.say(key, &courier::limit_reached(LimitType::PerChannel, max));
        self.end_socket(key, Reason::ChannelFull, true, now);
    }

    /// The owner of a channel has answered a join.
    pub(super) fn join_answered(&mut self, driver: &mut D, joined: Joined, now: Now) {
        let key = joined.member;
        let Some(connection) = self.connections.get_mut(key) else { return };
        match &mut connection.protocol {
            Protocol::Opening(opening) => {
                let greeting = std::mem::take(&mut opening.handshake);
                let mut said = std::mem::take(&mut opening.kept);
                self.kept_bytes -= said.capacity();
                let subscriber =
                    std::mem::replace(&mut opening.subscriber, Subscriber::new(Dialect::Courier));
                if opening.unread {
                    self.hungry.push(key);
                }
                if joined.outcome.is_err() {
                    self.begin(driver, key, subscriber, &greeting, &mut [], now);
                    return self.channel_full(key, joined.channel.as_str(), now);
                }
                self.begin(driver, key, subscriber, &greeting, &mut said, now);
            }
            Protocol::Socket(open) => {
                open.joining = false;
                if std::mem::take(&mut open.unread) {
                    self.hungry.push(key);
                }
                match joined.outcome {
                    Ok(()) => self.say(key, &courier::about_channel("subscribed", joined.channel.as_str())),
                    Err(_) => {
                        let max = self.clients_max_of(joined.channel.as_str());
                        self.say(key, &courier::limit_reached(LimitType::PerChannel, max));
                    }
                }
                self.guarded(key, now, |shard| shard.messages(driver, key, &mut [], now));
            }
            Protocol::Http(_) | Protocol::Ending(_) => {}
        }
    }

    /// A socket's heartbeat is due, or the moment at which a stop sends it away.
    pub(super) fn heartbeat(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Socket(open) = &mut connection.protocol else { return };
        if open.leaving {
            return self.end_socket(key, Reason::Shutdown, true, now);
        }
        self.answer.clear();
        match open.subscriber.beat(&self.options.session, &mut self.answer) {
            Beat::Send => {
                if !self.answer.is_empty() {
                    self.hub.push_control(key, &self.answer);
                }
                self.wheel.set(key.slot, now.steady_us + self.options.session.heartbeat_us);
            }
            Beat::Lost => {
                self.hub.counters.peers_lost += 1;
                self.forget(key, now);
            }
        }
    }
}

/// Whether a page comes from this server itself: its origin's host and port are those that it asks (RFC 6454 5).
fn is_same_origin(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority.to_ascii_lowercase());
    authority.is_some() && authority == host.map(str::to_ascii_lowercase)
}
