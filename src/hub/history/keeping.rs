//! What is kept and what goes: called by the hub for each event that is numbered, and by the shard once per turn.

use super::super::Hub;
use super::super::channels::Channels;
use super::ages::Head;
use super::{Gone, Ring};
use crate::event::Event;
use crate::metrics::Counters;

/// Events that one call lets go for their age, about; the rest goes in the next turn, so that a burst of old events
/// does not hold up a turn for longer than some hundred microseconds.
const EXPIRED_PER_TURN: u64 = 4_096;

impl Channels {
    /// Keeps the event that has just got the channel's last number. The channel keeps some.
    pub fn keep(&mut self, slot: u32, event: &Event, now_us: u64, counters: &mut Counters) {
        let owned = self.slab.at_mut(slot).expect("as for `at`");
        let (offset, size) = (owned.position.offset, owned.keep as usize);
        let bytes = Ring::cost(event);
        if bytes as u64 > self.kept.bytes_max {
            return self.keep_nothing(slot, event.at_ms(), counters);
        }
        let ring = owned.ring.get_or_insert_default();
        if ring.len() >= size
            && let Some(popped) = ring.pop()
        {
            owned.trimmed_ms = owned.trimmed_ms.max(popped.at_ms);
            self.kept.bytes -= u64::from(popped.bytes);
            self.kept.events -= 1;
            counters.history_outgrown += 1;
            if let Some(event) = popped.event {
                self.kept.leaving.add(event, popped.bytes);
            }
        }
        let was_empty = ring.is_empty();
        ring.push(offset, event, now_us);
        self.kept.bytes += bytes as u64;
        self.kept.events += 1;
        if was_empty {
            self.enter(slot, now_us);
        }
    }

    /// A channel whose row was empty has something now. (One event that made way for another leaves an entry that is
    /// still true.)
    fn enter(&mut self, slot: u32, now_us: u64) {
        let owned = self.slab.at_mut(slot).expect("as for `at`");
        if std::mem::replace(&mut owned.aged, true) {
            return;
        }
        let class = owned.class;
        let key = self.slab.key_at(slot).expect("just seen");
        self.kept.ages.enter(class, now_us, key);
        let slab = &self.slab;
        self.kept.ages.tidy(|key| slab.get(key).is_some_and(|owned| owned.aged));
    }

    /// The kept event with this number, for somebody who catches up and is likely not the only one.
    pub fn share(&mut self, slot: u32, offset: u64) -> Option<Event> {
        let (event, more) = self.at(slot).ring.as_mut()?.share(offset)?;
        self.kept.bytes += more;
        Some(event)
    }

    /// Lets go of all that a channel has, because the event that it took at `at_ms` is too large for all together.
    fn keep_nothing(&mut self, slot: u32, at_ms: u64, counters: &mut Counters) {
        self.pop_while(slot, Gone::Budget, counters, |_| true);
        let owned = self.at(slot);
        owned.trimmed_ms = owned.trimmed_ms.max(at_ms);
        counters.history_evicted += 1;
    }

    /// Lets go of the oldest events as long as `goes` says so; answers how many bytes that were.
    fn pop_while(
        &mut self,
        slot: u32,
        why: Gone,
        counters: &mut Counters,
        mut goes: impl FnMut(&Ring) -> bool,
    ) -> u64 {
        let owned = self.slab.at_mut(slot).expect("as for `at`");
        let Some(ring) = &mut owned.ring else { return 0 };
        let (mut events, mut bytes) = (0, 0);
        while !ring.is_empty() && goes(ring) {
            let Some(popped) = ring.pop() else { break };
            owned.trimmed_ms = owned.trimmed_ms.max(popped.at_ms);
            events += 1;
            bytes += u64::from(popped.bytes);
        }
        if ring.is_empty() {
            owned.ring = None;
        }
        self.kept.events -= events;
        self.kept.bytes -= bytes;
        why.count(events, counters);
        bytes
    }

    /// What a channel has goes with it.
    pub(in super::super) fn drop_history(&mut self, slot: u32) {
        let owned = self.slab.at_mut(slot).expect("as for `at`");
        if std::mem::take(&mut owned.aged) {
            self.kept.ages.forget();
        }
        if let Some(ring) = &mut owned.ring {
            while let Some(popped) = ring.pop() {
                self.kept.events -= 1;
                self.kept.bytes -= u64::from(popped.bytes);
            }
            owned.ring = None;
        }
    }

    /// Sets a head right: answers its channel's slot when the head told the truth.
    fn look_at(&mut self, head: Head) -> Option<u32> {
        let slot = head.channel.slot;
        let Some(owned) = self.slab.get_mut(head.channel).filter(|owned| owned.aged) else {
            self.kept.ages.leave(head, false);
            return None;
        };
        match owned.ring.as_ref().and_then(|ring| ring.oldest_us()) {
            Some(oldest_us) if oldest_us == head.since_us => return Some(slot),
            Some(oldest_us) => self.kept.ages.correct(head, oldest_us),
            None => {
                owned.aged = false;
                self.kept.ages.leave(head, true);
            }
        }
        None
    }

    /// When the oldest event was taken, in steady microseconds: not before, and maybe later.
    pub fn oldest_us(&self) -> Option<u64> {
        self.kept.ages.oldest().map(|head| head.since_us)
    }

    /// Lets go of the oldest events until `bytes` are free or what is left is younger than `until_us`.
    pub fn evict_history(&mut self, bytes: u64, until_us: u64, counters: &mut Counters) {
        let mut freed = 0;
        while freed < bytes
            && let Some(head) = self.kept.ages.oldest()
            && head.since_us <= until_us
        {
            let Some(slot) = self.look_at(head) else { continue };
            freed += self.pop_while(slot, Gone::Budget, counters, |ring| {
                ring.oldest_us().is_some_and(|oldest_us| oldest_us == head.since_us)
            });
        }
    }

    /// Lets go of what is too old. Answers the slots of the channels that have nothing left.
    pub fn expire_history(&mut self, now_us: u64, counters: &mut Counters) -> Vec<u32> {
        let (mut emptied, before) = (Vec::new(), counters.history_expired);
        while let Some(head) = self.kept.ages.overdue(now_us)
            && counters.history_expired - before < EXPIRED_PER_TURN
        {
            let Some(slot) = self.look_at(head) else { continue };
            self.trim(slot, now_us, self.kept.ages.ttl_us(head), counters);
            if self.at(slot).ring.is_none() {
                emptied.push(slot);
            }
        }
        emptied
    }

    /// Lets go of what of one channel is too old.
    fn trim(&mut self, slot: u32, now_us: u64, ttl_us: u64, counters: &mut Counters) {
        self.pop_while(slot, Gone::Age, counters, |ring| {
            ring.oldest_us().is_some_and(|oldest_us| oldest_us + ttl_us <= now_us)
        });
    }

    /// As [`Channels::trim`], by the channel's own limit: whoever looks sees nothing that is too old.
    pub fn trim_now(&mut self, slot: u32, now_us: u64, counters: &mut Counters) {
        let ttl_us = self.at(slot).keep_ttl_us;
        if ttl_us > 0 && self.at(slot).ring.is_some() {
            self.trim(slot, now_us, ttl_us, counters);
        }
    }

    /// What came until now went to another life of the server.
    pub(in super::super) fn begin_time(&mut self, unix_ms: u64) {
        self.kept.floor_ms = unix_ms;
        self.slab.iter_mut().for_each(|(_, owned)| owned.trimmed_ms = owned.trimmed_ms.max(unix_ms));
    }

    /// Other limits: those of each channel hold at once.
    pub(in super::super) fn rekeep(&mut self, counters: &mut Counters) {
        self.kept.ages = Default::default();
        let slots: Vec<u32> = self.slab.iter().map(|(key, _)| key.slot).collect();
        for slot in slots {
            let keep = self.keep_of(self.slab.at(slot).expect("listed").channel.clone().as_str());
            let class = self.kept.ages.class(keep.ttl_us);
            let owned = self.at(slot);
            (owned.keep, owned.keep_ttl_us, owned.class, owned.aged) = (keep.size, keep.ttl_us, class, false);
            self.pop_while(slot, Gone::Size, counters, |ring| ring.len() > keep.size as usize);
            if let Some(oldest_us) = self.at(slot).ring.as_ref().and_then(|ring| ring.oldest_us()) {
                self.enter(slot, oldest_us);
            }
        }
    }
}

impl Hub {
    /// Bytes that are kept of the past, as they count against the budget of all shards.
    pub fn history_bytes(&self) -> u64 {
        self.channels.kept.bytes
    }

    /// When this shard's oldest kept event was taken, in steady microseconds: not before, and maybe later.
    pub fn history_oldest_us(&self) -> Option<u64> {
        self.channels.oldest_us()
    }

    /// Lets go of the oldest events until `bytes` are free or what is left is younger than `until_us`.
    pub fn evict_history(&mut self, bytes: u64, until_us: u64) {
        self.channels.evict_history(bytes, until_us, &mut self.counters);
    }

    /// Lets go of what is too old, and of ephemeral channels that were kept for it alone.
    pub(in super::super) fn expire_history(&mut self, now_us: u64) {
        for slot in self.channels.expire_history(now_us, &mut self.counters) {
            if self.channels.at(slot).is_left_over() {
                self.forget_channel(slot);
            }
        }
    }

    /// Forgets a channel without members, and that something may be missing if it comes again.
    pub(in super::super) fn forget_channel(&mut self, slot: u32) {
        let last_ms = self.last_event_ms.unwrap_or(0);
        self.channels.kept.floor_ms = self.channels.kept.floor_ms.max(last_ms);
        self.channels.remove(slot);
    }
}
