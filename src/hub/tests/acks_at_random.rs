//! Subscribers that acknowledge, reject and ignore at random, read slowly and leave: each event is acknowledged, or comes
//! again up to its limit and is a dead letter then; none is lost in silence, and none is both.

use super::acks::{framed, wish};
use super::*;
use crate::event::Cause;
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 300;
const STEPS: u64 = 250;

struct Play {
    story: Story,
    dice: u64,
    now_us: u64,
    /// Where each event was published.
    published: Vec<&'static str>,
    attempts_max: u32,
    resumes: bool,
    /// How often each has come.
    tries: BTreeMap<usize, u32>,
    /// The last of each channel that came for the first time.
    newest: BTreeMap<&'static str, usize>,
    acked: BTreeSet<usize>,
}

impl Play {
    fn new(seed: u64) -> Play {
        let mut play = Play {
            story: Story::new(options()),
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now_us: 0,
            published: Vec::new(),
            attempts_max: 1,
            resumes: true,
            tries: BTreeMap::new(),
            newest: BTreeMap::new(),
            acked: BTreeSet::new(),
        };
        let mut options = options();
        options.renderers = &[framed, framed];
        options.outbox.events_max = play.below(6) as usize + 1;
        options.channels.keep = Keep { size: 10_000, ttl_us: 0, durable: false };
        options.channels.history_bytes_max = u64::MAX;
        options.letters = LetterBounds { events_max: 10_000, bytes_max: 1 << 24, age_max_ms: 0 };
        play.story = Story::new(options);
        (play.attempts_max, play.resumes) = (play.below(4) as u32 + 1, play.below(2) == 0);
        let delay_us = play.below(3) * 700_000;
        let acks = AckWish { delay_us, ..wish(play.attempts_max, play.resumes) };
        let wish = Wish { acks: Some(acks), each: true, form: Form(1), ..Wish::channel("a") };
        if play.resumes {
            play.story.join(0, 0, &wish);
            return play;
        }
        let wish = Wish { label: Some([b'x'; LABEL_BYTES]), ..wish };
        let pattern = Pattern::parse("b.*").unwrap();
        play.story.join(0, 0, &wish);
        play.story.join(0, 1, &Wish { target: Target::Pattern(&pattern), ..wish });
        play
    }

    fn below(&mut self, end: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 33) % end
    }

    fn step(&mut self) {
        match self.below(10) {
            0..=3 => {
                let channel = if self.resumes || self.below(2) == 0 { "a" } else { "b.c" };
                let kind = format!("e{}", self.published.len());
                self.published.push(channel);
                self.story.publish(channel, &kind, Extras::default(), self.now_us);
            }
            4 | 5 => self.pass(),
            6 if self.story.pipes.stuck.is_empty() => self.story.pipes.stuck.push(0),
            6 => self.story.unstick(0),
            _ => {
                for event in self.hear() {
                    self.judge(event);
                }
                if self.below(4) == 0 && !self.published.is_empty() {
                    let any = self.below(self.published.len() as u64) as usize;
                    self.judge(any);
                }
            }
        }
        assert_eq!(self.story.hub.take_cut(), None, "history has not left it behind");
    }

    fn pass(&mut self) {
        self.now_us += self.below(1_500_000);
        self.story.hub.redeliver(self.now_us);
    }

    /// What comes, and whether it comes as it must.
    fn hear(&mut self) -> Vec<usize> {
        self.story.hub.replay(self.now_us);
        self.story.hub.flush(self.now_us, &mut self.story.pipes);
        let text = self.story.pipes.out.remove(&0).unwrap_or_default();
        let mut heard = Vec::new();
        for part in text.split("\"attempt\":").skip(1) {
            let (attempt, rest) = part.split_once(',').unwrap();
            let event = rest.split_once(":e").unwrap().1.split_once('}').unwrap().0.parse().unwrap();
            let tries = self.tries.entry(event).or_default();
            *tries += 1;
            assert_eq!((attempt.parse().ok(), *tries <= self.attempts_max), (Some(*tries), true), "e{event}");
            if *tries == 1 {
                let channel = self.published[event];
                let before = self.newest.insert(channel, event);
                assert!(before.is_none_or(|before| before < event), "first deliveries come in order");
                let next = before.map_or(0, |before| before + 1);
                assert!(!self.resumes || next == event, "one that resumes goes on without a hole");
            }
            heard.push(event);
        }
        heard
    }

    fn judge(&mut self, event: usize) {
        let verdict = match self.below(10) {
            0..=4 => Verdict::Done,
            5 => Verdict::Dead,
            6 | 7 => Verdict::Again,
            _ => return,
        };
        if !self.tries.contains_key(&event) {
            return;
        }
        let name: Box<str> = format!("e{event}").into();
        let acked = Acked::Named(std::slice::from_ref(&name), |event, _, _, name| event.kind() == Some(name));
        let settled = self.story.hub.acknowledge(key(0), Scope::Any, acked, verdict, self.now_us);
        assert!(settled.count <= 1 && settled.subscriptions == 1);
        if verdict == Verdict::Done && settled.count == 1 {
            assert!(self.acked.insert(event), "e{event} was acknowledged before");
        }
    }

    /// Whoever cannot be resumed may end now; else all is ignored until nothing comes any more.
    fn end(&mut self) -> bool {
        let leaves = !self.resumes && self.below(2) == 0;
        if leaves {
            self.story.hub.dismiss(key(0), self.now_us);
        }
        self.story.unstick(0);
        for _ in 0..4_000 {
            self.pass();
            self.hear();
            if self.story.hub.acks_due_us(self.now_us).is_none() && !self.story.hub.is_replaying() {
                self.story.hub.flush(self.now_us, &mut self.story.pipes);
                return leaves;
            }
        }
        panic!("it never comes to an end");
    }

    fn verdict(&mut self, left: bool) {
        let ask = LetterAsk::List { filter: LetterFilter::default(), after: None, limit: 10_000 };
        self.story.hub.ask_letters(ask, Origin { connection: key(9), request: 0, item: 0 }, self.now_us);
        let Some((_, LetterAnswer::Page(page))) = self.story.hub.effects.letters.pop() else { panic!() };
        let mut dead = BTreeSet::new();
        for (id, told) in page.letters {
            let letter = Letter::read(id, told).expect("a letter");
            let text = letter.event().strip_prefix(r#"{"type":"e"#).unwrap().strip_suffix("\"}").unwrap();
            let event: usize = text.parse().unwrap();
            assert!(dead.insert(event), "e{event} died twice");
            assert_eq!(letter.channel.as_str(), self.published[event]);
            let (attempts, tries) = (letter.deaths.attempts, self.tries.get(&event).copied().unwrap_or(0));
            let never = !self.resumes && attempts == 0 && tries == 0;
            let given_up = letter.cause == Cause::Rejected || attempts == self.attempts_max;
            assert!(left || never || given_up && attempts == tries, "e{event}: {attempts} of {tries}");
        }
        for event in 0..self.published.len() {
            let (acked, dead) = (self.acked.contains(&event), dead.contains(&event));
            assert!(acked != dead, "e{event}: acknowledged {acked}, dead {dead}");
        }
        assert_eq!(self.story.hub.counters.dead_letters_dropped, 0);
    }
}

#[test]
fn every_event_is_acknowledged_or_a_dead_letter_whatever_its_subscriber_does() {
    let (mut events, mut acked, mut again) = (0, 0, 0);
    for seed in 1..=SEEDS {
        let mut play = Play::new(seed);
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..STEPS).for_each(|_| play.step());
            let left = play.end();
            play.verdict(left);
        }));
        assert!(told.is_ok(), "seed {seed}");
        events += play.published.len();
        acked += play.acked.len();
        again += play.tries.values().filter(|tries| **tries > 1).count();
    }
    assert!(
        acked > 5_000 && events - acked > 5_000 && again > 5_000,
        "{acked} of {events}, {again} again: tame"
    );
}
