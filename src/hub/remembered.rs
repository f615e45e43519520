//! Publishes that carried an id: a repeat within five minutes is answered as the first was (contract 3.2). Kept by the
//! channel's owner, within bounds; what is forgotten before its time is counted.

use super::durable::Stored;
use super::pump::Reach;
use super::{First, Hub, Mail, Published};
use crate::event::{Channel, Position};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How long a repeat is known as one, in microseconds.
const REMEMBERED_US: u64 = 300_000_000;

/// Ids that one shard keeps: two hundred publishes a second with an id each, for five minutes.
const REMEMBERED_MAX: usize = 65_536;

/// Bytes of ids and answers that one shard keeps: 256 for each of the above.
const REMEMBERED_BYTES_MAX: usize = 16 * 1024 * 1024;

type Id = (Channel, Box<str>);

/// What is known of the first publish.
#[derive(Clone)]
pub(super) struct Kept {
    pub position: Position,
    /// When the server took the event, in Unix milliseconds.
    pub at_ms: u64,
    /// On the owner's shard alone; all that can be said while the answer is not known.
    pub reach: Reach,
    /// Where it is, if its channel is durable and its write is not waited for.
    pub stored: Option<Stored>,
    pub body: Option<Arc<[u8]>>,
}

/// The ids of one shard's channels.
#[derive(Default)]
pub(super) struct Remembered {
    by_id: HashMap<Id, Kept, foldhash::quality::RandomState>,
    /// The oldest first, with the moment at which each may be forgotten.
    order: VecDeque<(u64, Id)>,
    bytes: usize,
}

impl Remembered {
    /// What is known of an earlier publish with this id.
    pub fn find(&mut self, channel: &Channel, id: &str, now_us: u64) -> Option<&Kept> {
        while self.order.front().is_some_and(|(until, _)| *until <= now_us) {
            self.forget_oldest();
        }
        self.by_id.get(&(channel.clone(), id.into()))
    }

    /// A publish with an id was numbered. Answers how many others were forgotten for it.
    pub fn note(&mut self, channel: &Channel, id: &str, kept: Kept, now_us: u64) -> u64 {
        let name: Id = (channel.clone(), id.into());
        self.bytes += id.len();
        self.order.push_back((now_us + REMEMBERED_US, name.clone()));
        self.by_id.insert(name, kept);
        self.keep_within()
    }

    /// Its write has ended, and it is seen.
    pub fn written(&mut self, channel: &Channel, id: &str, reach: Reach, stored: Stored) {
        if let Some(kept) = self.by_id.get_mut(&(channel.clone(), id.into())) {
            (kept.reach, kept.stored) = (reach, Some(stored));
        }
    }

    /// It was answered with this body. Answers how many others were forgotten for it.
    pub fn answer(&mut self, channel: &Channel, id: &str, body: Arc<[u8]>) -> u64 {
        let Some(kept) = self.by_id.get_mut(&(channel.clone(), id.into())) else { return 0 };
        if kept.body.is_none() {
            self.bytes += body.len();
            kept.body = Some(body);
        }
        self.keep_within()
    }

    fn keep_within(&mut self) -> u64 {
        let mut forgotten = 0;
        while self.order.len() > REMEMBERED_MAX || self.bytes > REMEMBERED_BYTES_MAX {
            self.forget_oldest();
            forgotten += 1;
        }
        forgotten
    }

    fn forget_oldest(&mut self) {
        let Some((_, id)) = self.order.pop_front() else { return };
        let body = self.by_id.remove(&id).and_then(|kept| kept.body).map_or(0, |body| body.len());
        self.bytes -= id.1.len() + body;
    }
}

impl Hub {
    /// The earlier publish of this id, if there was one.
    pub(super) fn repeat(&mut self, slot: u32, id: &str, now_us: u64) -> Option<Published> {
        let channel = &self.channels.at(slot).channel;
        let kept = self.remembered.find(channel, id, now_us)?;
        self.counters.repeats += 1;
        let first = First { at_ms: kept.at_ms, answer: kept.body.clone() };
        let published = Published::new(kept.position, kept.reach, kept.stored);
        Some(Published { first: Some(Box::new(first)), ..published })
    }

    /// Keeps the answer to a publish that carried an id, for repeats of it. The name must be valid.
    pub fn remember(&mut self, channel: &str, id: &str, body: &[u8]) {
        let owner = self.owner(channel);
        let (channel, body) = (self.named(channel), Arc::from(body));
        if owner == self.options.shard {
            self.counters.ids_dropped += self.remembered.answer(&channel, id, body);
        } else {
            self.post.push(owner, Mail::Remember { channel, id: id.into(), body });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_five_minutes_and_the_oldest_goes_when_there_are_too_many() {
        let mut remembered = Remembered::default();
        let channel = Channel::parse("a").unwrap();
        let position = Position { epoch: 1, offset: 1 };
        let kept = Kept { position, at_ms: 0, reach: Reach::default(), stored: None, body: None };
        remembered.note(&channel, "x", kept.clone(), 0);
        assert_eq!(remembered.answer(&channel, "x", Arc::from(&b"body"[..])), 0);
        let found = remembered.find(&channel, "x", REMEMBERED_US - 1).unwrap();
        assert_eq!(found.body.as_deref(), Some(&b"body"[..]));
        assert!(remembered.find(&channel, "x", REMEMBERED_US).is_none());
        assert_eq!(remembered.bytes, 0);
        let many = REMEMBERED_MAX + 2;
        let forgotten: u64 =
            (0..many).map(|n| remembered.note(&channel, &n.to_string(), kept.clone(), 0)).sum();
        assert_eq!((forgotten, remembered.find(&channel, "1", 0).is_some()), (2, false));
        assert!(remembered.find(&channel, "2", 0).is_some());
    }
}
