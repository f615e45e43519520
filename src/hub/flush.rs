//! The end of a turn: what it gathered goes onto the sockets. One send per subscriber, however many events there are.

use super::crowds::Seat;
use super::lines::joined_turn;
use super::members::Place;
use super::outlet::{Outlet, Sent};
use super::parcel::Carried;
use super::pump::Way;
use super::sending::Flushed;
use super::slow::Put;
use super::subscriptions::Subscriptions;
use super::{Counters, Cut};
use crate::stdx::slab::Key;

/// A crowd's turn, joined.
struct Turn<'t> {
    parcels: &'t [Carried],
    bytes: &'t [u8],
    /// Where each parcel ends in `bytes`.
    ends: &'t [usize],
    /// They differ in priority, which is for the outboxes to put in order.
    mixed: bool,
}

impl Subscriptions {
    /// Sends what the turn gathered.
    pub(super) fn flush(&mut self, way: &mut Way<'_, impl Outlet>) {
        let mut crowds = std::mem::take(&mut self.dirty_crowds);
        for crowds in Self::in_parts(&crowds) {
            if crowds.len() > 1 {
                self.look_ahead(crowds, way.outlet);
            }
            for crowd in crowds {
                self.flush_crowd(*crowd, way);
            }
        }
        crowds.clear();
        self.dirty_crowds = crowds;
        let mut members = std::mem::take(&mut self.waiting.dirty);
        for slot in members.drain(..) {
            self.flush_member(slot, way);
        }
        self.waiting.dirty = members;
    }

    /// Sends a crowd's turn to its direct subscribers, its events joined into one buffer for all of them.
    pub(super) fn flush_crowd(&mut self, key: Key, way: &mut Way<'_, impl Outlet>) {
        // The last member of a crowd takes it away, with its turn.
        let Some(crowd) = self.crowds.get_mut(key).filter(|crowd| !crowd.turn.is_empty()) else { return };
        let slot = key.slot;
        let mut parcels = std::mem::take(&mut crowd.turn);
        crowd.turn_bytes = 0;
        let (mixed, keeps) = (std::mem::take(&mut crowd.mixed), std::mem::take(&mut crowd.keeps));
        let delivered = way.counters.deliveries;
        if parcels.len() > 1 && !self.lines.is_empty() {
            parcels = self.in_lines(slot, parcels);
        }
        if let [only] = &parcels[..] {
            let turn = Turn { parcels: &parcels, bytes: only.bytes(), ends: &[only.len()], mixed };
            self.send_turn(slot, &turn, way);
        } else {
            let (mut joined, mut ends) =
                (std::mem::take(&mut self.joined), std::mem::take(&mut self.joined_ends));
            join(&parcels, &mut joined, &mut ends);
            self.send_turn(slot, &Turn { parcels: &parcels, bytes: &joined, ends: &ends, mixed }, way);
            (self.joined, self.joined_ends) = (joined, ends);
        }
        if keeps && way.counters.deliveries > delivered {
            parcels.iter().for_each(|parcel| parcel.event().see());
        }
        parcels.clear();
        self.spare_turns.give(parcels);
    }

    /// A crowd's turn in one message, if its form is for that and its members all get the whole of it.
    #[cold]
    #[inline(never)]
    fn in_lines(&self, crowd: u32, mut parcels: Vec<Carried>) -> Vec<Carried> {
        let crowd = self.crowds.at(crowd).expect("being flushed");
        let whole = crowd.direct.iter().all(|seat| seat.from() == 0);
        if whole
            && self.lines.contains(&crowd.manner.form)
            && let Some(joined) = joined_turn(&parcels)
        {
            parcels.clear();
            parcels.push(joined);
        }
        parcels
    }

    #[inline]
    fn send_turn(&mut self, slot: u32, turn: &Turn<'_>, way: &mut Way<'_, impl Outlet>) {
        let mut at = 0;
        loop {
            let direct = &self.crowds.at(slot).expect("being flushed").direct;
            let (sent, failed) = match turn.mixed {
                true => (0, None),
                false => send_plain(&direct[at..], turn.bytes, way.outlet),
            };
            way.counters.deliveries += (sent * turn.parcels.len()) as u64;
            at += sent;
            let Some(&seat) = direct.get(at) else { return };
            let stays = match failed {
                Some(failed) => self.sent_short(seat, turn, 0, failed, way.counters),
                None => self.send_special(slot, at, seat, turn, way),
            };
            at += usize::from(stays);
        }
    }

    /// Sends a turn to a direct subscriber that came in its midst or that is owed something before it. Answers whether
    /// it stays one.
    fn send_special(
        &mut self,
        slot: u32,
        at: usize,
        seat: Seat,
        turn: &Turn<'_>,
        way: &mut Way<'_, impl Outlet>,
    ) -> bool {
        let from = seat.from();
        self.crowds.at_mut(slot).expect("being flushed").direct[at].set_from(0);
        if from == turn.parcels.len() {
            return true;
        }
        if seat.is_waiting() || turn.mixed {
            return self.send_behind(seat.member, &turn.parcels[from..], way);
        }
        let start = if from == 0 { 0 } else { turn.ends[from - 1] };
        match way.outlet.send(seat.member, &turn.bytes[start..]) {
            Sent::Bytes(n) if start + n == turn.bytes.len() => {
                way.counters.deliveries += (turn.parcels.len() - from) as u64;
                true
            }
            failed => self.sent_short(seat, turn, from, failed, way.counters),
        }
    }

    /// A socket took less than a turn: the rest goes to the outbox. Answers whether its member stays direct.
    fn sent_short(
        &mut self,
        seat: Seat,
        turn: &Turn<'_>,
        from: usize,
        sent: Sent,
        counters: &mut Counters,
    ) -> bool {
        let Sent::Bytes(n) = sent else {
            self.give_up(seat.member, Cut::Gone, counters);
            return true;
        };
        let taken = n + if from == 0 { 0 } else { turn.ends[from - 1] };
        let whole = turn.ends.partition_point(|end| *end <= taken);
        let begun = if whole == 0 { 0 } else { turn.ends[whole - 1] };
        counters.deliveries += (whole - from) as u64;
        counters.blocked_sends += 1;
        let only = self.members[seat.member as usize].subscribed.only(Place::Direct);
        let tag = only.expect("a direct member has one subscription").tag;
        let outbox = self.outbox(seat.member);
        turn.parcels[whole..].iter().for_each(|parcel| outbox.append(parcel.share(), tag));
        outbox.mark_sent(taken - begun);
        outbox.blocked = true;
        let outbox = self.members[seat.member as usize].outbox.as_mut().expect("just used");
        self.waiting.count(outbox);
        self.move_to(seat.member, tag, Place::Queued);
        false
    }

    /// Sends a turn to a member when a control frame waits before it: it goes behind that, in the same send. What does
    /// not fit behind it is sent in two. Answers whether the member stays direct.
    fn send_behind(&mut self, slot: u32, parcels: &[Carried], way: &mut Way<'_, impl Outlet>) -> bool {
        let key = self.key_of(slot);
        let only = self.members[slot as usize].subscribed.only(Place::Direct);
        let tag = only.expect("a direct member has one subscription").tag;
        self.outbox(slot);
        let outbox = self.members[slot as usize].outbox.as_mut().expect("just made");
        // The first that is refused is the last: what would fit behind it would come after a hole.
        let refused = parcels.iter().any(|parcel| {
            way.put(outbox, key, parcel.share(), tag, None, &self.bounds, &mut self.lost) == Put::Refused
        });
        self.waiting.list(slot, outbox);
        let blocked = outbox.blocked;
        self.gaps.take(key, &mut self.lost, way.counters);
        if refused {
            self.give_up(slot, Cut::Slow, way.counters);
        }
        if blocked {
            self.queue_if_direct(slot);
        }
        !blocked
    }

    pub(super) fn flush_member(&mut self, slot: u32, way: &mut Way<'_, impl Outlet>) {
        let Some(outbox) = &mut self.members[slot as usize].outbox else { return };
        outbox.dirty = false;
        if outbox.blocked {
            return;
        }
        if !self.lines.is_empty() {
            outbox.join_lines(self.lines);
        }
        let progress = outbox.flush(slot, way.now_us, way.outlet);
        way.counters.deliveries += progress.delivered;
        way.counters.events_expired += progress.expired;
        let has_room = outbox.parked && Self::has_room_again(outbox, &self.bounds);
        match progress.end {
            Flushed::Empty if outbox.cut => self.waiting.count(outbox),
            Flushed::Empty => {
                self.drop_outbox(slot);
                self.direct_if_alone(slot);
            }
            Flushed::Blocked => {
                way.counters.blocked_sends += 1;
                self.waiting.count(outbox);
                self.queue_if_direct(slot);
            }
            Flushed::Gone => self.give_up(slot, Cut::Gone, way.counters),
        }
        if has_room {
            self.list_replays(slot);
        }
    }

    /// The member's socket takes bytes again.
    pub(super) fn writable(&mut self, slot: u32) {
        if let Some(outbox) = &mut self.members[slot as usize].outbox
            && outbox.blocked
        {
            outbox.blocked = false;
            self.waiting.list(slot, outbox);
        }
    }
}

/// Sends to the direct subscribers to whom the whole turn goes and nothing else, up to one that is not so or whose
/// socket does not take all. Answers how many took it, and what the socket of the next said.
fn send_plain(direct: &[Seat], bytes: &[u8], outlet: &mut impl Outlet) -> (usize, Option<Sent>) {
    for (at, seat) in direct.iter().enumerate() {
        if !seat.is_plain() {
            return (at, None);
        }
        match outlet.send(seat.member, bytes) {
            Sent::Bytes(n) if n == bytes.len() => {}
            failed => return (at, Some(failed)),
        }
    }
    (direct.len(), None)
}

/// Joins the parcels of a turn, and notes where each ends.
fn join(turn: &[Carried], joined: &mut Vec<u8>, ends: &mut Vec<usize>) {
    joined.clear();
    ends.clear();
    for parcel in turn {
        joined.extend_from_slice(parcel.bytes());
        ends.push(joined.len());
    }
}
