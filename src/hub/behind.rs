//! Subscriptions that begin in the past. Such a one is let in by its owner like any other but sits in no crowd while it
//! catches up: it pulls chunks of what the owner keeps, each when there is room in its queue, so that a client takes
//! the memory of its queue whatever it has missed. Nothing passes the mail that carries a chunk: when one reaches the
//! channel's end, every event of it has come before and every later one comes behind it, and the subscription takes
//! its place in the crowd with no hole and no double, whatever the priority of what is live.

use super::crowds::{NONE, Source};
use super::history::Recovery;
use super::item::Item;
use super::members::{Place, Subscription};
use super::outbox::Outbox;
use super::parcel::Parcel;
use super::recall::{LogFrom, Wanted};
use super::redelivery::room_in_flight;
use super::slow::Slow;
use super::subscriptions::{Ask, Subscriptions};
use super::types::Rule;
use super::{Bounds, Counters, Cut, Hub, Mail};
use crate::event::{Channel, ConnectionId, Event, Form, Position};
use crate::stdx::ranges::Ranges;
use crate::stdx::slab::Key;
use std::ops::Range;
use std::rc::Rc;

/// Events of one chunk at most, however large a queue may be: what one mail carries should not keep a turn for longer
/// than some ten microseconds.
const CHUNK_EVENTS_MAX: usize = 256;
/// Bytes of one chunk at most, for the same reason; a single larger event is one.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Events that one shard asks for in one turn at most, over all that catch up, about a hundred microseconds' worth: what
/// is live waits for no longer. The rest has its turn in the next.
const TURN_EVENTS_MAX: usize = 1_024;

/// What a member gets live while one of its subscriptions catches up is remembered in so many ranges of numbers at most,
/// 64 KiB: more than one only where its others let some events pass and some not. Beyond that an event may come twice.
const LIVE_RANGES_MAX: usize = 4_096;

/// A subscription that catches up.
pub(super) struct Replay {
    pub member: Key,
    tag: u32,
    /// The number of the next event that it wants; before the first chunk maybe the time from which on it wants them.
    next: u64,
    since_ms: Option<u64>,
    /// How many were known to be there from then on.
    left: u64,
    /// The number of the last event that was there when it was let in: what it has asked for goes so far.
    known: u64,
    /// The owner has been asked.
    asked: bool,
    /// It has been told that it is subscribed, so events may come.
    begun: bool,
    /// What of later ones the member has got meanwhile through others of its subscriptions.
    live: Ranges,
}

/// A part of what an owner keeps.
pub struct Chunk {
    /// In order.
    pub events: Vec<(Position, Event)>,
    /// Where the channel stands.
    pub end: Position,
    /// The number of the next event.
    pub next: u64,
}

/// What is wanted next for a subscription that catches up.
struct Step {
    channel: Channel,
    owner: usize,
    from: LogFrom,
    left: u64,
    events_max: usize,
    bytes_max: usize,
}

impl Replay {
    /// One of a subscription that was live and did not get this event.
    pub(super) fn behind(member: Key, tag: u32, next: u64) -> Replay {
        let live = Ranges::default();
        Replay { member, tag, next, since_ms: None, left: 1, known: next, asked: false, begun: true, live }
    }
}

impl Outbox {
    /// Puts an event of the past at the end, and nothing that is live passes it.
    pub(super) fn push_past(&mut self, item: Item) {
        let (parcel, _) = item.parcel().expect("only events are of the past");
        self.mortals += usize::from(parcel.is_mortal());
        (self.events, self.latest_only) = (self.events + 1, false);
        self.event_bytes += item.len();
        self.items.push_back(item);
        self.ordered_from = self.items.len();
    }

    /// How many events of the past, and bytes, may be queued now: none while more than half is taken, so that nobody is
    /// asked for each single event, and never the last quarter, which is for what is live.
    fn room_for_past(&self, bounds: &Bounds) -> Option<(usize, usize)> {
        if self.cut || self.events > bounds.events_max / 2 || self.event_bytes > bounds.bytes_max / 2 {
            return None;
        }
        let room = |max: usize, used: usize| (max - max / 4).saturating_sub(used).max(1);
        Some((room(bounds.events_max, self.events), room(bounds.bytes_max, self.event_bytes)))
    }
}

impl Subscriptions {
    /// Notes a subscription that was let in and catches up first.
    pub(super) fn fall_behind(&mut self, ask: Ask, recovery: &Recovery) {
        let Ask { member, tag, crowd, label } = ask;
        self.queue_if_direct(member);
        let left = recovery.replayed.into();
        let key = self.key_of(member);
        let replay = Replay {
            member: key,
            tag,
            next: recovery.next,
            since_ms: recovery.since_ms,
            left,
            known: (recovery.next + left).saturating_sub(1),
            asked: false,
            begun: false,
            live: Ranges::default(),
        };
        let Ok(replay) = self.replays.insert(replay) else {
            unreachable!("there are fewer replays than subscriptions")
        };
        let found = self.crowds.at_mut(crowd).expect("made by the caller");
        found.pending += 1;
        if let Source::Channel(local) = found.source {
            self.locals.at_mut(local).expect("a crowd keeps its channel").members += 1;
        }
        let at = replay.slot;
        let found = &mut self.members[member as usize];
        found.behind += 1;
        found.subscribed.add(Subscription { tag, crowd, at, place: Place::Behind, label });
    }

    /// Members of which other subscriptions catch up have got an event of a channel live: those that hear the same channel
    /// leave it out. An owner sends what is live before the chunk that holds it, so this comes first.
    #[cold]
    #[inline(never)]
    pub(super) fn got_live(&mut self, local: u32, offset: u64, counters: &mut Counters) {
        for slot in self.got_live.drain(..) {
            let subscribed = self.members[slot as usize].subscribed.as_slice();
            for behind in subscribed.iter().filter(|s| s.place == Place::Behind) {
                // One with copies of its own gets this too.
                let shares = self.crowds.at(behind.crowd).filter(|crowd| !crowd.manner.each);
                let hears = shares.map(|crowd| crowd.source);
                if hears == Some(Source::Channel(local))
                    && let Some(replay) = self.replays.at_mut(behind.at)
                    && replay.live.insert(offset, LIVE_RANGES_MAX).is_err()
                {
                    counters.replays_forgot += 1;
                }
            }
        }
    }

    /// A subscription is not behind any more, because it ends or has caught up.
    pub(super) fn end_replay(&mut self, subscription: &Subscription) {
        if let Some(replay) = self.replays.key_at(subscription.at).and_then(|key| self.replays.remove(key)) {
            self.members[replay.member.slot as usize].behind -= 1;
        }
        let crowd = self.crowds.at_mut(subscription.crowd).expect("a subscription keeps its crowd");
        crowd.pending -= 1;
        if let Source::Channel(local) = crowd.source {
            self.locals.at_mut(local).expect("a crowd keeps its channel").members -= 1;
        }
    }

    /// Lists all of a member's that wait for room in its queue.
    pub(super) fn list_replays(&mut self, slot: u32) {
        let subscribed = self.members[slot as usize].subscribed.as_slice();
        for behind in subscribed.iter().filter(|s| s.place == Place::Behind) {
            let waits = |replay: &Replay| replay.begun && !replay.asked;
            if self.replays.at(behind.at).is_some_and(waits)
                && let Some(key) = self.replays.key_at(behind.at)
            {
                self.ready.push_back(key);
            }
        }
    }

    /// Whether a flush has made room for those of a member's that wait for it.
    pub(super) fn has_room_again(outbox: &mut Outbox, bounds: &Bounds) -> bool {
        outbox.parked && outbox.room_for_past(bounds).is_some() && std::mem::take(&mut outbox.parked)
    }

    /// What a listed one wants next; nothing when it is gone or has to wait for room.
    fn step(&mut self, key: Key) -> Option<Step> {
        let replay = self.replays.get(key).filter(|replay| !replay.asked)?;
        let from = replay.since_ms.map_or(LogFrom::Offset(replay.next), LogFrom::Since);
        let (left, slot, tag) = (replay.left, replay.member.slot, replay.tag);
        let member = &mut self.members[slot as usize];
        let found = member.subscribed.find(tag)?;
        let crowd = found.crowd;
        let (events_left, bytes_left) = room_in_flight(found, &self.bounds)?;
        let (events_max, bytes_max) = match &mut member.outbox {
            None => Outbox::default().room_for_past(&self.bounds)?,
            Some(outbox) => {
                let room = outbox.room_for_past(&self.bounds);
                outbox.parked |= room.is_none(); // Another may wait still.
                room?
            }
        };
        let (events_max, bytes_max) = (events_max.min(events_left), bytes_max.min(bytes_left));
        let Source::Channel(local) = self.crowds.at(crowd)?.source else { return None };
        let local = self.locals.at(local)?;
        Some(Step {
            channel: local.channel.clone(),
            owner: local.owner,
            from,
            left,
            events_max: events_max.min(CHUNK_EVENTS_MAX),
            bytes_max: bytes_max.min(CHUNK_BYTES_MAX),
        })
    }

    /// A chunk is there: queues what of it the subscription wants. Answers whether it is to be asked for another.
    fn catch_up(&mut self, key: Key, chunk: Chunk, now_us: u64, counters: &mut Counters) {
        let Some(replay) = self.replays.get_mut(key) else { return };
        let (member, tag, wanted) = (replay.member, replay.tag, replay.next);
        (replay.asked, replay.next) = (false, chunk.next);
        replay.left = (chunk.end.offset + 1).saturating_sub(chunk.next);
        let by_time = replay.since_ms.take().is_some();
        let first = chunk.events.first().map_or(chunk.next, |(position, _)| position.offset);
        if !by_time && first > wanted && !self.miss(member, tag, wanted, first - 1, &chunk, counters) {
            return;
        }
        for (position, event) in &chunk.events {
            if self.queue_past(member, tag, *position, event, now_us, counters) {
                self.got_past(member.slot, tag, position.offset, counters);
            }
        }
        if let Some(replay) = self.replays.get_mut(key) {
            replay.live.forget_below(chunk.next);
        }
        let found =
            self.members[member.slot as usize].subscribed.find(tag).expect("its replay is there").clone();
        if chunk.next <= chunk.end.offset {
            return self.ready.push_back(key);
        }
        self.end_replay(&found);
        self.members[member.slot as usize].subscribed.remove(tag);
        self.attach(Ask { member: member.slot, tag, crowd: found.crowd, label: found.label });
    }

    /// Events were let go before a subscription had read so far. It is told, where its channel's option has words for
    /// that, or given up, so that it never takes a hole for the whole. Answers whether it goes on.
    fn miss(
        &mut self,
        member: Key,
        tag: u32,
        from: u64,
        to: u64,
        chunk: &Chunk,
        counters: &mut Counters,
    ) -> bool {
        let crowd = self.members[member.slot as usize].subscribed.find(tag).map(|s| s.crowd);
        let crowd = crowd.and_then(|crowd| self.crowds.at(crowd)).expect("a subscription keeps its crowd");
        let Source::Channel(local) = crowd.source else { return true };
        let local = self.locals.at(local).expect("a crowd keeps its channel");
        let slow = if crowd.manner.rule == Rule::Router { Slow::Router } else { local.slow };
        counters.events_dropped += to + 1 - from;
        if slow == Slow::Disconnect {
            self.give_up(member.slot, Cut::Slow, counters);
            return false;
        }
        if slow.tells() {
            let at = |offset| Position { offset, ..chunk.end };
            let channel = local.channel.clone();
            self.gaps.add(member, tag, &channel, (at(from), at(to)), counters);
        }
        true
    }

    /// A subscription that catches up has brought an event which none had asked for when it was let in: others that catch
    /// up on the same channel leave it out (seed 2466 of the simulation got it twice).
    fn got_past(&mut self, slot: u32, tag: u32, offset: u64, counters: &mut Counters) {
        let member = &self.members[slot as usize];
        if member.behind < 2 {
            return;
        }
        let crowds = &self.crowds;
        let hears =
            |crowd: u32| crowds.at(crowd).filter(|crowd| !crowd.manner.each).map(|crowd| crowd.source);
        let subscribed = member.subscribed.as_slice();
        let Some(own) = subscribed.iter().find(|s| s.tag == tag) else { return };
        let source = hears(own.crowd);
        if source.is_none() || self.replays.at(own.at).is_none_or(|own| offset <= own.known) {
            return;
        }
        let others = subscribed.iter().filter(|s| s.place == Place::Behind && s.tag != tag);
        for other in others.filter(|other| hears(other.crowd) == source) {
            if let Some(replay) = self.replays.at_mut(other.at).filter(|replay| offset > replay.known)
                && replay.live.insert(offset, LIVE_RANGES_MAX).is_err()
            {
                counters.replays_forgot += 1;
            }
        }
    }

    /// Queues one event of the past, if the subscription wants it. Answers whether it did.
    fn queue_past(
        &mut self,
        member: Key,
        tag: u32,
        position: Position,
        event: &Event,
        now_us: u64,
        counters: &mut Counters,
    ) -> bool {
        let found = self.members[member.slot as usize].subscribed.find(tag).expect("its replay is there");
        let (crowd, label, replay) = (found.crowd, found.label.clone(), found.at);
        if self.replays.at(replay).is_some_and(|replay| replay.live.contains(position.offset)) {
            return false;
        }
        let crowd = self.crowds.at(crowd).expect("a subscription keeps its crowd");
        let Source::Channel(local) = crowd.source else { return false };
        let local = self.locals.at(local).expect("a crowd keeps its channel");
        let manner = crowd.manner;
        if event.is_expired(now_us) {
            counters.events_expired += 1;
            return false;
        }
        let excluded = |id: ConnectionId| usize::from(id.shard) == self.shard && id.is(member);
        if event.extras().and_then(|extras| extras.exclude).is_some_and(excluded)
            || manner.filter != NONE && !self.filters.wants(manner.filter, event)
        {
            return false;
        }
        if manner.form != Form::RAW {
            event.rendered(manner.form, &local.channel, position, self.renderers);
        }
        let slow = if manner.rule == Rule::Router { Slow::Router } else { local.slow };
        let parcel = Rc::new(Parcel::new(event.clone(), manner.form, position, slow, &local.channel));
        counters.replayed += 1;
        if let Some(badge) = label.as_ref().filter(|badge| badge.acks.is_some()) {
            let channel = local.channel.clone();
            self.send_past(member.slot, tag, badge, &parcel, &channel, now_us);
            return false;
        }
        self.queue(member.slot, |outbox| outbox.push_past(Item::event(&parcel, tag, label.as_ref())));
        true
    }
}

impl Hub {
    /// Lets subscriptions of a member that begin in the past catch up: their events come behind what was queued before.
    pub fn begin(&mut self, member: Key, tags: Range<u32>) {
        let Some(found) = self.subscriptions.member(member) else { return };
        let behind = found.subscribed.as_slice().iter().filter(|s| s.place == Place::Behind);
        let slots: Vec<u32> = behind.filter(|s| tags.contains(&s.tag)).map(|s| s.at).collect();
        for slot in slots {
            let replay = self.subscriptions.replays.at_mut(slot).expect("a subscription keeps its replay");
            if !std::mem::replace(&mut replay.begun, true)
                && let Some(key) = self.subscriptions.replays.key_at(slot)
            {
                self.subscriptions.ready.push_back(key);
            }
        }
    }

    /// Whether subscriptions that catch up could go on at once.
    pub fn is_replaying(&self) -> bool {
        !self.subscriptions.ready.is_empty()
    }

    /// One round over those that catch up and have room, within what one turn may take.
    pub fn replay(&mut self, now_us: u64) {
        let mut left = TURN_EVENTS_MAX;
        for _ in 0..self.subscriptions.ready.len() {
            let Some(key) = (if left > 0 { self.subscriptions.ready.pop_front() } else { None }) else {
                return;
            };
            let Some(step) = self.subscriptions.step(key) else { continue };
            left = left.saturating_sub(step.events_max.min(step.left as usize).max(1));
            self.take_step(key, step, now_us);
        }
    }

    fn take_step(&mut self, key: Key, step: Step, now_us: u64) {
        let Step { channel, owner, from, events_max, bytes_max, .. } = step;
        self.subscriptions.replays.get_mut(key).expect("it has a step").asked = true;
        if owner == self.options.shard {
            let wanted = Wanted { from, events_max, bytes_max };
            return self.recall(owner, key, &channel, wanted, now_us);
        }
        let (events_max, bytes_max) = (events_max as u32, bytes_max as u32);
        self.post.push(owner, Mail::Catch { replay: key, channel, from, events_max, bytes_max });
    }

    /// A chunk is there.
    pub(super) fn caught(&mut self, key: Key, chunk: Chunk, now_us: u64) {
        self.subscriptions.catch_up(key, chunk, now_us, &mut self.counters);
    }
}
