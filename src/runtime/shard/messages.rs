//! What a socket's peer says: bytes become frames, frames become answers and commands, and what is not whole is kept.

use super::super::driver::Driver;
use super::Shard;
use super::connection::{Kept, Protocol};
use crate::session::Reason;
use crate::session::subscriber::{Act, Heard, Lent};
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
        if self.keeps_too_much() {
            self.hub.counters.overloads += 1;
            self.forget(key, now);
        }
    }

    /// Takes in bytes of a socket.
    pub(super) fn messages(&mut self, driver: &mut D, key: Key, bytes: &mut [u8], now: Now) {
        if self.has_suspects() {
            self.judge_suspect(key, now);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Socket(open) = &mut connection.protocol else { return };
        let Some(mut kept) = open.kept.take() else {
            return self.frames(driver, key, bytes, None, now);
        };
        let before = kept.bytes.capacity();
        // At least doubling, so that a large message is not copied once per read.
        kept.bytes.extend_from_slice(bytes);
        self.kept_bytes = self.kept_bytes - before + kept.bytes.capacity();
        if kept.bytes.len() < kept.needed || open.waiting.is_some() {
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
            if open.waiting.is_some() {
                return self.keep(key, &bytes[at..], 0, spare, now);
            }
            self.answer.clear();
            let fragments = open.subscriber.kept_bytes();
            let mut lent = Lent { out: &mut self.answer, said: &mut self.said, inflater: &mut self.inflater };
            let heard = open.subscriber.hear(&mut bytes[at..], &self.options.session, &mut lent);
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
        self.release(key, now);
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

    /// Lets go of the buffer of a fragmented message that is done. One that is not is unfinished, though its last fragment so
    /// far came whole (seed 93891 of the simulation kept such over its budget).
    fn release(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Socket(open) = &mut connection.protocol else { return };
        let before = open.subscriber.kept_bytes();
        if before > 0 {
            open.subscriber.release();
            self.kept_bytes = self.kept_bytes + open.subscriber.kept_bytes() - before;
            self.protect(key, now);
        }
    }

    /// Gives up a peer whose unfinished message takes the shard over its budget.
    fn protect(&mut self, key: Key, now: Now) {
        if !self.keeps_too_much() {
            return;
        }
        let Some(connection) = self.connections.get(key) else { return };
        if let Protocol::Socket(open) = &connection.protocol
            && (open.kept.is_some() || open.subscriber.kept_bytes() > 0)
        {
            self.hub.counters.overloads += 1;
            self.end_socket(key, Reason::Overloaded, true, now);
            self.tell_kept();
        }
    }

    fn act(&mut self, driver: &mut D, key: Key, act: Act, now: Now) {
        if !matches!(act, Act::Control | Act::PeerClosed) {
            self.hub.counters.client_messages += 1;
        }
        if act == Act::PeerClosed {
            // Its events, and what it lost of them, go before the answer to its close. For that there is room, however many
            // answers wait: else the socket would end without it (seed 136888 of the simulation).
            let answer = std::mem::take(&mut self.answer);
            self.tell_gaps(key);
            self.hub.retire(key, now.steady_us);
            self.hub.push_last(key, &answer);
            self.answer = answer;
        } else if !self.answer.is_empty() {
            self.hub.push_control(key, &self.answer);
        }
        match act {
            Act::Control | Act::Answer => {}
            Act::Said if self.options.rates.counts_messages() && !self.may_say(key, now) => {}
            Act::Said => self.obey(driver, key, now),
            Act::Close(reason) => self.end_socket(key, reason, true, now),
            Act::PeerClosed => self.end_quietly(key, true, now),
        }
        self.relieve(driver, key, now);
        if self.hub.has_cut() {
            self.cut(now);
        }
    }
}
