//! One connection as the hub knows it: what it hears, and what it is owed.

use super::outbox::Outbox;
use crate::event::{LABEL_BYTES, Label, Position};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The owner has been asked.
    Pending,
    /// It catches up; `at` is its replay.
    Behind,
    Direct,
    Queued,
}

impl Place {
    /// Events come as they are published.
    pub fn is_live(self) -> bool {
        matches!(self, Place::Direct | Place::Queued)
    }
}

/// What tells the subscriptions of a member apart, shared by the parts of one: an event that several of them cover is
/// delivered through the first.
#[derive(Debug)]
pub struct Badge {
    pub label: Label,
    /// The places of its member in all its channels, where each event is to tell them.
    pub places: Option<Places>,
    /// The delivery of which the subscription got its copy last.
    delivery: Cell<u64>,
}

impl Badge {
    pub fn new(label: Label) -> Badge {
        Badge { label, places: None, delivery: Cell::new(0) }
    }

    /// One for a member whose events tell its places in so many channels.
    pub fn tracking(channels: u32) -> Badge {
        let places = Places(RefCell::new(vec![None; channels as usize]));
        Badge { places: Some(places), ..Badge::new([b'0'; LABEL_BYTES]) }
    }

    /// Whether the subscription gets its copy of this delivery now; only the first who asks is told so.
    pub fn is_first(&self, delivery: u64) -> bool {
        self.delivery.replace(delivery) != delivery
    }
}

/// Where a member stands in each of its channels, by the tags of its subscriptions: what it would name to come back
/// without a hole or a double.
#[derive(Debug)]
pub struct Places(RefCell<Vec<Option<Position>>>);

impl Places {
    /// The member starts behind this position.
    pub fn start(&self, tag: u32, position: Position) {
        if let Some(place) = self.0.borrow_mut().get_mut(tag as usize) {
            *place = Some(position);
        }
    }

    /// The member gets the event at this position: the line `id:` with all its places (contract 7).
    fn line(&self) -> Vec<u8> {
        let mut line = b"id: ".to_vec();
        for (at, place) in self.0.borrow().iter().enumerate() {
            if at > 0 {
                line.push(b',');
            }
            if let Some(place) = place {
                place.write(&mut line);
            }
        }
        line.push(b'\n');
        line
    }

    pub fn passed(&self, tag: u32, position: Position) -> Vec<u8> {
        self.start(tag, position);
        self.line()
    }
}

/// A member's side of one subscription: its crowd's slot, and where in that list.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub tag: u32,
    pub crowd: u32,
    pub at: u32,
    pub place: Place,
    pub label: Option<Rc<Badge>>,
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

    /// The only subscription, if it is the only one and in this place.
    pub fn only(&self, place: Place) -> Option<&Subscription> {
        match self {
            Subscribed::One(one) if one.place == place => Some(one),
            _ => None,
        }
    }

    pub fn find(&mut self, tag: u32) -> Option<&mut Subscription> {
        match self {
            Subscribed::Nothing => None,
            Subscribed::One(one) => (one.tag == tag).then_some(one),
            Subscribed::Many(many) => many.iter_mut().find(|s| s.tag == tag),
        }
    }

    pub fn add(&mut self, subscription: Subscription) {
        *self = match std::mem::take(self) {
            Subscribed::Nothing => Subscribed::One(subscription),
            Subscribed::One(one) => Subscribed::Many(vec![one, subscription]),
            Subscribed::Many(mut many) => {
                many.push(subscription);
                Subscribed::Many(many)
            }
        };
    }

    pub fn remove(&mut self, tag: u32) {
        *self = match std::mem::take(self) {
            Subscribed::One(one) if one.tag == tag => Subscribed::Nothing,
            Subscribed::Many(mut many) => {
                many.retain(|s| s.tag != tag);
                if many.len() == 1 { Subscribed::One(many.remove(0)) } else { Subscribed::Many(many) }
            }
            other => other,
        };
    }
}

/// One connection, at the same slot as in the runtime's table.
#[derive(Default)]
pub(super) struct Member {
    pub generation: u32,
    pub subscribed: Subscribed,
    pub outbox: Option<Box<Outbox>>,
    /// The delivery of which it got a copy last.
    pub delivery: u64,
}
