//! Who is to be judged before an event: whoever it would reach, in whichever way it comes.

use super::*;

fn slots(keys: Vec<Key>) -> Vec<u32> {
    let mut slots: Vec<u32> = keys.into_iter().map(|key| key.slot).collect();
    slots.sort_unstable();
    slots
}

#[test]
fn whom_an_event_reaches_is_found_before_it_comes() {
    let mut story = Story::new(options());
    let pattern = Pattern::parse("a.*").unwrap();
    story.join(0, 0, &Wish::channel("a.b"));
    story.join(1, 0, &Wish::pattern(&pattern));
    story.join(2, 0, &Wish::channel("a.b"));
    story.join(2, 1, &Wish::pattern(&pattern));
    story.join(3, 0, &Wish { label: Some([b'7'; LABEL_BYTES]), ..Wish::channel("a.b") });
    story.join(4, 0, &Wish::channel("a.c"));
    story.join(5, 0, &Wish::channel("a.b"));
    story.hub.retire(key(5), 0);
    assert_eq!(slots(story.hub.hearers("a.b", |_| true)), [0, 1, 2, 2, 3], "the third by two subscriptions");
    assert_eq!(slots(story.hub.hearers("a.b", |slot| slot == 2)), [2, 2]);
    assert_eq!(slots(story.hub.hearers("a.x", |_| true)), [1, 2], "a channel that only patterns cover");
    assert!(story.hub.hearers("b", |_| true).is_empty());
    let reached = story.publish("a.b", "k", Extras::default(), 0).reached;
    assert_eq!(reached, 4);
    let heard: Vec<u32> = (0..6).filter(|member| !story.heard(*member).is_empty()).collect();
    assert_eq!(heard, [0, 1, 2, 3]);
}

#[test]
fn whom_a_letter_brings_an_event_is_found_before_it_is_opened() {
    let mut story = Story::new(options());
    story.join(0, 0, &Wish::channel("a"));
    story.join(1, 0, &Wish::channel("b"));
    let text = r#"{"type":"k"}"#;
    let event = Event::new(text, &Facts::read(text).unwrap(), None, 0);
    let door = Door::Name(Channel::parse("a").unwrap());
    let (position, urgency) = (Position { epoch: 1, offset: 1 }, event.priority());
    let mail = Mail::Deliver { door, event: event.clone(), urgency, position, ticket: None };
    assert_eq!(slots(story.hub.hearers_of(&mail, |_| true)), [0]);
    let slot =
        story.hub.subscriptions.locals.key_at(story.hub.subscriptions.local_named("b").unwrap()).unwrap();
    let mail =
        Mail::Deliver { door: Door::Slot(slot), event: event.clone(), urgency, position, ticket: None };
    assert_eq!(slots(story.hub.hearers_of(&mail, |_| true)), [1]);
    let ticket = Ticket { shard: 1, key: key(0) };
    let mail = Mail::Publish { channel: Channel::parse("b").unwrap(), event, ticket };
    assert_eq!(slots(story.hub.hearers_of(&mail, |_| true)), [1]);
    assert!(story.hub.hearers_of(&Mail::Look, |_| true).is_empty());
}

#[test]
fn whom_the_news_of_presence_reach_is_found_before_they_are_told() {
    let rule = ChannelRule { pattern: "a".into(), presence: true, ..ChannelRule::default() };
    let channels = ChannelOptions { rules: vec![rule], ..ChannelOptions::default() };
    let mut story = Story::new(Options { channels, ..options() });
    story.join(0, 0, &Wish::channel("a"));
    story.heard(0);
    assert!(story.hub.hearers_of_news(|_| true).is_empty(), "there are none");
    story.join(1, 0, &Wish::channel("a"));
    assert_eq!(slots(story.hub.hearers_of_news(|_| true)), [0, 1]);
}
