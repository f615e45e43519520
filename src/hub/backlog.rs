//! What the queues that wait for their sockets hold, all together, and what goes when those of all shards hold too much.
//! Only such a queue is counted: a subscriber that takes what it gets has none, and costs nothing here.

use super::outbox::Outbox;
use super::slow::Slow;
use super::subscriptions::Subscriptions;
use super::{Cut, Hub};
use crate::event::Priority;
use crate::hub::parcel::Parcel;
use std::collections::VecDeque;
use std::rc::Rc;

/// Queues to be flushed at the end of the turn, and what those hold that cannot be.
#[derive(Default)]
pub(super) struct Waiting {
    /// Members whose outbox is to be flushed.
    pub dirty: Vec<u32>,
    /// Bytes of events in queues that wait for their sockets.
    bytes: u64,
    /// No such queue holds more; some may have held as much and be shorter now.
    largest: u64,
}

impl Waiting {
    /// Lists a member for the flush at the end of the turn, once, or counts what its queue holds while it waits.
    #[inline]
    pub fn list(&mut self, slot: u32, outbox: &mut Outbox) {
        if outbox.blocked {
            self.count(outbox);
        } else if !outbox.dirty {
            outbox.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// A queue waits, and may hold something else than before.
    pub fn count(&mut self, outbox: &mut Outbox) {
        let bytes = outbox.event_bytes() as u64;
        self.bytes = self.bytes + bytes - std::mem::replace(&mut outbox.counted, bytes);
        self.largest = self.largest.max(bytes);
    }

    /// A queue is gone, or waits no more.
    #[inline]
    pub fn discount(&mut self, outbox: &Outbox) {
        self.bytes -= outbox.counted;
        if self.bytes == 0 {
            self.largest = 0;
        }
    }
}

impl Subscriptions {
    /// Shortens the longest queues, none below `floor`, until so many bytes are gone.
    fn shed(&mut self, bytes: u64, floor: u64, counters: &mut super::Counters) {
        let mut longest: Vec<(u64, u32)> = self.waiting_queues().collect();
        longest.sort_unstable_by(|one, other| other.cmp(one));
        let mut gone = 0;
        for (held, slot) in longest {
            if gone >= bytes || held < floor {
                break;
            }
            gone += self.shorten(slot, counters);
        }
        self.waiting.largest = self.waiting_queues().map(|(held, _)| held).max().unwrap_or(0);
    }

    fn waiting_queues(&self) -> impl Iterator<Item = (u64, u32)> {
        let queues = (0u32..).zip(&self.members).filter_map(|(slot, m)| Some((slot, m.outbox.as_deref()?)));
        queues
            .filter(|(_, outbox)| outbox.counted > 0 && !outbox.cut)
            .map(|(slot, outbox)| (outbox.counted, slot))
    }

    /// Takes half of what a queue holds, or all with its connection, as the rule of its newest event says.
    fn shorten(&mut self, slot: u32, counters: &mut super::Counters) -> u64 {
        let key = self.key_of(slot);
        let Some(outbox) = &mut self.members[slot as usize].outbox else { return 0 };
        let before = outbox.counted;
        counters.backlogs_shed += 1;
        if outbox.halve(&mut self.lost) {
            self.waiting.count(outbox);
            self.gaps.take(key, &mut self.lost, counters);
        } else {
            self.gaps.take(key, &mut self.lost, counters);
            counters.events_dropped += outbox.give_up() as u64;
            self.waiting.count(outbox);
            counters.slow_consumers += 1;
            self.cut.push((key, Cut::Slow));
        }
        before - self.members[slot as usize].outbox.as_ref().map_or(0, |outbox| outbox.counted)
    }
}

impl Outbox {
    /// Drops events until half of the bytes are left, in the order in which the rule of the newest one drops them, and
    /// first of all what others replace. Answers whether that could be done: where it disconnects there is nothing to
    /// drop.
    fn halve(&mut self, lost: &mut Vec<(Rc<Parcel>, u32)>) -> bool {
        let begun = usize::from(self.sent > 0);
        let waiting = self.items.iter().enumerate().skip(begun);
        let events = waiting.filter_map(|(at, item)| Some((at, item.len(), &**item.parcel()?.0)));
        let Some(rule) = events.clone().next_back().map(|(.., newest)| newest.slow()) else { return false };
        let mut order: Vec<(bool, Priority, usize, usize, usize)> = match rule {
            Slow::Disconnect => return false,
            Slow::Router => events
                .filter(|(.., parcel)| parcel.slow() == Slow::Router)
                .map(|(at, len, parcel)| (true, parcel.priority(), usize::MAX - at, at, len))
                .collect(),
            Slow::DropOldest | Slow::Conflate => {
                let replaced = self.replaced(None);
                let is_latest = |at: usize| replaced.binary_search(&at).is_err();
                events
                    .filter(|(.., parcel)| parcel.slow().tells())
                    .map(|(at, len, parcel)| (is_latest(at), parcel.priority(), at, at, len))
                    .collect()
            }
        };
        order.sort_unstable();
        let (wanted, mut found, mut gone) = (self.event_bytes().div_ceil(2), 0, Vec::new());
        for (.., at, len) in order {
            if found >= wanted {
                break;
            }
            found += len;
            gone.push(at);
        }
        gone.sort_unstable();
        self.drop_all(&gone, lost);
        found >= wanted
    }

    /// Takes out the items at these places, in order.
    pub(super) fn drop_all(&mut self, gone: &[usize], lost: &mut Vec<(Rc<Parcel>, u32)>) {
        let items = std::mem::take(&mut self.items);
        self.items = VecDeque::with_capacity(items.len());
        let mut next = gone.iter().peekable();
        for (at, item) in items.into_iter().enumerate() {
            if next.next_if_eq(&&at).is_none() {
                self.items.push_back(item);
                continue;
            }
            self.discount(&item);
            lost.extend(item.parcel().map(|(parcel, tag)| (parcel.clone(), tag)));
        }
        self.ordered_from -= gone.partition_point(|at| *at < self.ordered_from);
    }
}

impl Hub {
    /// Bytes of events in the queues of this shard that wait for their sockets, and a bound of the longest of them.
    pub fn backlog(&self) -> (u64, u64) {
        (self.subscriptions.waiting.bytes, self.subscriptions.waiting.largest)
    }

    /// Shortens the longest of those queues, none of which holds less than `floor`, by so many bytes together; where the
    /// rule of its channel is to disconnect, the connection is given up.
    pub fn shed(&mut self, bytes: u64, floor: u64) {
        self.subscriptions.shed(bytes, floor, &mut self.counters);
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox::Bounds;
    use super::super::slow::RouterQueue;
    use super::*;
    use crate::event::{Channel, Event, Extras, Facts, Form, Position};

    const BOUNDS: Bounds = Bounds {
        events_max: 99,
        bytes_max: 10_000,
        control_bytes_max: 10,
        router: RouterQueue { max: 99, multi: false },
    };

    fn parcel(slow: Slow, event: &str) -> Rc<Parcel> {
        let (priority, name) = event.split_once(':').unwrap();
        let text = format!(r#"{{"type":"{name}"}}"#);
        let extras = Extras { priority: Priority::word(priority).unwrap(), ..Extras::default() };
        let event = Event::new(&text, &Facts::read(&text).unwrap(), Some(Box::new(extras)), 0);
        let position = Position { epoch: 1, offset: 1 };
        Rc::new(Parcel::new(event, Form::RAW, position, slow, &Channel::parse("c").unwrap()))
    }

    /// What is left of a queue that is halved, what went, and whether that was enough.
    fn halved(slow: Slow, events: &[&str]) -> (String, String, bool) {
        let (mut outbox, mut lost) = (Outbox::default(), Vec::new());
        for event in events {
            outbox.push(&parcel(slow, event), 0, None, &BOUNDS).unwrap();
        }
        let done = outbox.halve(&mut lost);
        let names = |parcels: Vec<&Rc<Parcel>>| {
            let names: Vec<&str> = parcels.iter().map(|p| p.event().kind().unwrap()).collect();
            names.join(" ")
        };
        assert_eq!(outbox.events(), outbox.items.len());
        assert_eq!(
            outbox.event_bytes(),
            outbox.items.iter().map(super::super::item::Item::len).sum::<usize>()
        );
        let left = outbox.items.iter().filter_map(|item| item.parcel()).map(|(p, _)| p).collect();
        (names(left), names(lost.iter().map(|(p, _)| p).collect()), done)
    }

    #[test]
    fn half_of_a_queue_goes_as_its_rule_drops() {
        let oldest = halved(Slow::DropOldest, &["5:a", "5:b", "7:c", "5:d"]);
        assert_eq!(oldest, ("c d".to_owned(), "a b".to_owned(), true));
        let newest = halved(Slow::Router, &["5:a", "5:b", "7:c", "5:d"]);
        assert_eq!(newest, ("c a".to_owned(), "b d".to_owned(), true));
        let all = halved(Slow::Disconnect, &["5:a", "5:b"]);
        assert_eq!(all, ("a b".to_owned(), String::new(), false));
    }

    #[test]
    fn what_waits_is_counted_while_it_waits_and_not_before() {
        let (mut waiting, mut one, mut other) = (Waiting::default(), Outbox::default(), Outbox::default());
        one.push(&parcel(Slow::Disconnect, "5:a"), 0, None, &BOUNDS).unwrap();
        waiting.list(1, &mut one);
        assert_eq!((waiting.bytes, &waiting.dirty[..]), (0, &[1][..]));
        one.blocked = true;
        waiting.list(1, &mut one);
        let held = one.event_bytes() as u64;
        assert_eq!((waiting.bytes, waiting.largest), (held, held));
        other.blocked = true;
        for _ in 0..2 {
            other.push(&parcel(Slow::Disconnect, "5:a"), 0, None, &BOUNDS).unwrap();
            waiting.list(2, &mut other);
        }
        assert_eq!((waiting.bytes, waiting.largest), (3 * held, 2 * held));
        other.give_up();
        waiting.count(&mut other);
        assert_eq!(waiting.bytes, held);
        waiting.discount(&one);
        assert_eq!((waiting.bytes, waiting.largest), (0, 0));
    }
}
