//! Which channel has the oldest event. Channels with one age limit share a heap, in which each stands once, under the
//! age that it had when it was last looked at: its oldest event can only be younger by now. So an append costs nothing
//! here, and the truth is found when something is to go.

use crate::stdx::slab::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A heap is tidied when it has so many entries more than twice as many as channels: those of channels that are gone
/// leave by themselves only when they are the oldest.
const STALE_MAX: usize = 1_024;

type Heap = BinaryHeap<Reverse<(u64, u64)>>;

/// The channels with something kept, by age.
#[derive(Default)]
pub struct Ages {
    /// By age limit, of which there are as many as rules, in microseconds.
    classes: Vec<(u64, Heap)>,
    /// Channels with something kept.
    channels: usize,
}

/// The channel at the head of a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    class: usize,
    /// Its oldest event is not older, in steady microseconds.
    pub since_us: u64,
    pub channel: Key,
}

impl Ages {
    /// The class of an age limit.
    pub fn class(&mut self, ttl_us: u64) -> u16 {
        let found = self.classes.iter().position(|(known, _)| *known == ttl_us);
        let class = found.unwrap_or_else(|| {
            self.classes.push((ttl_us, Heap::new()));
            self.classes.len() - 1
        });
        u16::try_from(class).expect("there are fewer rules")
    }

    /// A channel that had nothing has something now.
    pub fn enter(&mut self, class: u16, since_us: u64, channel: Key) {
        self.channels += 1;
        self.classes[usize::from(class)].1.push(Reverse((since_us, channel.to_u64())));
    }

    /// A channel was forgotten with what it had; its entry stays until it is found.
    pub fn forget(&mut self) {
        self.channels -= 1;
    }

    /// Drops the entries for which `is_there` says no, if there may be many.
    pub fn tidy(&mut self, is_there: impl Fn(Key) -> bool) {
        let entries: usize = self.classes.iter().map(|(_, heap)| heap.len()).sum();
        if entries > 2 * self.channels + STALE_MAX {
            for (_, heap) in &mut self.classes {
                heap.retain(|Reverse((_, channel))| is_there(Key::from_u64(*channel)));
            }
        }
    }

    /// The channel whose event may be the oldest of all.
    pub fn oldest(&self) -> Option<Head> {
        let heads = (0..self.classes.len()).filter_map(|class| self.head(class));
        heads.min_by_key(|head| head.since_us)
    }

    /// A channel of which something may be too old at `now_us`.
    pub fn overdue(&self, now_us: u64) -> Option<Head> {
        let due = |(class, (ttl_us, _)): (usize, &(u64, Heap))| {
            self.head(class).filter(|head| *ttl_us > 0 && head.since_us + ttl_us <= now_us)
        };
        self.classes.iter().enumerate().find_map(due)
    }

    /// When something may be too old next, in steady microseconds.
    pub fn due_us(&self) -> Option<u64> {
        let due = |(class, (ttl_us, _)): (usize, &(u64, Heap))| {
            self.head(class).filter(|_| *ttl_us > 0).map(|head| head.since_us + ttl_us)
        };
        self.classes.iter().enumerate().filter_map(due).min()
    }

    /// The age limit of a head's channel, in microseconds; 0: none.
    pub fn ttl_us(&self, head: Head) -> u64 {
        self.classes[head.class].0
    }

    fn head(&self, class: usize) -> Option<Head> {
        let Reverse((since_us, channel)) = *self.classes[class].1.peek()?;
        Some(Head { class, since_us, channel: Key::from_u64(channel) })
    }

    /// The oldest event of the channel at this head is of `since_us`.
    pub fn correct(&mut self, head: Head, since_us: u64) {
        if let Some(mut entry) = self.classes[head.class].1.peek_mut() {
            entry.0.0 = since_us;
        }
    }

    /// The channel at this head has nothing any more; `counted` says whether it was known to have.
    pub fn leave(&mut self, head: Head, counted: bool) {
        self.classes[head.class].1.pop();
        self.channels -= usize::from(counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> Key {
        Key { slot, generation: 1 }
    }

    #[test]
    fn the_oldest_is_found_over_all_age_limits() {
        let mut ages = Ages::default();
        let (short, long, none) = (ages.class(10), ages.class(100), ages.class(0));
        assert_eq!(ages.class(100), long);
        ages.enter(short, 50, key(1));
        ages.enter(long, 40, key(2));
        ages.enter(none, 30, key(3));
        assert_eq!(ages.oldest().map(|head| (head.since_us, head.channel)), Some((30, key(3))));
        assert_eq!(
            (ages.due_us(), ages.overdue(59), ages.overdue(60).unwrap().channel),
            (Some(60), None, key(1))
        );
        let head = ages.oldest().unwrap();
        ages.correct(head, 60);
        assert_eq!(ages.oldest().map(|head| head.channel), Some(key(2)));
        ages.leave(ages.oldest().unwrap(), true);
        assert_eq!(ages.oldest().map(|head| head.channel), Some(key(1)));
    }

    #[test]
    fn entries_of_channels_that_are_gone_do_not_pile_up() {
        let mut ages = Ages::default();
        let class = ages.class(0);
        for slot in 0..5_000 {
            ages.enter(class, u64::from(slot), key(slot));
            ages.forget();
            ages.tidy(|_| false);
        }
        assert!(ages.classes[0].1.len() <= STALE_MAX + 1);
    }
}
