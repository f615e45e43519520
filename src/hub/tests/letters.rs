//! Stories of events that nobody took.

use super::*;
use crate::event::{Cause, DEAD_LETTERS};

fn mortal(expires_us: u64) -> Extras {
    Extras { expires_us: Some(expires_us), keep: true, ..Extras::default() }
}

const SECOND_US: u64 = 1_000_000;

impl Story {
    fn wait_until(&mut self, now_us: u64) {
        self.hub.sweep(now_us);
        self.hub.flush(now_us, &mut self.pipes);
    }

    fn letters(&mut self) -> Vec<(Cause, String)> {
        let ask = LetterAsk::List { filter: LetterFilter::default(), after: None, limit: 100 };
        self.hub.ask_letters(ask, Origin { connection: key(9), request: 0, item: 0 }, 0);
        let Some((_, LetterAnswer::Page(page))) = self.hub.effects.letters.pop() else { panic!("no answer") };
        let letter = |(id, told): (Position, Event)| Letter::read(id, told).expect("it is a letter");
        let letters = page.letters.into_iter().map(letter);
        letters.map(|letter| (letter.cause, letter.event().to_owned())).collect()
    }
}

#[test]
fn what_expires_unseen_is_kept_and_what_somebody_received_is_not() {
    let mut story = Story::new(options());
    story.publish("a", "unseen", mortal(SECOND_US), 0);
    story.join(0, 0, &Wish::channel("a"));
    story.publish("a", "seen", mortal(SECOND_US), 0);
    assert_eq!(story.heard(0), "seen ");
    assert_eq!(
        story.hub.sweep_due_us(),
        Some(SECOND_US + 100_000),
        "no turn that has begun sends it any more"
    );
    story.wait_until(SECOND_US);
    assert_eq!(story.letters(), []);
    story.wait_until(2 * SECOND_US);
    assert_eq!(story.letters(), [(Cause::Expired, r#"{"type":"unseen"}"#.to_owned())]);
}

#[test]
fn what_expires_in_a_queue_was_seen_by_nobody() {
    let mut story = Story::new(options());
    story.join(0, 0, &Wish::channel("a"));
    story.pipes.stuck.push(0);
    assert_eq!(story.say("begun"), 1);
    story.heard(0);
    assert_eq!(story.publish("a", "late", mortal(SECOND_US), 0).reached, 1);
    story.unstick(0);
    story.wait_until(2 * SECOND_US);
    assert_eq!(story.letters().len(), 1, "its queue let go of it");
}

#[test]
fn what_a_socket_did_not_take_whole_was_seen_by_nobody() {
    let mut story = Story::new(options());
    story.join(0, 0, &Wish::channel("a"));
    story.pipes.stuck.push(0);
    assert_eq!(story.publish("a", "stuck", mortal(SECOND_US), 0).reached, 1);
    story.heard(0);
    story.wait_until(2 * SECOND_US);
    story.unstick(0);
    story.wait_until(3 * SECOND_US);
    assert_eq!(story.letters().len(), 1);
}

#[test]
fn letters_stay_within_their_bounds_and_no_letter_has_letters() {
    let mut story = Story::new(options());
    for n in 0..7 {
        story.publish("a", &format!("e{n}"), mortal(SECOND_US), 0);
    }
    story.wait_until(2 * SECOND_US);
    assert_eq!((story.letters().len(), story.hub.counters.dead_letters_dropped), (5, 2));
    let channel = Channel::parse(DEAD_LETTERS).unwrap();
    let event = Event::new(r#"{"type":"dead_letter"}"#, &Facts::default(), None, 0);
    let detail = "nobody".into();
    let (cause, subscription) = (Cause::Sink, None);
    story.hub.bury(Dead { channel, event, position: None, cause, detail, attempts: 1, subscription });
    assert_eq!((story.letters().len(), story.hub.counters.dead_letters_dropped), (5, 3));
    story.wait_until(20 * SECOND_US);
    assert_eq!(story.letters(), [], "they are ten seconds old");
}

#[test]
fn no_more_wait_for_the_end_of_a_turn_than_are_kept() {
    let bounds = LetterBounds { events_max: 100, bytes_max: 1_000, age_max_ms: 0 };
    let mut story = Story::new(Options { letters: bounds, ..options() });
    let text = format!(r#"{{"x":"{}"}}"#, "x".repeat(300));
    for _ in 0..50 {
        story.hub.bury(Dead {
            channel: Channel::parse("a").unwrap(),
            event: Event::new(&text, &Facts::default(), None, 0),
            position: None,
            cause: Cause::Refused,
            detail: "it does not fit".into(),
            attempts: 0,
            subscription: None,
        });
    }
    assert_eq!(story.hub.counters.dead_letters_dropped, 47, "three are less than a thousand bytes");
    story.wait_until(SECOND_US);
    assert!(story.letters().iter().all(|(cause, event)| (cause, event) == (&Cause::Refused, &text)));
    assert_eq!(story.hub.counters.dead_letters, 50);
}
