//! Who on this shard hears which channel. Every subscription sits in exactly one of two dense lists of its
//! channel: `direct`, for members whose every byte can be sent straight from the channel's joined turn, and
//! `queued`, for those that are owed something already or hear several channels, which get each event into
//! their outbox. Called by the hub; the way of an event through these lists is in `pump`.

use super::outbox::{Bounds, Outbox};
use super::{Counters, Cut};
use crate::event::{Channel, Frame};
use crate::stdx::slab::{Key, Slab};
use std::collections::HashMap;
use std::rc::Rc;

/// A direct subscriber: its connection, and the event of the current turn from which on it is subscribed.
#[derive(Clone, Copy)]
pub(super) struct Seat {
    pub member: u32,
    pub from: u32,
}

/// One channel, as far as this shard's members hear it.
pub(super) struct Local {
    pub channel: Channel,
    pub owner: usize,
    pub direct: Vec<Seat>,
    pub queued: Vec<u32>,
    /// The events of this turn that direct subscribers have not been sent yet.
    pub turn: Vec<Rc<Frame>>,
    pub turn_bytes: usize,
    /// Joins that the owner has not answered.
    pub pending: u32,
}

impl Local {
    pub fn members(&self) -> usize {
        self.direct.len() + self.queued.len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The owner has been asked.
    Pending,
    /// As `Pending`, but the member has left meanwhile.
    Cancelled,
    Direct,
    Queued,
}

/// A member's side of one subscription: the channel's slot, and where in that list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub local: u32,
    pub at: u32,
    pub place: Place,
}

/// One subscription costs no allocation; only those with more pay for a list.
#[derive(Default)]
pub(super) enum Subscribed {
    #[default]
    Nothing,
    One(Subscription),
    Many(Vec<Subscription>),
}

impl Subscribed {
    pub fn as_slice(&self) -> &[Subscription] {
        match self {
            Subscribed::Nothing => &[],
            Subscribed::One(one) => std::slice::from_ref(one),
            Subscribed::Many(many) => many,
        }
    }

    pub fn find(&mut self, local: u32) -> Option<&mut Subscription> {
        match self {
            Subscribed::Nothing => None,
            Subscribed::One(one) => (one.local == local).then_some(one),
            Subscribed::Many(many) => many.iter_mut().find(|s| s.local == local),
        }
    }

    fn add(&mut self, subscription: Subscription) {
        *self = match std::mem::take(self) {
            Subscribed::Nothing => Subscribed::One(subscription),
            Subscribed::One(one) => Subscribed::Many(vec![one, subscription]),
            Subscribed::Many(mut many) => {
                many.push(subscription);
                Subscribed::Many(many)
            }
        };
    }

    fn remove(&mut self, local: u32) {
        *self = match std::mem::take(self) {
            Subscribed::One(one) if one.local == local => Subscribed::Nothing,
            Subscribed::Many(mut many) => {
                many.retain(|s| s.local != local);
                if let [one] = many[..] { Subscribed::One(one) } else { Subscribed::Many(many) }
            }
            other => other,
        };
    }
}

/// One connection as the hub knows it, at the same slot as in the runtime's table.
#[derive(Default)]
pub(super) struct Member {
    pub generation: u32,
    pub subscribed: Subscribed,
    pub outbox: Option<Box<Outbox>>,
}

/// The lists of one shard.
pub struct Subscriptions {
    pub(super) locals: Slab<Local>,
    by_name: HashMap<Channel, u32, foldhash::quality::RandomState>,
    pub(super) members: Vec<Member>,
    pub(super) bounds: Bounds,
    /// Channels with events of this turn, in the order in which they got the first.
    pub(super) dirty_locals: Vec<u32>,
    /// Members whose outbox is to be flushed at the end of the turn.
    pub(super) dirty_members: Vec<u32>,
    /// Members that are given up; each once.
    pub(super) cut: Vec<(Key, Cut)>,
    /// Reused for joining a turn's events.
    pub(super) joined: Vec<u8>,
    pub(super) joined_ends: Vec<usize>,
}

impl Subscriptions {
    pub(super) fn new(bounds: Bounds) -> Subscriptions {
        Subscriptions {
            locals: Slab::with_limit(u32::MAX - 1),
            by_name: HashMap::default(),
            members: Vec::new(),
            bounds,
            dirty_locals: Vec::new(),
            dirty_members: Vec::new(),
            cut: Vec::new(),
            joined: Vec::new(),
            joined_ends: Vec::new(),
        }
    }

    /// The member at `key`, if that connection is still there.
    pub(super) fn member(&mut self, key: Key) -> Option<&mut Member> {
        self.members.get_mut(key.slot as usize).filter(|m| m.generation == key.generation)
    }

    /// The key of the member that is at `slot` now.
    pub(super) fn key_of(&self, slot: u32) -> Key {
        Key { slot, generation: self.members[slot as usize].generation }
    }

    /// Makes room for a connection.
    pub(super) fn admit(&mut self, key: Key) {
        let slot = key.slot as usize;
        if self.members.len() <= slot {
            self.members.resize_with(slot + 1, Member::default);
        }
        self.members[slot] = Member { generation: key.generation, ..Member::default() };
    }

    pub(super) fn local_named(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The local side of a channel, made if there is none.
    pub(super) fn open(&mut self, channel: &Channel, owner: usize) -> u32 {
        if let Some(slot) = self.local_named(channel.as_str()) {
            return slot;
        }
        let local = Local {
            channel: channel.clone(),
            owner,
            direct: Vec::new(),
            queued: Vec::new(),
            turn: Vec::new(),
            turn_bytes: 0,
            pending: 0,
        };
        let Ok(key) = self.locals.insert(local) else {
            unreachable!("there are fewer subscriptions than the slab takes: each needs a connection")
        };
        self.by_name.insert(channel.clone(), key.slot);
        key.slot
    }

    /// Forgets the local side of a channel that nobody here hears or waits for.
    pub(super) fn close_if_unused(&mut self, slot: u32) {
        let Some(local) = self.locals.at(slot) else { return };
        if local.members() == 0 && local.pending == 0 && local.turn.is_empty() {
            self.by_name.remove(local.channel.as_str());
            if let Some(key) = self.locals.key_at(slot) {
                self.locals.remove(key);
            }
        }
    }

    /// Notes that the owner has been asked to let `member` in.
    pub(super) fn expect_join(&mut self, member: Key, local: u32) {
        self.queue_if_direct(member.slot);
        self.locals.at_mut(local).expect("opened by the caller").pending += 1;
        let subscription = Subscription { local, at: 0, place: Place::Pending };
        self.member(member).expect("checked by the caller").subscribed.add(subscription);
    }

    /// Takes back [`Subscriptions::expect_join`]. Answers whether the member still wants the channel.
    pub(super) fn settle_join(&mut self, member: Key, local: u32) -> bool {
        self.locals.at_mut(local).expect("a pending join keeps its channel").pending -= 1;
        let Some(member) = self.member(member) else { return false };
        let wanted = member.subscribed.find(local).is_some_and(|s| s.place == Place::Pending);
        member.subscribed.remove(local);
        wanted
    }

    /// Puts a member into a list of the channel: direct if this is all that it hears and it is owed nothing.
    pub(super) fn attach(&mut self, slot: u32, local: u32) {
        self.queue_if_direct(slot);
        let member = &mut self.members[slot as usize];
        let alone = member.subscribed.as_slice().is_empty();
        let direct = alone && member.outbox.as_ref().is_none_or(|outbox| !outbox.blocked);
        let place = if direct { Place::Direct } else { Place::Queued };
        let at = self.push_place(slot, local, place);
        self.members[slot as usize].subscribed.add(Subscription { local, at, place });
    }

    /// Takes a member out of a channel; what the channel's turn still holds for it moves to its outbox.
    /// Answers false when it was not subscribed, or only about to be.
    pub(super) fn detach(&mut self, slot: u32, local: u32) -> bool {
        let member = &mut self.members[slot as usize];
        let Some(subscription) = member.subscribed.find(local) else { return false };
        match subscription.place {
            Place::Cancelled => return false,
            Place::Pending => {
                subscription.place = Place::Cancelled;
                return false;
            }
            Place::Direct => self.spill(slot, local),
            Place::Queued => {}
        }
        self.pull_place(slot, local);
        self.members[slot as usize].subscribed.remove(local);
        true
    }

    /// Moves a direct subscriber to the queued list, with what this turn holds for it. A direct member hears
    /// one channel only.
    pub(super) fn queue_if_direct(&mut self, slot: u32) {
        if let Subscribed::One(Subscription { local, place: Place::Direct, .. }) =
            self.members[slot as usize].subscribed
        {
            self.spill(slot, local);
            self.move_to(slot, local, Place::Queued);
        }
    }

    /// Moves a member that is owed nothing to the direct list, if the channel is all that it hears.
    pub(super) fn direct_if_alone(&mut self, slot: u32) {
        if let Subscribed::One(Subscription { local, place: Place::Queued, .. }) =
            self.members[slot as usize].subscribed
        {
            self.move_to(slot, local, Place::Direct);
        }
    }

    pub(super) fn move_to(&mut self, slot: u32, local: u32, place: Place) {
        self.pull_place(slot, local);
        let at = self.push_place(slot, local, place);
        let found = self.members[slot as usize].subscribed.find(local).expect("pulled from this channel");
        (found.at, found.place) = (at, place);
    }

    /// Appends the events of the channel's turn that a direct subscriber has not been sent to its outbox.
    fn spill(&mut self, slot: u32, local: u32) {
        let at = self.members[slot as usize].subscribed.find(local).expect("direct here").at;
        let local = self.locals.at_mut(local).expect("has a member");
        let seat = &mut local.direct[at as usize];
        let from = std::mem::replace(&mut seat.from, local.turn.len() as u32) as usize;
        if from < local.turn.len() {
            let outbox = self.members[slot as usize].outbox.get_or_insert_default();
            local.turn[from..].iter().for_each(|frame| outbox.append(frame));
            Self::list(&mut self.dirty_members, slot, outbox);
        }
    }

    /// Lists a member for the flush at the end of the turn; each once, and none that waits for its socket.
    pub(super) fn list(dirty_members: &mut Vec<u32>, slot: u32, outbox: &mut Outbox) {
        if !outbox.dirty && !outbox.blocked {
            outbox.dirty = true;
            dirty_members.push(slot);
        }
    }

    fn push_place(&mut self, member: u32, local: u32, place: Place) -> u32 {
        let local = self.locals.at_mut(local).expect("a subscription keeps its channel");
        match place {
            Place::Direct => {
                local.direct.push(Seat { member, from: local.turn.len() as u32 });
                local.direct.len() as u32 - 1
            }
            _ => {
                local.queued.push(member);
                local.queued.len() as u32 - 1
            }
        }
    }

    /// Takes a member's entry out of its list; the last entry fills the gap.
    fn pull_place(&mut self, slot: u32, local: u32) {
        let Subscription { at, place, .. } =
            *self.members[slot as usize].subscribed.find(local).expect("asked for by its member");
        let lists = self.locals.at_mut(local).expect("a subscription keeps its channel");
        let moved = match place {
            Place::Direct => {
                lists.direct.swap_remove(at as usize);
                lists.direct.get(at as usize).map(|seat| seat.member)
            }
            _ => {
                lists.queued.swap_remove(at as usize);
                lists.queued.get(at as usize).copied()
            }
        };
        if let Some(moved) = moved {
            self.members[moved as usize].subscribed.find(local).expect("listed, so subscribed").at = at;
        }
    }

    /// Lets `put` queue something for a member that no bound refuses.
    pub(super) fn queue(&mut self, slot: u32, put: impl FnOnce(&mut Outbox)) {
        let outbox = self.members[slot as usize].outbox.get_or_insert_default();
        put(outbox);
        Self::list(&mut self.dirty_members, slot, outbox);
    }

    /// Puts a control frame into a member's outbox. A member that lets too many of them wait is given up.
    pub(super) fn push_control(&mut self, slot: u32, bytes: &[u8], counters: &mut Counters) {
        let outbox = self.members[slot as usize].outbox.get_or_insert_default();
        match outbox.push_control(bytes, &self.bounds) {
            Ok(()) => Self::list(&mut self.dirty_members, slot, outbox),
            Err(_) => self.give_up_slow(slot, counters),
        }
    }
}
