//! What a shard tells of itself, and which of its channels it forgets.

use super::{Gathering, Hub, Mail, Names, Origin};
use crate::metrics::{ShardState, Snapshot};
use crate::stdx::clock::earlier;
use crate::stdx::slab::Key;

/// What is kept goes so much too late at most, in microseconds, so that a quiet server does not wake for each event.
const AGE_GRAIN_US: u64 = 100_000;

impl Hub {
    /// How many channels this shard owns.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Since when this shard's longest idle channel is idle, in steady microseconds.
    pub fn longest_idle_us(&self) -> Option<u64> {
        self.channels.longest_idle().map(|(_, since)| since)
    }

    /// Forgets the longest idle channel, if there is one.
    pub fn evict(&mut self) {
        if let Some((slot, _)) = self.channels.longest_idle() {
            self.forget_channel(slot);
            self.counters.channels_evicted += 1;
        }
    }

    /// When the next ephemeral channel is to be forgotten, or something kept is too old, in steady microseconds.
    pub fn sweep_due_us(&self) -> Option<u64> {
        let idle = self.channels.idle_ephemeral.first();
        let forgotten_us = idle.map(|(_, since)| since + self.options.ephemeral_idle_us);
        let aged_us = self.channels.kept.ages.due_us().map(|due_us| due_us.next_multiple_of(AGE_GRAIN_US));
        let due_us = earlier(forgotten_us, aged_us);
        if self.desk.is_ticking() { earlier(due_us, self.letters_due_us()) } else { due_us }
    }

    /// When a dead letter is too old, or an event that is kept for one has expired.
    fn letters_due_us(&self) -> Option<u64> {
        let due_ms = self.desk.letters.due_ms();
        let aged_us = due_ms.map(|due_ms| due_ms.saturating_sub(self.unix_ms_at_0).saturating_mul(1000));
        earlier(aged_us.map(|due_us| due_us.next_multiple_of(AGE_GRAIN_US)), self.desk.keepsakes.due_us())
    }

    /// Forgets what is too old, and ephemeral channels that nobody came to hear; costs next to nothing while there is
    /// none.
    pub fn sweep(&mut self, now_us: u64) {
        self.expire_history(now_us);
        self.redeliver(now_us);
        if self.desk.is_ticking() {
            self.desk.letters.expire(self.unix_ms_at(now_us));
            self.bury_missed(now_us);
        }
        while let Some((slot, since)) = self.channels.idle_ephemeral.first()
            && since + self.options.ephemeral_idle_us <= now_us
        {
            match self.channels.at(slot).ring {
                Some(_) => self.channels.idle_ephemeral.touch(slot, now_us),
                None => self.forget_channel(slot),
            }
        }
    }

    /// Asks every shard for its state; it comes as an effect. `own` is this shard's.
    /// Answers false when too many such requests wait.
    pub fn gather(&mut self, origin: Origin, names: Names, own: ShardState) -> bool {
        let mut snapshot = Snapshot::default();
        snapshot.add(self.snapshot(own, &names), names.max);
        let missing = self.options.shards - 1;
        if missing == 0 {
            self.effects.gathered.push((origin, snapshot));
            return true;
        }
        let Ok(key) = self.gathering.insert(Gathering { origin, names: names.clone(), missing, snapshot })
        else {
            return false;
        };
        for shard in (0..self.options.shards).filter(|shard| *shard != self.options.shard) {
            self.post.push(shard, Mail::Gather { key, names: names.clone() });
        }
        true
    }

    /// Answers another shard's question with this shard's state.
    pub fn answer_gather(&mut self, to: usize, key: Key, names: &Names, own: ShardState) {
        let snapshot = Box::new(self.snapshot(own, names));
        self.post.push(to, Mail::Gathered { key, snapshot });
    }

    fn snapshot(&self, mut own: ShardState, names: &Names) -> Snapshot {
        own.channels = self.channels.len();
        own.counters = self.counters;
        own.misfits.clone_from(&self.misfits);
        own.events_queued = self.outboxes().map(|outbox| outbox.events() as u64).sum();
        own.backlog_bytes = self.backlog().0;
        own.subscriptions =
            self.subscriptions.members.iter().map(|m| m.subscribed.as_slice().len() as u64).sum();
        own.last_event_ms = self.last_event_ms;
        (own.history_events, own.history_bytes) = (self.channels.kept.events, self.channels.kept.bytes);
        Snapshot {
            channels: self.channels.counts(names).collect(),
            channels_total: self.channels.len(),
            shards: vec![own],
        }
    }

    pub(super) fn gathered(&mut self, key: Key, snapshot: Snapshot) {
        let Some(gathering) = self.gathering.get_mut(key) else { return };
        gathering.snapshot.add(snapshot, gathering.names.max);
        gathering.missing -= 1;
        if gathering.missing == 0
            && let Some(done) = self.gathering.remove(key)
        {
            self.effects.gathered.push((done.origin, done.snapshot));
        }
    }
}
