//! Acknowledged delivery in dialect `courier.v1`: a client takes, rejects and ignores what comes, mostly from channels that
//! another shard owns. Each event comes at most so often, not again once it is acknowledged, and at the end was
//! acknowledged or is a dead letter: never both, and neither no oftener than letters were turned away and counted.

use crate::client::{Ask, Client, Owed, Scene};
use crate::model::{Model, Place, Stage, place};
use crate::plan::ChannelPlan;
use crate::play;
use crate::sieve::Sieve;
use crate::world::World;
use courier::hub::Slow;
use courier::runtime::shard::Shard;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Dead letters that are kept: more than a run has.
pub const LETTERS_MAX: usize = 10_000;
const PAGE: usize = 1000;

/// What a client says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    Again,
    Dead,
}

/// How far an event is that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Nothing was said of it, or it is to come again.
    Nothing,
    /// Something was, which is not answered.
    Asked,
    Taken,
    Dead,
    /// It was given up before, or had expired.
    Gone,
    /// It was acknowledged with others, or given up before.
    Unsure,
}

/// One subscription that acknowledges.
#[derive(Debug)]
pub struct Book {
    session: usize,
    channel: usize,
    attempts_max: u32,
    /// Of each event that came: how often, and what was said of it.
    events: BTreeMap<usize, (u32, Said)>,
    /// It was rejected at some time.
    rejected: Vec<usize>,
}

/// What is said is known by the subscription's name.
#[derive(Debug, PartialEq, Eq)]
pub struct Acked {
    name: String,
    verdict: Verdict,
    events: Vec<usize>,
    /// All of them up to one place.
    up_to: bool,
    /// How often the one had come when it was said.
    tries: u32,
}

/// Nothing of its only channel may be missing.
fn names_one(model: &Model, session: usize) -> bool {
    let [channel] = model.sessions[session].names[..] else { return false };
    !model.has_holes(channel)
}

impl Book {
    /// It is in flight, if its subscription is open.
    fn flies(&self, n: usize, model: &Model) -> bool {
        let (tries, _) = self.events[&n];
        tries < self.attempts_max && model.events[n].ttl_us.is_none()
    }
}

/// Whether a client asks for acknowledgements when it subscribes to a channel: once for each, and where a queue loses nothing.
pub fn may_ask(client: &Client, channel: usize, plan: &ChannelPlan) -> bool {
    plan.slow == Slow::Disconnect && client.books.values().all(|book| book.channel != channel)
}

/// Adds to a command that subscribes that its events will be acknowledged.
pub fn wish(world: &mut World, words: &mut Value) -> u32 {
    let attempts_max = *world.dice.pick(&[1, 2, 4]);
    (words["ack"], words["max_attempts"]) = (json!(true), json!(attempts_max));
    words["ack_timeout"] = json!(*world.dice.pick(&[0.1, 0.1, 0.5, 2.0]));
    attempts_max
}

impl Client {
    /// Notes that it asks for a subscription that acknowledges: that has its own copy of each event.
    pub fn ask_acked(
        &mut self,
        list: &[String],
        sieve: Sieve,
        name: &str,
        attempts_max: u32,
        scene: &mut Scene<'_>,
    ) -> usize {
        let own = scene.model.ear(self.id);
        let ear = std::mem::replace(&mut self.ear, own);
        let sieve_is_open = sieve.is_open();
        let session = self.ask(list, sieve, scene);
        self.ear = ear;
        let plain = names_one(scene.model, session) && sieve_is_open && !scene.features.exclude;
        let new = &mut scene.model.sessions[session];
        (new.acks, new.whole) = (true, plain);
        let channel = scene.model.channel_named(&list[0]);
        let (events, rejected) = Default::default();
        self.books.insert(name.to_owned(), Book { session, channel, attempts_max, events, rejected });
        session
    }

    /// The ear of its subscription to a channel that acknowledges, if there is one.
    pub fn acking_ear(&self, channel: usize, model: &Model) -> Option<usize> {
        let book = self.books.values().find(|book| book.channel == channel)?;
        Some(model.sessions[book.session].ear)
    }

    /// An event that is to be acknowledged.
    pub fn attempted(&mut self, attempt: u32, name: &str, n: usize, text: &[u8], scene: &mut Scene<'_>) {
        let book = self.books.get_mut(name).expect("a subscription that acknowledges");
        let max = book.attempts_max;
        let (tries, said) = book.events.entry(n).or_insert((0, Said::Nothing));
        let before = std::mem::replace(tries, attempt);
        let expires = scene.model.events[n].ttl_us.is_some();
        assert!(
            attempt <= max && (attempt == before + 1 || expires && attempt > before),
            "client {}: {name}: event {n} comes for the time {attempt} behind {before}, at most {max}",
            self.id
        );
        assert!(
            matches!(said, Said::Nothing | Said::Asked),
            "client {}: {name}: event {n} comes again, which is {said:?}",
            self.id
        );
        let ear = scene.model.sessions[book.session].ear;
        if before == 0 {
            self.hear_plainly(ear, n, text, scene);
        } else {
            scene.model.assert_verbatim(n, text);
            scene.model.assert_may_read(ear, n);
        }
        self.judge_event(name, n, scene);
    }

    fn judge_event(&mut self, name: &str, n: usize, scene: &mut Scene<'_>) {
        let (verdict, up_to) = match scene.dice.below(10) {
            _ if self.diligent => (Verdict::Taken, false),
            0..4 => (Verdict::Taken, false),
            4 => (Verdict::Taken, true),
            5 => (Verdict::Again, false),
            6 => (Verdict::Dead, false),
            _ => return,
        };
        let Some(book) = self.books.get_mut(name).filter(|_| !self.close_sent && !self.fin_sent) else {
            return;
        };
        let place_of = |n: &usize| scene.model.events[*n].place.expect("it came with one");
        let (epoch, offset) = place_of(&n);
        let is_meant = |other: &usize| match up_to {
            true => place_of(other).0 == epoch && place_of(other).1 <= offset,
            false => *other == n,
        };
        let meant = book.events.iter_mut().filter(|(other, (_, said))| {
            is_meant(other) && (*said == Said::Nothing || up_to && *said == Said::Asked)
        });
        let events: Vec<usize> = meant.map(|(n, (_, said))| (*said = Said::Asked, *n).1).collect();
        if events.is_empty() {
            return;
        }
        let (tries, _) = book.events[&n];
        if verdict != Verdict::Taken {
            book.rejected.extend(&events);
        }
        let mut words = json!({ "type": if verdict == Verdict::Taken { "ack" } else { "nack" }, "ref": n });
        words[if up_to { "up_to" } else { "id" }] = json!(format!("{epoch:08x}-{offset}"));
        words["channel"] = json!(scene.model.channels[book.channel].name);
        if verdict == Verdict::Dead {
            words["dead"] = json!(true);
        }
        self.owed.push_back(Owed::Acked(Acked { name: name.to_owned(), verdict, events, up_to, tries }));
        self.tell(&words.to_string(), scene);
    }

    /// The answer to that: it concerned what was in flight, and all up to the position that it names is settled.
    pub fn acked(&mut self, acked: &Acked, said: &Value, scene: &Scene<'_>) {
        let model = &*scene.model;
        let Acked { name, verdict, events, up_to, tries } = acked;
        let book = self.books.get_mut(name).expect("it was asked for");
        let is_open = model.sessions[book.session].stage == Stage::Open;
        // What was said before of some of them is answered by now.
        let is_open_still = |n: &&usize| matches!(book.events[*n].1, Said::Nothing | Said::Asked);
        let events: Vec<usize> = events.iter().filter(is_open_still).copied().collect();
        let flying = events.iter().filter(|n| is_open && book.flies(**n, model)).count();
        let count = said["count"].as_u64().expect("a number") as usize;
        // What expired in the queue never came, and is in flight until its time is over.
        let most = if *up_to && scene.features.ttl { usize::MAX } else { events.len() };
        assert!(
            (flying..=most).contains(&count),
            "client {}: {acked:?}: {said}, {flying} in flight for certain",
            self.id
        );
        for n in &events {
            let flew = is_open && book.flies(*n, model);
            let (_, now) = book.events.get_mut(n).expect("it came");
            *now = match verdict {
                _ if !flew && *up_to => Said::Unsure,
                _ if !flew && count == 0 => Said::Gone,
                Verdict::Taken => Said::Taken,
                Verdict::Again if *tries < book.attempts_max => Said::Nothing,
                Verdict::Again | Verdict::Dead => Said::Dead,
            };
        }
        if let (Some(at), true) = (said["position"].as_str().map(place), is_open) {
            book.assert_settled(at, model, said);
        }
    }
}

impl Book {
    /// All up to a position is settled.
    fn assert_settled(&self, (epoch, offset): Place, model: &Model, said: &Value) {
        for (n, (_, state)) in &self.events {
            let within = model.events[*n].place.is_some_and(|(e, o)| e == epoch && o <= offset);
            let open = matches!(state, Said::Nothing | Said::Asked) && self.flies(*n, model);
            assert!(!within || !open, "event {n} is not settled: {said}");
        }
    }
}

/// What came was acknowledged or is a dead letter.
pub fn judge(world: &mut World) {
    if !world.plan.features.acks || world.clients.iter().all(|client| client.books.is_empty()) {
        return;
    }
    let listed = play::ask(world, Ask::Letters, &format!("/dead-letters?limit={PAGE}"));
    let letters = listed["letters"].as_array().expect("a list");
    let is_all = listed["total"].as_u64() == Some(letters.len() as u64);
    let mut dead: BTreeMap<(&str, usize), &Value> = BTreeMap::new();
    for letter in letters {
        let name = letter["subscription"].as_str().expect("nothing else dies here");
        let Some(n) = assert_dead(world, name, letter) else { continue };
        assert!(dead.insert((name, n), letter).is_none(), "event {n} died twice: {letter}");
    }
    let hubs = world.cores.iter().filter_map(|core| core.shard.as_ref()).map(Shard::hub);
    // A lane to the letters' shard that is full turns some away, and counts them.
    let dropped: u64 = hubs.map(|hub| hub.counters.dead_letters_dropped).sum();
    let mut missing = Vec::new();
    for client in world.clients.iter().filter(|client| !client.over && !client.close_sent) {
        let open = |book: &Book| world.model.sessions[book.session].stage == Stage::Open;
        for (name, book) in client.books.iter().filter(|(_, book)| open(book)) {
            for (n, (tries, said)) in &book.events {
                let expires = world.model.events[*n].ttl_us.is_some();
                let is_dead = dead.contains_key(&(&**name, *n));
                let settled = match said {
                    Said::Taken => {
                        assert!(!is_dead, "{name}: event {n} came {tries} times, was taken and is dead");
                        true
                    }
                    Said::Dead => is_dead,
                    Said::Gone | Said::Nothing | Said::Asked => is_dead || expires,
                    Said::Unsure => true,
                };
                if !settled {
                    missing.push(format!("{name}: event {n} came {tries} times, {said:?}"));
                }
            }
        }
    }
    assert!(!is_all || missing.len() as u64 <= dropped, "{dropped} letters were dropped: {missing:?}");
}

/// A letter tells the truth. Answers of which event, if anybody who knows its place got it.
fn assert_dead(world: &World, name: &str, letter: &Value) -> Option<usize> {
    let book = world.clients.iter().find_map(|client| client.books.get(name)).expect("one that acknowledges");
    let (epoch, offset) = place(letter["position"].as_str().expect("it has one"));
    assert_eq!(letter["channel"], world.model.channels[book.channel].name.as_str(), "{letter}");
    let n = *world.model.positions.get(&(book.channel, epoch, offset))?;
    let (tries, said) = book.events.get(&n).copied().unwrap_or((0, Said::Nothing));
    assert_ne!(said, Said::Taken, "event {n} is acknowledged and dead: {letter}");
    let attempts = letter["attempts"].as_u64().expect("a number") as u32;
    assert!(tries <= attempts && attempts <= book.attempts_max, "event {n} came {tries} times: {letter}");
    match letter["reason"].as_str() {
        Some("unacknowledged") => assert_eq!(attempts, book.attempts_max, "event {n}: {letter}"),
        Some("rejected") => assert!(book.rejected.contains(&n), "event {n}: {letter}"),
        _ => panic!("event {n}: {letter}"),
    }
    Some(n)
}
