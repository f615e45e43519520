//! Bounds over all shards on what they keep: channels, bytes of the past, and of what waits for sockets. The shard with the oldest lets go of it;
//! one that sees another's turn asks it to look.

use super::super::driver::Driver;
use super::Shard;
use crate::hub::Mail;

/// Of what may wait for all sockets, the share that is made free beyond what must.
const SPARE_SHARE: u64 = 64;

/// What this shard has told the others of what it keeps.
#[derive(Default)]
pub(super) struct Told {
    channels: usize,
    idle_us: Option<u64>,
    history_bytes: u64,
    history_oldest_us: Option<u64>,
    kept_bytes: u64,
    backlog: (u64, u64),
}

impl<D: Driver> Shard<D> {
    /// Whether all shards together keep too much of what is unfinished. What a shard takes in it tells before it asks,
    /// so the bound is never passed: what would pass it is let go of again.
    pub(super) fn keeps_too_much(&mut self) -> bool {
        self.tell_kept();
        self.shared.kept.over() > 0
    }

    /// Tells the others how much this shard keeps.
    pub(super) fn tell_kept(&mut self) {
        let kept_bytes = self.kept_bytes as u64;
        if kept_bytes != self.told.kept_bytes {
            self.shared.kept.moved(self.told.kept_bytes, kept_bytes);
            self.told.kept_bytes = kept_bytes;
        }
    }

    /// Forgets idle channels while there are too many over all shards.
    pub(super) fn keep_channels_within(&mut self) {
        if self.options.channels_max == 0 {
            return;
        }
        let me = self.port.shard();
        loop {
            let (channels, idle) = (self.hub.channels(), self.hub.longest_idle_us());
            if idle != self.told.idle_us {
                self.told.idle_us = idle;
                self.shared.tally.set_idle(me, idle);
            }
            if channels != self.told.channels {
                self.shared.tally.moved(self.told.channels, channels);
                self.told.channels = channels;
            }
            if self.shared.tally.total() <= self.options.channels_max {
                return;
            }
            match self.shared.tally.longest_idle() {
                Some(shard) if shard == me => self.hub.evict(),
                Some(shard) => return self.hub.post.push(shard, Mail::Look),
                None => return,
            }
        }
    }

    /// Shortens or cuts off the longest queues while those of all shards hold too much. Told once a turn, as the history
    /// is; what goes at once is a little more than must, so that whoever stands at the bound does not look at all queues
    /// in each turn.
    pub(super) fn keep_backlogs_within(&mut self) {
        let me = self.port.shard();
        let budget = &self.shared.backlog;
        for _ in 0..2 {
            let (told, now) = (self.told.backlog, self.hub.backlog());
            if told.0 != now.0 {
                budget.moved(told.0, now.0);
            }
            if told.1 != now.1 {
                budget.set_largest(me, now.1);
            }
            self.told.backlog = now;
            let over = budget.over();
            if over == 0 {
                return;
            }
            let floor = match budget.largest_but(me) {
                Some((shard, theirs)) if theirs > now.1 => return self.hub.post.push(shard, Mail::Look),
                others => others.map_or(0, |(_, theirs)| theirs),
            };
            self.hub.shed(over + budget.max() / SPARE_SHARE, floor);
        }
    }

    /// Lets go of the oldest events while all shards keep too many bytes. Told once a turn, so that the budget is
    /// exceeded by no more than what the shards take in one turn, and in the one in which another is asked.
    pub(super) fn keep_history_within(&mut self) {
        let me = self.port.shard();
        loop {
            let (bytes, oldest_us) = (self.hub.history_bytes(), self.hub.history_oldest_us());
            if oldest_us != self.told.history_oldest_us {
                self.told.history_oldest_us = oldest_us;
                self.shared.history.set_oldest(me, oldest_us);
            }
            if bytes != self.told.history_bytes {
                self.shared.history.moved(self.told.history_bytes, bytes);
                self.told.history_bytes = bytes;
            }
            let over = self.shared.history.over();
            if over == 0 {
                return;
            }
            match (oldest_us, self.shared.history.oldest_but(me)) {
                (Some(mine), Some((shard, theirs))) if theirs < mine => {
                    return self.hub.post.push(shard, Mail::Look);
                }
                (None, Some((shard, _))) => return self.hub.post.push(shard, Mail::Look),
                (None, None) => return,
                (Some(_), others) => {
                    self.hub.evict_history(over, others.map_or(u64::MAX, |(_, theirs)| theirs));
                }
            }
        }
    }
}
