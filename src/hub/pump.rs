//! The way of an event through this shard: into the turn of its channel and the outboxes of those who cannot be
//! sent to directly, then, at the end of the turn, onto the sockets. One send per subscriber, however many
//! events the turn gathered. Nothing here awaits, and no subscriber delays another.

use super::outbox::Flushed;
use super::outlet::{Outlet, Sent};
use super::subscriptions::{Place, Seat, Subscriptions};
use super::{Counters, Cut};
use crate::event::Frame;
use crate::stdx::slab::Key;
use std::rc::Rc;

impl Subscriptions {
    /// Queues one event for every member of the channel. Answers how many it was queued for; those who have no
    /// room are given up instead and do not count.
    pub(super) fn deliver(
        &mut self,
        local: u32,
        frame: &Frame,
        outlet: &mut impl Outlet,
        counters: &mut Counters,
    ) -> u32 {
        // One touch of the count that the cores share; from here on this shard counts for itself.
        let frame = Rc::new(frame.clone());
        let mut reached = self.deliver_direct(local, &frame, outlet, counters);
        let lists = self.locals.at_mut(local).expect("asked for by its channel");
        for &slot in &lists.queued {
            let member = &mut self.members[slot as usize];
            let key = Key { slot, generation: member.generation };
            let outbox = member.outbox.get_or_insert_default();
            let mut pushed = outbox.push(&frame, &self.bounds);
            if pushed.is_err() && !outbox.cut {
                // Full may mean no more than that much came in one turn: what the socket takes now is not slow.
                let (flushed, events) = outbox.flush(slot, outlet);
                outbox.blocked = flushed == Flushed::Blocked;
                counters.deliveries += events;
                pushed = outbox.push(&frame, &self.bounds);
            }
            match pushed {
                Ok(()) => {
                    reached += 1;
                    Self::list(&mut self.dirty_members, slot, outbox);
                }
                Err(_) if outbox.cut => {}
                Err(_) => {
                    outbox.cut = true;
                    counters.slow_consumers += 1;
                    self.cut.push((key, Cut::Slow));
                }
            }
        }
        reached
    }

    /// Sends what waits for a member before the turn ends, if much of it are answers to what it said in this turn.
    pub(super) fn relieve(&mut self, slot: u32, outlet: &mut impl Outlet, counters: &mut Counters) {
        let Some(outbox) = &self.members[slot as usize].outbox else { return };
        if outbox.control_bytes() > self.bounds.control_bytes_max / 2 && !outbox.blocked {
            self.flush_member(slot, outlet, counters);
        }
    }

    fn deliver_direct(
        &mut self,
        slot: u32,
        frame: &Rc<Frame>,
        outlet: &mut impl Outlet,
        counters: &mut Counters,
    ) -> u32 {
        let bounds = self.bounds;
        let local = self.locals.at_mut(slot).expect("asked for by its channel");
        // A turn is a direct subscriber's queue, so it has the bounds of one.
        let full = local.turn.len() >= bounds.events_max || local.turn_bytes + frame.len() > bounds.bytes_max;
        if full && !local.turn.is_empty() {
            self.flush_channel(slot, outlet, counters);
        }
        let local = self.locals.at_mut(slot).expect("a flush closes no channel");
        if local.direct.is_empty() {
            return 0;
        }
        if local.turn.is_empty() {
            self.dirty_locals.push(slot);
        }
        local.turn.push(frame.clone());
        local.turn_bytes += frame.len();
        local.direct.len() as u32
    }

    /// Sends what the turn gathered.
    pub(super) fn flush(&mut self, outlet: &mut impl Outlet, counters: &mut Counters) {
        let mut locals = std::mem::take(&mut self.dirty_locals);
        for local in locals.drain(..) {
            self.flush_channel(local, outlet, counters);
            self.close_if_unused(local);
        }
        self.dirty_locals = locals;
        let mut members = std::mem::take(&mut self.dirty_members);
        for slot in members.drain(..) {
            self.flush_member(slot, outlet, counters);
        }
        self.dirty_members = members;
    }

    /// Sends a channel's turn to its direct subscribers, its events joined into one buffer for all of them.
    fn flush_channel(&mut self, slot: u32, outlet: &mut impl Outlet, counters: &mut Counters) {
        let Some(local) = self.locals.at_mut(slot).filter(|local| !local.turn.is_empty()) else { return };
        let mut turn = std::mem::take(&mut local.turn);
        local.turn_bytes = 0;
        let mut joined = std::mem::take(&mut self.joined);
        let ends = join(&turn, &mut joined, std::mem::take(&mut self.joined_ends));
        let mut at = 0;
        while let Some(&seat) = self.locals.at(slot).and_then(|local| local.direct.get(at)) {
            let bytes = if turn.len() == 1 { turn[0].bytes() } else { &joined[..] };
            at += usize::from(self.send_turn(slot, at, seat, bytes, &turn, &ends, outlet, counters));
        }
        turn.clear();
        self.joined = joined;
        self.joined_ends = ends;
        if let Some(local) = self.locals.at_mut(slot) {
            local.turn = turn;
        }
    }

    /// Sends a turn to one direct subscriber. Answers whether it stays one.
    #[expect(clippy::too_many_arguments, reason = "the innermost step of the fan-out, split off to be read")]
    fn send_turn(
        &mut self,
        local: u32,
        at: usize,
        seat: Seat,
        bytes: &[u8],
        turn: &[Rc<Frame>],
        ends: &[usize],
        outlet: &mut impl Outlet,
        counters: &mut Counters,
    ) -> bool {
        let from = seat.from as usize;
        if from > 0 {
            self.locals.at_mut(local).expect("being flushed").direct[at].from = 0;
            if from == turn.len() {
                return true;
            }
        }
        if self.members[seat.member as usize].outbox.is_some() {
            return self.send_behind(local, at, seat.member, &turn[from..], outlet, counters);
        }
        let start = if from == 0 { 0 } else { ends[from - 1] };
        match outlet.send(seat.member, &bytes[start..]) {
            Sent::Bytes(n) if start + n == bytes.len() => {
                counters.deliveries += (turn.len() - from) as u64;
                true
            }
            Sent::Bytes(n) => {
                let whole = ends.partition_point(|end| *end <= start + n);
                let begun = if whole == 0 { 0 } else { ends[whole - 1] };
                counters.deliveries += (whole - from) as u64;
                counters.blocked_sends += 1;
                let outbox = self.members[seat.member as usize].outbox.get_or_insert_default();
                turn[whole..].iter().for_each(|frame| outbox.append(frame));
                outbox.mark_sent(start + n - begun);
                outbox.blocked = true;
                self.move_to(seat.member, local, Place::Queued);
                false
            }
            Sent::Gone => {
                self.give_up_gone(seat.member);
                true
            }
        }
    }

    /// As [`Subscriptions::send_turn`], when a control frame waits before these events: they go behind it, in the
    /// same send. What does not fit behind it is sent in two.
    fn send_behind(
        &mut self,
        local: u32,
        at: usize,
        slot: u32,
        turn: &[Rc<Frame>],
        outlet: &mut impl Outlet,
        counters: &mut Counters,
    ) -> bool {
        let bounds = self.bounds;
        let waiting =
            self.members[slot as usize].outbox.as_ref().map_or((0, 0), |o| (o.events(), o.event_bytes()));
        let bytes: usize = turn.iter().map(|frame| frame.len()).sum();
        if waiting.0 + turn.len() > bounds.events_max || waiting.0 > 0 && waiting.1 + bytes > bounds.bytes_max
        {
            self.flush_member(slot, outlet, counters);
        }
        let outbox = self.members[slot as usize].outbox.get_or_insert_default();
        let fits = turn.iter().all(|frame| outbox.push(frame, &bounds).is_ok());
        Self::list(&mut self.dirty_members, slot, outbox);
        if !fits {
            self.give_up_slow(slot, counters);
        }
        // The flush may have found the socket full, and moved the member to the queued list.
        self.locals.at(local).and_then(|local| local.direct.get(at)).is_some_and(|seat| seat.member == slot)
    }

    /// A member has no room for what it asked for.
    pub(super) fn give_up_slow(&mut self, slot: u32, counters: &mut Counters) {
        let key = self.key_of(slot);
        let outbox = self.members[slot as usize].outbox.get_or_insert_default();
        if !outbox.cut {
            outbox.cut = true;
            counters.slow_consumers += 1;
            self.cut.push((key, Cut::Slow));
        }
    }

    fn give_up_gone(&mut self, slot: u32) {
        let key = self.key_of(slot);
        let outbox = self.members[slot as usize].outbox.get_or_insert_default();
        if !outbox.cut {
            outbox.cut = true;
            self.cut.push((key, Cut::Gone));
        }
    }

    fn flush_member(&mut self, slot: u32, outlet: &mut impl Outlet, counters: &mut Counters) {
        let Some(outbox) = &mut self.members[slot as usize].outbox else { return };
        outbox.dirty = false;
        if outbox.blocked {
            return;
        }
        let (flushed, events) = outbox.flush(slot, outlet);
        counters.deliveries += events;
        match flushed {
            Flushed::Empty if outbox.cut => {}
            Flushed::Empty => {
                self.members[slot as usize].outbox = None;
                self.direct_if_alone(slot);
            }
            Flushed::Blocked => {
                counters.blocked_sends += 1;
                self.queue_if_direct(slot);
            }
            Flushed::Gone => self.give_up_gone(slot),
        }
    }

    /// The member's socket takes bytes again.
    pub(super) fn writable(&mut self, slot: u32) {
        if let Some(outbox) = &mut self.members[slot as usize].outbox
            && outbox.blocked
        {
            outbox.blocked = false;
            Self::list(&mut self.dirty_members, slot, outbox);
        }
    }
}

/// Joins the frames of a turn into `joined`, unless there is only one; answers where each ends.
fn join(turn: &[Rc<Frame>], joined: &mut Vec<u8>, mut ends: Vec<usize>) -> Vec<usize> {
    joined.clear();
    ends.clear();
    let mut end = 0;
    for frame in turn {
        end += frame.len();
        ends.push(end);
        if turn.len() > 1 {
            joined.extend_from_slice(frame.bytes());
        }
    }
    ends
}
