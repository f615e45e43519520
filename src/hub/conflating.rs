//! What goes first from a queue that conflates: events that a later one of the same channel and `key` replaces, through
//! whichever of a connection's subscriptions they came. Called by `slow` for an event that finds no room, and by `backlog`
//! when the queues of all hold too much; never while there is room. An event that must be acknowledged replaces nothing and
//! is not replaced: it would come again, behind the later one.

use super::item::Item;
use super::outbox::{Bounds, Outbox};
use super::parcel::Parcel;
use super::slow::Slow;
use crate::event::{Channel, Position, Priority};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

/// Of events that agree in it, the latest replaces the others.
type Subject<'q> = (&'q Channel, &'q str);

fn subject(parcel: &Parcel) -> Option<Subject<'_>> {
    if parcel.slow() != Slow::Conflate {
        return None;
    }
    Some((parcel.channel()?, parcel.event().key()?))
}

/// What says which of two events is later.
#[derive(Clone, Copy)]
struct Place {
    position: Position,
    priority: Priority,
    /// In the queue.
    at: usize,
}

/// The place of an event that is not in the queue yet.
const BEHIND_ALL: usize = usize::MAX;

impl Place {
    fn new(parcel: &Parcel, at: usize) -> Place {
        Place { position: parcel.position(), priority: parcel.priority(), at }
    }

    /// By the channel's numbering, as an urgent event waits before older ones. Numberings have no order among each other:
    /// where the channel was made anew the place in the queue says it, if neither has overtaken the other. `None` if
    /// nothing says it.
    fn is_later_than(self, other: Place) -> Option<bool> {
        if self.position.epoch == other.position.epoch {
            return Some(self.position.offset > other.position.offset);
        }
        (self.priority == other.priority).then_some(self.at > other.at)
    }
}

impl Outbox {
    /// Drops what is replaced for an event that has no room: one that it replaces itself, or else all there is, whatever
    /// their priority. They are looked for once, and then not before something was put beside what is left.
    pub(super) fn conflate(&mut self, new: &Rc<Parcel>, bounds: &Bounds, lost: &mut Vec<(Rc<Parcel>, u32)>) {
        if let Some(at) = self.same_subject(new) {
            self.lose(at, lost);
            if self.has_room(new, bounds) {
                return;
            }
        }
        let gone = self.replaced(Some(new));
        if !gone.is_empty() {
            self.drop_all(&gone, lost);
        }
        self.latest_only = true;
    }

    /// Where the replaced events wait, in order. One table for all of them: a search for each would take seconds where
    /// thousands may wait.
    pub(super) fn replaced(&self, new: Option<&Parcel>) -> Vec<usize> {
        let mut gone = Vec::new();
        if self.latest_only {
            return gone;
        }
        let mut latest: HashMap<Subject<'_>, Place, foldhash::fast::RandomState> = HashMap::default();
        let new = new.and_then(|parcel| Some((subject(parcel)?, Place::new(parcel, BEHIND_ALL))));
        for (subject, place) in self.conflated().chain(new) {
            match latest.entry(subject) {
                Entry::Vacant(entry) => drop(entry.insert(place)),
                Entry::Occupied(mut entry) => match place.is_later_than(*entry.get()) {
                    Some(true) => gone.push(entry.insert(place).at),
                    Some(false) => gone.push(place.at),
                    None => {}
                },
            }
        }
        gone.sort_unstable();
        debug_assert!(gone.last() != Some(&BEHIND_ALL), "what comes is later than what waits");
        gone
    }

    /// The first waiting event that a new one replaces.
    fn same_subject(&self, new: &Parcel) -> Option<usize> {
        let wanted = subject(new)?;
        self.conflated().find(|(subject, _)| *subject == wanted).map(|(_, place)| place.at)
    }

    /// The events that may be replaced, and where they are.
    fn conflated(&self) -> impl Iterator<Item = (Subject<'_>, Place)> {
        let waiting = self.items.iter().enumerate().skip(usize::from(self.sent > 0));
        waiting.filter(|(_, item)| !matches!(item, Item::Tracked { acked: true, .. })).filter_map(
            |(at, item)| {
                let (parcel, _) = item.parcel()?;
                Some((subject(parcel)?, Place::new(parcel, at)))
            },
        )
    }
}
