//! The owner's side of channels: their numbering, how many members they have on which shard, and which idle one
//! goes when there are too many. Called by the hub; knows no connection.

use super::approach::Heard;
use super::durable::Durable;
use super::history::{Kept, Ring};
use super::idle::Idle;
use super::names::{ByName, Name};
use super::patterns::Watched;
use super::presence::Present;
use super::{ChannelOptions, Full, Names, Standing};
use crate::event::{Channel, Position};
use crate::metrics::{ChannelCount, Counters};
use crate::stdx::slab::{Key, Slab};

/// One shard with members of the channel.
pub(super) struct Interest {
    pub shard: u16,
    pub slot: Key,
    pub members: u32,
}

/// One shard that gets the channel's events.
pub(super) struct Target {
    pub shard: u16,
    /// Where it has the channel; `None`: it looks by name, because it may be heard through patterns there.
    pub slot: Option<Key>,
}

/// The targets are to be looked up again.
const STALE: u64 = u64::MAX;

pub(super) struct Owned {
    pub channel: Channel,
    pub name: Name,
    /// Of the last event.
    pub position: Position,
    /// Where it is heard, while the owner has members itself; it goes with the last of them.
    pub heard: Option<Heard>,
    /// The other shards with members that hear it by name.
    pub interests: Vec<Interest>,
    /// Where its events go besides here: to those, and to the shards with a pattern that covers it. True at this version
    /// of the watched patterns.
    targets: Vec<Target>,
    targets_version: u64,
    /// At this version of this shard's patterns none covered it.
    pub uncovered: u64,
    /// Who, where that is wanted.
    pub present: Option<Box<Present>>,
    /// The past, as far as it is kept: never an empty one.
    pub ring: Option<Box<Ring>>,
    /// Of a channel that is kept on disk too.
    pub durable: Option<Box<Durable>>,
    /// Events that are kept; 0: none.
    pub keep: u32,
    /// Of which age limit, and whether the channel stands among those by age.
    pub class: u16,
    pub aged: bool,
    pub keep_ttl_us: u64,
    /// What the server took until then may have been kept and is not any more, in Unix milliseconds.
    pub trimmed_ms: u64,
    /// Over all shards.
    pub members: u32,
    clients_max: u32,
    ephemeral: bool,
    configured: bool,
    /// Somebody of another shard wanted its events in order; such come again, so it stays so.
    pub in_order: bool,
    /// It goes with its last member, whatever is kept of it.
    fleeting: bool,
}

impl Owned {
    /// Nothing but its past, or what there was to tell, kept it.
    pub fn is_left_over(&self) -> bool {
        self.ephemeral && self.members == 0 && self.ring.is_none() && !self.has_news()
    }

    /// Nothing keeps it any more.
    pub fn is_over(&self) -> bool {
        self.members == 0 && (self.fleeting || self.is_left_over())
    }

    #[cold]
    fn find_targets(&mut self, watched: &mut Watched) {
        self.targets_version = watched.version;
        let watching = watched.shards_of(self.channel.as_str());
        let exact = self.interests.iter().filter(|interest| !watching.contains(&interest.shard));
        self.targets.clear();
        self.targets
            .extend(exact.map(|interest| Target { shard: interest.shard, slot: Some(interest.slot) }));
        self.targets.extend(watching.iter().map(|shard| Target { shard: *shard, slot: None }));
    }
}

/// Every channel that this shard owns.
pub(super) struct Channels {
    pub slab: Slab<Owned>,
    pub by_name: ByName,
    pub options: ChannelOptions,
    /// Channels without members, the longest idle first, and apart from them those that need not be kept.
    pub idle: Idle,
    pub idle_ephemeral: Idle,
    /// What is kept of the past.
    pub kept: Kept,
    /// No durable channel that was forgotten was numbered further. One that comes again begins behind that, under another
    /// epoch: in the log, which still has what came before, the numbers of a channel only grow.
    forgotten_offset: u64,
}

impl Channels {
    pub fn new(options: ChannelOptions) -> Channels {
        Channels {
            kept: Kept { bytes_max: options.history_bytes_max, ..Kept::default() },
            slab: Slab::with_limit(u32::MAX - 1),
            by_name: ByName::default(),
            options,
            idle: Idle::default(),
            idle_ephemeral: Idle::default(),
            forgotten_offset: 0,
        }
    }

    /// Other rules from now on, for the channels that are there too.
    pub fn reload(&mut self, options: ChannelOptions, now_us: u64, counters: &mut Counters) {
        self.options = options;
        self.kept.bytes_max = self.options.history_bytes_max;
        self.rekeep(counters);
        let slots: Vec<u32> = self.slab.iter().map(|(key, _)| key.slot).collect();
        for slot in slots {
            let channel = self.at(slot).channel.clone();
            let (clients_max, ephemeral, configured) = self.traits_of(&channel);
            let present = self.rule_of(channel.as_str()).is_some_and(|rule| rule.presence);
            self.idle.remove(slot);
            self.idle_ephemeral.remove(slot);
            let owned = self.at(slot);
            (owned.clients_max, owned.ephemeral, owned.configured) = (clients_max, ephemeral, configured);
            // Who came before it was switched on is not known.
            owned.present = present.then(|| owned.present.take().unwrap_or_default());
            if owned.members == 0 {
                self.rest(slot, now_us);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn find(&self, name: &str) -> Option<u32> {
        self.by_name.find(name, |slot| self.slab.at(slot).is_some_and(|it| it.name.is(name, &it.channel)))
    }

    pub fn at(&mut self, slot: u32) -> &mut Owned {
        self.slab.at_mut(slot).expect("slots are handed out by find and create, and used in the same call")
    }

    /// The key of what is at this slot.
    pub fn key_of(&self, slot: u32) -> Key {
        self.slab.key_at(slot).expect("as for `at`")
    }

    /// Where the channel of this key stands, while it lives.
    pub fn position_at(&self, key: Key) -> Option<Position> {
        self.slab.get(key).map(|owned| owned.position)
    }

    pub fn durable_at(&mut self, key: Key) -> Option<&mut Durable> {
        self.slab.get_mut(key)?.durable.as_deref_mut()
    }

    /// Starts to number a channel under `epoch`.
    pub fn create(&mut self, channel: &Channel, epoch: u32, now_us: u64) -> u32 {
        let (clients_max, ephemeral, configured) = self.traits_of(channel);
        let keep = self.keep_of(channel.as_str());
        let owned = Owned {
            ring: None,
            keep: keep.size,
            class: self.kept.ages.class(keep.ttl_us),
            durable: keep.durable.then(Box::default),
            aged: false,
            keep_ttl_us: keep.ttl_us,
            trimmed_ms: self.kept.floor_ms,
            channel: channel.clone(),
            name: Name::new(channel),
            position: Position { epoch, offset: if keep.durable { self.forgotten_offset } else { 0 } },
            heard: None,
            interests: Vec::new(),
            targets: Vec::new(),
            targets_version: 0,
            uncovered: 0,
            present: self.rule_of(channel.as_str()).is_some_and(|rule| rule.presence).then(Box::default),
            members: 0,
            clients_max,
            ephemeral,
            configured,
            in_order: false,
            fleeting: false,
        };
        let Ok(key) = self.slab.insert(owned) else {
            unreachable!("max_channels is far below what the slab takes")
        };
        self.by_name.insert(channel.as_str(), key.slot);
        self.rest(key.slot, now_us);
        key.slot
    }

    /// Lets one more member in, from the shard itself (`remote` is `None`) or another.
    pub fn join(&mut self, slot: u32, remote: Option<(u16, Key)>) -> Result<Standing, Full> {
        let owned = self.at(slot);
        if owned.clients_max > 0 && owned.members >= owned.clients_max {
            return Err(Full);
        }
        owned.members += 1;
        if let Some((shard, key)) = remote {
            owned.targets_version = STALE;
            match owned.interests.iter_mut().find(|interest| interest.shard == shard) {
                Some(interest) => {
                    interest.members += 1;
                    interest.slot = key;
                }
                None => owned.interests.push(Interest { shard, slot: key, members: 1 }),
            }
        }
        let standing = Standing { position: Some(owned.position), members: owned.members, recovery: None };
        self.idle.remove(slot);
        self.idle_ephemeral.remove(slot);
        Ok(standing)
    }

    /// It vanishes with its last member, unless it is configured; its past does not keep it (contract 6, `events`).
    pub fn make_ephemeral(&mut self, slot: u32) {
        self.idle.remove(slot);
        let owned = self.at(slot);
        owned.ephemeral |= !owned.configured;
        owned.fleeting = owned.ephemeral;
    }

    /// One member less. Answers whether the channel is to vanish with it, now.
    pub fn leave(&mut self, slot: u32, remote: Option<u16>, now_us: u64) -> bool {
        let owned = self.at(slot);
        owned.members -= 1;
        if let Some(shard) = remote {
            owned.targets_version = STALE;
            owned.interests.retain_mut(|interest| {
                interest.members -= u32::from(interest.shard == shard);
                interest.members > 0
            });
        }
        // With news it rests, or vanishes, when that is told: others may hear it through patterns.
        if owned.members > 0 || owned.has_news() {
            return false;
        }
        let is_over = owned.is_over();
        if !is_over {
            self.rest(slot, now_us);
        }
        is_over
    }

    /// The other shards that get the channel's events.
    #[inline]
    pub fn targets(&mut self, slot: u32, watched: &mut Watched) -> &[Target] {
        let owned = self.slab.at_mut(slot).expect("as for `at`");
        if owned.targets_version != watched.version {
            owned.find_targets(watched);
        }
        &owned.targets
    }

    /// A channel without members was used: it is the last to go now.
    pub fn rest(&mut self, slot: u32, now_us: u64) {
        let owned = self.at(slot);
        match (owned.configured, owned.ephemeral) {
            (true, _) => {}
            (_, true) => self.idle_ephemeral.touch(slot, now_us),
            (_, false) => self.idle.touch(slot, now_us),
        }
    }

    /// Forgets a channel that has no members.
    pub fn remove(&mut self, slot: u32) {
        self.idle.remove(slot);
        self.idle_ephemeral.remove(slot);
        self.drop_history(slot);
        if let Some(owned) = self.slab.key_at(slot).and_then(|key| self.slab.remove(key)) {
            self.by_name.remove(owned.channel.as_str(), slot);
            if let Some(durable) = &owned.durable {
                self.forgotten_offset = self.forgotten_offset.max(owned.position.offset + durable.held);
            }
        }
    }

    /// The longest idle channel and since when it is (steady microseconds).
    pub fn longest_idle(&self) -> Option<(u32, u64)> {
        match (self.idle_ephemeral.first(), self.idle.first()) {
            (Some(a), Some(b)) => Some(if a.1 <= b.1 { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    /// The channels that are named, with their counts.
    pub fn counts<'c>(&'c self, names: &'c Names) -> impl Iterator<Item = (String, ChannelCount)> + 'c {
        let named =
            |channel: &Channel| names.within.as_ref().is_none_or(|reach| reach.covers(channel.as_str()));
        self.slab.iter().filter(move |(_, owned)| named(&owned.channel)).take(names.max).map(|(_, owned)| {
            let count = ChannelCount { clients: owned.members, clients_max: owned.clients_max };
            (owned.channel.to_string(), count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::ChannelRule;
    use super::*;

    #[test]
    fn a_channel_takes_as_many_as_its_rule_says() {
        let rules =
            vec![ChannelRule { pattern: "vip.*".into(), clients_max: Some(1), ..ChannelRule::default() }];
        let mut channels =
            Channels::new(ChannelOptions { clients_max: 2, rules, ..ChannelOptions::default() });
        let vip = channels.create(&Channel::parse("vip.a").unwrap(), 1, 0);
        let other = channels.create(&Channel::parse("other").unwrap(), 1, 0);
        assert!(channels.join(vip, None).is_ok());
        assert_eq!(channels.join(vip, Some((1, Key::from_u64(1 << 32)))), Err(Full));
        assert!(channels.join(other, None).is_ok());
        assert!(channels.join(other, Some((1, Key::from_u64(1 << 32)))).is_ok());
        assert_eq!(channels.join(other, None), Err(Full));
        assert!(!channels.leave(other, Some(1), 5));
        assert!(channels.join(other, None).is_ok());
    }

    #[test]
    fn ephemeral_channels_vanish_with_their_last_member_and_others_rest() {
        let mut channels = Channels::new(ChannelOptions::default());
        let job = channels.create(&Channel::parse("forge.job.1").unwrap(), 1, 0);
        let plain = channels.create(&Channel::parse("plain").unwrap(), 1, 1);
        for slot in [job, plain] {
            channels.join(slot, None).unwrap();
        }
        assert_eq!(channels.longest_idle(), None);
        assert!(channels.leave(job, None, 10), "nothing keeps it");
        channels.remove(job);
        assert!(!channels.leave(plain, None, 11));
        assert_eq!(channels.longest_idle(), Some((plain, 11)));
        assert_eq!((channels.len(), channels.find("forge.job.1")), (1, None));
    }
}
