//! Stories of two hubs.

use super::*;
use std::collections::BTreeSet;

const TEXT: &str = r#"{"type":"x"}"#;

/// Two shards that take each other's mail at once.
pub struct Pair(pub [Story; 2]);

impl Pair {
    fn new() -> Pair {
        Pair::with(|shard| Options { shard, shards: 2, ..options() })
    }

    pub fn with(options: impl Fn(usize) -> Options) -> Pair {
        Pair([0, 1].map(|shard| Story::new(options(shard))))
    }

    fn with_presence() -> Pair {
        let rule = ChannelRule { pattern: "a.*".into(), presence: true, ..ChannelRule::default() };
        let story = |shard| {
            let channels = ChannelOptions { rules: vec![rule.clone()], ..ChannelOptions::default() };
            let mut story = Story::new(Options { shard, shards: 2, channels, ..options() });
            story.hub.tell_time(crate::stdx::clock::Now { steady_us: 0, unix_ms: 1_000 });
            story
        };
        Pair([story(0), story(1)])
    }

    pub fn exchange(&mut self) {
        while let Some(from) = (0..2).find(|from| !self.0[*from].hub.post.is_empty()) {
            for mail in self.0[from].hub.post.take(1 - from).unwrap().mail {
                let Story { hub, pipes } = &mut self.0[1 - from];
                hub.receive(from, mail, 0, pipes);
            }
        }
    }

    /// A channel that the other shard owns.
    pub fn foreign(&self, shard: usize) -> String {
        (0..).map(|n| format!("a.{n}")).find(|name| Channel::owner(name, 2) != shard).unwrap()
    }

    pub fn publish(&mut self, shard: usize, channel: &str, extras: Extras) -> Published {
        self.publish_at(shard, channel, extras, 0)
    }

    fn publish_at(&mut self, shard: usize, channel: &str, extras: Extras, at_ms: u64) -> Published {
        let Story { hub, pipes } = &mut self.0[shard];
        let event = Event::new(TEXT, &Facts::read(TEXT).unwrap(), Some(Box::new(extras)), at_ms);
        let origin = Origin { connection: key(9), request: 0, item: 0 };
        match hub.publish(channel, event, origin, 0, pipes) {
            Publishing::Done(published) => published,
            Publishing::Refused(why) => panic!("{why:?}"),
            Publishing::Waiting => {
                self.exchange();
                self.0[shard].hub.effects.answers.pop().unwrap().outcome.unwrap()
            }
        }
    }
}

#[test]
fn a_pattern_on_one_shard_hears_what_another_numbers() {
    let mut pair = Pair::new();
    let (here, there) = (pair.foreign(1), pair.foreign(0));
    let family = Pattern::parse("a.*").unwrap();
    assert_eq!(pair.0[0].join(0, 3, &Wish::pattern(&family)), Joining::Waiting);
    pair.exchange();
    let joined = pair.0[0].hub.next_joined().unwrap();
    assert_eq!((joined.tag, joined.outcome.is_ok()), (3, true));
    assert!(matches!(pair.0[0].join(1, 0, &Wish::pattern(&family)), Joining::Done(_)));
    assert_eq!(pair.0[0].join(2, 0, &Wish::channel(&there)), Joining::Waiting);
    assert!(matches!(pair.0[1].join(0, 0, &Wish::channel(&there)), Joining::Done(_)));
    pair.exchange();
    assert_eq!(pair.publish(0, &there, Extras::default()).reached, 4);
    assert_eq!(pair.publish(1, &here, Extras::default()).reached, 2);
    // The owner still thinks that the name is heard there: the patterns get the event all the same.
    assert!(pair.0[0].hub.leave(key(2), 0, 0));
    assert_eq!(pair.publish(1, &there, Extras::default()).reached, 3);
    for member in 0..2 {
        pair.0[0].hub.retire(key(member), 0);
    }
    pair.exchange();
    assert_eq!((pair.publish(1, &there, Extras::default()).reached, pair.0[0].hub.heard()), (1, 0));
}

/// Two sockets of a shard waited for the same pattern. The first was told that it was subscribed, and what it had said
/// meanwhile, a publish, was carried out: the other got the event before its own subscription was answered (seed 10947 of
/// the simulation).
#[test]
fn who_waits_for_a_pattern_hears_nothing_before_its_turn_to_be_told() {
    let mut pair = Pair::new();
    let (here, family) = (pair.foreign(1), Pattern::parse("a.*").unwrap());
    for member in 0..3 {
        assert_eq!(pair.0[0].join(member, 3, &Wish::pattern(&family)), Joining::Waiting);
    }
    pair.exchange();
    let first = pair.0[0].hub.next_joined().unwrap().member;
    let left = (0..3).map(key).find(|member| *member != first).unwrap();
    assert!(!pair.0[0].hub.leave(left, 3, 0), "it was not let in yet");
    assert_eq!(pair.publish(0, &here, Extras::default()).reached, 1);
    let second = pair.0[0].hub.next_joined().unwrap().member;
    assert!(second != first && second != left);
    assert_eq!(pair.publish(0, &here, Extras::default()).reached, 2);
    assert_eq!((&*pair.0[0].heard(second.slot), &*pair.0[0].heard(first.slot)), ("x ", "x x "));
    assert!(pair.0[0].hub.next_joined().is_none());
}

#[test]
fn a_repeat_is_answered_as_the_first_was_and_not_delivered() {
    let mut pair = Pair::new();
    for shard in 0..2 {
        let channel = pair.foreign(shard);
        let id = || Extras { id: Some("once".into()), ..Extras::default() };
        let first = pair.publish_at(shard, &channel, id(), 7);
        assert_eq!(first.first, None);
        // It was told its own time once, which is no event's.
        let hasty = pair.publish_at(1 - shard, &channel, id(), 5);
        let known = First { at_ms: 7, answer: None };
        assert_eq!((hasty.position, hasty.first.as_deref()), (first.position, Some(&known)));
        pair.0[shard].hub.remember(&channel, "once", b"answer");
        pair.exchange();
        for from in 0..2 {
            let repeat = pair.publish(from, &channel, id());
            let known = First { answer: Some(b"answer"[..].into()), ..known.clone() };
            assert_eq!((repeat.position, repeat.first.as_deref()), (first.position, Some(&known)));
        }
        assert_eq!(pair.publish(shard, &channel, Extras::default()).position.offset, 2);
    }
}

#[test]
fn presence_is_told_on_the_channel_and_to_whoever_asks() {
    let mut pair = Pair::with_presence();
    let channel = pair.foreign(1);
    pair.0[0].join(0, 0, &Wish::channel(&channel));
    let joined = pair.0[0].heard(0);
    assert!(joined.contains("presence.joined"), "{joined}");
    assert!(joined.contains(r#""count":1,"timestamp":"1970-01-01T00:00:01.000Z"#), "{joined}");
    pair.0[1].join(5, 0, &Wish::channel(&channel));
    pair.exchange();
    assert!(
        pair.0[0]
            .heard(0)
            .contains(r#""connection":"conn_010000050001","connections":["conn_010000050001"],"total":1"#)
    );
    pair.exchange();
    assert!(pair.0[1].heard(5).contains("conn_010000050001"), "it hears of itself");
    let origin = Origin { connection: key(9), request: 3, item: 0 };
    pair.0[1].hub.presence(&channel, origin);
    pair.exchange();
    let who = vec![ConnectionId::new(0, key(0)), ConnectionId::new(1, key(5))];
    assert_eq!(pair.0[1].hub.effects.present.pop(), Some((origin, who)));
    pair.0[1].hub.dismiss(key(5), 0);
    pair.exchange();
    assert!(pair.0[0].heard(0).contains("presence.left"));
}

#[test]
fn who_comes_and_goes_in_one_turn_is_told_in_one_event_each() {
    let rule = ChannelRule { pattern: "a".into(), presence: true, ..ChannelRule::default() };
    let channels = ChannelOptions { rules: vec![rule], ..ChannelOptions::default() };
    let mut story = Story::new(Options { channels, ..options() });
    story.join(0, 0, &Wish::channel("a"));
    story.heard(0);
    for guest in 1..=300 {
        story.join(guest, 0, &Wish::channel("a"));
    }
    story.hub.dismiss(key(300), 0);
    let joined = story.heard(0);
    assert_eq!(joined.matches("presence.joined").count(), 1);
    assert!(joined.contains(r#""total":299,"truncated":true,"count":300,"#), "{joined}");
    assert_eq!(joined.matches("conn_").count(), 200);
    for guest in 1..=299 {
        story.hub.dismiss(key(guest), 0);
    }
    story.join(0, 1, &Wish::channel("a"));
    story.hub.leave(key(0), 0, 0);
    let left = story.heard(0);
    assert_eq!((left.matches("presence.left").count(), left.matches("presence.joined").count()), (1, 0));
    assert!(left.contains(r#""total":299,"truncated":true,"count":1,"#), "{left}");
    assert_eq!(story.hub.counters.numbered, 3, "one event for each turn with news");
}

/// A channel that vanished with its last member told nobody that this one had gone: who heard it through a pattern took it to
/// be there for ever.
#[test]
fn the_last_to_leave_a_channel_that_vanishes_is_told_to_those_who_hear_it_through_patterns() {
    let rule = |pattern: &str| ChannelRule {
        pattern: pattern.into(),
        ephemeral: true,
        presence: true,
        ..ChannelRule::default()
    };
    let channels = ChannelOptions { rules: vec![rule("a")], ..ChannelOptions::default() };
    let mut story = Story::new(Options { channels, ..options() });
    story.join(0, 0, &Wish::pattern(&Pattern::parse("*").unwrap()));
    for _ in 0..2 {
        story.join(1, 0, &Wish::channel("a"));
        let joined = story.heard(0);
        assert!(joined.contains("presence.joined") && joined.contains(r#""count":1,"#), "{joined}");
        story.hub.leave(key(1), 0, 0);
        let left = story.heard(0);
        assert!(left.contains("presence.left") && left.contains(r#""count":0,"#), "{left}");
        assert_eq!(story.hub.channels(), 0, "nothing keeps it");
    }
}

/// The same of one whose past was too old in that turn.
#[test]
fn the_last_to_leave_a_channel_whose_past_expires_is_told_before() {
    let rule = ChannelRule { pattern: "a".into(), ephemeral: true, presence: true, ..ChannelRule::default() };
    let keep = Keep { size: 9, ttl_us: 1_000, durable: false };
    let channels = ChannelOptions { rules: vec![rule], keep, ..ChannelOptions::default() };
    let mut story = Story::new(Options { channels, ..options() });
    story.join(0, 0, &Wish::pattern(&Pattern::parse("*").unwrap()));
    story.join(1, 0, &Wish::channel("a"));
    story.heard(0);
    story.hub.leave(key(1), 0, 0);
    story.hub.sweep(10_000_000);
    assert!(story.heard(0).contains("presence.left"));
}

/// The same of one that made way for another in that turn, because there were too many.
#[test]
fn the_last_to_leave_a_channel_that_makes_way_is_told_before() {
    let rule = ChannelRule { pattern: "a".into(), presence: true, ..ChannelRule::default() };
    let channels = ChannelOptions { rules: vec![rule], ..ChannelOptions::default() };
    let mut story = Story::new(Options { channels, ..options() });
    story.join(0, 0, &Wish::pattern(&Pattern::parse("*").unwrap()));
    story.join(1, 0, &Wish::channel("a"));
    story.heard(0);
    story.hub.leave(key(1), 0, 0);
    story.hub.evict();
    assert!(story.heard(0).contains("presence.left"));
    story.hub.evict();
    assert_eq!(story.hub.channels(), 0, "it makes way then");
}

/// Takes over what a text tells of who came and went. Answers the count that was told last.
fn follow(text: &str, told: &mut BTreeSet<String>) -> Option<usize> {
    let between = |text: &str, from: &str, to: &str| {
        let rest = text.split_once(from).unwrap().1;
        rest.split_once(to).unwrap().0.to_owned()
    };
    let mut count = None;
    for event in text.split("{\"type\":\"presence.").skip(1) {
        for who in between(event, "\"connections\":[", "]").split(',').map(str::to_owned) {
            assert!(
                if event.starts_with("joined") { told.insert(who) } else { told.remove(&who) },
                "{event}"
            );
        }
        count = Some(between(event, "\"count\":", ",").parse().unwrap());
    }
    count
}

#[test]
fn what_is_told_of_presence_adds_up_to_who_is_there() {
    let mut pair = Pair::with_presence();
    let channel = pair.foreign(1);
    pair.0[0].join(0, 0, &Wish::channel(&channel));
    let (mut told, mut state) = (BTreeSet::new(), 1_u32);
    let mut roll = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    for _ in 0..3_000 {
        for _ in 0..roll(6) {
            let (shard, member, tag) = (roll(2) as usize, 1 + roll(4), roll(2));
            let story = &mut pair.0[shard];
            match roll(7) {
                0..3 => {
                    story.join(member, tag, &Wish::channel(&channel));
                }
                3..6 => {
                    story.hub.leave(key(member), tag, 0);
                }
                _ => story.hub.dismiss(key(member), 0),
            }
            if roll(3) == 0 {
                pair.exchange();
            }
        }
        pair.exchange();
        for shard in [1, 0] {
            let Story { hub, pipes } = &mut pair.0[shard];
            hub.flush(0, pipes);
        }
        let count = follow(&pair.0[0].pipes.out.remove(&0).unwrap_or_default(), &mut told);
        let mut there = BTreeSet::from([ConnectionId::new(0, key(0))]);
        for (shard, member) in (0..2).flat_map(|shard| (1..5).map(move |member| (shard, key(member)))) {
            if pair.0[shard].hub.subscriptions_of(member) > 0 {
                there.insert(ConnectionId::new(shard, member));
            }
        }
        assert!(pair.0[0].hub.present(&channel).into_iter().eq(there.iter().copied()));
        assert_eq!(told, there.iter().map(|who| format!("\"{who}\"")).collect());
        assert!(count.is_none_or(|count| count == there.len()));
    }
}
