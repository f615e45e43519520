//! One connection as the hub knows it: what it hears, and what it is owed.

use super::acks::Acks;
use super::outbox::Outbox;
use crate::event::{LABEL_BYTES, Label, Position};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// Up to so many subscriptions of one member are looked at one after the other: 2 KiB, some ten nanoseconds. More are
/// found by an index, so that the ten thousandth costs what the hundredth does.
const LOOKED_AT_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The owner has been asked.
    Pending,
    /// It catches up; `at` is its replay.
    Behind,
    Direct,
    Queued,
}

/// What tells the subscriptions of a member apart, shared by the parts of one: an event that several of them cover is
/// delivered through the first.
pub struct Badge {
    pub label: Label,
    /// The places of its member in all its channels, where each event is to tell them.
    pub places: Option<Places>,
    /// What is in flight to a subscription that acknowledges.
    pub(super) acks: Option<Box<RefCell<Acks>>>,
    /// The delivery of which the subscription got its copy last.
    delivery: Cell<u64>,
}

impl Badge {
    pub fn new(label: Label) -> Badge {
        Badge { label, places: None, acks: None, delivery: Cell::new(0) }
    }

    /// One for a member whose events tell its places in so many channels.
    pub fn tracking(channels: u32) -> Badge {
        let places = Places(RefCell::new(vec![None; channels as usize]));
        Badge { places: Some(places), ..Badge::new([b'0'; LABEL_BYTES]) }
    }

    /// One for a subscription that acknowledges.
    pub(super) fn acking(acks: Acks, label: Option<Label>) -> Badge {
        let label = label.unwrap_or([b'0'; LABEL_BYTES]);
        Badge { acks: Some(Box::new(RefCell::new(acks))), ..Badge::new(label) }
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
#[derive(Clone)]
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
    Many(Several),
}

/// More than one.
pub(super) struct Several {
    list: Vec<Subscription>,
    index: Option<Box<Index>>,
}

#[derive(Default)]
struct Index {
    /// Where in the list each tag is.
    places: HashMap<u32, u32, foldhash::fast::RandomState>,
    /// Crowds, with the tags of the subscriptions in each.
    crowds: BTreeSet<(u32, u32)>,
}

impl Index {
    fn note(&mut self, at: usize, subscription: &Subscription) {
        self.places.insert(subscription.tag, at as u32);
        self.crowds.insert((subscription.crowd, subscription.tag));
    }
}

impl Several {
    fn push(&mut self, subscription: Subscription) {
        let at = self.list.len();
        match &mut self.index {
            Some(index) => index.note(at, &subscription),
            None if at == LOOKED_AT_MAX => {
                let index = self.index.insert(Box::default());
                self.list.iter().enumerate().for_each(|(at, other)| index.note(at, other));
                index.note(at, &subscription);
            }
            None => {}
        }
        self.list.push(subscription);
    }

    fn place_of(&self, tag: u32) -> Option<usize> {
        match &self.index {
            Some(index) => index.places.get(&tag).map(|at| *at as usize),
            None => self.list.iter().position(|subscription| subscription.tag == tag),
        }
    }

    fn remove(&mut self, tag: u32) {
        let Some(at) = self.place_of(tag) else { return };
        let gone = self.list.swap_remove(at);
        let Some(index) = &mut self.index else { return };
        index.places.remove(&tag);
        index.crowds.remove(&(gone.crowd, tag));
        if let Some(moved) = self.list.get(at) {
            index.places.insert(moved.tag, at as u32);
        }
    }
}

impl Subscribed {
    pub fn as_slice(&self) -> &[Subscription] {
        match self {
            Subscribed::Nothing => &[],
            Subscribed::One(one) => std::slice::from_ref(one),
            Subscribed::Many(many) => &many.list,
        }
    }

    /// The tag of a subscription that sits in one of these crowds.
    pub fn tag_in(&self, crowds: &[u32]) -> Option<u32> {
        match self {
            Subscribed::Many(Several { index: Some(index), .. }) => crowds.iter().find_map(|crowd| {
                index.crowds.range((*crowd, 0)..=(*crowd, u32::MAX)).next().map(|(_, tag)| *tag)
            }),
            _ => self.as_slice().iter().find(|s| crowds.contains(&s.crowd)).map(|s| s.tag),
        }
    }

    /// Notes that a subscription sits in another crowd now.
    pub fn move_to_crowd(&mut self, tag: u32, crowd: u32) {
        let Some(found) = self.find(tag) else { return };
        let before = std::mem::replace(&mut found.crowd, crowd);
        if let Subscribed::Many(Several { index: Some(index), .. }) = self {
            index.crowds.remove(&(before, tag));
            index.crowds.insert((crowd, tag));
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
            Subscribed::Many(many) => {
                let at = many.place_of(tag)?;
                many.list.get_mut(at)
            }
        }
    }

    pub fn add(&mut self, subscription: Subscription) {
        *self = match std::mem::take(self) {
            Subscribed::Nothing => Subscribed::One(subscription),
            Subscribed::One(one) => Subscribed::Many(Several { list: vec![one, subscription], index: None }),
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
                many.remove(tag);
                if many.list.len() == 1 {
                    Subscribed::One(many.list.remove(0))
                } else {
                    Subscribed::Many(many)
                }
            }
            other => other,
        };
    }
}

/// One connection, at the same slot as in the runtime's table.
#[derive(Default)]
pub(super) struct Member {
    pub generation: u32,
    /// How many of its subscriptions catch up.
    pub behind: u32,
    pub subscribed: Subscribed,
    pub outbox: Option<Box<Outbox>>,
    /// The delivery of which it got a copy last.
    pub delivery: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many more than are looked at one by one, entered and taken out against a plain list.
    #[test]
    fn subscriptions_are_found_by_tag_and_crowd_however_many_there_are() {
        let (mut subscribed, mut plain) = (Subscribed::default(), Vec::new());
        let tags = (0..5 * LOOKED_AT_MAX as u32).map(|n| n * 7919 % 997);
        for (step, tag) in tags.enumerate() {
            let subscription = Subscription { tag, crowd: tag / 2, at: 0, place: Place::Queued, label: None };
            subscribed.add(subscription);
            plain.push((tag, tag / 2));
            if step % 3 == 2 {
                let (gone, _) = plain.swap_remove(step / 3 % plain.len());
                subscribed.remove(gone);
            }
            if step % 5 == 4 {
                let at = step / 2 % plain.len();
                plain[at].1 = 5000 + tag;
                subscribed.move_to_crowd(plain[at].0, plain[at].1);
            }
            assert_eq!(subscribed.as_slice().len(), plain.len());
            for (tag, crowd) in &plain {
                assert_eq!(subscribed.find(*tag).map(|s| s.crowd), Some(*crowd));
                let found = subscribed.tag_in(&[9999, *crowd]);
                assert!(found.is_some_and(|found| plain.contains(&(found, *crowd))));
            }
            assert!(subscribed.find(9999).is_none() && subscribed.tag_in(&[9999]).is_none());
        }
        for (tag, _) in plain {
            subscribed.remove(tag);
        }
        assert!(matches!(subscribed, Subscribed::Nothing));
    }
}
