//! A queue that conflates keeps the latest event of each key as long as there is one to throw away that is replaced.

use super::*;
use crate::hub::item::Item;
use crate::hub::outbox::Outbox;
use std::rc::Rc;

const BOUNDS: Bounds = Bounds {
    events_max: 4,
    bytes_max: 100_000,
    control_bytes_max: 1000,
    router: RouterQueue { max: 4, multi: false },
};

/// The text of `kind=key`, or of an event without a key.
fn text(event: &str) -> String {
    match event.split_once('=') {
        Some((kind, key)) => format!(r#"{{"type":"{kind}","key":"{key}"}}"#),
        None => format!(r#"{{"type":"{event}"}}"#),
    }
}

fn event(event: &str, extras: Extras) -> Event {
    let text = text(event);
    Event::new(&text, &Facts::read(&text).unwrap(), Some(Box::new(extras)), 0)
}

fn wide(events_max: usize) -> Options {
    let mut options = options();
    options.outbox = Bounds { events_max, ..BOUNDS };
    options.channels.slow = Slow::Conflate;
    options
}

impl Story {
    /// Publishes events one turn after the other to a member whose socket takes nothing.
    fn stalled(events_max: usize, events: &[&str]) -> Story {
        let mut story = Story::new(wide(events_max));
        story.join(0, 4, &Wish::channel("a"));
        story.pipes.stuck.push(0);
        events.iter().for_each(|event| story.publish_keyed(event));
        story
    }

    fn publish_keyed(&mut self, name: &str) {
        let origin = Origin { connection: key(9), request: 0, item: 0 };
        self.hub.publish("a", event(name, Extras::default()), origin, 0, &mut self.pipes);
        self.hub.flush(0, &mut self.pipes);
    }

    /// The kinds of what comes once the socket takes all.
    fn kinds(&mut self) -> String {
        self.unstick(0);
        let heard = self.heard(0);
        let kinds: Vec<&str> = heard.split_whitespace().filter_map(|event| event.split('"').next()).collect();
        kinds.join(" ")
    }

    /// From where to where gaps go.
    fn gaps(&mut self) -> Vec<(u64, u64)> {
        self.hub.take_gaps(key(0)).iter().map(|gap| (gap.from.offset, gap.to.offset)).collect()
    }
}

/// Both were queued while there was room, where nothing is thrown away; then an event of a third key sent off the oldest
/// of all, the latest of its key (seed 249456 of the simulation).
#[test]
fn what_is_replaced_goes_before_the_latest_of_any_key() {
    let mut story = Story::stalled(4, &["x1=x", "y1=y", "y2=y", "y3=y", "z1=z"]);
    assert_eq!(story.gaps(), [(2, 3)]);
    assert_eq!(story.hub.counters.events_dropped, 2);
    assert_eq!(story.kinds(), "x1 y3 z1");
}

#[test]
fn an_event_without_a_key_sends_off_no_latest_either() {
    let mut story = Story::stalled(4, &["x1=x", "y1=y", "y2=y", "y3=y", "n"]);
    assert_eq!((story.gaps(), story.kinds()), (vec![(2, 3)], "x1 y3 n".to_owned()));
}

#[test]
fn where_all_are_the_latest_the_oldest_goes() {
    let mut story = Story::stalled(4, &["x1=x", "n1", "y1=y", "z1=z", "n2", "z2=z"]);
    assert_eq!((story.gaps(), story.kinds()), (vec![(1, 4)], "n1 y1 n2 z2".to_owned()));
}

#[test]
fn what_replaces_an_event_itself_costs_no_other() {
    let mut story = Story::stalled(4, &["y1=y", "x1=x", "x2=x", "y2=y", "x3=x"]);
    assert_eq!((story.gaps(), story.kinds()), (vec![(2, 2)], "y1 x2 y2 x3".to_owned()));
}

#[test]
fn a_queue_that_is_shed_loses_first_what_is_replaced() {
    let mut story = Story::stalled(9, &["x1=x", "y1=y", "y2=y", "y3=y", "y4=y", "z1=z"]);
    story.hub.shed(1, 0);
    assert_eq!((story.gaps(), story.kinds()), (vec![(2, 4)], "x1 y4 z1".to_owned()));
    let mut story = Story::stalled(9, &["x1=x", "x2=x", "y1=y", "z1=z"]);
    story.hub.shed(1, 0);
    assert_eq!(story.kinds(), "y1 z1", "what is replaced was not enough, and then it is the oldest");
}

/// A queue, what went from it, and the number of the next event.
#[derive(Default)]
struct Queue {
    outbox: Outbox,
    lost: Vec<(Rc<Parcel>, u32)>,
    offset: u64,
    epoch: u32,
}

impl Queue {
    /// Offers `kind=key` for a subscription.
    fn offer(&mut self, tag: u32, priority: u64, name: &str) -> Put {
        let parcel = self.parcel(priority, name);
        match self.outbox.push(&parcel, tag, None, &BOUNDS) {
            Ok(()) => Put::Taken,
            Err(_) => self.outbox.force(&parcel, tag, None, &BOUNDS, &mut self.lost),
        }
    }

    fn parcel(&mut self, number: u64, name: &str) -> Rc<Parcel> {
        self.parcel_of("a", Slow::Conflate, number, name)
    }

    fn parcel_of(&mut self, channel: &str, slow: Slow, number: u64, name: &str) -> Rc<Parcel> {
        self.offset += 1;
        let position = Position { epoch: self.epoch, offset: self.offset };
        let (event, channel) = (event(name, priority(number)), Channel::parse(channel).unwrap());
        Rc::new(Parcel::new(event, Form::RAW, position, slow, &channel))
    }

    /// What waits, and what went.
    fn kinds(&self) -> (String, String) {
        let names = |parcels: Vec<&Rc<Parcel>>| {
            let names: Vec<&str> = parcels.iter().map(|parcel| parcel.event().kind().unwrap()).collect();
            names.join(" ")
        };
        let waiting = self.outbox.items.iter().filter_map(|item| item.parcel());
        assert_eq!(waiting.clone().map(|(parcel, _)| parcel.len()).sum::<usize>(), self.outbox.event_bytes());
        assert_eq!(waiting.clone().count(), self.outbox.events());
        (names(waiting.map(|(p, _)| p).collect()), names(self.lost.iter().map(|(p, _)| p).collect()))
    }

    fn check(&self, waiting: &str, lost: &str) {
        assert_eq!(self.kinds(), (waiting.to_owned(), lost.to_owned()));
    }
}

/// It gets one copy of an event, through whichever heard it first.
#[test]
fn a_connection_has_one_latest_for_all_its_subscriptions() {
    let mut queue = Queue::default();
    for (tag, name) in [(1, "y1=y"), (1, "x1=x"), (2, "x2=x"), (1, "n1"), (1, "n2")] {
        assert_eq!(queue.offer(tag, 5, name), Put::Taken);
    }
    queue.check("y1 x2 n1 n2", "x1");
    queue.offer(2, 5, "y2=y");
    queue.check("x2 n1 n2 y2", "x1 y1");
}

/// A queue holds the events of all channels that its connection hears.
#[test]
fn an_event_of_a_channel_without_conflation_sends_off_no_latest_either() {
    let mut queue = Queue::default();
    for name in ["x1=x", "y1=y", "y2=y", "y3=y"] {
        queue.offer(1, 5, name);
    }
    let other = queue.parcel_of("d", Slow::DropOldest, 5, "z");
    let put = queue.outbox.force(&other, 1, None, &BOUNDS, &mut queue.lost);
    assert_eq!(put, Put::Taken);
    queue.check("x1 y3 z", "y1 y2");
}

#[test]
fn what_is_replaced_goes_however_urgent_it_is_and_whatever_it_has_passed() {
    let mut queue = Queue::default();
    for (priority, name) in [(9, "old=x"), (5, "new=x"), (5, "y1=y"), (5, "n")] {
        queue.offer(1, priority, name);
    }
    queue.offer(1, 4, "z1=z");
    queue.check("new y1 n z1", "old");
    let mut queue = Queue::default();
    for (priority, name) in [(5, "old=x"), (9, "new=x"), (5, "y1=y"), (5, "n")] {
        queue.offer(1, priority, name);
    }
    queue.offer(1, 5, "z1=z");
    queue.check("new y1 n z1", "old");
}

#[test]
fn a_channel_that_is_made_anew_counts_anew_and_the_place_says_what_is_later() {
    let mut queue = Queue { offset: 9, epoch: 7, ..Queue::default() };
    queue.offer(1, 5, "y1=y");
    queue.offer(1, 5, "x1=x");
    (queue.offset, queue.epoch) = (0, 3);
    for name in ["x2=x", "z1=z", "n"] {
        queue.offer(1, 5, name);
    }
    queue.check("y1 x2 z1 n", "x1");
}

/// The later one of the new numbering may have overtaken the other.
#[test]
fn where_nothing_says_which_is_later_both_stay() {
    let mut queue = Queue { offset: 9, epoch: 7, ..Queue::default() };
    queue.offer(1, 5, "x1=x");
    (queue.offset, queue.epoch) = (0, 3);
    for (priority, name) in [(9, "x2=x"), (5, "y1=y"), (5, "y2=y"), (5, "n")] {
        queue.offer(1, priority, name);
    }
    queue.check("x2 x1 y2 n", "y1");
}

#[test]
fn what_has_begun_stays_and_what_waits_behind_it_is_the_latest() {
    let mut queue = Queue::default();
    for name in ["x1=x", "x2=x", "x3=x", "y1=y"] {
        queue.offer(1, 5, name);
    }
    queue.outbox.mark_sent(1);
    queue.outbox.push_control(b"!", &BOUNDS).unwrap();
    queue.offer(1, 5, "z1=z");
    queue.check("x1 x3 y1 z1", "x2");
    assert_eq!(queue.outbox.ordered_from, 4, "behind the control frame");
}

/// It would come again when its time is over, behind the later one.
#[test]
fn what_is_to_be_acknowledged_is_not_replaced() {
    let mut queue = Queue::default();
    for name in ["x1=x", "x2=x"] {
        let parcel = queue.parcel(5, name);
        queue.outbox.add(Item::Tracked { parcel, id: Box::default(), skip: 0, tag: 1, acked: true });
    }
    for name in ["y1=y", "y2=y", "z1=z"] {
        queue.offer(2, 5, name);
    }
    queue.check("x1 x2 y2 z1", "y1");
}

#[test]
fn nothing_is_searched_for_twice() {
    let mut queue = Queue::default();
    for name in ["x1=x", "y1=y", "y2=y", "z1=z"] {
        queue.offer(1, 5, name);
        assert!(!queue.outbox.latest_only);
    }
    queue.offer(1, 5, "u1=u");
    assert!(queue.outbox.latest_only);
    for name in ["y3=y", "v1=v", "n"] {
        queue.offer(1, 5, name);
        assert!(queue.outbox.latest_only, "{name} had no room");
    }
    queue.check("u1 y3 v1 n", "y1 y2 x1 z1");
    let mut queue = Queue::default();
    for name in ["y1=y", "x1=x", "x2=x", "z1=z"] {
        queue.offer(1, 5, name);
    }
    queue.outbox.latest_only = true; // which is not so: who searches finds something
    queue.offer(1, 5, "n");
    queue.check("x1 x2 z1 n", "y1");
}

/// An event comes behind others while there is room, in the rest of a crowd's turn, or from what is kept of the channel.
#[test]
fn whatever_is_put_beside_the_latest_may_replace_one() {
    let put: [fn(&mut Outbox, &Rc<Parcel>); 3] = [
        |outbox, parcel| outbox.push(parcel, 1, None, &BOUNDS).expect("there is room"),
        |outbox, parcel| outbox.append(parcel, 1),
        |outbox, parcel| outbox.push_past(Item::event(parcel, 1, None)),
    ];
    for put in put {
        let mut queue = Queue::default();
        for name in ["y1=y", "x1=x", "z1=z"] {
            queue.offer(1, 5, name);
        }
        queue.outbox.latest_only = true;
        let later = queue.parcel(5, "x2=x");
        put(&mut queue.outbox, &later);
        queue.offer(1, 5, "n");
        queue.check("y1 z1 x2 n", "x1");
    }
}

#[test]
fn a_large_event_sends_off_what_is_replaced_and_then_the_oldest() {
    let mut queue = Queue::default();
    for name in ["x1=x", "x2=x", "y1=y"] {
        queue.offer(1, 5, name);
    }
    let large = format!("{}=x", "l".repeat(BOUNDS.bytes_max - 40));
    assert_eq!(queue.offer(1, 5, &large), Put::Taken);
    assert_eq!(queue.kinds().1, "x1 x2 y1");
    assert_eq!(queue.outbox.events(), 1);
}
