//! The way of an event through this shard's crowds: into the turn of each and the outboxes of those who cannot be sent
//! to directly. Nothing here awaits, and no subscriber delays another.

use super::crowds::{Local, Manner, NONE};
use super::members::Badge;
use super::outbox::Outbox;
use super::outlet::Outlet;
use super::parcel::{Carried, Parcel};
use super::redelivery::Offer;
use super::sending::Flushed;
use super::slow::{Put, Slow};
use super::subscriptions::Subscriptions;
use super::types::Rule;
use super::{Bounds, Counters, Cut};
use crate::event::{Event, Form, Position};
use crate::stdx::slab::Key;
use std::rc::Rc;

/// How far an event came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// Members for whom it was queued.
    pub reached: u32,
    /// Queues that refused it, and whose members stay.
    pub dropped: u32,
}

/// An event in its channel, and when that is.
pub(super) struct Arrival {
    pub event: Event,
    pub position: Position,
    pub now_us: u64,
}

/// What a delivery needs on its way.
pub(super) struct Way<'w, O> {
    pub outlet: &'w mut O,
    pub counters: &'w mut Counters,
    pub now_us: u64,
}

impl Subscriptions {
    /// Queues one event for every member that hears the channel. Those who have no room are given up instead, or lose
    /// something, as the rule says, and do not count.
    pub(super) fn deliver(
        &mut self,
        local: u32,
        arrival: Arrival,
        outlet: &mut impl Outlet,
        counters: &mut Counters,
    ) -> Reach {
        let Arrival { event, position, now_us } = arrival;
        let mut reach = Reach::default();
        let (mut excluded, mut keeps) = (NONE, false);
        if let Some(extras) = event.extras() {
            if event.is_expired(now_us) {
                counters.events_expired += 1;
                return reach;
            }
            excluded = extras.exclude.map_or(NONE, |id| self.exclude(id));
            keeps = extras.keep;
        }
        self.delivery += 1;
        if self.locals.at(local).is_some_and(|local| local.resolved != self.patterns.version) {
            self.resolve(local);
        }
        let mut way = Way { outlet, counters, now_us };
        let (mut shared, mut left) = (None, Some(event));
        let crowds = self.locals.at(local).map_or(0, Local::crowds);
        for at in 0..crowds {
            let Some(event) = &left else { break };
            let heard = self.locals.at(local).expect("a delivery closes no channel");
            let slot = heard.crowd_at(at);
            let crowd = self.crowds.at(slot).expect("listed by its channel");
            let Manner { form, filter, rule, .. } = crowd.manner;
            if filter != NONE && !self.filters.passes(filter, self.delivery, event) {
                continue;
            }
            if form != Form::RAW {
                event.rendered(form, &heard.channel, position, self.renderers);
            }
            // The last gets the event itself, whose count is one that the cores share.
            let Some(event) = (if at + 1 < crowds { left.clone() } else { left.take() }) else { break };
            let slow = if rule == Rule::Router { Slow::Router } else { heard.slow };
            let parcel = Parcel::new(event, form, position, slow, &heard.channel);
            if !crowd.turn_takes(parcel.len(), &self.bounds) {
                let key = Key { slot, generation: crowd.generation };
                self.flush_crowd(key, &mut way);
            }
            let crowd = self.crowds.at_mut(slot).expect("a flush closes no crowd");
            shared = if crowd.queued.is_empty() { None } else { Some(shareable(&parcel, shared)) };
            if !crowd.direct.is_empty() {
                match crowd.turn.first() {
                    Some(first) => crowd.mixed |= first.priority() != parcel.priority(),
                    None => {
                        crowd.turn = self.spare_turns.take();
                        self.dirty_crowds.push(Key { slot, generation: crowd.generation });
                    }
                }
                crowd.keeps |= keeps;
                crowd.turn_bytes += parcel.len();
                crowd.turn.push(Carried::new(parcel, shared.as_ref()));
                reach.reached += crowd.direct.len() as u32;
            }
            if let Some(parcel) = &shared {
                self.deliver_queued(slot, local, parcel, excluded, &mut reach, &mut way);
            }
        }
        if !self.got_live.is_empty() {
            self.got_live(local, position.offset, counters);
        }
        if !self.ack_timers.stalled.is_empty() {
            self.stall();
        }
        reach
    }

    #[inline(never)]
    fn deliver_queued(
        &mut self,
        crowd: u32,
        local: u32,
        parcel: &Rc<Parcel>,
        excluded: u32,
        reach: &mut Reach,
        way: &mut Way<'_, impl Outlet>,
    ) {
        let crowd = self.crowds.at(crowd).expect("listed by its channel");
        for entry in &crowd.queued {
            let member = &mut self.members[entry.member as usize];
            if let Some((badge, acks)) = entry.label.as_ref().and_then(|b| Some((b, b.acks.as_ref()?))) {
                if entry.member != excluded && badge.is_first(self.delivery) {
                    let key = Key { slot: entry.member, generation: member.generation };
                    let (tag, delivery, now_us) = (entry.tag, self.delivery, way.now_us);
                    let channel = &self.locals.at(local).expect("a delivery closes no channel").channel;
                    let offer = Offer { key, tag, parcel, channel, delivery, now_us };
                    let dirty = &mut self.waiting;
                    reach.reached +=
                        u32::from(self.ack_timers.offer(&offer, acks, member, &self.bounds, dirty));
                }
                continue;
            }
            let copied = std::mem::replace(&mut member.delivery, self.delivery) == self.delivery;
            let delivery = self.delivery;
            let again = entry.label.as_ref().is_some_and(|badge| !badge.is_first(delivery));
            if copied && !crowd.manner.each || again || entry.member == excluded {
                continue;
            }
            let key = Key { slot: entry.member, generation: member.generation };
            let outbox = member.outbox.get_or_insert_with(|| self.spare_outboxes.take());
            let put =
                way.put(outbox, key, parcel, entry.tag, entry.label.as_ref(), &self.bounds, &mut self.lost);
            match put {
                Put::Taken => reach.reached += u32::from(!copied),
                Put::Dropped => {
                    reach.dropped += u32::from(!copied);
                    // Another subscription of this member may get a copy of its own, and is then the first that does.
                    if !copied && crowd.manner.each {
                        member.delivery = delivery - 1;
                    }
                }
                Put::Refused if outbox.cut => continue,
                Put::Refused => {
                    outbox.cut = true;
                    way.counters.slow_consumers += 1;
                    self.cut.push((key, Cut::Slow));
                    continue;
                }
            }
            self.waiting.list(entry.member, outbox);
            if member.behind > 0 {
                self.got_live.push(entry.member);
            }
            if !self.lost.is_empty() {
                self.gaps.take(key, &mut self.lost, way.counters);
            }
        }
    }

    /// Sends what waits for a member before the turn ends, if much of it are answers to what it said in this turn.
    pub(super) fn relieve(&mut self, slot: u32, way: &mut Way<'_, impl Outlet>) {
        let Some(outbox) = &self.members[slot as usize].outbox else { return };
        if outbox.control_bytes() > self.bounds.control_bytes_max / 2 && !outbox.blocked {
            self.flush_member(slot, way);
        }
    }
}

/// The parcel to be queued: that of the crowd before, if it is the same. One touch of the count that the cores share;
/// from here on this shard counts for itself.
fn shareable(parcel: &Parcel, last: Option<Rc<Parcel>>) -> Rc<Parcel> {
    let same = |last: &Rc<Parcel>| last.form() == parcel.form() && last.slow() == parcel.slow();
    last.filter(same).unwrap_or_else(|| Rc::new(parcel.clone()))
}

impl<O: Outlet> Way<'_, O> {
    /// Puts an event into a member's outbox, or does what its rule says when there is no room.
    #[expect(clippy::too_many_arguments, reason = "the innermost step of the queued fan-out, of two callers")]
    pub fn put(
        &mut self,
        outbox: &mut Outbox,
        member: Key,
        parcel: &Rc<Parcel>,
        tag: u32,
        label: Option<&Rc<Badge>>,
        bounds: &Bounds,
        lost: &mut Vec<(Rc<Parcel>, u32)>,
    ) -> Put {
        if outbox.push(parcel, tag, label, bounds).is_ok() {
            return Put::Taken;
        }
        if outbox.cut {
            return Put::Refused;
        }
        // Full may mean no more than that much came in one turn: what the socket takes now is not slow. Before it is
        // open it takes nothing.
        if !outbox.is_corked() {
            let progress = outbox.flush(member.slot, self.now_us, self.outlet);
            outbox.blocked = progress.end == Flushed::Blocked;
            self.counters.deliveries += progress.delivered;
            self.counters.events_expired += progress.expired;
        }
        match outbox.push(parcel, tag, label, bounds) {
            Ok(()) => Put::Taken,
            Err(_) => outbox.force(parcel, tag, label, bounds, lost),
        }
    }
}
