//! Judges a whole run: one order per channel, no hole that was not told, nothing missing, nothing late, and counts
//! that add up.

use crate::client::{Client, Tongue};
use crate::features::Features;
use crate::model::{Ear, End, Event, Got, Model, Outcome, Place, Session};
use crate::publish::LONG_US;
use crate::rights::{EVER, Moment};
use courier::hub::Slow;
use std::collections::{BTreeMap, BTreeSet};

/// Events among which an overtaking is looked for.
const LOOK_BACK: usize = 64;
/// A millisecond, the fineness of an answer's time.
const STAMP_US: u64 = 1000;

pub fn judge(model: &mut Model, clients: &[Client], features: Features) {
    // A session whose events were all unacknowledged gets its places from another that shares one of them.
    for _ in 0..3 {
        place_all(model);
    }
    let case = Case { model, clients, features };
    model.sessions.iter().for_each(|session| case.nothing_is_missing(session));
    for ear in &model.ears {
        order_is_kept(model, ear);
        case.latest_has_come(ear);
        if features.priorities {
            case.nothing_urgent_waited(ear);
        }
        if features.ttl {
            nothing_is_late(model, ear);
        }
        gaps_are_true(model, ear);
    }
    case.counts_add_up();
    numbers_are_used_once(model);
    publishers_order_is_kept(model);
}

/// Within one subscription positions follow one another without a hole, whoever acknowledged them.
fn place_all(model: &mut Model) {
    for session in 0..model.sessions.len() {
        let run = std::mem::take(&mut model.sessions[session].run);
        let client = model.sessions[session].client;
        let known = |at: usize, n: &usize| model.events[*n].place.map(|place| (at, place));
        let anchor = run.iter().enumerate().find_map(|(at, n)| known(at, n));
        if let Some((at, (epoch, offset))) = anchor {
            for (index, n) in run.iter().enumerate() {
                let place = (epoch, (offset + index as u64).wrapping_sub(at as u64));
                let before = model.events[*n].place.unwrap_or(place);
                assert_eq!(
                    before, place,
                    "client {client}: event {n} comes as number {index} and should be at another place"
                );
                model.place(*n, place);
            }
        }
        model.sessions[session].run = run;
    }
}

/// Of two events of one channel the one with the lower number comes first, unless the other is more urgent.
fn order_is_kept(model: &Model, ear: &Ear) {
    (0..model.channels.len()).for_each(|channel| mixture_is_ordered(model, ear, channel));
    let mut highest: BTreeMap<(usize, u32, u8), u64> = BTreeMap::new();
    let mut epochs: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for got in &ear.got {
        let event = &model.events[got.event];
        let Some((epoch, offset)) = event.place else { continue };
        if ear.mixed >> event.channel & 1 == 1 {
            continue;
        }
        let seen = epochs.entry(event.channel).or_default();
        if seen.last() != Some(&epoch) {
            // What was less urgent before a channel was forgotten may come behind what is urgent after.
            assert!(
                model.holes || !seen.contains(&epoch),
                "client {}: epoch {epoch:08x} comes back",
                ear.client
            );
            seen.push(epoch);
        }
        for priority in 1..=event.priority {
            let before = highest.get(&(event.channel, epoch, priority)).copied().unwrap_or(0);
            assert!(
                before < offset,
                "client {}: event {} ({epoch:08x}-{offset}, priority {}) comes behind {before} of priority {priority}",
                ear.client,
                got.event,
                event.priority
            );
        }
        let place = highest.entry((event.channel, epoch, event.priority)).or_insert(0);
        *place = offset.max(*place);
    }
}

/// What is live and what each subscription brings from the past are in order each: so many rising rows there are at most.
fn mixture_is_ordered(model: &Model, ear: &Ear, channel: usize) {
    if ear.mixed >> channel & 1 == 0 || model.holes {
        return;
    }
    let began = |session: &&usize| {
        let session = &model.sessions[**session];
        session.resume.is_some() && session.covers >> channel & 1 == 1
    };
    let rows_max = 1 + ear.sessions.iter().filter(began).count();
    // The last number of each row, by numbering. An event goes behind the highest that is lower: the fewest rows there can be.
    let mut rows: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for event in ear.got.iter().map(|got| &model.events[got.event]).filter(|event| event.channel == channel) {
        let Some((epoch, offset)) = event.place else { continue };
        let ends = rows.entry(epoch).or_default();
        match ends.iter_mut().filter(|end| **end < offset).max() {
            Some(end) => *end = offset,
            None => ends.push(offset),
        }
        let rows = ends.len();
        assert!(
            rows <= rows_max,
            "client {}: {rows} rows of events in order, at most {rows_max}",
            ear.client
        );
    }
}

/// Nothing was put onto a wire after its time.
fn nothing_is_late(model: &Model, ear: &Ear) {
    for got in &ear.got {
        let event = &model.events[got.event];
        let (Some(ttl_us), false) = (event.ttl_us, event.stamp.is_empty()) else { continue };
        let taken_in_us = crate::world::us_of(&event.stamp);
        assert!(
            got.taken_us <= taken_in_us + STAMP_US + ttl_us,
            "client {}: event {} of {ttl_us} us, published at {taken_in_us} us, went out at {} us",
            ear.client,
            got.event,
            got.taken_us
        );
    }
}

/// What a gap begins and ends with was really lost.
fn gaps_are_true(model: &Model, ear: &Ear) {
    if ear.gaps.is_empty() {
        return;
    }
    let got: BTreeSet<usize> = ear.got.iter().map(|got| got.event).collect();
    // What one subscription has lost another may have brought.
    for (channel, from, to) in ear.gaps.iter().filter(|gap| (ear.mixed | ear.unsure) >> gap.0 & 1 == 0) {
        for (epoch, offset) in [from, to] {
            let event = model.positions.get(&(*channel, *epoch, *offset));
            assert!(
                event.is_none_or(|n| !got.contains(n)),
                "client {}: a gap from {from:?} to {to:?}, and event {event:?} has come",
                ear.client
            );
        }
    }
}

fn is_told(ear: &Ear, event: &Event) -> bool {
    let within = |(channel, from, to): &(usize, Place, Place)| {
        *channel == event.channel && event.place.is_none_or(|place| *from <= place && place <= *to)
    };
    ear.gaps.iter().any(within)
}

struct Case<'c> {
    model: &'c Model,
    clients: &'c [Client],
    features: Features,
}

impl Case<'_> {
    /// What was acknowledged between the subscription and its end has come, or its loss is within the rules.
    fn nothing_is_missing(&self, session: &Session) {
        let ear = &self.model.ears[session.ear];
        let got: BTreeSet<usize> = ear.got.iter().map(|got| got.event).collect();
        for (n, event) in self.model.events.iter().enumerate() {
            if self.is_owed(session, event) && !got.contains(&n) && !self.may_miss(ear, event) {
                panic!(
                    "client {} subscribed at step {} ({:?}) and did not get event {n} of {} ({:x?}, priority {}), \
                     published at {:?} and acknowledged {:?}",
                    session.client,
                    session.since,
                    session.end,
                    self.model.channels[event.channel].name,
                    event.place,
                    event.priority,
                    event.sent,
                    event.outcome
                );
            }
        }
    }

    fn is_owed(&self, session: &Session, event: &Event) -> bool {
        let Outcome::Published { mut step, .. } = event.outcome else { return false };
        if event.attempts > 1 {
            // A repeat may be answered before the first is everywhere.
            step = u64::MAX - 1;
        }
        let wanted = session.covers >> event.channel & 1 == 1
            && session.sieve.passes(&event.kind, event.source, event.priority);
        let behind =
            matches!((session.from, event.place), (Some((e1, o1)), Some((e2, o2))) if e1 == e2 && o2 > o1);
        let after = session.since != u64::MAX && (event.sent > Some(session.since) || behind);
        // One that leaves, or is sent away, while it catches up is owed no more than what it was sent.
        // The same goes for one that acknowledges: what is not settled when it ends it comes back for.
        let kept_on = session.resume.is_none() && !session.acks || session.end == End::Open;
        let until = self.until(session, event).is_some_and(|until| step < until);
        wanted && after && kept_on && until && self.is_within(session, event, step)
    }

    /// What could be read all the time until its publish was answered.
    fn is_within(&self, session: &Session, event: &Event, step: u64) -> bool {
        let (rights, name) = (&self.model.rights, &self.model.channels[event.channel].name);
        let sent = Moment { step: event.sent.unwrap_or(0), us: event.sent_us };
        // What is heard by name ends with the rights to it, and does not come back with them.
        let from = if session.names.contains(&event.channel) { session.asked } else { sent };
        let Moment { us, .. } = session.asked;
        let to = Moment { step: step.max(session.since), us: us.max(event.answered_us) };
        let to = if event.attempts > 1 { EVER } else { to };
        let client = session.client;
        // One that is lost with all that it covers is not told so in this dialect, and does not come back.
        let silent = self.clients[client].tongue == Tongue::FreqSearch;
        let lost = silent && {
            let to = Moment { us: event.answered_us, ..to };
            rights.may_lack_all(client, self.model.names(session.covers), Moment::default(), to)
        };
        // A connection that has no word for the end of one subscription ends with the first.
        let ended = self.clients[client].close_seen == Some(1008) && {
            let mut names = self.model.names(self.clients[client].asked);
            names.any(|name| rights.may_lack(client, name, false, self.clients[client].since, to))
        };
        !lost && !ended && !rights.may_lack(client, name, false, from, to)
    }

    /// Until when a subscription, or one that took over from it, gets an event.
    fn until(&self, session: &Session, event: &Event) -> Option<u64> {
        let heir = session.heir.map(|heir| &self.model.sessions[heir]);
        if let Some(heir) = heir.filter(|heir| heir.sieve.passes(&event.kind, event.source, event.priority)) {
            return self.until(heir, event);
        }
        match session.end {
            End::Open | End::Stopped => Some(u64::MAX),
            End::Left(step) => Some(step),
            End::Abnormal => None,
        }
    }

    fn may_miss(&self, ear: &Ear, event: &Event) -> bool {
        let tongue = self.clients[ear.client].tongue;
        let slow = self.model.channels[event.channel].slow != Slow::Disconnect;
        event.exclude == Some(ear.client)
            || event.ttl_us.is_some_and(|ttl_us| ttl_us < LONG_US)
            || tongue == Tongue::Router && self.may_be_outranked(ear, event)
            || tongue == Tongue::V1 && (slow || ear.unsure != 0) && is_told(ear, event)
            || self.clients[ear.client].acking_ear(event.channel, self.model).is_some_and(|own| {
                // It comes once, however many subscriptions there are.
                self.model.ears[own].got.iter().any(|got| std::ptr::eq(&self.model.events[got.event], event))
            })
            || tongue != Tongue::V1 && tongue != Tongue::Router && slow
    }

    /// The router's queue holds at least so many events that none of those that are as urgent has to go.
    fn may_be_outranked(&self, ear: &Ear, event: &Event) -> bool {
        if self.features.presence && self.features.is_router_tight() {
            return true;
        }
        let copies = self.clients[ear.client].named.len();
        let rivals = self.model.events.iter().filter(|other| other.priority >= event.priority).count();
        // Its bound of bytes may come first: an event in the router's form is twice what that reckons with.
        let large = if self.features.is_router_tight() { 1 } else { 2 };
        rivals * copies * large >= self.features.router_queue.max
    }

    /// Where a queue loses events, the last one of a channel comes, and of each key where those are conflated.
    fn latest_has_come(&self, ear: &Ear) {
        let client = &self.clients[ear.client];
        let [session] = &ear.sessions[..] else { return };
        let session = &self.model.sessions[*session];
        let plain = session.covers.count_ones() == 1 && session.end == End::Open;
        let plain = plain
            && client.books.is_empty()
            && !self.model.channels[session.covers.trailing_zeros() as usize].presence;
        if !plain || self.features.priorities || self.features.ttl || client.tongue == Tongue::Router {
            return;
        }
        let channel = session.covers.trailing_zeros() as usize;
        let Some(room) = self.features.latest_among else { return };
        let keyed = self.model.channels[channel].slow == Slow::Conflate && self.features.keys > 0;
        let (mut latest, mut keyless) = (BTreeMap::<Option<u64>, (Place, usize)>::new(), Vec::new());
        for (n, event) in self.model.events.iter().enumerate() {
            let wanted = event.exclude != Some(ear.client) && self.is_owed(session, event);
            let Some(place) = event.place.filter(|_| wanted && event.channel == channel) else { continue };
            let key = if keyed { event.key } else { None };
            let found = latest.entry(key).or_insert((place, n));
            *found = (*found).max((place, n));
            keyless.extend(key.is_none().then_some(place));
        }
        for (place, n) in latest.into_values() {
            // Beside it wait the latest of other keys, one event that has begun, and those that nothing replaces.
            let beside = keyless.iter().filter(|other| **other > place).count() + self.features.keys as usize;
            if keyed && beside >= room {
                continue;
            }
            let told = client.tongue == Tongue::V1;
            assert!(
                ear.got.iter().any(|got| got.event == n),
                "client {} did not get event {n}, the last of its kind (told of gaps: {told})",
                ear.client
            );
        }
    }

    /// Behind an event that had not begun when a more urgent one was queued, that one does not wait.
    fn nothing_urgent_waited(&self, ear: &Ear) {
        // What was missed comes before what is live, however urgent that is.
        // The ids of a stream of several channels say that all before has come.
        let session = |number: &usize| &self.model.sessions[*number];
        let stream = self.clients[ear.client].tongue == Tongue::Stream;
        // And first deliveries that are acknowledged are in the channel's order.
        let is_ordered = |session: &Session| session.resume.is_some() || session.acks;
        if !self.clients[ear.client].books.is_empty() {
            return;
        }
        if ear.sessions.iter().any(|at| is_ordered(session(at)) || stream && session(at).names.len() > 1) {
            return;
        }
        let pipe = self.clients[ear.client].pipe;
        let event = |got: &Got| &self.model.events[got.event];
        for (at, late) in ear.got.iter().enumerate() {
            // A repeat may be answered before the first is everywhere.
            let Some(&queued_at) = event(late).totals.get(pipe).filter(|_| event(late).attempts == 1) else {
                continue;
            };
            for early in ear.got[at.saturating_sub(LOOK_BACK)..at].iter().rev() {
                if early.controls != late.controls || early.offset < queued_at {
                    break;
                }
                assert!(
                    event(early).priority >= event(late).priority,
                    "client {}: event {} of priority {} waited behind event {} of priority {}",
                    ear.client,
                    late.event,
                    event(late).priority,
                    early.event,
                    event(early).priority
                );
            }
        }
    }

    /// `clients_reached` is the number of subscribers that got the event, but for those whose queue was lost with
    /// them or lost the event.
    fn counts_add_up(&self) {
        for (n, event) in self.model.events.iter().enumerate() {
            let Outcome::Published { reached: Some(reached), .. } = event.outcome else { continue };
            if event.attempts > 1 {
                continue;
            }
            let asked = self.clients.iter().filter(|client| client.asked >> event.channel & 1 == 1);
            let may_lose = |client: &&Client| ended_badly(self.model, client) || self.may_lose(client, event);
            let (lost, got) = (asked.filter(may_lose).count() as u32, event.got.len() as u32);
            // A queue that refused a first copy may have had room for a second, which is not counted.
            // And who comes later gets it without being counted.
            let late = self.features.replays || self.features.acks;
            let unsure = self.features.router && self.features.is_router_tight() || late;
            assert!(
                (got <= reached || unsure) && reached <= got + lost,
                "event {n}: {reached} clients reached, {got} got it, {lost} may have lost it"
            );
        }
    }

    /// A client's queue may lose an event that it has taken.
    fn may_lose(&self, client: &Client, event: &Event) -> bool {
        let slow = self.model.channels[event.channel].slow != Slow::Disconnect;
        event.ttl_us.is_some_and(|ttl_us| ttl_us < LONG_US)
            || match client.tongue {
                Tongue::Router => self.features.is_router_tight() && self.features.priorities,
                _ => slow,
            }
    }
}

fn ended_badly(model: &Model, client: &Client) -> bool {
    let lost = |session: &Session| session.client == client.id && session.end == End::Abnormal;
    client.over && client.close_seen != Some(1001)
        || client.close_sent && client.close_seen != Some(1001)
        || client.close_seen.is_some_and(|code| code != 1001)
        || model.sessions.iter().any(lost)
}

/// Every number up to the highest belongs to an event whose publisher was told so, or was not told anything.
fn numbers_are_used_once(model: &Model) {
    let mut runs: Vec<((usize, u32), u64, u64)> = Vec::new();
    for (channel, epoch, offset) in model.positions.keys() {
        match runs.last_mut() {
            Some((run, count, highest)) if *run == (*channel, *epoch) => {
                (*count, *highest) = (*count + 1, *offset)
            }
            _ => runs.push(((*channel, *epoch), 1, *offset)),
        }
    }
    for ((channel, epoch), count, highest) in runs {
        let unknown = model.events.iter().filter(|event| {
            event.channel == channel
                && event.place.is_none()
                && (event.outcome != Outcome::Refused || event.is_routers)
        });
        // What the server told of who came and went may have reached nobody.
        let told = model.channels[channel].presence;
        let (missing, unknown) = (if told { 0 } else { highest - count }, unknown.count() as u64);
        assert!(missing <= unknown, "epoch {epoch:08x}: {missing} numbers of no event, {unknown} unknown");
    }
}

/// What one connection publishes to a channel keeps its order, but for what is more urgent.
fn publishers_order_is_kept(model: &Model) {
    let mut last: BTreeMap<(usize, usize, u32, u8), u64> = BTreeMap::new();
    for (n, event) in model.events.iter().enumerate() {
        let Outcome::Published { .. } = event.outcome else { continue };
        let (Some((epoch, offset)), 1) = (event.place, event.attempts) else { continue };
        for priority in event.priority..=10 {
            let before = last.get(&(event.client, event.channel, epoch, priority));
            assert!(
                before.is_none_or(|before| *before < offset),
                "event {n} overtook one of its publisher's"
            );
        }
        last.insert((event.client, event.channel, epoch, event.priority), offset);
    }
}
