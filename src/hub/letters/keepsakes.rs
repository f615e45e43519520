//! Events that are to be kept if nobody has received them when their time is over: known to the owner of their channel
//! from their publish on, the next to expire first. No timer each: the shard looks at the first when it sweeps.

use super::Dead;
use crate::event::{Cause, Channel, Event, Position};
use crate::hub::Hub;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// After its time so long, in microseconds, nobody sends an event any more: longer than one turn of any shard.
const GRACE_US: u64 = 100_000;

struct Keepsake {
    due_us: u64,
    position: Position,
    channel: Channel,
    event: Event,
}

impl PartialEq for Keepsake {
    fn eq(&self, other: &Keepsake) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Keepsake {}

impl PartialOrd for Keepsake {
    fn partial_cmp(&self, other: &Keepsake) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keepsake {
    fn cmp(&self, other: &Keepsake) -> Ordering {
        (self.due_us, self.position).cmp(&(other.due_us, other.position))
    }
}

/// Those of one shard.
#[derive(Default)]
pub struct Keepsakes {
    by_time: BinaryHeap<Reverse<Keepsake>>,
    bytes: usize,
}

impl Keepsakes {
    /// When the next is to be looked at, in steady microseconds.
    pub fn due_us(&self) -> Option<u64> {
        self.by_time.peek().map(|Reverse(first)| first.due_us)
    }

    fn pop_due(&mut self, now_us: u64) -> Option<Keepsake> {
        self.due_us().filter(|due_us| *due_us <= now_us)?;
        let Reverse(first) = self.by_time.pop()?;
        self.bytes -= first.event.frame().len();
        Some(first)
    }
}

impl Hub {
    /// As the owner: an event was numbered that its publisher wants to be kept. As many are waited for as letters may be
    /// kept; one more is counted and forgotten.
    #[cold]
    #[inline(never)]
    pub(in super::super) fn watch_over(&mut self, slot: u32, event: &Event, position: Position) {
        let Some(expires_us) = event.extras().and_then(|extras| extras.expires_us) else { return };
        let bounds = self.desk.letters.bounds;
        let (keepsakes, bytes) = (&mut self.desk.keepsakes, event.frame().len());
        if keepsakes.by_time.len() >= bounds.events_max || keepsakes.bytes + bytes > bounds.bytes_max {
            self.counters.dead_letters_dropped += u64::from(bounds.events_max > 0);
            return;
        }
        keepsakes.bytes += bytes;
        let (channel, event) = (self.channels.at(slot).channel.clone(), event.clone());
        let due_us = expires_us.saturating_add(GRACE_US);
        keepsakes.by_time.push(Reverse(Keepsake { due_us, position, channel, event }));
    }

    /// Gives up those whose time is over and whom nobody has received.
    pub(in super::super) fn bury_missed(&mut self, now_us: u64) {
        while let Some(Keepsake { position, channel, event, .. }) = self.desk.keepsakes.pop_due(now_us) {
            if event.is_missed() {
                self.bury(Dead {
                    channel,
                    event,
                    position: Some(position),
                    cause: Cause::Expired,
                    detail: "nobody had received it when its ttl ended".into(),
                    attempts: 0,
                    subscription: None,
                });
            }
        }
    }
}
