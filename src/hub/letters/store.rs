//! The letters that are kept: within a count, a number of bytes and an age; the oldest go first.

use super::Dead;
use crate::event::{Cause, Channel, Deaths, Event, Position};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How much is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct LetterBounds {
    /// Letters; 0: none are kept.
    pub events_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
    /// Their age, in milliseconds; 0: no limit.
    pub age_max_ms: u64,
}

/// One letter. What is told of it and what it holds are one text.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where it stands in the channel of dead letters, which is its name.
    pub id: Position,
    /// Where it was published.
    pub channel: Channel,
    /// Why it is one.
    pub cause: Cause,
    /// What was tried, in all its lives.
    pub deaths: Deaths,
    /// How urgent it was.
    pub priority: u8,
    /// Its text is an event object of the router dialect.
    pub router: bool,
    /// What was told of it.
    pub told: Event,
    /// Where in that the event begins; it ends before the last byte.
    event_at: usize,
    /// It is being published again.
    pub taken: bool,
    /// What it was counted as; renderings that are made later are not.
    bytes: usize,
}

#[derive(Deserialize)]
struct Told<'t> {
    #[serde(borrow)]
    channel: Cow<'t, str>,
    reason: &'t str,
    attempts: u32,
    retries: u32,
    priority: u8,
    router: bool,
    #[serde(borrow)]
    event: &'t RawValue,
}

impl Letter {
    /// One that was just told.
    pub(super) fn new(id: Position, dead: &Dead, told: Event, event_at: usize) -> Letter {
        Letter {
            id,
            channel: dead.channel.clone(),
            cause: dead.cause,
            deaths: dead.deaths(),
            priority: dead.event.priority().number(),
            router: dead.is_router(),
            event_at,
            taken: false,
            bytes: told.footprint(),
            told,
        }
    }

    /// Reads what was told of a letter; `None` for any other event.
    pub fn read(id: Position, told: Event) -> Option<Letter> {
        if told.kind() != Some(super::KIND) {
            return None;
        }
        let text = told.text();
        let read: Told<'_> = serde_json::from_str(text).ok()?;
        let event_at = read.event.get().as_ptr() as usize - text.as_ptr() as usize;
        Some(Letter {
            id,
            channel: Channel::parse(&read.channel).ok()?,
            cause: Cause::parse(read.reason)?,
            deaths: Deaths { attempts: read.attempts, retries: read.retries },
            priority: read.priority,
            router: read.router,
            event_at,
            taken: false,
            bytes: told.footprint(),
            told,
        })
    }

    /// The event, byte for byte as it was published.
    pub fn event(&self) -> &str {
        let text = self.told.text();
        &text[self.event_at..text.len() - 1]
    }
}

/// All letters, by their numbers in the channel of dead letters, which only grow.
pub struct Letters {
    by_number: BTreeMap<u64, Letter>,
    bytes: usize,
    pub bounds: LetterBounds,
}

impl Letters {
    pub fn new(bounds: LetterBounds) -> Letters {
        Letters { by_number: BTreeMap::new(), bytes: 0, bounds }
    }

    /// Adds one; answers how many had to go for it. One that is larger than all may be together is not kept itself.
    pub fn add(&mut self, letter: Letter, now_ms: u64) -> u64 {
        self.bytes += letter.bytes;
        self.by_number.insert(letter.id.offset, letter);
        self.expire(now_ms);
        let before = self.by_number.len();
        while self.by_number.len() > self.bounds.events_max || self.bytes > self.bounds.bytes_max {
            self.pop_first();
        }
        (before - self.by_number.len()) as u64
    }

    fn pop_first(&mut self) {
        if let Some((_, letter)) = self.by_number.pop_first() {
            self.bytes -= letter.bytes;
        }
    }

    /// Lets go of what is too old.
    pub fn expire(&mut self, now_ms: u64) {
        while self.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            self.pop_first();
        }
    }

    /// When the next is too old, in Unix milliseconds.
    pub fn due_ms(&self) -> Option<u64> {
        let (_, first) = self.by_number.first_key_value()?;
        (self.bounds.age_max_ms > 0).then(|| first.told.at_ms().saturating_add(self.bounds.age_max_ms))
    }

    /// Letters behind a number, in order.
    pub fn behind(&self, number: u64) -> impl Iterator<Item = &Letter> {
        self.by_number.range(number.saturating_add(1)..).map(|(_, letter)| letter)
    }

    pub fn find(&mut self, id: Position) -> Option<&mut Letter> {
        self.by_number.get_mut(&id.offset).filter(|letter| letter.id == id)
    }

    pub fn remove(&mut self, id: Position) -> Option<Letter> {
        self.find(id)?;
        let letter = self.by_number.remove(&id.offset)?;
        self.bytes -= letter.bytes;
        Some(letter)
    }

    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
