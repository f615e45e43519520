//! What becomes of a member's subscriptions when its rights change: the runtime looks at what it hears, ends what it may
//! hear no more, and bounds its patterns anew.

use super::crowds::Source;
use super::members::Place;
use super::{Door, Hub, Mail};
use crate::event::{Channel, DEAD_LETTERS, Filter, Pattern, Reach};
use crate::stdx::slab::Key;

/// What one subscription of a member hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A channel, by its name.
    Channel(Channel),
    /// Whatever a pattern covers.
    Pattern(Pattern),
}

impl Hub {
    /// The subscriptions of a member, let in or not yet, with their tags.
    pub fn heard_by(&mut self, member: Key) -> Vec<(u32, Heard)> {
        let Some(found) = self.subscriptions.member(member) else { return Vec::new() };
        let tags: Vec<(u32, u32)> = found.subscribed.as_slice().iter().map(|s| (s.tag, s.crowd)).collect();
        let lists = &self.subscriptions;
        let heard = |crowd: u32| match lists.crowds.at(crowd)?.source {
            Source::Channel(local) => Some(Heard::Channel(lists.locals.at(local)?.channel.clone())),
            Source::Pattern(slot) => Some(Heard::Pattern(lists.patterns.slab.at(slot)?.pattern.clone())),
        };
        tags.into_iter().filter_map(|(tag, crowd)| Some((tag, heard(crowd)?))).collect()
    }

    /// Whether a member was let in to what a subscription is for.
    pub fn is_let_in(&mut self, member: Key, tag: u32) -> bool {
        let found = self.subscriptions.member(member).and_then(|found| found.subscribed.find(tag));
        found.is_some_and(|subscription| subscription.place != Place::Pending)
    }

    /// Those of some members who hear a channel now, by its name or through a pattern; whoever does both comes twice.
    pub fn hearers(&mut self, channel: &str, wanted: impl Fn(u32) -> bool) -> Vec<Key> {
        let lists = &mut self.subscriptions;
        let local = lists.local_named(channel).and_then(|local| lists.locals.at(local));
        let mut crowds: Vec<u32> = local.map_or_else(Vec::new, |local| local.exact.to_vec());
        lists.patterns.crowds_of(channel, &mut crowds);
        let crowds = crowds.into_iter().filter_map(|crowd| lists.crowds.at(crowd));
        let members = crowds.flat_map(|crowd| {
            crowd.direct.iter().map(|seat| seat.member).chain(crowd.queued.iter().map(|entry| entry.member))
        });
        members.filter(|slot| wanted(*slot)).map(|slot| lists.key_of(slot)).collect()
    }

    /// Those of some members to whom a piece of mail brings an event.
    pub fn hearers_of(&mut self, mail: &Mail, wanted: impl Fn(u32) -> bool) -> Vec<Key> {
        match mail {
            Mail::Publish { channel, .. } | Mail::Deliver { door: Door::Name(channel), .. } => {
                self.hearers(channel.as_str(), wanted)
            }
            Mail::Deliver { door: Door::Slot(slot), .. } => {
                let channel = self.subscriptions.locals.get(*slot).map(|local| local.channel.clone());
                channel.map_or_else(Vec::new, |channel| self.hearers(channel.as_str(), wanted))
            }
            Mail::Caught { replay, .. } => {
                let member = self.subscriptions.replays.get(*replay).map(|replay| replay.member);
                member.into_iter().filter(|member| wanted(member.slot)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Those of some members who hear a channel on which the hub itself will tell something when it flushes.
    pub fn hearers_of_news(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<Key> {
        let mut found = Vec::new();
        for channel in self.news.clone() {
            found.extend(self.hearers(channel.as_str(), &wanted));
        }
        if self.desk.is_dirty() {
            found.extend(self.hearers(DEAD_LETTERS, &wanted));
        }
        found
    }

    /// Bounds one of a member's subscriptions to a pattern by other rights; `None`: all that the pattern covers.
    pub fn bound(&mut self, member: Key, tag: u32, reach: Option<Reach>) {
        let Some(found) = self.subscriptions.member(member) else { return };
        let Some(crowd) = found.subscribed.find(tag).map(|s| s.crowd) else { return };
        let slot = self.subscriptions.crowds.at(crowd).expect("a subscription keeps its crowd").manner.filter;
        let filter = Filter::within(self.subscriptions.filters.at(slot).cloned(), reach);
        self.subscriptions.refilter(member.slot, tag, crowd, filter.as_ref());
    }
}
