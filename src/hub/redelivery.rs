//! When events that were not acknowledged come again: a member has one timer for all that is in flight to it, on a wheel
//! that exists only once somebody wants acknowledgements. What is in flight to one subscription is in `acks`.

use super::acks::{Acked, Acks, Scope, Settled, Verdict};
use super::backlog::Waiting;
use super::behind::Replay;
use super::letters::Dead;
use super::members::{Badge, Member, Place, Subscription};
use super::outbox::Bounds;
use super::parcel::Parcel;
use super::subscriptions::Subscriptions;
use super::{Counters, Hub};
use crate::event::{Cause, Channel};
use crate::stdx::slab::Key;
use crate::stdx::wheel::Wheel;
use std::cell::RefCell;
use std::rc::Rc;

/// Repeats are at most this late, in microseconds; 1,024 buckets of it are a minute, and later deadlines go round again.
const GRANULARITY_US: u64 = 65_536;
const BUCKETS: usize = 1_024;
/// Events that found no room and wait for the next look at the timers, at most: as many as are kept of them by default.
const OVERFLOW_MAX: usize = 1_000;

/// The timers of this shard's members; most servers never have them.
#[derive(Default)]
pub(super) struct AckTimers {
    wheel: Option<Box<Wheel>>,
    due: Vec<u32>,
    /// Subscriptions that had no room for an event that is live: each with its number.
    pub stalled: Vec<(Key, u32, u64)>,
    /// Events for which there was no room and never will be, and how many of those were not even noted.
    overflow: Vec<Dead>,
    overflow_lost: u64,
}

impl AckTimers {
    fn set(&mut self, member: u32, due_us: u64) {
        let wheel = self.wheel.get_or_insert_with(|| Box::new(Wheel::new(GRANULARITY_US, BUCKETS)));
        if wheel.deadline(member).is_none_or(|deadline_us| due_us < deadline_us) {
            wheel.set(member, due_us);
        }
    }
}

/// A subscription that is offered an event.
pub(super) struct Offer<'o> {
    pub key: Key,
    pub tag: u32,
    pub parcel: &'o Rc<Parcel>,
    pub channel: &'o Channel,
    pub delivery: u64,
    pub now_us: u64,
}

impl AckTimers {
    /// Queues an event that is live for a subscription that acknowledges, if there is room for it. Answers whether its
    /// member gets the event by this for the first time.
    pub(super) fn offer(
        &mut self,
        offer: &Offer<'_>,
        acks: &RefCell<Acks>,
        member: &mut Member,
        bounds: &Bounds,
        waiting: &mut Waiting,
    ) -> bool {
        let Offer { key, tag, parcel, channel, delivery, now_us } = *offer;
        let mut acks = acks.borrow_mut();
        let outbox = member.outbox.get_or_insert_default();
        if outbox.cut {
            return false;
        }
        if !acks.has_room(parcel.len(), bounds) || !outbox.has_room(parcel, bounds) {
            if !acks.resumes() {
                self.overflow(key.slot, || acks.overflow(parcel, channel), now_us);
                return false;
            }
            self.stalled.push((key, tag, parcel.position().offset));
            // An outbox that holds nothing is dropped when it is flushed.
            waiting.list(key.slot, outbox);
            return false;
        }
        outbox.add(acks.send(parcel, channel, tag, now_us));
        waiting.list(key.slot, outbox);
        self.set(key.slot, now_us.saturating_add(acks.timeout_us));
        std::mem::replace(&mut member.delivery, delivery) != delivery
    }

    #[cold]
    fn overflow(&mut self, member: u32, dead: impl FnOnce() -> Dead, now_us: u64) {
        if self.overflow.len() == OVERFLOW_MAX {
            self.overflow_lost += 1;
            return;
        }
        self.overflow.push(dead());
        self.set(member, now_us);
    }
}

/// How many more events and bytes a subscription that catches up may have in flight; nothing when that is full, and then
/// it waits for room.
pub(super) fn room_in_flight(subscription: &Subscription, bounds: &Bounds) -> Option<(usize, usize)> {
    let Some(acks) = subscription.label.as_ref().and_then(|badge| badge.acks.as_ref()) else {
        return Some((usize::MAX, usize::MAX));
    };
    let mut acks = acks.borrow_mut();
    let room = acks.room(bounds);
    acks.waits = room.is_none();
    room
}

impl Subscriptions {
    /// Those that had no room leave their crowds and catch up from the event that they did not get.
    #[cold]
    #[inline(never)]
    pub(super) fn stall(&mut self) {
        for (member, tag, next) in std::mem::take(&mut self.ack_timers.stalled) {
            let subscribed = &mut self.members[member.slot as usize].subscribed;
            let Some(found) = subscribed.find(tag).filter(|s| s.place == Place::Queued) else { continue };
            let crowd = found.crowd;
            self.pull_place(member.slot, tag);
            let Ok(replay) = self.replays.insert(Replay::behind(member, tag, next)) else {
                unreachable!("there are fewer replays than subscriptions")
            };
            self.crowds.at_mut(crowd).expect("a subscription keeps its crowd").pending += 1;
            let waiter = &mut self.members[member.slot as usize];
            waiter.behind += 1;
            let found = waiter.subscribed.find(tag).expect("just seen");
            (found.place, found.at) = (Place::Behind, replay.slot);
            self.ready.push_back(replay);
        }
    }

    /// An event of the past goes out to a subscription that acknowledges.
    pub(super) fn send_past(
        &mut self,
        member: u32,
        tag: u32,
        badge: &Badge,
        parcel: &Rc<Parcel>,
        channel: &Channel,
        now_us: u64,
    ) {
        let Some(acks) = &badge.acks else { return };
        let mut acks = acks.borrow_mut();
        let item = acks.send(parcel, channel, tag, now_us);
        self.ack_timers.set(member, now_us.saturating_add(acks.timeout_us));
        self.queue(member, |outbox| outbox.push_past(item));
    }

    /// The subscriptions of a member that acknowledge, each once, however many parts it has.
    fn acking(&self, slot: u32) -> Vec<Rc<Badge>> {
        let Some(member) = self.members.get(slot as usize) else { return Vec::new() };
        let badges = member.subscribed.as_slice().iter().filter_map(|s| s.label.clone());
        let mut found: Vec<Rc<Badge>> = Vec::new();
        for badge in badges.filter(|badge| badge.acks.is_some()) {
            if !found.iter().any(|known| Rc::ptr_eq(known, &badge)) {
                found.push(badge);
            }
        }
        found
    }

    /// A subscription ends, or a part of one: what of it is given up.
    pub(super) fn end_flights(&mut self, slot: u32, tag: u32) -> Vec<Dead> {
        let found = self.members[slot as usize].subscribed.find(tag).and_then(|found| found.label.as_ref());
        let acks = found.and_then(|badge| badge.acks.as_ref());
        acks.map_or_else(Vec::new, |acks| acks.borrow_mut().end(tag))
    }

    /// When the next event may have to come again, in steady microseconds: not later.
    pub(super) fn acks_due_us(&self, now_us: u64) -> Option<u64> {
        self.ack_timers.wheel.as_ref()?.next_deadline(now_us)
    }

    /// Sends again what was not acknowledged in time; answers what is given up.
    fn repeat_overdue(&mut self, now_us: u64, counters: &mut Counters) -> Vec<Dead> {
        let mut dead = std::mem::take(&mut self.ack_timers.overflow);
        let lost = std::mem::take(&mut self.ack_timers.overflow_lost);
        counters.dead_letters += lost;
        counters.dead_letters_dropped += lost;
        let Some(wheel) = &mut self.ack_timers.wheel else { return dead };
        let mut due = std::mem::take(&mut self.ack_timers.due);
        wheel.expired(now_us, &mut due);
        for slot in due.drain(..) {
            for badge in self.acking(slot) {
                self.repeat_of(slot, &badge, now_us, counters, &mut dead);
            }
        }
        self.ack_timers.due = due;
        dead
    }

    fn repeat_of(
        &mut self,
        slot: u32,
        badge: &Badge,
        now_us: u64,
        counters: &mut Counters,
        dead: &mut Vec<Dead>,
    ) {
        let Some(acks) = &badge.acks else { return };
        let mut acks = acks.borrow_mut();
        let timeout_us = acks.timeout_us;
        // What the socket has not taken need not come again; the time of all of it begins anew.
        let waits = self.members[slot as usize].outbox.as_ref().is_some_and(|o| o.blocked || o.cut);
        let mut at = 0;
        // Those that are sent again are put behind, where they are not looked at once more.
        for _ in 0..acks.flights.len() {
            let flight = &mut acks.flights[at];
            let is_due = flight.due_us <= now_us;
            if is_due && waits {
                flight.due_us = now_us.saturating_add(timeout_us);
            }
            if !is_due || waits {
                at += 1;
                continue;
            }
            let Some(flight) = acks.take(at) else { break };
            if flight.parcel.event().is_expired(now_us) {
                counters.events_expired += 1;
                continue;
            }
            let item = match flight.rests {
                true => Ok(Some(acks.resend(flight, now_us))),
                false => acks.again(flight, Cause::Unacknowledged, now_us),
            };
            match item {
                Ok(None) => {}
                Ok(Some(item)) => {
                    counters.redelivered += 1;
                    self.queue(slot, |outbox| outbox.push_past(item));
                }
                Err(one) => dead.push(one),
            }
        }
        self.go_on(slot, &mut acks);
    }

    /// After a change of what is in flight: its timer, and a subscription that waits for room.
    fn go_on(&mut self, slot: u32, acks: &mut Acks) {
        if let Some(due_us) = acks.due_us() {
            self.ack_timers.set(slot, due_us);
        }
        if acks.waits && acks.room(&self.bounds).is_some() {
            acks.waits = false;
            self.list_replays(slot);
        }
    }
}

impl Hub {
    /// When something of acknowledgements is due, in steady microseconds: not later.
    pub fn acks_due_us(&self, now_us: u64) -> Option<u64> {
        self.subscriptions.acks_due_us(now_us)
    }

    /// Sends again what was not acknowledged in time, and gives up what came as often as it may.
    pub fn redeliver(&mut self, now_us: u64) {
        if self.subscriptions.ack_timers.wheel.is_none() {
            return;
        }
        let dead = self.subscriptions.repeat_overdue(now_us, &mut self.counters);
        dead.into_iter().for_each(|dead| self.bury(dead));
    }

    /// A member says of events that it got what became of them.
    pub fn acknowledge(
        &mut self,
        member: Key,
        scope: Scope<'_>,
        acked: Acked<'_>,
        verdict: Verdict,
        now_us: u64,
    ) -> Settled {
        let (mut settled, mut dead) = (Settled::default(), Vec::new());
        if self.subscriptions.member(member).is_none() {
            return settled;
        }
        let mut floors = Vec::new();
        for badge in self.subscriptions.acking(member.slot) {
            let Some(acks) = &badge.acks else { continue };
            let mut acks = acks.borrow_mut();
            if !acks.is_within(scope) {
                continue;
            }
            settled.subscriptions += 1;
            settled.count += self.settle(member.slot, &mut acks, acked, verdict, now_us, &mut dead);
            settled.in_flight += acks.flights.len();
            floors.push(acks.floor());
        }
        settled.position = if let [floor] = floors[..] { floor } else { None };
        dead.into_iter().for_each(|dead| self.bury(dead));
        settled
    }

    fn settle(
        &mut self,
        slot: u32,
        acks: &mut Acks,
        acked: Acked<'_>,
        verdict: Verdict,
        now_us: u64,
        dead: &mut Vec<Dead>,
    ) -> usize {
        let (mut count, mut at) = (0, 0);
        // Those that come again are put behind, where they are not looked at once more.
        for _ in 0..acks.flights.len() {
            if !acked.has(&acks.flights[at]) {
                at += 1;
                continue;
            }
            let Some(flight) = acks.take(at) else { break };
            count += 1;
            match verdict {
                Verdict::Done => self.counters.acknowledged += 1,
                Verdict::Dead => {
                    let detail = "the subscriber cannot take it".to_owned();
                    dead.push(acks.dead(&flight, Cause::Rejected, detail));
                }
                Verdict::Again => match acks.again(flight, Cause::Rejected, now_us) {
                    Ok(None) => {}
                    Ok(Some(item)) => {
                        self.counters.redelivered += 1;
                        self.subscriptions.queue(slot, |outbox| outbox.push_past(item));
                    }
                    Err(one) => dead.push(one),
                },
            }
        }
        self.subscriptions.go_on(slot, acks);
        count
    }
}
