//! What becomes of a member's subscriptions when its rights change: the runtime looks at what it hears, ends what it may
//! hear no more, and bounds its patterns anew.

use super::Hub;
use super::crowds::Source;
use crate::event::{Channel, Filter, Pattern, Reach};
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

    /// Bounds one of a member's subscriptions to a pattern by other rights; `None`: all that the pattern covers.
    pub fn bound(&mut self, member: Key, tag: u32, reach: Option<Reach>) {
        let Some(found) = self.subscriptions.member(member) else { return };
        let Some(crowd) = found.subscribed.find(tag).map(|s| s.crowd) else { return };
        let slot = self.subscriptions.crowds.at(crowd).expect("a subscription keeps its crowd").manner.filter;
        let filter = Filter::within(self.subscriptions.filters.at(slot).cloned(), reach);
        self.subscriptions.refilter(member.slot, tag, crowd, filter.as_ref());
    }
}
