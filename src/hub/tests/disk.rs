//! Stories of channels that are kept on disk, with a log that the story tells what to do.

use super::pair::Pair;
use super::*;

fn durable(shard: usize, shards: usize, fsync: Fsync) -> Options {
    let keep = Keep { size: 2, ttl_us: 0, durable: true };
    let channels = ChannelOptions { keep, history_bytes_max: u64::MAX, ..ChannelOptions::default() };
    let mut options = Options { shard, shards, channels, fsync, ..options() };
    options.outbox.events_max = 100;
    options
}

fn origin(request: u32) -> Origin {
    Origin { connection: key(9), request, item: 0 }
}

fn event(kind: &str, id: Option<&str>) -> Event {
    let text = format!(r#"{{"type":"{kind}"}}"#);
    let extras = Extras { id: id.map(Into::into), ..Extras::default() };
    Event::new(&text, &Facts::read(&text).unwrap(), Some(Box::new(extras)), 1_000)
}

/// The request, and its number and where it is stored.
type Told = (u32, Result<(u64, Option<Stored>), Refusal>);

impl Story {
    fn put_in(&mut self, channel: &str, kind: &str, request: u32, id: Option<&str>) -> Publishing {
        self.hub.publish(channel, event(kind, id), origin(request), 0, &mut self.pipes)
    }

    fn end_writes(&mut self, up_to: u64, outcome: LogOutcome) {
        self.hub.logged(Logged { up_to, outcome }, 0, &mut self.pipes);
    }

    fn answers(&mut self) -> Vec<Told> {
        let answers = self.hub.effects.answers.drain(..);
        let short = |p: Published| (p.position.offset, p.stored);
        answers.map(|answer| (answer.origin.request, answer.outcome.map(short))).collect()
    }
}

#[test]
fn nobody_sees_an_event_before_it_is_on_the_disk() {
    let mut story = Story::new(durable(0, 1, Fsync::Always));
    story.join(0, 0, &Wish::channel("a"));
    for (request, kind) in ["x", "y", "z"].iter().enumerate() {
        assert_eq!(story.put_in("a", kind, request as u32, None), Publishing::Waiting);
    }
    let writes: Vec<_> = story.hub.effects.log.iter().map(|w| (w.sequence, w.position.offset)).collect();
    assert_eq!((writes, story.heard(0)), (vec![(1, 1), (2, 2), (3, 3)], String::new()));
    let late = story.join(1, 0, &Wish::channel("a"));
    let Joining::Done(Standing { position: Some(position), .. }) = late else { panic!("{late:?}") };
    assert_eq!(position.offset, 0, "what nobody has seen is still to come");
    story.end_writes(2, LogOutcome::Stored);
    assert_eq!((&*story.heard(0), &*story.heard(1)), ("x y ", "x y "));
    let stored = |offset| Ok((offset, Some(Stored::Disk)));
    assert_eq!(story.answers(), [(0, stored(1)), (1, stored(2))]);
    story.end_writes(3, LogOutcome::Failed);
    assert_eq!((&*story.heard(0), story.answers()), ("z ", vec![(2, Err(Refusal::NotStored))]));
    assert_eq!(story.put_in("a", "w", 3, None), Publishing::Waiting, "the next is tried all the same");
    story.end_writes(4, LogOutcome::Stored);
    assert_eq!(story.answers(), [(3, stored(4))], "3 was seen and is not given again");
}

#[test]
fn written_behind_it_is_seen_at_once_and_a_log_that_fails_is_told() {
    let mut story = Story::new(durable(0, 1, Fsync::Interval));
    story.join(0, 0, &Wish::channel("a"));
    let Publishing::Done(first) = story.put_in("a", "x", 0, None) else { panic!() };
    assert_eq!((first.stored, &*story.heard(0)), (Some(Stored::Memory), "x "));
    story.end_writes(1, LogOutcome::Failed);
    assert_eq!(story.put_in("a", "y", 1, None), Publishing::Refused(Refusal::NotStored));
    assert_eq!(story.heard(0), "y ", "it is delivered all the same");
    story.end_writes(2, LogOutcome::Stored);
    assert!(matches!(story.put_in("a", "z", 2, None), Publishing::Done(_)));
    assert_eq!(story.hub.effects.log.len(), 3);
}

#[test]
fn a_log_that_does_not_keep_up_makes_publishers_wait_and_plain_channels_do_not() {
    let mut options = durable(0, 1, Fsync::Interval);
    let plain = ChannelRule { pattern: "plain".into(), durable: Some(false), ..ChannelRule::default() };
    options.channels.rules.push(plain);
    let mut story = Story::new(options);
    let large = "x".repeat(1 << 20);
    let taken =
        (0..100).take_while(|_| matches!(story.put_in("a", &large, 0, None), Publishing::Done(_))).count();
    assert_eq!((taken, story.hub.counters.log_full), (64, 1));
    assert_eq!(story.put_in("a", "x", 0, None), Publishing::Refused(Refusal::LogBehind));
    assert!(!story.heard(0).contains("x "), "nothing was delivered, so that it may be tried again");
    let Publishing::Done(published) = story.put_in("plain", "x", 0, None) else { panic!() };
    assert_eq!(published.stored, None);
    story.end_writes(64, LogOutcome::Stored);
    assert!(matches!(story.put_in("a", "x", 0, None), Publishing::Done(_)));
}

#[test]
fn a_repeat_of_what_is_being_written_comes_back_later() {
    let mut story = Story::new(durable(0, 1, Fsync::Always));
    assert_eq!(story.put_in("a", "x", 0, Some("once")), Publishing::Waiting);
    assert_eq!(story.put_in("a", "x", 1, Some("once")), Publishing::Refused(Refusal::LogBehind));
    story.end_writes(1, LogOutcome::Stored);
    let Publishing::Done(first) = story.put_in("a", "x", 2, Some("once")) else { panic!() };
    assert_eq!((first.position.offset, first.stored), (1, Some(Stored::Disk)));
    assert_eq!(story.hub.effects.log.len(), 1);
}

/// Whoever was told that the disk did not take it asked again, and was told that all was well.
#[test]
fn a_repeat_of_what_the_disk_did_not_take_is_told_so_again() {
    for fsync in [Fsync::Always, Fsync::Interval] {
        let mut story = Story::new(durable(0, 1, fsync));
        story.join(0, 0, &Wish::channel("a"));
        story.put_in("a", "x", 0, None);
        story.end_writes(1, LogOutcome::Failed);
        story.put_in("a", "y", 1, Some("once"));
        story.end_writes(2, LogOutcome::Failed);
        let again = story.put_in("a", "y", 2, Some("once"));
        assert_eq!(again, Publishing::Refused(Refusal::NotStored), "{fsync:?}");
        assert_eq!(&*story.heard(0), "x y ");
    }
}

#[test]
fn on_two_shards_the_publisher_hears_when_it_is_stored_and_all_have_it() {
    let mut pair = Pair::with(|shard| durable(shard, 2, Fsync::Always));
    let channel = pair.foreign(0);
    pair.0[0].join(0, 0, &Wish::channel(&channel));
    pair.exchange();
    assert_eq!(pair.0[0].put_in(&channel, "x", 5, None), Publishing::Waiting);
    pair.exchange();
    assert_eq!((&*pair.0[0].heard(0), pair.0[0].answers().len()), ("", 0));
    pair.0[1].end_writes(1, LogOutcome::Stored);
    pair.exchange();
    assert_eq!(pair.0[0].heard(0), "x ");
    let answer = pair.0[0].hub.effects.answers.pop().unwrap().outcome.unwrap();
    assert_eq!((answer.reached, answer.stored), (1, Some(Stored::Disk)));
}

/// The log has 1 to 4 of an earlier life and 5 and 6 of this one, of which memory has the last two.
fn restored(shard: usize, shards: usize, channel: &str) -> Story {
    let mut story = Story::new(durable(shard, shards, Fsync::Interval));
    let epochs = vec![LogEpoch { epoch: 7, first: 2, last: 4 }];
    let restored = Restored {
        channel: Channel::parse(channel).unwrap(),
        position: Position { epoch: 8, offset: 4 },
        epochs,
        last_ms: 500,
    };
    story.hub.restore(vec![restored], 0);
    story
}

fn after(epoch: u32, offset: u64) -> Wish<'static> {
    Wish { from: Some(From::After(Position { epoch, offset })), ..Wish::channel("a") }
}

fn recovery(joining: Joining) -> (bool, u32) {
    let Joining::Done(Standing { recovery: Some(recovery), .. }) = joining else { panic!("{joining:?}") };
    (recovery.recovered, recovery.replayed)
}

impl Story {
    /// What the log is asked, answered with events that are called as they are numbered.
    fn answer_log(&mut self) -> Vec<(LogFrom, u64)> {
        let mut asked = Vec::new();
        for read in std::mem::take(&mut self.hub.effects.reads) {
            asked.push((read.from, read.below));
            let LogFrom::Offset(from) = read.from else { panic!("by number") };
            let found = (from..read.below).take(read.events_max.min(2));
            let events: Vec<_> = found
                .map(|n| {
                    (Position { epoch: if n > 4 { 8 } else { 7 }, offset: n }, event(&n.to_string(), None))
                })
                .collect();
            let next = from + events.len() as u64;
            self.hub.log_found(LogFound { key: read.key, events, next }, 0);
        }
        asked
    }
}

#[test]
fn positions_of_an_earlier_life_resume_from_the_log_and_then_from_memory() {
    let mut story = restored(0, 1, "a");
    for kind in ["5", "6", "7"] {
        story.put_in("a", kind, 0, None);
    }
    assert_eq!(recovery(story.join(0, 0, &after(7, 2))), (true, 5));
    assert_eq!(recovery(story.join(1, 0, &after(7, 9))), (false, 3), "what it saw was lost");
    assert_eq!(recovery(story.join(2, 0, &after(7, 0))), (false, 6), "retention took some");
    assert_eq!(recovery(story.join(3, 0, &after(1, 1))), (false, 6), "nobody knows that life");
    for member in 0..4 {
        story.hub.begin(key(member), 0..1);
    }
    let mut asked = Vec::new();
    for _ in 0..10 {
        story.hub.replay(0);
        asked.extend(story.answer_log());
        story.hub.flush(0, &mut story.pipes);
    }
    assert_eq!(asked[0], (LogFrom::Offset(3), 6));
    assert_eq!((&*story.heard(0), &*story.heard(1)), ("3 4 5 6 7 ", "5 6 7 "));
    assert_eq!((&*story.heard(2), &*story.heard(3)), ("2 3 4 5 6 7 ", "2 3 4 5 6 7 "));
    assert!(matches!(story.put_in("a", "8", 0, None), Publishing::Done(Published { reached: 4, .. })));
}

#[test]
fn a_restored_channel_that_nothing_follows_is_read_to_its_end() {
    let mut story = restored(0, 1, "a");
    assert_eq!(recovery(story.join(0, 0, &after(7, 2))), (true, 2));
    story.hub.begin(key(0), 0..1);
    story.hub.replay(0);
    // It comes while the log is read.
    story.put_in("a", "5", 0, None);
    for _ in 0..5 {
        story.answer_log();
        story.hub.replay(0);
    }
    assert_eq!(story.heard(0), "3 4 5 ");
}

#[test]
fn a_page_is_put_together_from_the_log_and_memory() {
    let mut story = restored(0, 1, "a");
    for kind in ["5", "6", "7"] {
        story.put_in("a", kind, 0, None);
    }
    let mut page = |events_max, newest_first| {
        let wish = PageWish { from: None, events_max, bytes_max: 10_000, newest_first };
        story.hub.page("a", wish, origin(1), 0);
        story.answer_log();
        let page = story.hub.effects.pages.pop().unwrap().1;
        let kept = page.kept.map(|(first, last)| (first.epoch, first.offset, last.offset));
        assert_eq!(kept, Some((7, 2, 7)));
        page.events.iter().map(|(position, _)| position.offset).collect::<Vec<_>>()
    };
    assert_eq!(page(2, false), [2, 3]);
    assert_eq!(page(2, true), [7, 6]);
    assert_eq!(page(4, true), [7, 6, 5, 4]);
}

/// It began again at 1, and in the log two events had one number.
#[test]
fn a_durable_channel_that_was_forgotten_is_numbered_on_when_it_comes_again() {
    let mut options = durable(0, 1, Fsync::Always);
    options.channels.keep.size = 0;
    let mut story = Story::new(options);
    let job = "forge.job.1";
    for kind in ["x", "y", "z"] {
        story.put_in(job, kind, 0, None);
    }
    story.end_writes(2, LogOutcome::Stored);
    story.join(0, 0, &Wish::channel(job));
    story.hub.leave(key(0), 0, 0);
    assert!(story.hub.channels.find(job).is_none(), "it has gone with its last member");
    story.put_in(job, "w", 1, None);
    let positions: Vec<u64> = story.hub.effects.log.iter().map(|write| write.position.offset).collect();
    assert_eq!(positions, [1, 2, 3, 4], "also behind what was being written");
    let plain = ChannelRule { pattern: "plain".into(), durable: Some(false), ..ChannelRule::default() };
    story.hub.channels.options.rules.push(plain);
    let Publishing::Done(first) = story.put_in("plain", "x", 0, None) else { panic!() };
    assert_eq!(first.position.offset, 1);
}
