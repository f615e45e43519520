//! Subscriptions whose events are acknowledged: each event that went out is kept in a window until its subscriber says
//! that it has it, comes again when that takes too long, and is given up after so many times.
//!
//! * In flight are at most as many events and bytes as a queue holds (`outbox`). When the window or the queue is full, the
//!   subscription stops being live and catches up from what the owner keeps, as one that begins in the past does, as soon
//!   as there is room; only one that history outruns meanwhile loses something, and is cut off or told, as for any other.
//! * First deliveries come in the channel's order, whatever their priority; a repeated one comes behind what went out
//!   before it. The time runs from when an event is queued, and stands still while the socket takes nothing.
//!
//! A subscription that cannot be resumed, such as one of the router, has no past to go on from: what finds the window or
//! the queue full is given up at once, and so is what is in flight when it ends, so that nothing is lost in silence. Its
//! parts, channels and patterns, share one window.
//!
//! When an event comes again is the business of `redelivery`.

use super::item::Item;
use super::letters::Dead;
use super::outbox::Bounds;
use super::parcel::Parcel;
use crate::event::{Attempt, Cause, Channel, Event, Heading, Position};
use crate::wire::websocket::frame::{Opcode, write_header};
use std::collections::VecDeque;
use std::rc::Rc;

/// What a subscriber wants of its acknowledgements.
#[derive(Clone, Debug)]
pub struct AckWish<'a> {
    /// An event comes again after so long.
    pub timeout_us: u64,
    /// But not before so long has passed since then, or since it was asked for again.
    pub delay_us: u64,
    /// It comes at most so often.
    pub attempts_max: u32,
    /// The subscription's name, told with each event.
    pub subscription: &'a str,
    /// Whoever has it can come back to what is kept: of one channel.
    pub resumes: bool,
    /// How an event begins.
    pub heading: Heading,
}

/// What a subscriber says of an event that it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with.
    Done,
    /// It is to come again now, or to be given up if it came as often as it may.
    Again,
    /// It is to be given up.
    Dead,
}

/// Which events that is said of.
#[derive(Clone, Copy, Debug)]
pub enum Acked<'a> {
    /// These.
    Each(&'a [Position]),
    /// All of this position's numbering up to it.
    UpTo(Position),
    /// Those that bear one of these names.
    Named(&'a [Box<str>], IsNamed),
}

/// Whether an event, which stands in this channel at this position, bears a name.
pub type IsNamed = fn(&Event, &Channel, Position, &str) -> bool;

/// Of which subscriptions of a member that is said.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// All.
    Any,
    /// Those to this channel.
    Channel(&'a str),
    /// The one of this name.
    Subscription(&'a str),
}

impl Acked<'_> {
    pub(super) fn has(&self, flight: &Flight) -> bool {
        let position = flight.parcel.position();
        match self {
            Acked::Each(positions) => positions.contains(&position),
            Acked::UpTo(last) => position.epoch == last.epoch && position.offset <= last.offset,
            Acked::Named(names, is_named) => {
                let event = flight.parcel.event();
                names.iter().any(|name| is_named(event, &flight.channel, position, name))
            }
        }
    }
}

/// What became of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Subscriptions that were meant.
    pub subscriptions: usize,
    /// Events that it concerned.
    pub count: usize,
    /// Events that are still in flight.
    pub in_flight: usize,
    /// What to come back with: all up to this one is settled. `None` when nothing went out, or on several channels.
    pub position: Option<Position>,
}

/// One event that is not acknowledged yet.
pub(super) struct Flight {
    pub parcel: Rc<Parcel>,
    channel: Channel,
    tag: u32,
    attempts: u32,
    pub due_us: u64,
    sent_us: u64,
    /// Its last try is over, and the next is not due before.
    pub rests: bool,
    /// Why it came again.
    why: Option<Cause>,
}

/// What one subscription has in flight, the next to come again first.
pub(super) struct Acks {
    pub timeout_us: u64,
    delay_us: u64,
    attempts_max: u32,
    /// JSON.
    subscription: Box<str>,
    heading: Heading,
    /// To which it is, if it resumes.
    channel: Option<Channel>,
    unix_ms_at_0: u64,
    pub flights: VecDeque<Flight>,
    bytes: usize,
    /// Of the last event that went out for the first time.
    last: Option<Position>,
    /// It catches up and waits for room here.
    pub waits: bool,
}

impl Acks {
    /// `channel` is that of one that resumes.
    pub fn new(wish: &AckWish<'_>, channel: Option<Channel>, unix_ms_at_0: u64) -> Acks {
        Acks {
            timeout_us: wish.timeout_us,
            delay_us: wish.delay_us,
            attempts_max: wish.attempts_max,
            subscription: serde_json::Value::from(wish.subscription).to_string().into(),
            heading: wish.heading,
            channel,
            unix_ms_at_0,
            flights: VecDeque::new(),
            bytes: 0,
            last: None,
            waits: false,
        }
    }

    /// Whether whoever has it can come back to what is kept.
    pub fn resumes(&self) -> bool {
        self.channel.is_some()
    }

    pub fn is_within(&self, scope: Scope<'_>) -> bool {
        match scope {
            Scope::Any => true,
            Scope::Channel(name) => self.channel.as_ref().is_some_and(|own| own.as_str() == name),
            Scope::Subscription(name) => *self.subscription == *serde_json::Value::from(name).to_string(),
        }
    }

    /// How many more events and bytes may go out; nothing when it is full.
    pub fn room(&self, bounds: &Bounds) -> Option<(usize, usize)> {
        let events = bounds.events_max.saturating_sub(self.flights.len());
        let bytes = bounds.bytes_max.saturating_sub(self.bytes);
        (events > 0 && (bytes > 0 || self.flights.is_empty())).then_some((events, bytes.max(1)))
    }

    pub fn has_room(&self, bytes: usize, bounds: &Bounds) -> bool {
        self.room(bounds).is_some_and(|(_, left)| bytes <= left || self.flights.is_empty())
    }

    /// An event goes out for the first time: what to queue.
    pub fn send(&mut self, parcel: &Rc<Parcel>, channel: &Channel, tag: u32, now_us: u64) -> Item {
        self.last = Some(parcel.position());
        let due_us = now_us.saturating_add(self.timeout_us);
        let (parcel, channel) = (parcel.clone(), channel.clone());
        let flight =
            Flight { parcel, channel, tag, attempts: 1, due_us, sent_us: now_us, rests: false, why: None };
        let item = self.item(&flight, None);
        self.keep(flight);
        item
    }

    fn keep(&mut self, flight: Flight) {
        self.bytes += flight.parcel.len();
        self.flights.push_back(flight);
    }

    /// The event in its envelope, which says besides the how manieth time it comes, and for which subscription.
    fn item(&self, flight: &Flight, before_us: Option<u64>) -> Item {
        let bytes = flight.parcel.bytes();
        let header = match bytes[1] {
            127 => 10,
            126 => 4,
            _ => 2,
        };
        // Behind the brace that begins the envelope.
        let skip = header + 1;
        let more = (self.heading)(&Attempt {
            number: flight.attempts,
            subscription: &self.subscription,
            before_ms: before_us.map(|us| self.unix_ms_at_0.wrapping_add(us / 1000)),
            error: flight.why.map(words),
        });
        let mut id = Vec::with_capacity(more.len() + 10);
        write_header(Opcode::Text, more.len() + bytes.len() - skip, &mut id);
        id.extend_from_slice(more.as_bytes());
        let (parcel, tag) = (flight.parcel.clone(), flight.tag);
        Item::Tracked { parcel, id: id.into(), skip: skip as u32, tag, acked: true }
    }

    pub fn take(&mut self, at: usize) -> Option<Flight> {
        let flight = self.flights.remove(at)?;
        self.bytes -= flight.parcel.len();
        Some(flight)
    }

    pub fn due_us(&self) -> Option<u64> {
        self.flights.iter().map(|flight| flight.due_us).min()
    }

    /// All up to this one is settled.
    pub fn floor(&self) -> Option<Position> {
        let first = self.flights.iter().map(|flight| flight.parcel.position()).min_by_key(|p| p.offset);
        first.map(|first| Position { offset: first.offset - 1, ..first }).or(self.last)
    }

    pub fn dead(&self, flight: &Flight, cause: Cause, detail: String) -> Dead {
        let attempts = flight.attempts;
        Dead { attempts, ..self.dead_of(&flight.parcel, &flight.channel, cause, detail) }
    }

    fn dead_of(&self, parcel: &Parcel, channel: &Channel, cause: Cause, detail: String) -> Dead {
        Dead {
            channel: channel.clone(),
            event: parcel.event().clone(),
            position: Some(parcel.position()),
            cause,
            detail: detail.into(),
            attempts: 0,
            subscription: serde_json::from_str(&self.subscription).ok(),
        }
    }

    /// There is no room for an event, and it cannot be had later.
    pub fn overflow(&self, parcel: &Parcel, channel: &Channel) -> Dead {
        let detail = format!("not delivered: {} events before it were not acknowledged", self.flights.len());
        self.dead_of(parcel, channel, Cause::Unacknowledged, detail)
    }

    /// A part of it ends: what is given up, if nobody can come back to it.
    pub fn end(&mut self, tag: u32) -> Vec<Dead> {
        if self.resumes() {
            return Vec::new();
        }
        let (ended, left) = std::mem::take(&mut self.flights).into_iter().partition(|f| f.tag == tag);
        let ended: VecDeque<Flight> = ended;
        self.flights = left;
        self.bytes = self.flights.iter().map(|flight| flight.parcel.len()).sum();
        let detail = || "not acknowledged when its subscription ended".to_owned();
        ended.iter().map(|flight| self.dead(flight, Cause::Unacknowledged, detail())).collect()
    }

    /// Sends an event once more, now or after its rest, or gives it up.
    pub fn again(&mut self, mut flight: Flight, why: Cause, now_us: u64) -> Result<Option<Item>, Dead> {
        if flight.attempts >= self.attempts_max {
            let how = if why == Cause::Rejected { "rejected" } else { "not acknowledged" };
            let detail = format!("{how} after {} of {} attempts", flight.attempts, self.attempts_max);
            return Err(self.dead(&flight, why, detail));
        }
        flight.why = Some(why);
        if self.delay_us == 0 {
            return Ok(Some(self.resend(flight, now_us)));
        }
        if !std::mem::replace(&mut flight.rests, true) {
            flight.due_us = now_us.saturating_add(self.delay_us);
        }
        self.keep(flight);
        Ok(None)
    }

    /// Sends an event once more.
    pub fn resend(&mut self, mut flight: Flight, now_us: u64) -> Item {
        let before_us = std::mem::replace(&mut flight.sent_us, now_us);
        flight.attempts += 1;
        flight.rests = false;
        flight.due_us = now_us.saturating_add(self.timeout_us);
        let item = self.item(&flight, Some(before_us));
        self.keep(flight);
        item
    }
}

/// Why an event comes again, for its subscriber.
fn words(why: Cause) -> &'static str {
    if why == Cause::Rejected { "rejected by the subscriber" } else { "not acknowledged in time" }
}
