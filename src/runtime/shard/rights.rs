//! Connections whose rights end or change while they are open (contract 12): tokens run out, are renewed or revoked, rules
//! and keys change. What is covered no more ends at once, before the next event; who is to be judged when is in `suspects`.

use super::super::driver::Driver;
use super::Shard;
use super::connection::Protocol;
use super::guard::{Guard, reason};
use super::options::Auth;
use crate::auth::{Denied, Grants, Holder};
use crate::event::Extent;
use crate::hub::Heard;
use crate::session::book::Entry;
use crate::session::command::Ref;
use crate::session::credentials::{Asker, Refused};
use crate::session::dialect::answers::Denied as NotDone;
use crate::session::dialect::{Dialect, v1};
use crate::session::pass::{Due, Pass};
use crate::session::subscriber::{Speech, Subscriber};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use std::sync::Arc;

impl<D: Driver> Shard<D> {
    /// Notes with what a connection came in, and when that ends.
    pub(super) fn give_pass(&mut self, key: Key, subscriber: &mut Subscriber, asker: Asker, now: Now) {
        let Some(grants) = asker else { return };
        let tells = subscriber.dialect() == Some(Dialect::V1);
        let pass = Pass::new(grants, tells, now.unix_ms);
        self.note_moment(key, pass.next_ms());
        subscriber.set_pass(Some(pass));
    }

    fn note_moment(&mut self, key: Key, at_ms: Option<u64>) {
        if let (Some(guard), Some(at_ms)) = (&mut self.guard, at_ms) {
            guard.moments.insert((at_ms, key.to_u64()));
        }
    }

    /// A connection ends: its moment is of no interest any more.
    pub(super) fn forget_moment(&mut self, key: Key, protocol: &Protocol) {
        self.suspects.forget(key.slot);
        let Some(guard) = &mut self.guard else { return };
        let subscriber = match protocol {
            Protocol::Socket(open) => &open.subscriber,
            Protocol::Opening(opening) => &opening.subscriber,
            Protocol::Http(_) | Protocol::Ending(_) => return,
        };
        if let Some(at_ms) = subscriber.pass().and_then(Pass::next_ms) {
            guard.moments.remove(&(at_ms, key.to_u64()));
        }
    }

    /// When the next token ends or its holder is to be told, in steady microseconds.
    pub(super) fn pass_due_us(&self, now: Now) -> Option<u64> {
        let (at_ms, _) = self.guard.as_ref()?.moments.first()?;
        Some(now.steady_us + at_ms.saturating_sub(now.unix_ms) * 1000)
    }

    pub(super) fn pass_is_due(&mut self, key: Key, now: Now) {
        let Some(pass) = self.pass_at(key) else { return };
        let (due, next_ms) = (pass.due(now.unix_ms), pass.next_ms());
        match due {
            Due::Ended => return self.end_unentitled(key, Denied::Expired, now),
            Due::Tell(in_seconds) => self.say(key, &v1::expiring(in_seconds)),
            Due::At(_) => {}
        }
        self.note_moment(key, next_ms);
    }

    /// The pass of a socket or stream, open or not yet.
    pub(super) fn pass_at(&mut self, key: Key) -> Option<&mut Pass> {
        match &mut self.connections.get_mut(key)?.protocol {
            Protocol::Socket(open) => open.subscriber.pass_mut(),
            Protocol::Opening(opening) => opening.subscriber.pass_mut(),
            Protocol::Http(_) | Protocol::Ending(_) => None,
        }
    }

    /// A connection's rights are over: it is told so, if it is open.
    pub(super) fn end_unentitled(&mut self, key: Key, refused: impl Into<Refused>, now: Now) {
        let refused = self.counted(refused.into());
        if self.open_at(key).is_none() {
            return self.forget(key, now);
        }
        if let Some(grants) = self.grants_at(key) {
            let user_id = holder(&grants);
            tracing::info!(connection = %self.connection_id(key), user_id, reason = reason(refused).text(), "closed");
        }
        self.end_socket(key, reason(refused), true, now);
    }

    /// The rights of an open connection.
    pub(super) fn grants_at(&mut self, key: Key) -> Asker {
        self.open_at(key)?.subscriber.pass().map(|pass| pass.grants().clone())
    }

    /// Another policy, or none: whoever is in is judged again.
    pub(super) fn change_guard(&mut self, auth: Option<Auth>) {
        let known = self.guard.as_ref().map(|guard| &guard.auth);
        let same = match (&auth, known) {
            (None, None) => true,
            (Some(auth), Some(known)) => Arc::ptr_eq(&auth.gate, &known.gate),
            _ => false,
        };
        match (auth, &mut self.guard) {
            (Some(auth), Some(guard)) => {
                if !same {
                    guard.door.replace(auth.gate.clone());
                }
                guard.auth = auth;
            }
            (auth, guard) => *guard = auth.map(Guard::new),
        }
        if self.guard.is_none() {
            self.suspects.let_off_due();
        }
        if !same {
            self.suspects.suspect_all(self.connections.slots());
        }
    }

    pub(super) fn judge_one_again(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get(key) else { return };
        if matches!(connection.protocol, Protocol::Http(_) | Protocol::Ending(_)) {
            return;
        }
        let before = self.pass_at(key).map(|pass| pass.grants().clone());
        let after = match (&self.guard, &before) {
            (None, _) => Ok(None),
            (Some(_), None) => Err(Denied::Missing),
            (Some(guard), Some(grants)) => guard.door.gate().renew(grants, now.unix_ms / 1000).map(Some),
        };
        match after {
            Err(denied) => self.end_unentitled(key, denied, now),
            Ok(after) if after == before => {}
            Ok(after) => {
                match (self.pass_at(key), &after) {
                    (Some(pass), Some(grants)) => pass.replace(grants.clone()),
                    _ => self.drop_pass(key),
                }
                self.keep_within(key, after.as_deref(), now);
            }
        }
    }

    fn drop_pass(&mut self, key: Key) {
        match self.connections.get_mut(key).map(|connection| &mut connection.protocol) {
            Some(Protocol::Socket(open)) => open.subscriber.set_pass(None),
            Some(Protocol::Opening(opening)) => opening.subscriber.set_pass(None),
            _ => {}
        }
    }

    /// A fresh token on a live socket.
    pub(super) fn renew_pass(&mut self, key: Key, reference: &Ref, token: &str, now: Now) {
        let Some(guard) = &mut self.guard else {
            return self.deny(key, reference, &NotDone::NotAvailable("auth"), now);
        };
        let grants = match guard.door.judge(token, now.unix_ms / 1000) {
            Ok(grants) => grants,
            Err(denied) => {
                self.counted(denied.into());
                return self.deny(key, reference, &NotDone::Token(denied.reason()), now);
            }
        };
        if !self.grants_at(key).is_some_and(|before| is_same_holder(&before, &grants)) {
            self.counted(Refused::Channel);
            return self.deny(key, reference, &NotDone::Token("The token is another user's"), now);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Socket(open) = &mut connection.protocol else { return };
        let before_ms = open.subscriber.pass().and_then(Pass::next_ms);
        let pass = Pass::new(grants.clone(), open.subscriber.dialect() == Some(Dialect::V1), now.unix_ms);
        let (next_ms, expires_at_ms) = (pass.next_ms(), grants.expires_at_s().map(|at_s| at_s * 1000));
        open.subscriber.set_pass(Some(pass));
        if let (Some(guard), Some(before_ms)) = (&mut self.guard, before_ms) {
            guard.moments.remove(&(before_ms, key.to_u64()));
        }
        self.note_moment(key, next_ms);
        self.keep_within(key, Some(&grants), now);
        self.say(key, &v1::authenticated(reference, expires_at_ms));
    }

    /// Ends the subscriptions that somebody's rights do not cover, and bounds those to patterns.
    pub(super) fn keep_within(&mut self, key: Key, grants: Option<&Grants>, now: Now) {
        let awaited = self.awaited(key);
        self.suspects.hold(key.slot, awaited.is_some());
        let mut lost = Vec::new();
        for (tag, heard) in self.hub.heard_by(key) {
            let extent = match (&heard, grants) {
                (_, None) => Extent::Whole,
                (Heard::Channel(channel), Some(grants)) if grants.may_read(channel.as_str()) => Extent::Whole,
                (Heard::Channel(_), Some(_)) => Extent::Nothing,
                (Heard::Pattern(pattern), Some(grants)) => grants.reach().extent(pattern),
            };
            match (extent, heard) {
                (Extent::Nothing, _) if awaited.as_ref().is_some_and(|tags| tags.contains(&tag)) => {
                    self.lose_awaited(key, tag, now);
                }
                (Extent::Nothing, _) => lost.push(tag),
                (Extent::Part, _) => self.hub.bound(key, tag, grants.map(|grants| grants.reach().clone())),
                (Extent::Whole, Heard::Pattern(_)) => self.hub.bound(key, tag, None),
                (Extent::Whole, Heard::Channel(_)) => {}
            }
        }
        if !lost.is_empty() {
            self.take_away(key, &lost, now);
        }
    }

    /// Ends subscriptions: a dialect that has a word for it is told, any other connection ends.
    fn take_away(&mut self, key: Key, lost: &[u32], now: Now) {
        let Some(open) = self.open_at(key) else { return };
        let (speech, keeps_book) = (open.subscriber.speech(), open.subscriber.keeps_book());
        if !keeps_book && speech != Speech::Socket(Dialect::FreqSearch) {
            return self.end_unentitled(key, Refused::Channel, now);
        }
        for tag in lost {
            self.hub.leave(key, *tag, now.steady_us);
        }
        let Some(open) = self.open_at(key).filter(|_| keeps_book) else { return };
        for Entry { id, channel, tags } in open.subscriber.book().strike_parts(lost) {
            for tag in tags {
                self.hub.leave(key, tag, now.steady_us);
            }
            let dialect = self.dialect_at(key);
            self.deny(key, &Ref::default(), &NotDone::Unauthorized, now);
            self.say_if(
                key,
                dialect.and_then(|dialect| dialect.unsubscribed(&Ref::default(), &id, &channel)),
            );
        }
    }

    /// One line per connection that says who it is (`sources.md` 6.2, P05).
    pub(super) fn log_entry(&mut self, key: Key) {
        let Some(grants) = self.grants_at(key) else { return };
        let connection = self.connection_id(key);
        let peer = self.connections.get(key).map(|connection| connection.peer());
        let dialect = self.dialect_at(key).map_or("sse", Dialect::name);
        let user_id = holder(&grants);
        tracing::info!(%connection, user_id, dialect, peer = peer.map(tracing::field::display), "connected");
    }
}

/// The user's id, or the service's name.
fn holder(grants: &Grants) -> &str {
    match grants.holder() {
        Holder::User { id, .. } => id,
        Holder::Service { name } => name,
    }
}

/// A socket does not change hands. The same id of another issuer is somebody else.
fn is_same_holder(one: &Grants, other: &Grants) -> bool {
    one.user().is_some() && one.user() == other.user() && one.issuer() == other.issuer()
}
