//! Crowds: the members of this shard that get the same bytes of the same events. A crowd hears one channel or pattern,
//! in one form, through one filter. Each of its subscriptions sits in exactly one of two dense lists: `direct`, for
//! members whose every byte can be sent straight from the crowd's joined turn, and `queued`, for those that are owed
//! something already or have several subscriptions, which get each event into their outbox.

use super::members::Badge;
use super::outbox::Bounds;
use super::parcel::Carried;
use super::slow::Slow;
use super::types::Rule;
use crate::event::{Channel, Event, Filter, Form};
use crate::stdx::slab::Slab;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::rc::Rc;

/// Bytes of a crowd's turn that are joined at most. A larger buffer falls out of the core's cache while it is copied
/// to one subscriber after the other: 16 KiB events cost 0.77 of a bare send when joined up to 1 MiB, 0.59 up to this.
const TURN_BYTES_MAX: usize = 128 * 1024;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// A direct subscriber.
#[derive(Clone, Copy)]
pub(super) struct Seat {
    pub member: u32,
    /// The event of the current turn from which on it is subscribed, and whether something waits in its outbox. 0 is
    /// what nearly all have, and asked for at once: see [`Seat::is_plain`].
    state: u32,
}

const WAITING: u32 = 1 << 31;

impl Seat {
    pub fn new(member: u32, from: usize, waiting: bool) -> Seat {
        Seat { member, state: from as u32 | if waiting { WAITING } else { 0 } }
    }

    /// The whole turn can be sent to it.
    pub fn is_plain(self) -> bool {
        self.state == 0
    }

    pub fn from(self) -> usize {
        (self.state & !WAITING) as usize
    }

    pub fn set_from(&mut self, from: usize) {
        self.state = self.state & WAITING | from as u32;
    }

    pub fn is_waiting(self) -> bool {
        self.state & WAITING != 0
    }

    pub fn set_waiting(&mut self, waiting: bool) {
        self.state = self.state & !WAITING | if waiting { WAITING } else { 0 };
    }
}

/// A queued subscription.
pub(super) struct Entry {
    pub member: u32,
    pub tag: u32,
    pub label: Option<Rc<Badge>>,
}

/// What a crowd hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The slot of a [`Local`].
    Channel(u32),
    /// The slot of a pattern.
    Pattern(u32),
}

/// How a crowd hears it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub form: Form,
    /// In [`Filters`], or `NONE`.
    pub filter: u32,
    pub each: bool,
    pub rule: Rule,
}

pub(super) struct Crowd {
    /// Of its slot, so that it can be named without a look at the slab.
    pub generation: u32,
    pub source: Source,
    pub manner: Manner,
    /// In the crowd itself while they are few, as they are where every user has a channel.
    pub direct: SmallVec<[Seat; 2]>,
    pub queued: Vec<Entry>,
    /// The events of this turn that direct subscribers have not been sent yet.
    pub turn: Vec<Carried>,
    pub turn_bytes: usize,
    /// The turn's events differ in priority.
    pub mixed: bool,
    /// Some event of the turn is to be kept if nobody receives it.
    pub keeps: bool,
    /// Members that wait for an answer to be let in.
    pub pending: u32,
}

impl Crowd {
    pub fn new(source: Source, manner: Manner) -> Crowd {
        Crowd {
            generation: 0,
            source,
            manner,
            direct: SmallVec::new(),
            queued: Vec::new(),
            turn: Vec::new(),
            turn_bytes: 0,
            mixed: false,
            keeps: false,
            pending: 0,
        }
    }

    /// Whether a turn, which is a direct subscriber's queue and so has the bounds of one, takes so many bytes more.
    pub fn turn_takes(&self, bytes: usize, bounds: &Bounds) -> bool {
        let bytes_max = bounds.bytes_max.min(TURN_BYTES_MAX);
        self.turn.is_empty() || self.turn.len() < bounds.events_max && self.turn_bytes + bytes <= bytes_max
    }

    pub fn is_unused(&self) -> bool {
        self.direct.is_empty() && self.queued.is_empty() && self.pending == 0
    }
}

/// The crowds of one channel or pattern, nearly always one.
pub(super) type CrowdList = SmallVec<[u32; 4]>;

/// One channel, as far as this shard's members hear it.
pub(super) struct Local {
    pub channel: Channel,
    pub owner: usize,
    pub slow: Slow,
    /// The crowds that hear this channel by its name.
    pub exact: CrowdList,
    /// Subscriptions in those.
    pub members: u32,
    /// Joins that the owner has not answered.
    pub pending: u32,
    /// The crowds that hear it through patterns, as it was at this version of the patterns.
    pub patterned: Vec<u32>,
    pub resolved: u64,
}

impl Local {
    pub fn new(channel: Channel, owner: usize, slow: Slow) -> Local {
        let (exact, patterned) = (SmallVec::new(), Vec::new());
        Local { channel, owner, slow, exact, members: 0, pending: 0, patterned, resolved: 0 }
    }

    /// How many crowds hear it.
    pub fn crowds(&self) -> usize {
        self.exact.len() + self.patterned.len()
    }

    pub fn crowd_at(&self, at: usize) -> u32 {
        match self.exact.get(at) {
            Some(crowd) => *crowd,
            None => self.patterned[at - self.exact.len()],
        }
    }
}

/// The distinct filters of this shard's crowds, each asked once per event.
pub(super) struct Filters {
    by_filter: HashMap<Rc<Filter>, u32>,
    slab: Slab<Judge>,
}

struct Judge {
    filter: Rc<Filter>,
    crowds: u32,
    /// The delivery that it judged last, and how.
    delivery: u64,
    passes: bool,
}

impl Filters {
    pub fn new() -> Filters {
        Filters { by_filter: HashMap::new(), slab: Slab::with_limit(NONE) }
    }

    /// The slot of a filter, for one more crowd.
    pub fn take(&mut self, filter: Option<&Filter>) -> u32 {
        let Some(filter) = filter else { return NONE };
        if let Some(&slot) = self.by_filter.get(filter) {
            self.slab.at_mut(slot).expect("named").crowds += 1;
            return slot;
        }
        let filter = Rc::new(filter.clone());
        let judge = Judge { filter: filter.clone(), crowds: 1, delivery: 0, passes: false };
        let Ok(key) = self.slab.insert(judge) else { unreachable!("there are fewer filters than crowds") };
        self.by_filter.insert(filter, key.slot);
        key.slot
    }

    /// One crowd less.
    pub fn release(&mut self, slot: u32) {
        let Some(judge) = self.slab.at_mut(slot) else { return };
        judge.crowds -= 1;
        if judge.crowds == 0
            && let Some(gone) = self.slab.key_at(slot).and_then(|key| self.slab.remove(key))
        {
            self.by_filter.remove(&gone.filter);
        }
    }

    /// The filter in a slot.
    pub fn at(&self, slot: u32) -> Option<&Filter> {
        self.slab.at(slot).map(|judge| &*judge.filter)
    }

    /// Whether events of a channel may pass at all.
    pub fn covers(&self, slot: u32, channel: &str) -> bool {
        self.at(slot).is_none_or(|filter| filter.covers(channel))
    }

    /// Whether an event passes.
    pub fn wants(&self, slot: u32, event: &Event) -> bool {
        self.slab.at(slot).expect("a crowd keeps its filter").filter.passes(event)
    }

    /// Whether the event of a delivery passes.
    pub fn passes(&mut self, slot: u32, delivery: u64, event: &Event) -> bool {
        let judge = self.slab.at_mut(slot).expect("a crowd keeps its filter");
        if judge.delivery != delivery {
            judge.delivery = delivery;
            judge.passes = judge.filter.passes(event);
        }
        judge.passes
    }
}
