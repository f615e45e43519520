//! What happens to an event for which a connection's queue has no room: by the channel's option (contract 10), or as
//! the router's users know it (sources 2.5). Control frames are exempt.

use super::item::Item;
use super::members::Badge;
use super::outbox::{Bounds, Outbox};
use super::parcel::Parcel;
use crate::event::Priority;
use std::rc::Rc;

/// By the channel's option, or the way of the router dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Slow {
    /// The connection is given up.
    #[default]
    Disconnect,
    /// The oldest of the least urgent waiting events goes, and the subscriber is told of a gap.
    DropOldest,
    /// Waiting events go that a later one of the same channel and `key` replaces; without any, as [`Slow::DropOldest`].
    Conflate,
    /// The newest of the least urgent waiting events goes if the new one outranks it, else the new one does; nobody
    /// but the publisher is told.
    Router,
}

impl Slow {
    /// Whether a loss is told to the subscriber.
    pub(super) fn tells(self) -> bool {
        matches!(self, Slow::DropOldest | Slow::Conflate)
    }
}

/// A connection's queue in the router dialect (sources 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterQueue {
    /// Events that may wait, in a single queue.
    pub max: usize,
    /// One queue for each of four bands of priority instead, with room of their own.
    pub multi: bool,
}

impl Default for RouterQueue {
    fn default() -> RouterQueue {
        RouterQueue { max: 10_000, multi: false }
    }
}

/// Bytes that events may take in a router's queue for each that may wait, as in the queues of other dialects by default:
/// the bound of events is the one that is meant to be met, and with events of common size it is.
const ROUTER_EVENT_BYTES: usize = 4096;

/// Bands of priority: system 10, high 7 to 9, normal 5 and 6, low below.
pub(super) const BANDS: usize = 4;

/// What each band may hold when they have queues of their own.
const BAND_EVENTS_MAX: [usize; BANDS] = [1_000, 5_000, 10_000, 5_000];

pub(super) fn band(priority: Priority) -> usize {
    match priority.number() {
        10.. => 0,
        7..=9 => 1,
        5..=6 => 2,
        _ => 3,
    }
}

impl RouterQueue {
    /// Of a connection whose queue may hold so many bytes in other dialects: a few events may be large ones here too.
    fn bytes_max(&self, others: usize) -> usize {
        let events = if self.multi { BAND_EVENTS_MAX.iter().sum() } else { self.max };
        others.max(events * ROUTER_EVENT_BYTES)
    }
}

/// What became of an event for which there was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It waits; others may have gone for it.
    Taken,
    /// It is the one that went.
    Dropped,
    /// The connection is to be given up.
    Refused,
}

impl Outbox {
    #[inline]
    pub(super) fn has_room(&self, parcel: &Parcel, bounds: &Bounds) -> bool {
        let bytes = self.event_bytes + parcel.len();
        if parcel.slow() != Slow::Router {
            return self.events < bounds.events_max && (self.events == 0 || bytes <= bounds.bytes_max);
        }
        let router = bounds.router;
        let band = band(parcel.priority());
        let room = match router.multi {
            true => (self.bands[band] as usize) < BAND_EVENTS_MAX[band],
            false => self.events < router.max,
        };
        room && (self.events == 0 || bytes <= router.bytes_max(bounds.bytes_max))
    }

    /// Takes an event for which there is no room, at the cost that its rule says. What goes for it, or it itself, is
    /// added to `lost`.
    pub fn force(
        &mut self,
        parcel: &Rc<Parcel>,
        tag: u32,
        label: Option<&Rc<Badge>>,
        bounds: &Bounds,
        lost: &mut Vec<(Rc<Parcel>, u32)>,
    ) -> Put {
        if self.cut || parcel.slow() == Slow::Disconnect {
            return Put::Refused;
        }
        if parcel.slow().tells() {
            self.conflate(parcel, bounds, lost);
        }
        while !self.has_room(parcel, bounds) {
            let victim = match parcel.slow() {
                Slow::Router => self.outranked(parcel, bounds),
                _ => self.least(parcel),
            };
            let Some(victim) = victim else {
                lost.push((parcel.clone(), tag));
                return Put::Dropped;
            };
            self.lose(victim, lost);
        }
        self.add(Item::event(parcel, tag, label));
        Put::Taken
    }

    /// Drops a waiting event.
    pub(super) fn lose(&mut self, at: usize, lost: &mut Vec<(Rc<Parcel>, u32)>) {
        let item = self.take(at);
        lost.extend(item.parcel().map(|(parcel, tag)| (parcel.clone(), tag)));
    }

    /// The events of which nothing is on the wire, and where they are.
    fn waiting(&self) -> impl DoubleEndedIterator<Item = (usize, &Rc<Parcel>)> {
        let items = self.items.iter().enumerate().skip(usize::from(self.sent > 0));
        items.filter_map(|(at, item)| item.parcel().map(|(parcel, _)| (at, parcel)))
    }

    /// The oldest of the least urgent events that may go, unless the new one is less urgent still.
    fn least(&self, new: &Parcel) -> Option<usize> {
        let droppable = self.waiting().filter(|(_, parcel)| parcel.slow().tells());
        let (at, least) = droppable.min_by_key(|(at, parcel)| (parcel.priority(), *at))?;
        (least.priority() <= new.priority()).then_some(at)
    }

    /// The lowest-ranked event, if the new one outranks it; and enough of them go for it that it fits.
    fn outranked(&self, new: &Parcel, bounds: &Bounds) -> Option<usize> {
        let own_band =
            |parcel: &Parcel| !bounds.router.multi || band(parcel.priority()) == band(new.priority());
        let below = |parcel: &Parcel| {
            parcel.slow() == Slow::Router && own_band(parcel) && parcel.priority() < new.priority()
        };
        let bytes_max = bounds.router.bytes_max(bounds.bytes_max);
        let bytes_over = (self.event_bytes + new.len()).saturating_sub(bytes_max);
        if bytes_over > 0 {
            let bytes: usize = self.waiting().filter(|(_, p)| below(p)).map(|(_, p)| p.len()).sum();
            if bytes < bytes_over {
                return None;
            }
        }
        let ranked = self.waiting().filter(|(_, parcel)| below(parcel));
        ranked.min_by_key(|(at, parcel)| (parcel.priority(), usize::MAX - at)).map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Channel, Event, Extras, Facts, Form, Position};

    /// Offers events `priority:name` one after the other and answers what waits, what went and what was dropped.
    fn offered(slow: Slow, router: RouterQueue, events: &[&str]) -> (String, String) {
        let bounds = Bounds { events_max: 3, bytes_max: 10_000, control_bytes_max: 10, router };
        let mut outbox = Outbox::default();
        let mut lost = Vec::new();
        for (offset, event) in events.iter().enumerate() {
            let parcel = parcel(slow, event, offset as u64);
            if outbox.push(&parcel, 0, None, &bounds).is_err() {
                let put = outbox.force(&parcel, 0, None, &bounds, &mut lost);
                assert_ne!(put, Put::Refused);
            }
        }
        let names = |parcels: Vec<&Rc<Parcel>>| {
            let names: Vec<&str> = parcels.iter().map(|p| p.event().kind().unwrap()).collect();
            names.join(" ")
        };
        (names(outbox.waiting().map(|(_, p)| p).collect()), names(lost.iter().map(|(p, _)| p).collect()))
    }

    fn parcel(slow: Slow, event: &str, offset: u64) -> Rc<Parcel> {
        let (priority, name) = event.split_once(':').unwrap();
        let (name, key) = name.split_once('=').unwrap_or((name, ""));
        let key = if key.is_empty() { String::new() } else { format!(r#","key":"{key}""#) };
        let text = format!(r#"{{"type":"{name}"{key}}}"#);
        let extras = Extras { priority: Priority::word(priority).unwrap(), ..Extras::default() };
        let event = Event::new(&text, &Facts::read(&text).unwrap(), Some(Box::new(extras)), 0);
        let channel = Channel::parse("c").unwrap();
        Rc::new(Parcel::new(event, Form::RAW, Position { epoch: 1, offset }, slow, &channel))
    }

    const SINGLE: RouterQueue = RouterQueue { max: 3, multi: false };

    #[test]
    fn higher_goes_first_and_equals_keep_their_order() {
        let (waits, _) = offered(Slow::Disconnect, SINGLE, &["5:a", "9:b", "5:c"]);
        assert_eq!(waits, "b a c");
        let (waits, _) = offered(Slow::Router, SINGLE, &["1:a", "1:b", "10:c"]);
        assert_eq!(waits, "c a b");
    }

    #[test]
    fn the_router_drops_the_newest_of_the_lowest_for_one_that_outranks_it() {
        let (waits, lost) = offered(Slow::Router, SINGLE, &["5:a", "3:b", "3:c", "7:d"]);
        assert_eq!((&*waits, &*lost), ("d a b", "c"));
    }

    #[test]
    fn the_router_drops_the_new_event_when_it_outranks_nobody() {
        let (waits, lost) = offered(Slow::Router, SINGLE, &["5:a", "5:b", "5:c", "5:d", "4:e"]);
        assert_eq!((&*waits, &*lost), ("a b c", "d e"));
    }

    #[test]
    fn a_single_queue_holds_as_many_as_its_setting_says() {
        let max = RouterQueue { max: 4, multi: false };
        let (waits, lost) = offered(Slow::Router, max, &["5:a", "5:b", "5:c", "5:d", "5:e"]);
        assert_eq!((&*waits, &*lost), ("a b c d", "e"));
    }

    #[test]
    fn four_queues_have_room_of_their_own_and_are_drained_in_order() {
        let multi = RouterQueue { max: 1, multi: true };
        let mut events = vec!["4:low", "6:normal"];
        events.extend(["10:system"; 1001]);
        events.push("8:high");
        let (waits, lost) = offered(Slow::Router, multi, &events);
        let waits: Vec<&str> = waits.split(' ').collect();
        assert_eq!((waits.len(), &waits[999..]), (1003, &["system", "high", "normal", "low"][..]));
        assert_eq!(lost, "system", "a full band drops its own, by its own rank");
    }

    #[test]
    fn drop_oldest_takes_the_oldest_of_the_least_urgent() {
        let (waits, lost) = offered(Slow::DropOldest, SINGLE, &["5:a", "5:b", "7:c", "5:d", "6:e"]);
        assert_eq!((&*waits, &*lost), ("c e d", "a b"));
        let (waits, lost) = offered(Slow::DropOldest, SINGLE, &["5:a", "5:b", "5:c", "4:d"]);
        assert_eq!((&*waits, &*lost), ("a b c", "d"), "the new one is the least urgent");
    }

    #[test]
    fn conflation_keeps_the_latest_of_a_key() {
        let (waits, lost) = offered(Slow::Conflate, SINGLE, &["5:a=x", "5:b=y", "5:c", "5:d=y", "5:e=z"]);
        assert_eq!((&*waits, &*lost), ("c d e", "b a"));
    }

    #[test]
    fn nothing_passes_a_control_frame_or_what_has_begun() {
        let bounds = Bounds { events_max: 9, bytes_max: 999, control_bytes_max: 10, router: SINGLE };
        let mut outbox = Outbox::default();
        outbox.push(&parcel(Slow::Disconnect, "5:a", 0), 0, None, &bounds).unwrap();
        outbox.mark_sent(1);
        outbox.push(&parcel(Slow::Disconnect, "9:b", 1), 0, None, &bounds).unwrap();
        outbox.push_control(b"!", &bounds).unwrap();
        outbox.push(&parcel(Slow::Disconnect, "10:c", 2), 0, None, &bounds).unwrap();
        let kinds: Vec<_> =
            outbox.items.iter().map(|item| item.parcel().and_then(|(p, _)| p.event().kind())).collect();
        assert_eq!(kinds, [Some("a"), Some("b"), None, Some("c")]);
    }
}
