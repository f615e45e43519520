//! Who on this shard hears what: members, their subscriptions, and the crowds in which these sit. Called by the hub;
//! the way of an event through the crowds is in `pump`, the way onto the sockets in `flush`.

use super::backlog::Waiting;
use super::behind::Replay;
use super::crowds::{Crowd, CrowdList, Filters, Local, Manner, NONE, Source};
use super::gaps::Gaps;
use super::idle::Idle;
use super::members::{Badge, Member, Place, Subscription};
use super::outbox::{Bounds, Outbox};
use super::parcel::Parcel;
use super::patterns::Patterns;
use super::redelivery::AckTimers;
use super::spares::{SpareOutboxes, SpareTurns};
use super::{Counters, Cut, Options};
use crate::event::{Channel, Filter, Form, Renderers};
use crate::stdx::slab::{Key, Slab};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// The lists of one shard.
pub struct Subscriptions {
    pub(super) shard: usize,
    pub(super) locals: Slab<Local>,
    pub(super) by_name: HashMap<Channel, u32, foldhash::quality::RandomState>,
    /// Of those, the ones that nobody hears by name, the oldest first, and how many.
    pub(super) unheard: Idle,
    pub(super) resolutions: usize,
    pub(super) patterns: Patterns,
    pub(super) scratch: Vec<u32>,
    pub(super) crowds: Slab<Crowd>,
    /// Subscriptions that catch up, and those of them that have room for more, in turn.
    pub(super) replays: Slab<Replay>,
    pub(super) ready: VecDeque<Key>,
    /// Members that got the event of a delivery while another of their subscriptions catches up.
    pub(super) got_live: Vec<u32>,
    pub(super) filters: Filters,
    pub(super) ack_timers: AckTimers,
    pub(super) members: Vec<Member>,
    pub(super) bounds: Bounds,
    pub(super) renderers: Renderers,
    /// Forms in which several events go in one message.
    pub(super) lines: &'static [Form],
    /// Counts the events that were delivered here.
    pub(super) delivery: u64,
    /// Crowds with events of this turn, in the order in which they got the first.
    pub(super) dirty_crowds: Vec<Key>,
    pub(super) spare_turns: SpareTurns,
    pub(super) spare_outboxes: SpareOutboxes,
    /// Queues to be flushed at the end of the turn, and what waits for sockets.
    pub(super) waiting: Waiting,
    /// Members that are given up; each once.
    pub(super) cut: Vec<(Key, Cut)>,
    /// What queues had no room for in this turn.
    pub(super) gaps: Gaps,
    /// Reused for what one queue loses.
    pub(super) lost: Vec<(Rc<Parcel>, u32)>,
    /// Reused for joining a turn's events.
    pub(super) joined: Vec<u8>,
    pub(super) joined_ends: Vec<usize>,
}

/// A subscription that is to be made: whose, under which name, into which crowd.
#[derive(Clone)]
pub(super) struct Ask {
    pub member: u32,
    pub tag: u32,
    pub crowd: u32,
    pub label: Option<Rc<Badge>>,
}

impl Subscriptions {
    pub(super) fn new(options: &Options) -> Subscriptions {
        Subscriptions {
            shard: options.shard,
            locals: Slab::with_limit(NONE),
            by_name: HashMap::default(),
            unheard: Idle::default(),
            resolutions: 0,
            patterns: Patterns::new(),
            scratch: Vec::new(),
            crowds: Slab::with_limit(NONE),
            replays: Slab::with_limit(NONE),
            ready: VecDeque::new(),
            got_live: Vec::new(),
            filters: Filters::new(),
            ack_timers: AckTimers::default(),
            members: Vec::new(),
            bounds: options.outbox,
            renderers: options.renderers,
            lines: options.lines,
            delivery: 0,
            dirty_crowds: Vec::new(),
            spare_turns: SpareTurns::default(),
            spare_outboxes: SpareOutboxes::default(),
            waiting: Waiting::default(),
            cut: Vec::new(),
            gaps: Gaps::default(),
            lost: Vec::new(),
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

    fn crowds_of(&mut self, source: Source) -> &mut CrowdList {
        match source {
            Source::Channel(local) => {
                &mut self.locals.at_mut(local).expect("a crowd keeps its channel").exact
            }
            Source::Pattern(pattern) => {
                &mut self.patterns.slab.at_mut(pattern).expect("a crowd keeps its pattern").crowds
            }
        }
    }

    /// The crowd of a source that hears it in this manner, made if there is none. The filter is taken over.
    pub(super) fn crowd(&mut self, source: Source, manner: Manner) -> u32 {
        let candidates = std::mem::take(self.crowds_of(source));
        let found = candidates
            .iter()
            .copied()
            .find(|crowd| self.crowds.at(*crowd).is_some_and(|c| c.manner == manner));
        *self.crowds_of(source) = candidates;
        if let Some(crowd) = found {
            self.filters.release(manner.filter);
            return crowd;
        }
        let Ok(key) = self.crowds.insert(Crowd::new(source, manner)) else {
            unreachable!("there are fewer crowds than subscriptions")
        };
        self.crowds.at_mut(key.slot).expect("just made").generation = key.generation;
        self.crowds_of(source).push(key.slot);
        self.patterns.version += u64::from(matches!(source, Source::Pattern(_)));
        key.slot
    }

    /// Forgets a crowd without members.
    pub(super) fn close_crowd_if_unused(&mut self, slot: u32) {
        let Some(crowd) = self.crowds.at(slot).filter(|crowd| crowd.is_unused()) else { return };
        let (source, filter) = (crowd.source, crowd.manner.filter);
        self.crowds_of(source).retain(|crowd| *crowd != slot);
        self.patterns.version += u64::from(matches!(source, Source::Pattern(_)));
        self.filters.release(filter);
        if let Some(key) = self.crowds.key_at(slot) {
            self.crowds.remove(key);
        }
    }

    /// Notes that other shards have been asked to let a member in.
    pub(super) fn expect_join(&mut self, ask: Ask) {
        self.queue_if_direct(ask.member);
        self.crowds.at_mut(ask.crowd).expect("made by the caller").pending += 1;
        let Ask { member, tag, crowd, label } = ask;
        let subscription = Subscription { tag, crowd, at: 0, place: Place::Pending, label };
        self.members[member as usize].subscribed.add(subscription);
    }

    /// Takes back [`Subscriptions::expect_join`], if the member still wants it.
    pub(super) fn settle_join(&mut self, member: Key, tag: u32, source: Source) -> Option<Ask> {
        let found =
            self.members.get_mut(member.slot as usize).filter(|m| m.generation == member.generation)?;
        let waiting = found.subscribed.find(tag).filter(|s| s.place == Place::Pending)?;
        let crowd = waiting.crowd;
        if self.crowds.at(crowd).is_none_or(|crowd| crowd.source != source) {
            return None;
        }
        let ask = Ask { member: member.slot, tag, crowd, label: waiting.label.take() };
        found.subscribed.remove(tag);
        self.crowds.at_mut(crowd).expect("kept by whom it waits for").pending -= 1;
        Some(ask)
    }

    /// Puts a member into a list of the crowd: direct if this is all that it hears and it is owed nothing that waits
    /// for its socket.
    pub(super) fn attach(&mut self, ask: Ask) {
        let Ask { member: slot, tag, crowd, label } = ask;
        self.queue_if_direct(slot);
        let member = &mut self.members[slot as usize];
        let alone = member.subscribed.as_slice().is_empty() && label.is_none();
        let direct = alone && member.outbox.as_ref().is_none_or(|outbox| !outbox.blocked);
        let place = if direct { Place::Direct } else { Place::Queued };
        let at = self.push_place(slot, tag, crowd, place, label.clone());
        self.members[slot as usize].subscribed.add(Subscription { tag, crowd, at, place, label });
        if let Source::Channel(local) = self.crowds.at(crowd).expect("just joined").source {
            self.locals.at_mut(local).expect("a crowd keeps its channel").members += 1;
        }
    }

    /// Takes a member out of a crowd; what the crowd's turn still holds for it moves to its outbox. Answers what it
    /// heard, and whether it was let in already; the caller closes what is left unused.
    pub(super) fn detach(&mut self, slot: u32, tag: u32) -> Option<(Source, bool)> {
        let subscription = self.members[slot as usize].subscribed.find(tag)?;
        let (crowd, place) = (subscription.crowd, subscription.place);
        let source = self.crowds.at(crowd).expect("a subscription keeps its crowd").source;
        if place == Place::Pending {
            self.crowds.at_mut(crowd).expect("just seen").pending -= 1;
        } else if place == Place::Behind {
            let behind = subscription.clone();
            self.end_replay(&behind);
        } else {
            if place == Place::Direct {
                self.spill(slot, tag);
            }
            self.pull_place(slot, tag);
            if let Source::Channel(local) = source {
                self.locals.at_mut(local).expect("a crowd keeps its channel").members -= 1;
            }
        }
        self.members[slot as usize].subscribed.remove(tag);
        self.close_crowd_if_unused(crowd);
        Some((source, place != Place::Pending))
    }

    /// Moves a subscription to the crowd that hears the same through another filter.
    pub(super) fn refilter(&mut self, slot: u32, tag: u32, from: u32, filter: Option<&Filter>) {
        let filter = self.filters.take(filter);
        let crowd = self.crowds.at(from).expect("a subscription keeps its crowd");
        let (source, manner) = (crowd.source, Manner { filter, ..crowd.manner });
        let to = self.crowd(source, manner);
        if to == from {
            return;
        }
        self.queue_if_direct(slot);
        let pending = self.members[slot as usize].subscribed.find(tag).expect("named by the caller");
        let (place, label) = (pending.place, pending.label.clone());
        if matches!(place, Place::Pending | Place::Behind) {
            self.members[slot as usize].subscribed.move_to_crowd(tag, to);
            self.crowds.at_mut(from).expect("just seen").pending -= 1;
            self.crowds.at_mut(to).expect("just found").pending += 1;
        } else {
            self.pull_place(slot, tag);
            let at = self.push_place(slot, tag, to, place, label);
            let subscribed = &mut self.members[slot as usize].subscribed;
            subscribed.find(tag).expect("just seen").at = at;
            subscribed.move_to_crowd(tag, to);
        }
        self.close_crowd_if_unused(from);
    }

    /// The outbox of a member, made if there is none: its seat, if it has one, knows of that.
    pub(super) fn outbox(&mut self, slot: u32) -> &mut Outbox {
        if self.members[slot as usize].outbox.is_none() {
            if let Some(seat) = self.seat(slot) {
                seat.set_waiting(true);
            }
            self.members[slot as usize].outbox = Some(self.spare_outboxes.take());
        }
        self.members[slot as usize].outbox.as_mut().expect("just made")
    }

    /// Forgets the outbox of a member to whom nothing is owed.
    pub(super) fn drop_outbox(&mut self, slot: u32) {
        if let Some(outbox) = self.members[slot as usize].outbox.take() {
            self.waiting.discount(&outbox);
            self.spare_outboxes.give(outbox);
        }
        if let Some(seat) = self.seat(slot) {
            seat.set_waiting(false);
        }
    }

    /// Keeps a member's queue back as if its socket were full.
    pub(super) fn cork(&mut self, slot: u32) {
        self.outbox(slot).blocked = true;
    }

    /// Lets `put` queue something for a member that no bound refuses.
    pub(super) fn queue(&mut self, slot: u32, put: impl FnOnce(&mut Outbox)) {
        put(self.outbox(slot));
        let outbox = self.members[slot as usize].outbox.as_mut().expect("just used");
        self.waiting.list(slot, outbox);
    }

    /// Puts a control frame into a member's outbox. A member that lets too many of them wait is given up.
    pub(super) fn push_control(&mut self, slot: u32, bytes: &[u8], counters: &mut Counters) {
        let bounds = self.bounds;
        let mut pushed = Ok(());
        self.queue(slot, |outbox| pushed = outbox.push_control(bytes, &bounds));
        if pushed.is_err() {
            self.give_up(slot, Cut::Slow, counters);
        }
    }

    /// A member has no room for what it asked for, or its socket failed. Each is told once.
    pub(super) fn give_up(&mut self, slot: u32, why: Cut, counters: &mut Counters) {
        let key = self.key_of(slot);
        let outbox = self.outbox(slot);
        if !outbox.cut {
            outbox.cut = true;
            counters.slow_consumers += u64::from(why == Cut::Slow);
            self.cut.push((key, why));
        }
    }
}
