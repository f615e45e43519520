//! Dead letters: events that nobody took, kept with the reason until somebody looks. One shard has them all, the owner
//! of the channel [`DEAD_LETTERS`], so that their bounds hold over all cores; each is told there as an event, and so is
//! each that goes because somebody published it again or purged it. Where that channel is durable, the letters are read
//! from its log after a restart. Called by the hub and by whoever gives an event up; nothing here is touched by an event
//! that does not die.
//!
//! An event that was told on that channel never becomes a letter itself, and one that dies again after a retry goes on
//! with the count that it had.

mod asking;
mod keepsakes;
mod store;

pub use asking::{LetterAnswer, LetterAsk, LetterFilter, LetterPage, Retried, RetryOrder};
pub use store::{Letter, LetterBounds};

use super::{Hub, Mail, Outlet};
use crate::event::{Cause, Channel, DEAD_LETTERS, Deaths, Event, Facts, Position, Text};
use crate::stdx::clock::rfc3339_ms;
use keepsakes::Keepsakes;
use serde_json::json;
use std::borrow::Cow;
use store::Letters;

/// An event that is given up.
#[derive(Clone, Debug)]
pub struct Dead {
    /// Where it was published.
    pub channel: Channel,
    /// It.
    pub event: Event,
    /// Where it stood there, if it was numbered.
    pub position: Option<Position>,
    /// Why.
    pub cause: Cause,
    /// The same in a sentence.
    pub detail: Box<str>,
    /// How often it was delivered, in this life.
    pub attempts: u32,
    /// The subscription that did not take it.
    pub subscription: Option<Box<str>>,
}

impl Dead {
    /// What was tried, in all its lives.
    fn deaths(&self) -> Deaths {
        let before = self.event.extras().map(|extras| extras.deaths).unwrap_or_default();
        Deaths { attempts: before.attempts.saturating_add(self.attempts), ..before }
    }

    fn is_router(&self) -> bool {
        self.event.extras().is_some_and(|extras| extras.router)
    }
}

/// What a shard does with dead letters.
pub(super) struct Desk {
    /// Those of this turn, where this shard keeps them, and their bytes.
    waiting: Vec<Dead>,
    waiting_bytes: usize,
    /// Letters that are gone, to be told: by what, and which.
    gone: Vec<(&'static str, Vec<Position>)>,
    pub(super) letters: Letters,
    /// Events that become letters when their time is over.
    pub(super) keepsakes: Keepsakes,
    /// The log of an earlier life is to be read from there on.
    unread: Option<u64>,
}

impl Desk {
    pub fn new(bounds: LetterBounds) -> Desk {
        Desk {
            waiting: Vec::new(),
            waiting_bytes: 0,
            gone: Vec::new(),
            letters: Letters::new(bounds),
            keepsakes: Keepsakes::default(),
            unread: None,
        }
    }

    /// Whether one more of so many bytes may wait for the end of the turn: no more than are kept together.
    fn has_room(&self, bytes: usize) -> bool {
        let LetterBounds { events_max, bytes_max, .. } = self.letters.bounds;
        self.waiting.len() < events_max && self.waiting_bytes + bytes <= bytes_max
    }

    fn wait(&mut self, dead: Dead) {
        self.waiting_bytes += dead.event.frame().len();
        self.waiting.push(dead);
    }

    /// Whether something has a time.
    pub fn is_ticking(&self) -> bool {
        self.keepsakes.due_us().is_some() || self.letters.due_ms().is_some()
    }

    /// Whether something is to be told.
    pub fn is_dirty(&self) -> bool {
        !self.waiting.is_empty() || !self.gone.is_empty()
    }
}

impl Hub {
    /// Whether dead letters are kept at all.
    pub fn keeps_letters(&self) -> bool {
        self.desk.letters.bounds.events_max > 0
    }

    /// Gives an event up: it becomes a dead letter at the end of the turn.
    pub fn bury(&mut self, dead: Dead) {
        self.counters.dead_letters += 1;
        let owner = self.owner(DEAD_LETTERS);
        let loops = dead.channel.as_str() == DEAD_LETTERS;
        let bytes = dead.event.frame().len();
        let has_room = match owner == self.options.shard {
            true => self.desk.has_room(bytes),
            false => self.keeps_letters() && self.post.has_room(owner, bytes),
        };
        if loops || !has_room {
            self.counters.dead_letters_dropped += 1;
            return;
        }
        match owner == self.options.shard {
            true => self.desk.wait(dead),
            false => self.post.push(owner, Mail::Bury(Box::new(dead))),
        }
    }

    /// Another shard gives an event up.
    pub(super) fn bury_here(&mut self, dead: Dead) {
        self.desk.wait(dead);
    }

    /// Makes letters of what this turn gave up, and tells of those that are gone.
    #[inline(never)]
    pub(super) fn tell_letters(&mut self, now_us: u64, outlet: &mut impl Outlet) {
        let channel = Channel::parse(DEAD_LETTERS).expect("a name of letters and a dot");
        let at_ms = self.unix_ms_at(now_us);
        for (kind, ids) in std::mem::take(&mut self.desk.gone) {
            let ids: Vec<String> = ids.iter().map(Position::to_string).collect();
            let text = json!({ "type": kind, "ids": ids, "timestamp": stamp(at_ms) }).to_string();
            let event = Event::new(&text, &Facts::read(&text).expect("made as JSON"), None, at_ms);
            self.tell_on(&channel, &event, now_us, outlet);
        }
        self.desk.waiting_bytes = 0;
        for dead in std::mem::take(&mut self.desk.waiting) {
            let (event, event_at) = announcement(&dead, at_ms);
            let id = self.tell_on(&channel, &event, now_us, outlet);
            let letter = Letter::new(id, &dead, event, event_at);
            self.counters.dead_letters_dropped += self.desk.letters.add(letter, at_ms);
        }
    }

    /// As the owner: tells an event that nobody published. It is numbered even where there is no room to send it on:
    /// what it tells of is kept by its number.
    fn tell_on(
        &mut self,
        channel: &Channel,
        event: &Event,
        now_us: u64,
        outlet: &mut impl Outlet,
    ) -> Position {
        let slot = self.owned(channel, now_us);
        let durable = self.channels.at(slot).durable.is_some();
        if durable && self.holds() {
            return self.hold(slot, event);
        }
        let has_room = self.targets_have_room(slot, event.frame().len());
        let (position, _) = self.number(slot, event.clone(), now_us, outlet);
        if durable {
            self.log(slot, position, event);
        }
        if has_room {
            self.send_on(slot, event, position, None);
        }
        position
    }

    pub(super) fn unix_ms_at(&self, now_us: u64) -> u64 {
        self.unix_ms_at_0.wrapping_add(now_us / 1000)
    }
}

fn stamp(at_ms: u64) -> String {
    let mut stamp = [0; 24];
    rfc3339_ms(at_ms, &mut stamp);
    String::from_utf8_lossy(&stamp).into_owned()
}

/// How a letter is told, and where in that its event begins: it is the last member, byte for byte.
fn announcement(dead: &Dead, at_ms: u64) -> (Event, usize) {
    let Dead { channel, event, position, cause, detail, subscription, .. } = dead;
    let (deaths, router) = (dead.deaths(), dead.is_router());
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let or_null = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
    let mut text = format!(
        r#"{{"type":"{KIND}","channel":"{channel}","position":{},"reason":"{}","detail":{},"attempts":{},"retries":{},"subscription":{},"priority":{},"router":{router},"timestamp":"{}","event":"#,
        or_null(position.map(|position| format!("\"{position}\""))),
        cause.word(),
        quoted(detail),
        deaths.attempts,
        deaths.retries,
        or_null(subscription.as_deref().map(quoted)),
        event.priority().number(),
        stamp(at_ms),
    );
    let event_at = text.len();
    text.push_str(event.text());
    text.push('}');
    let mut facts = Facts::default();
    facts.kind = Text(Some(Cow::Borrowed(&text[KIND_AT..KIND_AT + KIND.len()])));
    (Event::new(&text, &facts, None, at_ms), event_at)
}

/// The type of what is told of a letter, and where it stands in the text.
const KIND: &str = "dead_letter";
const KIND_AT: usize = r#"{"type":""#.len();
