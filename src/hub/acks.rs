//! Subscriptions whose events are acknowledged: each event that went out is kept in a window until its subscriber says
//! that it has it, comes again when that takes too long, and is given up after so many times.
//!
//! * In flight are at most as many events and bytes as a queue holds (`outbox`). When the window or the queue is full, the
//!   subscription stops being live and catches up from what the owner keeps, as one that begins in the past does, as soon
//!   as there is room; only one that history outruns meanwhile loses something, and is cut off or told, as for any other.
//! * First deliveries come in the channel's order, whatever their priority; a repeated one comes behind what went out
//!   before it. The time runs from when an event is queued, and stands still while the socket takes nothing.
//!
//! When an event comes again is the business of `redelivery`.

use super::item::Item;
use super::letters::Dead;
use super::outbox::Bounds;
use super::parcel::Parcel;
use crate::event::{Cause, Channel, Position};
use crate::wire::websocket::frame::{Opcode, write_header};
use std::collections::VecDeque;
use std::rc::Rc;

/// What a subscriber wants of its acknowledgements.
#[derive(Clone, Debug)]
pub struct AckWish<'a> {
    /// An event comes again after so long.
    pub timeout_us: u64,
    /// It comes at most so often.
    pub attempts_max: u32,
    /// The subscription's name, told with each event.
    pub subscription: &'a str,
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
}

impl Acked<'_> {
    pub(super) fn has(&self, position: Position) -> bool {
        match self {
            Acked::Each(positions) => positions.contains(&position),
            Acked::UpTo(last) => position.epoch == last.epoch && position.offset <= last.offset,
        }
    }
}

/// What became of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
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
    attempts: u32,
    pub due_us: u64,
}

/// What one subscription has in flight, the next to come again first.
pub(super) struct Acks {
    pub timeout_us: u64,
    attempts_max: u32,
    /// JSON: what goes between the attempt and the rest of the envelope.
    subscription: Box<str>,
    pub channel: Channel,
    pub flights: VecDeque<Flight>,
    bytes: usize,
    /// Of the last event that went out for the first time.
    last: Option<Position>,
    /// It catches up and waits for room here.
    pub waits: bool,
}

impl Acks {
    pub fn new(wish: &AckWish<'_>, channel: &Channel) -> Acks {
        Acks {
            timeout_us: wish.timeout_us,
            attempts_max: wish.attempts_max,
            subscription: serde_json::Value::from(wish.subscription).to_string().into(),
            channel: channel.clone(),
            flights: VecDeque::new(),
            bytes: 0,
            last: None,
            waits: false,
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
    pub fn send(&mut self, parcel: &Rc<Parcel>, tag: u32, now_us: u64) -> Item {
        self.bytes += parcel.len();
        self.last = Some(parcel.position());
        let due_us = now_us.saturating_add(self.timeout_us);
        self.flights.push_back(Flight { parcel: parcel.clone(), attempts: 1, due_us });
        self.item(parcel, 1, tag)
    }

    /// The event in its envelope, which says besides the how manieth time it comes, and for which subscription.
    fn item(&self, parcel: &Rc<Parcel>, attempt: u32, tag: u32) -> Item {
        let bytes = parcel.bytes();
        let header = match bytes[1] {
            127 => 10,
            126 => 4,
            _ => 2,
        };
        // Behind the brace that begins the envelope.
        let skip = header + 1;
        let more = format!("{{\"attempt\":{attempt},\"subscription\":{},", self.subscription);
        let mut id = Vec::with_capacity(more.len() + 10);
        write_header(Opcode::Text, more.len() + bytes.len() - skip, &mut id);
        id.extend_from_slice(more.as_bytes());
        Item::Tracked { parcel: parcel.clone(), id: id.into(), skip: skip as u32, tag }
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
        Dead {
            channel: self.channel.clone(),
            event: flight.parcel.event().clone(),
            position: Some(flight.parcel.position()),
            cause,
            detail: detail.into(),
            attempts: flight.attempts,
            subscription: serde_json::from_str(&self.subscription).ok(),
        }
    }

    /// Sends an event once more, or gives it up.
    pub fn again(&mut self, mut flight: Flight, why: Cause, tag: u32, now_us: u64) -> Result<Item, Dead> {
        if flight.attempts >= self.attempts_max {
            let how = if why == Cause::Rejected { "rejected" } else { "not acknowledged" };
            let detail = format!("{how} after {} of {} attempts", flight.attempts, self.attempts_max);
            return Err(self.dead(&flight, why, detail));
        }
        flight.attempts += 1;
        flight.due_us = now_us.saturating_add(self.timeout_us);
        let item = self.item(&flight.parcel, flight.attempts, tag);
        self.bytes += flight.parcel.len();
        self.flights.push_back(flight);
        Ok(item)
    }
}
