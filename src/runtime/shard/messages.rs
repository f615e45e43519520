//! What a socket's peer says: bytes become frames, frames become answers and commands, and what is not whole is kept.

use super::super::driver::Driver;
use super::connection::{Kept, Protocol};
use super::{Shard, Sockets};
use crate::hub::Joining;
use crate::session::Reason;
use crate::session::dialect::courier::{self, LimitType};
use crate::session::subscriber::{Act, Heard};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;

impl<D: Driver> Shard<D> {
    /// Keeps what a peer says before its socket is open.
    pub(super) fn keep_early(&mut self, key: Key, bytes: &[u8], now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Opening(opening) = &mut connection.protocol else { return };
        let before = opening.kept.capacity();
        opening.kept.extend_from_slice(bytes);
        self.kept_bytes = self.kept_bytes - before + opening.kept.capacity();
        if self.kept_bytes > self.options.kept_bytes_max {
            self.forget(key, now);
        }
    }

    /// Takes in bytes of a socket.
    pub(super) fn messages(&mut self, driver: &mut D, key: Key, bytes: &mut [u8], now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Socket(open) = &mut connection.protocol else { return };
        let Some(mut kept) = open.kept.take() else {
            return self.frames(driver, key, bytes, None, now);
        };
        let before = kept.bytes.capacity();
        // At least doubling, so that a large message is not copied once per read.
        kept.bytes.extend_from_slice(bytes);
        self.kept_bytes = self.kept_bytes - before + kept.bytes.capacity();
        if kept.bytes.len() < kept.needed || open.joining {
            open.kept = Some(kept);
            return self.protect(key, now);
        }
        self.kept_bytes -= kept.bytes.capacity();
        let mut whole = std::mem::take(&mut kept.bytes);
        self.frames(driver, key, &mut whole, Some(kept), now);
    }

    /// Acts on every whole frame; keeps the rest.
    fn frames(&mut self, driver: &mut D, key: Key, bytes: &mut [u8], spare: Option<Box<Kept>>, now: Now) {
        let mut at = 0;
        while at < bytes.len() {
            let Some(connection) = self.connections.get_mut(key) else { return };
            let Protocol::Socket(open) = &mut connection.protocol else { return };
            if open.joining {
                return self.keep(key, &bytes[at..], 0, spare, now);
            }
            self.answer.clear();
            let fragments = open.subscriber.kept_bytes();
            let heard = open.subscriber.hear(&mut bytes[at..], &self.options.session, &mut self.answer);
            self.kept_bytes = self.kept_bytes + open.subscriber.kept_bytes() - fragments;
            match heard {
                Heard::Partial(needed) => return self.keep(key, &bytes[at..], needed, spare, now),
                Heard::Frame(consumed, act) => {
                    at += consumed;
                    if let Some(act) = act {
                        self.act(driver, key, act, now);
                    }
                }
                Heard::Broken(reason) => return self.end_socket(key, reason, true, now),
            }
        }
        self.release(key);
    }

    /// Keeps what cannot be acted on yet.
    fn keep(&mut self, key: Key, bytes: &[u8], needed: usize, spare: Option<Box<Kept>>, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Socket(open) = &mut connection.protocol else { return };
        let mut kept = spare.unwrap_or_else(|| Box::new(Kept { bytes: Vec::new(), needed }));
        kept.bytes = bytes.to_vec();
        kept.needed = needed;
        self.kept_bytes += kept.bytes.capacity();
        open.kept = Some(kept);
        self.protect(key, now);
    }

    /// Lets go of the buffer of a fragmented message that is done.
    fn release(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Socket(open) = &mut connection.protocol else { return };
        let before = open.subscriber.kept_bytes();
        if before > 0 {
            open.subscriber.release();
            self.kept_bytes = self.kept_bytes + open.subscriber.kept_bytes() - before;
        }
    }

    /// Gives up a peer whose unfinished message takes the shard over its budget.
    fn protect(&mut self, key: Key, now: Now) {
        if self.kept_bytes <= self.options.kept_bytes_max {
            return;
        }
        let Some(connection) = self.connections.get(key) else { return };
        if let Protocol::Socket(open) = &connection.protocol
            && (open.kept.is_some() || open.subscriber.kept_bytes() > 0)
        {
            self.end_socket(key, Reason::Overloaded, true, now);
        }
    }

    fn act(&mut self, driver: &mut D, key: Key, act: Act, now: Now) {
        if !matches!(act, Act::Control | Act::PeerClosed) {
            self.hub.counters.client_messages += 1;
        }
        if act == Act::PeerClosed {
            // Its events go before the answer to its close.
            self.hub.retire(key, now.steady_us);
        }
        if !self.answer.is_empty() {
            self.hub.push_control(key, &self.answer);
        }
        match act {
            Act::Control | Act::Answer => {}
            Act::Subscribe(channel) => self.subscribe(key, &channel, now),
            Act::Unsubscribe(channel) => {
                self.hub.leave(key, &channel, now.steady_us);
                self.say(key, &courier::about_channel("unsubscribed", &channel));
            }
            Act::Close(reason) => self.end_socket(key, reason, true, now),
            Act::PeerClosed => self.end_quietly(key, true, now),
        }
        self.hub.relieve(key, &mut Sockets { driver, connections: &self.connections });
        if self.hub.has_cut() {
            self.cut(now);
        }
    }

    fn subscribe(&mut self, key: Key, channel: &str, now: Now) {
        let max = self.options.session.subscriptions_max;
        if max > 0 && self.hub.subscriptions_of(key) >= max && !self.hub.hears(key, channel) {
            return self.say(key, &courier::too_many_subscriptions(max));
        }
        match self.hub.join(key, channel, now.steady_us) {
            Joining::Done | Joining::Already => self.say(key, &courier::about_channel("subscribed", channel)),
            Joining::Waiting => {
                if let Some(connection) = self.connections.get_mut(key)
                    && let Protocol::Socket(open) = &mut connection.protocol
                {
                    open.joining = true;
                }
            }
            Joining::Full => {
                let max = self.clients_max_of(channel);
                self.say(key, &courier::limit_reached(LimitType::PerChannel, max));
            }
        }
    }
}
