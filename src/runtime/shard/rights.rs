//! Connections whose rights end or change while they are open (contract 12): tokens run out, are renewed or revoked, rules
//! and keys change. What is covered no more ends at once, before the next event; where hundreds end at one time, some hundreds
//! per turn.

use super::super::driver::Driver;
use super::Shard;
use super::connection::{Protocol, Waiting};
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

/// Connections that are judged again in one turn after the rules have changed, or whose tokens end in one: a millisecond or
/// two, in which nobody else is served.
const JUDGED_PER_TURN: usize = 500;

/// Those that wait for other shards are looked at again so soon.
const LOOK_AGAIN_US: u64 = 20_000;

/// Connections that are to be judged again.
#[derive(Default)]
pub(super) struct Rejudged {
    now: Vec<Key>,
    /// They wait for an answer of another shard, and what they subscribe to is not known before.
    held: Vec<Key>,
}

impl Rejudged {
    pub fn is_waiting(&self) -> bool {
        !self.now.is_empty()
    }

    /// When to look again, in steady microseconds.
    pub fn due_us(&self, now_us: u64) -> Option<u64> {
        (!self.held.is_empty()).then_some(now_us + LOOK_AGAIN_US)
    }
}

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

    /// Tells those whose tokens end soon, and ends those whose tokens have. What is beyond a turn is due in the next.
    pub(super) fn look_at_passes(&mut self, now: Now) {
        for _ in 0..JUDGED_PER_TURN {
            let Some(guard) = &mut self.guard else { break };
            let Some((_, token)) = guard.moments.first().copied().filter(|(at_ms, _)| *at_ms <= now.unix_ms)
            else {
                break;
            };
            guard.moments.pop_first();
            self.pass_is_due(Key::from_u64(token), now);
        }
    }

    fn pass_is_due(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let subscriber = match &mut connection.protocol {
            Protocol::Socket(open) => &mut open.subscriber,
            Protocol::Opening(opening) => &mut opening.subscriber,
            Protocol::Http(_) | Protocol::Ending(_) => return,
        };
        let Some(pass) = subscriber.pass_mut() else { return };
        let (due, next_ms) = (pass.due(now.unix_ms), pass.next_ms());
        match due {
            Due::Ended => return self.end_unentitled(key, Denied::Expired.into(), now),
            Due::Tell(in_seconds) => self.say(key, &v1::expiring(in_seconds)),
            Due::At(_) => {}
        }
        self.note_moment(key, next_ms);
    }

    /// A connection's rights are over: it is told so, if it is open.
    fn end_unentitled(&mut self, key: Key, refused: Refused, now: Now) {
        let refused = self.counted(refused);
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
        if !same {
            self.rejudged.now = self.connections.iter().map(|(key, _)| key).collect();
        }
    }

    /// Judges some of those that are to be judged again.
    pub(super) fn judge_again(&mut self, now: Now) {
        let mut held = std::mem::take(&mut self.rejudged.held);
        self.rejudged.now.append(&mut held);
        for _ in 0..JUDGED_PER_TURN {
            let Some(key) = self.rejudged.now.pop() else { return };
            self.judge_one_again(key, now);
        }
    }

    fn judge_one_again(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get(key) else { return };
        match &connection.protocol {
            Protocol::Http(_) | Protocol::Ending(_) => return,
            Protocol::Opening(_) => return self.rejudged.held.push(key),
            Protocol::Socket(open) if matches!(open.waiting.as_deref(), Some(Waiting::Join(_))) => {
                return self.rejudged.held.push(key);
            }
            Protocol::Socket(_) => {}
        }
        let before = self.grants_at(key);
        let after = match (&self.guard, &before) {
            (None, _) => Ok(None),
            (Some(_), None) => Err(Denied::Missing),
            (Some(guard), Some(grants)) => guard.door.gate().renew(grants, now.unix_ms / 1000).map(Some),
        };
        match after {
            Err(denied) => self.end_unentitled(key, denied.into(), now),
            Ok(after) if after == before => {}
            Ok(after) => {
                let Some(open) = self.open_at(key) else { return };
                match (&after, open.subscriber.pass_mut()) {
                    (Some(grants), Some(pass)) => pass.replace(grants.clone()),
                    _ => open.subscriber.set_pass(None),
                }
                self.keep_within(key, after.as_deref(), now);
            }
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
    fn keep_within(&mut self, key: Key, grants: Option<&Grants>, now: Now) {
        let mut lost = Vec::new();
        for (tag, heard) in self.hub.heard_by(key) {
            let extent = match (&heard, grants) {
                (_, None) => Extent::Whole,
                (Heard::Channel(channel), Some(grants)) if grants.may_read(channel.as_str()) => Extent::Whole,
                (Heard::Channel(_), Some(_)) => Extent::Nothing,
                (Heard::Pattern(pattern), Some(grants)) => grants.reach().extent(pattern),
            };
            match (extent, heard) {
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
