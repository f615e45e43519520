//! Stories of two hubs.

use super::*;

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
        let Story { hub, pipes } = &mut self.0[shard];
        let event = Event::new(TEXT, &Facts::read(TEXT).unwrap(), Some(Box::new(extras)), 0);
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
    let joined = pair.0[0].hub.effects.joined.pop().unwrap();
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

#[test]
fn a_repeat_is_answered_as_the_first_was_and_not_delivered() {
    let mut pair = Pair::new();
    for shard in 0..2 {
        let channel = pair.foreign(shard);
        let id = || Extras { id: Some("once".into()), ..Extras::default() };
        let first = pair.publish(shard, &channel, id());
        let hasty = pair.publish(1 - shard, &channel, id());
        assert_eq!((hasty.position, hasty.first), (first.position, None));
        pair.0[shard].hub.remember(&channel, "once", b"answer");
        pair.exchange();
        for from in 0..2 {
            let repeat = pair.publish(from, &channel, id());
            assert_eq!((repeat.position, repeat.first.as_deref()), (first.position, Some(&b"answer"[..])));
        }
        assert_eq!(pair.publish(shard, &channel, Extras::default()).position.offset, 2);
    }
}

#[test]
fn presence_is_told_on_the_channel_and_to_whoever_asks() {
    let rule = ChannelRule { pattern: "a.*".into(), presence: true, ..ChannelRule::default() };
    let mut pair = Pair::new();
    for (shard, story) in pair.0.iter_mut().enumerate() {
        let channels = ChannelOptions { rules: vec![rule.clone()], ..ChannelOptions::default() };
        *story = Story::new(Options { shard, shards: 2, channels, ..options() });
        story.hub.tell_time(crate::stdx::clock::Now { steady_us: 0, unix_ms: 1_000 });
    }
    let channel = pair.foreign(1);
    pair.0[0].join(0, 0, &Wish::channel(&channel));
    let joined = pair.0[0].heard(0);
    assert!(joined.contains("presence.joined"), "{joined}");
    assert!(joined.contains(r#""count":1,"timestamp":"1970-01-01T00:00:01.000Z"#), "{joined}");
    pair.0[1].join(5, 0, &Wish::channel(&channel));
    pair.exchange();
    assert!(pair.0[0].heard(0).contains(r#""connection":"conn_010000050001","count":2"#));
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
