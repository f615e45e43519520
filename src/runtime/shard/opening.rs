//! How connections become sockets and streams: the handshake, who may come in, and the joins that must be answered
//! before anything is sent. What is refused after a sound handshake is refused on the socket, because a browser's
//! page cannot read an HTTP status.

use super::super::driver::Driver;
use super::connection::{End, First, Open, Opening, Protocol};
use super::guard::{bounded, reason};
use super::plan::{Plan, may_begin_in_the_past, plan, speech, subscription};
use super::requests::draining;
use super::talk::plain_wish;
use super::{Shard, history};
use crate::event::Label;
use crate::hub::{Joining, Wish};
use crate::mailbox::census;
use crate::mailbox::drain::Stage;
use crate::session::credentials::{self, Asker, Refused};
use crate::session::dialect::courier::{self, LimitType};
use crate::session::dialect::{Dialect, events, router, uuid, v1};
use crate::session::publisher::Publisher;
use crate::session::query;
use crate::session::route::Socket;
use crate::session::subscriber::{Speech, Subscriber};
use crate::session::{Door, Reason, Refusal};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::http::Head;
use crate::wire::websocket::{deflate, handshake};

/// An owner answers within a turn or two; after so long something is broken, and the client may try again.
const JOIN_US: u64 = 10_000_000;

/// Why a connection gets no further than its handshake.
pub(super) enum Away {
    Limit(LimitType, usize),
    RouterFull(usize),
    Reason(Reason),
    Refused(Refused),
}

impl<D: Driver> Shard<D> {
    /// Turns a connection into a socket, if the request is a sound handshake.
    #[inline(never)]
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
        self.may_open(publisher)?;
        let wanted = self.behind_the_door(publisher.door, wanted);
        let asked = query::read(head.query, None, self.subscriptions_max())?;
        may_begin_in_the_past(wanted, &asked)?;
        let offered = head.upgrade.and_then(|upgrade| upgrade.protocols).unwrap_or_default();
        let offers_v1 = offered.split(',').any(|offer| offer.trim() == v1::SUBPROTOCOL);
        let speaks_v1 = offers_v1 && matches!(wanted, Socket::Channel(_) | Socket::Open);
        let extensions = head.upgrade.and_then(|upgrade| upgrade.extensions);
        let agreed = match (self.options.session.compression_bytes_min, wanted) {
            (None, _) | (_, Socket::Router) => None,
            (Some(_), _) => deflate::negotiate(extensions),
        };
        let speech = speech(wanted, speaks_v1);
        let asker = self.judge_opening(driver, key, head, now);
        let plan = asker.and_then(|asker| {
            let plan = plan(wanted, speech, head.query, asked, agreed.is_some())
                .ok_or(Away::Reason(Reason::InvalidChannel))?;
            self.within_rights(Plan { asker, ..plan })
        });
        if let (true, Err(Away::Refused(refusal))) = (self.rejects_by_status(), &plan) {
            return Err(refusal.refusal());
        }
        // A page that offers any needs one of them back (RFC 6455 4.2.2).
        let protocol = if speaks_v1 { Some(v1::SUBPROTOCOL) } else { credentials::bearer_offer(offered) };
        let mut greeting = publisher.out.split_off(publisher.out_sent);
        handshake::accept(accept, protocol, agreed.map(|agreed| agreed.header()), &mut greeting);
        self.hub.admit(key);
        match plan.and_then(|plan| self.count_in(key, speech, &plan.asker).map(|()| plan)) {
            Ok(plan) => self.enter(driver, key, plan, &greeting, now),
            Err(away) => self.turn_away(key, &greeting, speech, away, now),
        }
        Ok(())
    }

    /// A listener may have one dialect for every path.
    fn behind_the_door<'s>(&self, door: u8, wanted: Socket<'s>) -> Socket<'s> {
        match (self.options.session.door(door), wanted) {
            (Door::ByPath, wanted) => wanted,
            (Door::Router, _) => Socket::Router,
            (Door::FreqSearch, _) => Socket::FreqSearch,
            (Door::Events, Socket::Channel(channel) | Socket::Events(channel)) => Socket::Events(channel),
            (Door::Events, _) => Socket::Events(None),
        }
    }

    /// Subscriptions that one connection may have.
    pub(super) fn subscriptions_max(&self) -> usize {
        let max = self.options.session.subscriptions_max;
        if max == 0 { usize::MAX } else { max }
    }

    pub(super) fn may_open(&self, publisher: &Publisher) -> Result<(), Refusal> {
        if self.stage > Stage::Serving {
            return Err(draining());
        }
        if !publisher.is_settled() {
            return Err(
                Refusal::new(400, "Bad request", "An upgrade must wait for the answers before it").closing()
            );
        }
        Ok(())
    }

    /// Counts a connection in, if the limits let it.
    pub(super) fn count_in(&mut self, key: Key, speech: Speech, asker: &Asker) -> Result<(), Away> {
        let peer = self.connections.get(key).expect("it has just asked").peer();
        let is_router = speech == Speech::Socket(Dialect::Router);
        if is_router && self.shared.routers.enter(None).is_err() {
            self.hub.counters.refused_global += 1;
            return Err(Away::RouterFull(self.options.session.router.clients_max));
        }
        // Before the place among all, which who is refused here must not take from another even for a moment.
        let user = asker.as_ref().and_then(|grants| grants.user());
        if user.is_some_and(|user| !self.shared.users.enter(user)) {
            self.leave_routers(is_router);
            self.hub.counters.refused_per_user += 1;
            return Err(Away::Limit(LimitType::PerUser, self.options.sockets_per_user_max));
        }
        if let Err(refused) = self.shared.census.enter(self.counts_addresses.then_some(peer)) {
            self.leave_routers(is_router);
            if let Some(user) = user {
                self.shared.users.leave(user);
            }
            return Err(match refused {
                census::Refused::Total => {
                    self.hub.counters.refused_global += 1;
                    Away::Limit(LimitType::Global, self.options.sockets_max)
                }
                census::Refused::Address => {
                    self.hub.counters.refused_per_address += 1;
                    Away::Limit(LimitType::PerAddress, self.options.sockets_per_address_max)
                }
            });
        }
        self.sockets += 1;
        self.hub.counters.sockets_opened += 1;
        Ok(())
    }

    fn leave_routers(&self, is_router: bool) {
        if is_router {
            self.shared.routers.leave(None);
        }
    }

    /// Queues the greeting and hears the channels. Nothing goes out before every owner has answered: from the moment
    /// the connection opens, every event comes.
    pub(super) fn enter(&mut self, driver: &mut D, key: Key, plan: Plan, greeting: &[u8], now: Now) {
        let Plan { speech, zipped, targets, wanted, form, interest, answers_bytes, asker } = plan;
        let mut subscriber = if zipped { Subscriber::zipped(speech) } else { Subscriber::new(speech) };
        self.hub.cork(key);
        self.hub.push_greeting(key, greeting);
        subscriber.count_for(asker.as_ref().and_then(|grants| grants.user()));
        self.give_pass(key, &mut subscriber, asker.clone(), now);
        self.welcome(key, &mut subscriber, now);
        if let Some(interest) = interest {
            *subscriber.interest() = interest;
        }
        let tags = subscriber.tags(targets.len());
        if speech == Speech::Socket(Dialect::FreqSearch) {
            subscriber.serve_interest(tags.clone());
        }
        if subscriber.keeps_book()
            && let Some(target) = targets.first()
        {
            subscriber.book().enter(&subscription(target, &wanted, form), tags.clone());
        }
        let mut first = First::default();
        let tracks = if speech == Speech::Stream && targets.len() > 1 { targets.len() as u32 } else { 0 };
        for (at, (tag, target)) in tags.zip(&targets).enumerate() {
            let ephemeral = speech == Speech::Socket(Dialect::Events);
            let from = history::from_of(&wanted, at, tracks > 0);
            let Ok(filter) = bounded(asker.as_deref(), target, wanted.filter.clone()) else { continue };
            let wish = Wish { ephemeral, from, tracks, ..plain_wish(target, subscriber.form(form), filter) };
            match self.hub.join(key, tag, &wish, now.steady_us) {
                Joining::Done(standing) => first.standing = first.standing.or(Some(standing)),
                Joining::Already => {}
                Joining::Full => first.full = Some(target.as_str().into()),
                Joining::Waiting => first.missing += 1,
            }
        }
        let path = targets.into_iter().next();
        let waits = first.missing > 0;
        let (kept, unread) = (Vec::new(), false);
        let opening = Opening { subscriber, path, wanted, form, first, answers_bytes, kept, unread };
        self.set_protocol(key, Protocol::Opening(Box::new(opening)));
        if waits {
            return self.wheel.set(key.slot, now.steady_us + JOIN_US);
        }
        self.opened(driver, key, now);
    }

    /// What is said before anything else, where it does not depend on a channel.
    fn welcome(&mut self, key: Key, subscriber: &mut Subscriber, now: Now) {
        match subscriber.dialect() {
            Some(Dialect::V1) => {
                let seconds = self.options.session.heartbeat_us / 1_000_000;
                let expires_at_s = subscriber.pass().and_then(|pass| pass.grants().expires_at_s());
                let expires_at_ms = expires_at_s.map(|at_s| at_s.saturating_mul(1000));
                self.say(key, &v1::welcome(self.connection_id(key), seconds, expires_at_ms));
            }
            Some(Dialect::Router) => {
                let client_id: Label = uuid::random_uuid(&mut || self.random_bits());
                subscriber.name(client_id);
                self.say(key, &router::welcome(uuid::uuid_text(&client_id), now.unix_ms));
            }
            _ => {}
        }
    }

    /// Every join is answered: the connection gets events from here on.
    pub(super) fn opened(&mut self, driver: &mut D, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let placeholder = Protocol::Ending(End { socket: true, half_closed: false });
        let opening = match std::mem::replace(&mut connection.protocol, placeholder) {
            Protocol::Opening(opening) => *opening,
            other => return connection.protocol = other,
        };
        let Opening { subscriber, path, wanted, form, first, answers_bytes, kept: mut said, unread } =
            opening;
        self.kept_bytes -= said.capacity();
        if let (Speech::Stream, Some(channel)) = (subscriber.speech(), &first.full) {
            self.set_protocol(key, Protocol::Socket(Open::new(subscriber)));
            return self.stream_full(key, channel, answers_bytes, now);
        }
        let (dialect, beat_us) = (subscriber.dialect(), subscriber.first_beat_us(&self.options.session));
        self.set_protocol(key, Protocol::Socket(Open::new(subscriber)));
        self.wheel.set(key.slot, now.steady_us + beat_us);
        self.log_entry(key);
        if unread {
            self.hungry.push(key);
        }
        if let (Some(path), Some(standing), None) = (&path, first.standing, &first.full) {
            let (recovered, replayed) =
                standing.recovery.map_or((false, 0), |recovery| (recovery.recovered, recovery.replayed));
            match dialect {
                Some(Dialect::Events) => self.say(key, &events::welcome(path.as_str(), standing.members)),
                Some(Dialect::V1) => {
                    let wish = subscription(path, &wanted, form);
                    self.say(key, &v1::subscribed(&wish, standing.position, recovered, replayed));
                }
                _ => {}
            }
            // All subscriptions that it has so far came with its path.
            self.begin(key, path.as_str(), standing.recovery, 0..u32::MAX);
        }
        self.hub.uncork(key);
        if let Some(channel) = first.full {
            return self.channel_full(key, &channel, now);
        }
        if first.lost && dialect != Some(Dialect::FreqSearch) {
            return self.end_unentitled(key, Refused::Channel, now);
        }
        self.keep_held_within(key, now);
        if !said.is_empty() {
            self.guarded(key, now, |shard| shard.messages(driver, key, &mut said, now));
        }
    }

    pub(super) fn set_protocol(&mut self, key: Key, protocol: Protocol) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.protocol = protocol;
        }
    }

    /// How many clients a channel may have, of which it was found to have as many.
    pub(super) fn clients_max_of_full(&mut self, channel: &str) -> usize {
        self.hub.counters.refused_per_channel += 1;
        self.hub.clients_max(channel) as usize
    }

    fn channel_full(&mut self, key: Key, channel: &str, now: Now) {
        let max = self.clients_max_of_full(channel);
        if let Some(speech) = self.open_at(key).map(|open| open.subscriber.speech()) {
            self.say_limit(key, speech, LimitType::PerChannel, max);
        }
        self.end_socket(key, Reason::ChannelFull, true, now);
    }

    fn say_limit(&mut self, key: Key, speech: Speech, limit: LimitType, max: usize) {
        let words = match speech {
            Speech::Socket(Dialect::Courier) => courier::limit_reached(limit, max),
            Speech::Socket(Dialect::V1) => {
                let code = if limit == LimitType::PerChannel {
                    v1::Code::ChannelFull
                } else {
                    v1::Code::Unavailable
                };
                v1::error(&Default::default(), code, &format!("Connection limit reached: {max}"))
            }
            _ => return,
        };
        self.say(key, &words);
    }

    /// Opens the socket only to say why it is closed.
    fn turn_away(&mut self, key: Key, greeting: &[u8], speech: Speech, away: Away, now: Now) {
        self.hub.push_greeting(key, greeting);
        self.set_protocol(key, Protocol::Ending(End { socket: false, half_closed: false }));
        let reason = match away {
            Away::Limit(limit, max) => {
                self.say_limit(key, speech, limit, max);
                courier::limit_reason(limit)
            }
            Away::RouterFull(max) => {
                self.say(key, &router::max_clients_reached(max));
                Reason::Normal
            }
            Away::Reason(reason) => reason,
            Away::Refused(refused) => reason(refused),
        };
        self.end_socket(key, reason, false, now);
    }
}
