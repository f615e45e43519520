//! Stories of what a hub keeps.

use super::*;

fn keeping(keep: Keep, bytes_max: u64) -> Story {
    let mut options = options();
    options.channels = ChannelOptions { keep, history_bytes_max: bytes_max, ..ChannelOptions::default() };
    let mut story = Story::new(options);
    story.hub.tell_time(crate::stdx::clock::Now { steady_us: 0, unix_ms: 1_000 });
    story
}

const ALL: Keep = Keep { size: 100, ttl_us: 0, durable: false };

impl Story {
    /// Publishes on a channel at this moment, a microsecond after the start for each millisecond after the epoch.
    fn put(&mut self, channel: &str, kind: &str, now_us: u64) -> Published {
        let text = format!(r#"{{"type":"{kind}"}}"#);
        let event = Event::new(&text, &Facts::read(&text).unwrap(), None, 1_000 + now_us);
        let origin = Origin { connection: key(9), request: 0, item: 0 };
        match self.hub.publish(channel, event, origin, now_us, &mut self.pipes) {
            Publishing::Done(published) => published,
            other => panic!("{other:?}"),
        }
    }

    fn page(&mut self, channel: &str, from: Option<From>, now_us: u64) -> Page {
        let wish = PageWish { from, events_max: 100, bytes_max: 10_000, newest_first: false };
        self.hub.page(channel, wish, Origin { connection: key(9), request: 0, item: 0 }, now_us);
        self.hub.effects.pages.pop().unwrap().1
    }

    /// The kinds of the kept events.
    fn kept(&mut self, channel: &str, now_us: u64) -> String {
        let page = self.page(channel, None, now_us);
        let kinds: Vec<&str> = page.events.iter().map(|(_, event)| event.kind().unwrap()).collect();
        kinds.join(" ")
    }

    fn count(&mut self) -> (u64, u64) {
        (self.hub.channels.kept.events, self.hub.channels.kept.bytes)
    }
}

fn after(offset: u64) -> Option<From> {
    Some(From::After(Position { epoch: 1, offset }))
}

#[test]
fn the_newest_events_are_kept_and_pages_say_where_they_stand() {
    let mut story = keeping(Keep { size: 3, ttl_us: 0, durable: false }, u64::MAX);
    for (n, kind) in ["1", "2", "3", "4", "5"].iter().enumerate() {
        story.put("a", kind, n as u64);
    }
    assert_eq!((story.kept("a", 9), story.kept("b", 9)), ("3 4 5".into(), String::new()));
    let page = story.page("a", after(4), 9);
    assert_eq!(page.kept.map(|(a, b)| (a.offset, b.offset)), Some((3, 5)));
    assert_eq!((page.epoch, page.events.len(), page.events[0].0.offset), (Some(1), 1, 5));
    assert_eq!(story.page("a", Some(From::Since(1_003)), 9).events.len(), 2);
    assert_eq!(story.page("a", after(7), 9).events.len(), 0, "of the future");
    let foreign = Some(From::After(Position { epoch: 9, offset: 4 }));
    assert_eq!(story.page("a", foreign, 9).events.len(), 3, "all of another numbering came later");
    assert_eq!(story.page("b", None, 9).epoch, None);
    assert_eq!((story.hub.counters.history_outgrown, story.count().0, story.hub.channels()), (2, 3, 1));
}

#[test]
fn old_events_go_by_themselves_and_nothing_of_an_idle_channel_stays() {
    let mut story = keeping(Keep { size: 9, ttl_us: 100, durable: false }, u64::MAX);
    story.put("a", "1", 0);
    story.put("a", "2", 50);
    story.put("b", "3", 80);
    assert_eq!(story.kept("a", 100), "2", "nobody is shown what is too old");
    story.hub.sweep(150);
    assert_eq!((story.kept("a", 150), story.kept("b", 150)), (String::new(), "3".into()));
    story.hub.sweep(180);
    assert_eq!((story.count(), story.hub.sweep_due_us()), ((0, 0), None));
    let slot = story.hub.channels.find("a").unwrap();
    assert!(story.hub.channels.at(slot).ring.is_none());
    story.put("a", "4", 200);
    assert_eq!((story.kept("a", 210), story.hub.counters.history_expired), ("4".into(), 3));
}

#[test]
fn the_budget_takes_the_oldest_wherever_they_are() {
    let mut story = keeping(ALL, 1_000);
    for n in 0..12 {
        story.put(["a", "b", "c"][n % 3], &format!("{n:02}"), n as u64);
    }
    let (events, bytes) = story.count();
    assert_eq!(events, 12);
    story.hub.evict_history(bytes / 2, u64::MAX);
    assert_eq!(
        (&*story.kept("a", 20), &*story.kept("b", 20), &*story.kept("c", 20)),
        ("06 09", "07 10", "08 11")
    );
    story.hub.evict_history(u64::MAX, 8);
    assert_eq!((&*story.kept("a", 20), &*story.kept("b", 20), &*story.kept("c", 20)), ("09", "10", "11"));
    assert_eq!(story.hub.counters.history_evicted, 9);
    let large = "x".repeat(2_000);
    story.put("a", &large, 30);
    assert_eq!((story.kept("a", 40), story.count().0), (String::new(), 2), "it does not fit");
    story.put("a", "next", 31);
    assert_eq!(story.kept("a", 40), "next");
}

#[test]
fn other_settings_hold_at_once() {
    let mut story = keeping(ALL, u64::MAX);
    (0..10).for_each(|n| drop(story.put("a", &n.to_string(), n)));
    let mut fewer = story.hub.options.clone();
    fewer.channels.keep = Keep { size: 2, ttl_us: 50, durable: false };
    story.hub.reload(fewer.clone(), 10);
    assert_eq!(story.kept("a", 10), "8 9");
    story.hub.sweep(59);
    assert_eq!((story.kept("a", 59), story.count().0), (String::new(), 0));
    fewer.channels.keep = Keep::default();
    story.put("a", "x", 60);
    story.hub.reload(fewer, 61);
    story.put("a", "y", 62);
    assert_eq!((story.kept("a", 63), story.count()), (String::new(), (0, 0)));
}

#[test]
fn an_ephemeral_channel_goes_when_its_last_event_does() {
    let mut story = keeping(Keep { size: 9, ttl_us: 100, durable: false }, u64::MAX);
    story.join(0, 0, &Wish::channel("forge.job.1"));
    story.put("forge.job.1", "1", 0);
    story.hub.leave(key(0), 0, 10);
    assert_eq!((story.kept("forge.job.1", 20), story.hub.channels()), ("1".into(), 1));
    story.hub.sweep(100);
    assert_eq!(story.hub.channels(), 0);
    story.join(1, 0, &Wish { ephemeral: true, ..Wish::channel("fleeting") });
    story.put("fleeting", "1", 100);
    story.hub.leave(key(1), 0, 110);
    assert_eq!((story.hub.channels(), story.count()), (0, (0, 0)));
}

/// A channel that nobody heard any more was forgotten, numbered from 1 again, and a repeat of what had been published to it
/// was told that the disk does not keep up.
#[test]
fn a_repeat_is_answered_as_the_first_was_though_the_channel_was_forgotten_meanwhile() {
    let mut story = keeping(Keep::default(), u64::MAX);
    let once = || Extras { id: Some("once".into()), ..Extras::default() };
    story.join(0, 0, &Wish { ephemeral: true, ..Wish::channel("fleeting") });
    story.publish("fleeting", "x", Extras::default(), 0);
    let first = story.publish("fleeting", "x", once(), 1);
    story.hub.leave(key(0), 0, 2);
    assert_eq!(story.hub.channels(), 0);
    let again = story.publish("fleeting", "x", once(), 3);
    assert_eq!((again.position, again.reached, again.first.is_some()), (first.position, 1, true));
    let next = story.publish("fleeting", "x", Extras::default(), 4);
    assert_eq!((next.position.offset, next.first), (1, None));
}

/// Events were kept before they were delivered for a while, and what was rendered of them was never counted.
#[test]
fn what_the_fan_out_has_rendered_is_kept_and_counted_with_the_event() {
    for size in [10, 2_000] {
        let kind = "k".repeat(size);
        let [raw, rendered] = [Form::RAW, Form(1)].map(|form| {
            let mut story = keeping(ALL, u64::MAX);
            story.join(0, 0, &Wish { form, ..Wish::channel("a") });
            story.put("a", &kind, 0);
            story.count().1
        });
        assert!(rendered >= raw + size as u64, "{size}: {rendered} bytes beside {raw}");
    }
}
