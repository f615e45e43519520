//! Stories of single hubs; sequences of any kind are tried by `fuzz/targets/hub.rs`, several shards by
//! `tests/simulation`.

mod acks;
mod acks_at_random;
mod backlog;
mod conflation;
mod disk;
mod letters;
mod pair;
mod past;
mod replay;
mod rights;

use super::*;
use crate::event::*;
use crate::stdx::slab::Key;
use std::collections::HashMap;
use std::io::IoSlice;

/// Sockets that take all, but for those of members that are stuck.
#[derive(Default)]
struct Pipes {
    out: HashMap<u32, String>,
    stuck: Vec<u32>,
}

impl Outlet for Pipes {
    fn send(&mut self, member: u32, bytes: &[u8]) -> Sent {
        if self.stuck.contains(&member) {
            return Sent::Bytes(0);
        }
        // Without what is not text: the headers of short frames.
        let text: String = bytes.iter().filter(|b| (b' '..=b'~').contains(b)).map(|b| *b as char).collect();
        *self.out.entry(member).or_default() += &text;
        Sent::Bytes(bytes.len())
    }
    fn send_all(&mut self, member: u32, slices: &[IoSlice<'_>]) -> Sent {
        slices.iter().map(|slice| self.send(member, slice)).fold(Sent::Bytes(0), |sum, sent| {
            match (sum, sent) {
                (Sent::Bytes(a), Sent::Bytes(b)) => Sent::Bytes(a + b),
                _ => Sent::Gone,
            }
        })
    }
}

/// `<position>(text)`, with a label before the end in form 2.
fn envelope(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) -> Option<u32> {
    out.extend_from_slice(format!("{channel}-{}[", position.offset).as_bytes());
    let at = out.len() as u32;
    out.extend_from_slice(format!("{}]", event.kind().unwrap_or("-")).as_bytes());
    Some(at)
}

pub(super) fn options() -> Options {
    let router = RouterQueue { max: 2, multi: false };
    Options {
        shard: 0,
        shards: 1,
        outbox: Bounds { events_max: 2, bytes_max: 1000, control_bytes_max: 1000, router },
        lane: LaneBounds { events_max: 10, bytes_max: 1000 },
        channels: ChannelOptions::default(),
        fsync: Fsync::default(),
        letters: LetterBounds { events_max: 5, bytes_max: 100_000, age_max_ms: 10_000 },
        ephemeral_idle_us: 1,
        renderers: &[envelope, envelope],
        lines: &[],
    }
}

struct Story {
    hub: Hub,
    pipes: Pipes,
}

impl Story {
    fn new(options: Options) -> Story {
        Story { hub: Hub::new(options, Box::new(|| 1)), pipes: Pipes::default() }
    }

    fn join(&mut self, member: u32, tag: u32, wish: &Wish<'_>) -> Joining {
        let key = key(member);
        if self.hub.subscriptions.member(key).is_none() {
            self.hub.admit(key);
        }
        self.hub.join(key, tag, wish, 0)
    }

    fn publish(&mut self, channel: &str, kind: &str, extras: Extras, now_us: u64) -> Published {
        let origin = Origin { connection: key(9), request: 0, item: 0 };
        let text = format!(r#"{{"type":"{kind}"}}"#);
        let event = Event::new(&text, &Facts::read(&text).unwrap(), Some(Box::new(extras)), 0);
        match self.hub.publish(channel, event, origin, now_us, &mut self.pipes) {
            Publishing::Done(published) => published,
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, kind: &str) -> u32 {
        self.publish("a", kind, Extras::default(), 0).reached
    }

    fn heard(&mut self, member: u32) -> String {
        self.hub.flush(0, &mut self.pipes);
        self.pipes.out.remove(&member).unwrap_or_default().replace("{\"type\":\"", "").replace("\"}", " ")
    }

    fn unstick(&mut self, member: u32) {
        self.pipes.stuck.clear();
        self.hub.writable(key(member));
    }
}

fn key(slot: u32) -> Key {
    Key { slot, generation: 1 }
}

fn priority(number: u64) -> Extras {
    Extras { priority: Priority::new(number).unwrap(), ..Extras::default() }
}

fn only(kind: &str) -> Option<Filter> {
    Filter::new(vec![kind.to_owned()], Priorities::ALL, vec![])
}

/// A subscriber was found slow, left, and a new connection took its slot, all in one turn: the new one was closed.
#[test]
fn who_is_given_up_is_not_mistaken_for_the_next_in_its_slot() {
    let (old, new) = (Key { slot: 0, generation: 1 }, Key { slot: 0, generation: 2 });
    let mut story = Story::new(options());
    story.pipes.stuck.push(0);
    assert!(matches!(story.join(0, 1, &Wish::channel("a")), Joining::Done(_)));
    for _ in 0..2 {
        story.say("x");
        story.heard(0);
    }
    assert_eq!((story.say("x"), story.hub.has_cut()), (0, true));
    story.hub.dismiss(old, 0);
    story.hub.admit(new);
    assert_eq!((story.hub.take_cut(), story.hub.take_cut()), (Some((old, Cut::Slow)), None));
}

#[test]
fn forms_and_labels_are_sent_beside_the_raw_event() {
    let mut story = Story::new(options());
    let label = Some(*b"0123456789abcdef0123456789abcdef0123");
    story.join(0, 0, &Wish::channel("a"));
    story.join(1, 0, &Wish { form: Form(1), ..Wish::channel("a") });
    story.join(2, 0, &Wish { form: Form(1), label, each: true, ..Wish::channel("a") });
    story.join(
        2,
        1,
        &Wish { form: Form(1), label, each: true, ..Wish::pattern(&Pattern::parse("*").unwrap()) },
    );
    let other = Some(*b"0123456789abcdef0123456789abcdef4567");
    story.join(2, 2, &Wish { form: Form(1), label: other, each: true, ..Wish::channel("a") });
    assert_eq!(story.say("x"), 3, "sockets are counted, not copies");
    assert_eq!((&*story.heard(0), &*story.heard(1)), ("x ", "a-1[x]"));
    let (one, two) =
        ("a-1[0123456789abcdef0123456789abcdef0123x]", "a-1[0123456789abcdef0123456789abcdef4567x]");
    assert_eq!(story.heard(2), format!("{one}{two}"), "one copy for each label, however many parts it has");
}

#[test]
fn a_connection_gets_one_copy_however_many_of_its_subscriptions_match() {
    let mut story = Story::new(options());
    story.join(0, 0, &Wish::channel("a"));
    story.join(0, 1, &Wish { filter: only("x"), ..Wish::channel("a") });
    story.join(1, 0, &Wish { filter: only("x"), ..Wish::channel("a") });
    story.join(1, 1, &Wish { filter: only("y"), ..Wish::channel("a") });
    assert_eq!((story.say("x"), story.say("z")), (2, 1));
    assert_eq!((&*story.heard(0), &*story.heard(1)), ("x z ", "x "));
    assert!(story.hub.refilter(key(1), 1, only("z")));
    assert!(story.hub.leave(key(0), 0, 0));
    assert!(!story.hub.leave(key(0), 0, 0));
    assert_eq!((story.say("y"), story.say("z")), (0, 1));
    assert_eq!((&*story.heard(0), &*story.heard(1)), ("", "z "));
}

#[test]
fn a_tag_is_found_by_its_channel_and_taken_once() {
    let mut story = Story::new(options());
    let position = Some(Position { epoch: 1, offset: 1 });
    let standing = Standing { position, members: 1, recovery: None };
    story.say("x");
    assert_eq!(story.join(0, 7, &Wish::channel("a")), Joining::Done(standing));
    assert_eq!(story.join(0, 7, &Wish::channel("b")), Joining::Already);
    assert_eq!((story.hub.tag_of(key(0), "a"), story.hub.tag_of(key(0), "b")), (Some(7), None));
    assert_eq!(story.hub.subscriptions_of(key(0)), 1);
}

#[test]
fn the_excluded_and_the_late_get_nothing() {
    let mut story = Story::new(options());
    for member in 0..2 {
        story.join(member, 0, &Wish::channel("a"));
    }
    story.say("x");
    let exclude = Some(ConnectionId::new(0, key(0)));
    assert_eq!(story.publish("a", "y", Extras { exclude, ..Extras::default() }, 0).reached, 1);
    story.pipes.stuck.push(1);
    story.hub.flush(0, &mut story.pipes);
    let mortal = || Extras { expires_us: Some(5), ..Extras::default() };
    assert_eq!(story.publish("a", "late", mortal(), 5).reached, 0);
    assert_eq!((&*story.heard(0), &*story.heard(1)), ("x ", ""));
    story.unstick(1);
    assert_eq!(story.heard(1), "x y ");
    story.pipes.stuck.push(1);
    assert_eq!(story.publish("a", "mortal", mortal(), 4).reached, 2);
    story.heard(1);
    story.unstick(1);
    story.hub.flush(6, &mut story.pipes);
    assert_eq!((&*story.heard(0), &*story.heard(1)), ("mortal ", ""));
    assert_eq!(story.hub.counters.events_expired, 2);
}

#[test]
fn a_turn_of_mixed_priorities_leaves_with_the_highest_first() {
    let mut story = Story::new(options());
    story.join(0, 0, &Wish::channel("a"));
    story.join(1, 0, &Wish::channel("a"));
    story.hub.push_control(key(1), b"!");
    story.publish("a", "low", priority(3), 0);
    story.publish("a", "high", priority(8), 0);
    assert_eq!((&*story.heard(0), &*story.heard(1)), ("high low ", "!high low "));
    story.publish("a", "one", priority(8), 0);
    story.publish("a", "two", priority(8), 0);
    assert_eq!(story.heard(0), "one two ");
}

/// A change that sent a whole turn to whoever had joined in its midst was noticed by no test as long as an answer waited
/// before the events, which is so nearly always: only who was sent the answers before the turn ended shows it.
#[test]
fn who_joins_in_the_middle_of_a_turn_gets_what_comes_after() {
    for answer in ["", "subscribed "] {
        let mut options = options();
        options.outbox.events_max = 8;
        options.outbox.control_bytes_max = answer.len();
        let mut story = Story::new(options);
        story.join(0, 0, &Wish::channel("a"));
        story.say("before");
        story.join(1, 0, &Wish::channel("a"));
        story.join(2, 0, &Wish::channel("a"));
        if !answer.is_empty() {
            story.hub.push_control(key(1), answer.as_bytes());
            story.hub.push_control(key(2), answer.as_bytes());
            story.hub.relieve(key(2), 0, &mut story.pipes);
        }
        story.say("after");
        story.join(3, 0, &Wish::channel("a"));
        assert_eq!(story.heard(0), "before after ");
        assert_eq!((story.heard(1), story.heard(2)), (format!("{answer}after "), format!("{answer}after ")));
        assert_eq!(story.heard(3), "", "the turn was over for it before it began");
        story.say("next");
        let all = [0, 1, 2, 3].map(|member| story.heard(member));
        assert_eq!(all, ["next "; 4], "the next turn is whole for all");
    }
}

#[test]
fn what_drop_oldest_loses_is_told_once_and_nobody_is_cut() {
    let mut options = options();
    options.channels.slow = Slow::DropOldest;
    let mut story = Story::new(options);
    story.join(0, 4, &Wish::channel("a"));
    story.pipes.stuck.push(0);
    for kind in ["1", "2", "3", "4", "5"] {
        story.say(kind);
        story.hub.flush(0, &mut story.pipes);
    }
    assert!(story.hub.effects.gaps.is_empty(), "nothing is told while nothing can be read");
    let told: Vec<_> =
        story.hub.take_gaps(key(0)).iter().map(|g| (g.tag, g.from.offset, g.to.offset)).collect();
    assert_eq!((&told[..], story.hub.has_cut()), (&[(4, 1, 3)][..], false));
    story.hub.push_gap(key(0), b"gap ");
    story.unstick(0);
    assert_eq!(story.heard(0), "gap 4 5 ", "what was lost comes before what was kept");
    assert_eq!((story.hub.counters.events_dropped, story.hub.counters.gaps), (3, 1));
}

#[test]
fn a_router_queue_says_what_it_dropped() {
    let mut story = Story::new(options());
    story.join(0, 0, &Wish { rule: Rule::Router, each: true, ..Wish::channel("a") });
    story.pipes.stuck.push(0);
    for kind in ["1", "2"] {
        story.say(kind);
        story.hub.flush(0, &mut story.pipes);
    }
    let dropped = story.publish("a", "3", Extras::default(), 0);
    assert_eq!((dropped.reached, dropped.dropped), (0, 1));
    let taken = story.publish("a", "4", priority(7), 0);
    assert_eq!((taken.reached, taken.dropped), (1, 0));
    story.unstick(0);
    assert_eq!(story.heard(0), "4 1 ");
    assert!(story.hub.effects.gaps.is_empty());
}

#[test]
fn patterns_are_heard_beside_names_and_each_event_comes_once() {
    let mut story = Story::new(options());
    let (all, family) = (Pattern::parse("*").unwrap(), Pattern::parse("a.*").unwrap());
    assert_eq!(
        story.join(0, 0, &Wish::pattern(&all)),
        Joining::Done(Standing { position: None, members: 0, recovery: None })
    );
    story.join(0, 1, &Wish::channel("a.b"));
    story.join(1, 0, &Wish { filter: only("x"), ..Wish::pattern(&family) });
    assert_eq!(story.publish("a.b", "x", Extras::default(), 0).reached, 2);
    assert_eq!(story.publish("a.c", "y", Extras::default(), 0).reached, 1);
    assert_eq!(story.publish("b", "x", Extras::default(), 0).reached, 1);
    assert_eq!((&*story.heard(0), &*story.heard(1)), ("x y x ", "x "));
    story.hub.leave(key(0), 0, 0);
    assert_eq!(story.publish("b", "x", Extras::default(), 0).reached, 0);
    assert_eq!(story.publish("a.c", "x", Extras::default(), 0).reached, 1);
    story.hub.leave(key(1), 0, 0);
    story.hub.leave(key(0), 1, 0);
    assert_eq!((story.publish("a.b", "x", Extras::default(), 0).reached, story.hub.heard()), (0, 0));
}

#[test]
fn where_no_priorities_are_wanted_all_events_are_normal() {
    let rule = ChannelRule { pattern: "a".into(), normal: true, ..ChannelRule::default() };
    let channels = ChannelOptions { rules: vec![rule], ..ChannelOptions::default() };
    let mut story = Story::new(Options { channels, ..options() });
    story.join(0, 0, &Wish::channel("a"));
    let normal = Filter::new(vec![], Priorities::only([Priority::NORMAL]), vec![]);
    story.join(1, 0, &Wish { filter: normal, ..Wish::channel("a") });
    story.publish("a", "x", priority(1), 0);
    story.publish("a", "y", priority(9), 0);
    assert_eq!((story.heard(0), story.heard(1)), ("x y ".to_owned(), "x y ".to_owned()));
}
