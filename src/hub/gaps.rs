//! What subscribers lost, merged until it can be told: at the end of the turn, or when the socket of a subscriber that
//! could take nothing takes bytes again.

use super::Counters;
use super::parcel::Parcel;
use super::types::GapTold;
use crate::event::{Channel, Position};
use crate::stdx::slab::Key;
use std::collections::HashMap;
use std::rc::Rc;

/// Losses that one connection may have untold, one per subscription and channel: as many as it may have subscriptions,
/// several times over. Those beyond it are counted and not told.
const GAPS_MAX: usize = 1_024;

/// Losses that are to be told.
#[derive(Default)]
pub(super) struct Gaps {
    found: HashMap<Key, Vec<Gap>, foldhash::quality::RandomState>,
}

struct Gap {
    tag: u32,
    channel: Channel,
    from: Position,
    to: Position,
}

impl Gaps {
    /// Takes what a member lost, and counts it; some losses are not told.
    pub fn take(&mut self, member: Key, lost: &mut Vec<(Rc<Parcel>, u32)>, counters: &mut Counters) {
        counters.events_dropped += lost.len() as u64;
        for (parcel, tag) in lost.drain(..) {
            let Some(channel) = parcel.channel() else { continue };
            let (gaps, at) = (self.found.entry(member).or_default(), parcel.position());
            let full = gaps.len() >= GAPS_MAX;
            match gaps.iter_mut().find(|gap| gap.takes(tag, channel, at)) {
                Some(gap) => (gap.from, gap.to) = (gap.from.min(at), gap.to.max(at)),
                None if full => counters.gaps_untold += 1,
                None => gaps.push(Gap { tag, channel: channel.clone(), from: at, to: at }),
            }
        }
    }

    /// Takes a row of events that a member lost, which are counted already.
    pub fn add(
        &mut self,
        member: Key,
        tag: u32,
        channel: &Channel,
        (from, to): (Position, Position),
        counters: &mut Counters,
    ) {
        let gaps = self.found.entry(member).or_default();
        match gaps.len() >= GAPS_MAX {
            true => counters.gaps_untold += 1,
            false => gaps.push(Gap { tag, channel: channel.clone(), from, to }),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Gives away those of the members for whom `ready` says so, in the order of their slots and not in one that a hash
    /// has drawn.
    pub fn tell(&mut self, mut ready: impl FnMut(Key) -> bool) -> Vec<GapTold> {
        let found = self.found.extract_if(|member, _| ready(*member));
        let mut told: Vec<GapTold> =
            found.flat_map(|(member, gaps)| gaps.into_iter().map(move |gap| gap.told(member))).collect();
        told.sort_by_key(|gap| gap.member);
        told
    }

    /// Gives away those of one member.
    pub fn of(&mut self, member: Key) -> Vec<GapTold> {
        let gaps = self.found.remove(&member).unwrap_or_default();
        gaps.into_iter().map(|gap| gap.told(member)).collect()
    }
}

impl Gap {
    /// A channel that was forgotten and made anew counts anew: no gap goes from one numbering to the other.
    fn takes(&self, tag: u32, channel: &Channel, at: Position) -> bool {
        self.tag == tag && self.channel == *channel && self.from.epoch == at.epoch
    }

    fn told(self, member: Key) -> GapTold {
        let Gap { tag, channel, from, to } = self;
        GapTold { member, tag, channel, from, to }
    }
}
