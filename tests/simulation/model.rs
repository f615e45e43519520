//! What the world knows of events and subscriptions, from the outside only: what publishers were answered and what
//! subscribers were sent. What can be judged when it happens is judged here; the rest in `verdict`.

use crate::plan::ChannelPlan;
use crate::presence::News;
use crate::rights::{Moment, Rights};
use crate::sieve::Sieve;
use courier::hub::Slow;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Takes what happens, line by line.
pub type Trace = Rc<RefCell<dyn FnMut(String)>>;

/// In the middle.
pub const NORMAL: u8 = 5;

/// An event's place in its channel's order.
pub type Place = (u32, u64);

/// What became of a publish, as far as its publisher knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// No answer yet.
    #[default]
    Open,
    /// Taken, and put into so many queues, if that was told; with the step of the answer.
    Published { reached: Option<u32>, step: u64 },
    /// Any other answer, or it stands behind an answer that closed the connection: nobody may get it.
    Refused,
    /// The connection ended first.
    Lost,
}

/// An event as it is made.
#[derive(Default)]
pub struct Draft {
    pub channel: usize,
    pub client: usize,
    pub kind: String,
    pub source: Option<&'static str>,
    pub key: Option<u64>,
    pub priority: u8,
    /// The client that is not to get it.
    pub exclude: Option<usize>,
    pub ttl_us: Option<u64>,
    /// May be published again under the id that is made of its number.
    pub has_id: bool,
    /// Its text is the router's object.
    pub is_routers: bool,
    pub padding: usize,
}

#[derive(Default)]
pub struct Event {
    pub channel: usize,
    pub client: usize,
    pub kind: String,
    pub source: Option<&'static str>,
    pub key: Option<u64>,
    pub priority: u8,
    pub exclude: Option<usize>,
    pub ttl_us: Option<u64>,
    pub has_id: bool,
    pub is_routers: bool,
    pub padding: usize,
    /// What subscribers get; of the router's events only the payload, until one was seen.
    pub bytes: Vec<u8>,
    pub seen: bool,
    /// The step at which its last byte was first sent.
    pub sent: Option<u64>,
    pub sent_us: u64,
    /// When its publisher was told that it was taken.
    pub answered_us: u64,
    pub outcome: Outcome,
    pub place: Option<Place>,
    /// How often it was published, and how many of those are not answered.
    pub attempts: u32,
    pub open: u32,
    pub lost: bool,
    /// The server's time when it took it.
    pub stamp: String,
    /// What the kernel had taken for each connection when its publisher was answered.
    pub totals: Box<[u64]>,
    /// Connections that got it.
    pub got: BTreeSet<usize>,
}

/// How a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    /// Its end was confirmed, and asked for at this step.
    Left(u64),
    /// 1001.
    Stopped,
    /// In a way in which queued events may be lost.
    Abnormal,
}

/// How far a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not answered; events may come already, or not before the answer.
    Asked {
        early: bool,
    },
    Open,
    Over,
}

pub struct Session {
    pub client: usize,
    pub ear: usize,
    /// The channels that it covers, a bit for each, and through which it hears by name, once for each subscription.
    pub covers: u64,
    pub names: Vec<usize>,
    pub sieve: Sieve,
    /// Some part of it covers no channel that there is, and may be refused though all others might be read.
    pub hollow: bool,
    pub stage: Stage,
    /// When it was asked for.
    pub asked: Moment,
    /// The step at which the client saw the 101 or `subscribed`.
    pub since: u64,
    /// The place behind which it asked to begin.
    pub resume: Option<Place>,
    /// Where the channel stood then, if that was told, or that place, if nothing is missing since.
    pub from: Option<Place>,
    /// Where the channel stood when it was let in, of one that began in the past.
    pub known: Option<Place>,
    pub end: End,
    /// Gets every event of its only channel, in the order of their numbers.
    pub whole: bool,
    pub run: Vec<usize>,
    /// It acknowledges what it gets.
    pub acks: bool,
    /// The subscription that takes over without a seam.
    pub heir: Option<usize>,
}

/// One event as it came.
#[derive(Clone, Copy)]
pub struct Got {
    pub event: usize,
    /// Where in the stream it began, and when the kernel took that byte.
    pub offset: u64,
    pub taken_us: u64,
    /// Control frames that came before it.
    pub controls: u32,
}

/// Who gets one copy of each event: a connection, or a subscription where each has its own.
pub struct Ear {
    pub client: usize,
    pub sessions: Vec<usize>,
    pub got: Vec<Got>,
    heard: BTreeMap<usize, usize>,
    /// Channels, a bit for each, that it hears through several subscriptions of which one began in the past.
    pub mixed: u64,
    /// Channels, a bit for each, of which losses may be another's.
    pub unsure: u64,
    /// Losses that were told: channel, from, to.
    pub gaps: Vec<(usize, Place, Place)>,
}

pub struct Model {
    pub channels: Vec<ChannelPlan>,
    pub events: Vec<Event>,
    pub sessions: Vec<Session>,
    pub ears: Vec<Ear>,
    /// Of each channel's positions, which event has it.
    pub positions: BTreeMap<(usize, u32, u64), usize>,
    /// Events of the server's, and what it calls the connections that are told.
    pub news: News,
    pub names: BTreeMap<String, usize>,
    pub published: u64,
    pub deliveries: u64,
    pub cuts: u64,
    pub stopping: bool,
    /// Something may leave a hole in what a subscriber gets.
    pub holes: bool,
    pub rights: Rights,
    /// Now.
    pub at: Moment,
    /// Where what clients say and are told is noted.
    pub trace: Option<Trace>,
}

impl Model {
    pub fn new(channels: Vec<ChannelPlan>, holes: bool) -> Model {
        Model {
            channels,
            events: Vec::new(),
            sessions: Vec::new(),
            ears: Vec::new(),
            positions: BTreeMap::new(),
            news: News::new(),
            names: BTreeMap::new(),
            published: 0,
            deliveries: 0,
            cuts: 0,
            stopping: false,
            holes,
            rights: Rights::default(),
            at: Moment::default(),
            trace: None,
        }
    }

    pub fn note(&self, text: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.borrow_mut()(text());
        }
    }

    pub fn channel_named(&self, name: &str) -> usize {
        let found = self.channels.iter().position(|channel| channel.name == name);
        found.unwrap_or_else(|| panic!("nobody uses a channel {name:?}"))
    }

    /// Makes an event that names itself.
    pub fn event(&mut self, draft: Draft) -> usize {
        let n = self.events.len();
        let Draft { channel, client, kind, source, key, priority, exclude, ttl_us, .. } = draft;
        let padding = "p".repeat(draft.padding);
        let named = |name: &str, value: Option<String>| {
            value.map(|value| format!(",\"{name}\":\"{value}\"")).unwrap_or_default()
        };
        let bytes = match draft.is_routers {
            true => format!("{{\"n\":{n},\"p\":\"{padding}\"}}"),
            false => {
                let (source, key) =
                    (named("source", source.map(str::to_owned)), key.map(|key| format!("k{key}")));
                format!("{{\"n\":{n},\"type\":\"{kind}\" {source}{},\"p\":\"{padding}\"}}", named("key", key))
            }
        };
        self.events.push(Event {
            channel,
            client,
            kind,
            source,
            key,
            priority,
            exclude,
            ttl_us,
            has_id: draft.has_id,
            is_routers: draft.is_routers,
            padding: draft.padding,
            bytes: bytes.into_bytes(),
            seen: false,
            sent: None,
            sent_us: 0,
            answered_us: 0,
            outcome: Outcome::Open,
            place: None,
            attempts: 1,
            open: 1,
            lost: false,
            stamp: String::new(),
            totals: Box::default(),
            got: BTreeSet::new(),
        });
        n
    }

    /// The event is published once more.
    pub fn repeat(&mut self, n: usize) {
        let event = &mut self.events[n];
        (event.attempts, event.open) = (event.attempts + 1, event.open + 1);
        if event.outcome == Outcome::Refused {
            event.outcome = Outcome::Open;
        }
    }

    /// A publisher was told that its event was published: `body` is contract 3.1.
    pub fn published(&mut self, n: usize, body: &Value, step: u64) {
        let event = &mut self.events[n];
        let channel = &self.channels[event.channel].name;
        assert_eq!(body["status"], "published");
        assert_eq!(body["channel"], channel.as_str(), "the answer to event {n} names another channel");
        assert_eq!(body["event_type"], event.kind.as_str(), "answers out of order");
        let place = place(body["id"].as_str().expect("a position"));
        let reached = body["clients_reached"].as_u64().expect("a number") as u32;
        // Whichever of several publishes was taken, and is answered: this is when.
        let stamp = body["timestamp"].as_str().expect("a time");
        if event.stamp.is_empty() {
            event.stamp = stamp.to_owned();
        }
        assert_eq!(event.stamp, stamp, "event {n} was taken at two times");
        self.taken(n, Some(reached), step);
        self.place(n, place);
    }

    /// A publisher was told that its event was taken.
    pub fn taken(&mut self, n: usize, reached: Option<u32>, step: u64) {
        let event = &mut self.events[n];
        event.open -= 1;
        if !matches!(event.outcome, Outcome::Published { .. }) {
            event.outcome = Outcome::Published { reached, step };
            event.answered_us = self.at.us;
        }
        self.published += 1;
    }

    /// A publisher was told that nobody got its event. It may have been numbered, and is kept then: who asks for the past gets it.
    pub fn dropped(&mut self, n: usize, is_kept: bool) {
        assert!(is_kept || self.events[n].got.is_empty(), "event {n} was dropped and delivered");
        (self.events[n].open, self.events[n].outcome) =
            (0, if is_kept { Outcome::Lost } else { Outcome::Refused });
    }

    /// Notes that event `n` stands at a position.
    pub fn place(&mut self, n: usize, place: Place) {
        let (epoch, offset) = place;
        assert!(offset > 0, "event {n}: positions begin at 1");
        let before = *self.events[n].place.get_or_insert(place);
        assert_eq!(before, place, "event {n} has two places");
        let channel = self.events[n].channel;
        let holder = *self.positions.entry((channel, epoch, offset)).or_insert(n);
        assert_eq!(holder, n, "events {holder} and {n} share position {epoch:08x}-{offset}");
    }

    pub fn ear(&mut self, client: usize) -> usize {
        let (sessions, got, heard, mixed, unsure, gaps) = Default::default();
        self.ears.push(Ear { client, sessions, got, heard, mixed, unsure, gaps });
        self.ears.len() - 1
    }

    /// A client asks for a subscription.
    pub fn ask(&mut self, ear: usize, covers: u64, names: Vec<usize>, sieve: Sieve, early: bool) -> usize {
        let client = self.ears[ear].client;
        let number = self.sessions.len();
        self.ears[ear].sessions.push(number);
        self.sessions.push(Session {
            client,
            ear,
            covers,
            names,
            sieve,
            hollow: false,
            stage: Stage::Asked { early },
            asked: self.at,
            since: u64::MAX,
            resume: None,
            from: None,
            known: None,
            end: End::Open,
            whole: false,
            run: Vec::new(),
            heir: None,
            acks: false,
        });
        number
    }

    /// It was answered.
    pub fn open(&mut self, session: usize, step: u64) {
        let found = &mut self.sessions[session];
        (found.stage, found.since) = (Stage::Open, step);
    }

    /// Its end was answered: what comes from now on is not for it.
    pub fn close(&mut self, session: usize, end: End) {
        self.end(session, end);
        self.sessions[session].stage = Stage::Over;
    }

    /// Behind which event a subscriber of a channel can ask for what it missed: the last that it got, or any if it
    /// got none or hears the channel already through another subscription.
    pub fn place_to_resume(&self, ear: usize, channel: usize, any: usize) -> Option<Place> {
        let ear = &self.ears[ear];
        let hears = |session: &usize| {
            let session = &self.sessions[*session];
            session.covers >> channel & 1 == 1 && session.stage != Stage::Over
        };
        let got = ear.got.iter().map(|got| &self.events[got.event]).filter(|event| event.channel == channel);
        let places: Vec<Place> = got.filter_map(|event| event.place).collect();
        if let Some((epoch, _)) = places.last().filter(|_| !ear.sessions.iter().any(hears)) {
            return places.iter().copied().filter(|place| place.0 == *epoch).max();
        }
        let known: Vec<Place> =
            self.positions.keys().filter(|at| at.0 == channel).map(|at| (at.1, at.2)).collect();
        (!known.is_empty()).then(|| known[any % known.len()])
    }

    /// Where a new subscription overlaps with another of its connection, and one of them began in the past, what comes is not
    /// in the order of numbers.
    pub fn mind_overlaps(&mut self, new: usize) {
        let Session { ear, covers, resume, .. } = self.sessions[new];
        for other in self.ears[ear].sessions.clone() {
            let session = &self.sessions[other];
            let both = session.covers & covers;
            if other != new && both != 0 && (resume.is_some() || session.resume.is_some()) {
                (self.sessions[other].whole, self.sessions[new].whole) = (false, false);
                self.ears[ear].mixed |= both;
            }
        }
    }

    /// How often an event may come to a connection: once live, and once for each subscription that asked for it, by beginning
    /// before it, when it was there already.
    fn copies_max(&self, ear: usize, event: &Event) -> usize {
        let sessions = self.ears[ear].sessions.iter().map(|session| &self.sessions[*session]);
        let sessions = sessions.filter(|session| session.covers >> event.channel & 1 == 1);
        let (mut asked, mut live) = (0, 0);
        for session in sessions {
            match (session.resume, session.known, event.place) {
                (Some(from), Some(until), Some(place)) if place <= until && is_behind(from, place) => {
                    asked += 1
                }
                _ => live = 1,
            }
        }
        asked + live
    }

    /// Whether something may be missing of a channel that a subscriber of it hears whole.
    pub fn has_holes(&self, channel: usize) -> bool {
        self.holes || self.channels[channel].slow != Slow::Disconnect
    }

    /// The number in an event's text.
    pub fn number_of(text: &[u8]) -> Option<usize> {
        let digits = text.strip_prefix(b"{\"n\":")?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    }

    /// The text of event `n` is what was published.
    pub fn assert_verbatim(&mut self, n: usize, text: &[u8]) {
        let event = self.events.get_mut(n).expect("an event that was made");
        if event.is_routers && !event.seen {
            let object: Value = serde_json::from_slice(text).expect("an event is JSON");
            let payload: Value = serde_json::from_slice(&event.bytes).expect("made as JSON");
            assert_eq!(object["payload"], payload, "event {n}");
            assert_eq!(object["id"], format!("e{n}"));
            assert_eq!(object["topic"], self.channels[event.channel].name.as_str());
            assert_eq!(object["type"], event.kind.as_str());
            assert_eq!(object["priority"], event.priority);
            event.seen = true;
            event.bytes = text.to_vec();
        }
        assert!(
            event.bytes == text,
            "event {n} is not what was published: {}",
            String::from_utf8_lossy(text)
        );
    }

    /// A subscriber was sent an event.
    pub fn heard(&mut self, ear: usize, got: Got) {
        let n = got.event;
        let max = self.copies_max(ear, &self.events[n]);
        let (found, event) = (&mut self.ears[ear], &mut self.events[n]);
        let client = found.client;
        assert!(event.sent.is_some(), "event {n} came before it was published");
        assert_ne!(event.outcome, Outcome::Refused, "event {n} was refused and delivered");
        let copies = found.heard.entry(n).or_insert(0);
        *copies += 1;
        assert!(*copies <= max, "client {client} got event {n} {copies} times, and may get it {max} times");
        assert_ne!(event.exclude, Some(client), "client {client} got event {n}, which excludes it");
        found.got.push(got);
        event.got.insert(client);
        self.deliveries += 1;
        let event = &self.events[n];
        let mut wanted = false;
        for number in &found.sessions {
            let session = &mut self.sessions[*number];
            let covers = session.covers >> event.channel & 1 == 1
                && session.sieve.passes(&event.kind, event.source, event.priority);
            let open = session.stage == Stage::Open;
            wanted |= covers && (open || session.stage == Stage::Asked { early: true });
            if covers && open && session.whole {
                follow(session, n, &self.events);
                session.run.push(n);
            }
        }
        assert!(wanted, "client {client} got event {n} and has no subscription that wants it");
        self.assert_may_read(ear, n);
    }

    /// At some moment since the event was published and a subscription that covers it was asked for, the connection might
    /// read it.
    pub fn assert_may_read(&self, ear: usize, n: usize) {
        let (ear, event) = (&self.ears[ear], &self.events[n]);
        let sessions = ear.sessions.iter().map(|session| &self.sessions[*session]);
        let covering = sessions.filter(|session| session.covers >> event.channel & 1 == 1);
        let asked = covering.map(|session| session.asked).min_by_key(|at| at.step).unwrap_or_default();
        let sent = Moment { step: event.sent.unwrap_or(0), us: event.sent_us };
        let from = if asked.step > sent.step { asked } else { sent };
        let name = &self.channels[event.channel].name;
        assert!(
            self.rights.may_have(ear.client, name, false, from, self.at),
            "client {} got event {n} of {name}, which it might not read since it was published at {sent:?}",
            ear.client
        );
    }

    /// The names of the channels in a mask.
    pub fn names(&self, covers: u64) -> impl Iterator<Item = &str> + Clone {
        let channels = self.channels.iter().enumerate();
        channels.filter(move |(at, _)| covers >> at & 1 == 1).map(|(_, channel)| &*channel.name)
    }

    /// Rights have become less, and a subscription has ended with them: perhaps before its client has read that it began
    /// (seed 220262).
    pub fn lose(&mut self, session: usize) {
        let Session { client, since, asked, .. } = self.sessions[session];
        let step =
            if since == u64::MAX { 0 } else { self.rights.changed_after(client, asked.step.min(since)) };
        self.close(session, End::Left(step));
    }

    pub fn end(&mut self, session: usize, end: End) {
        let found = &mut self.sessions[session];
        if found.end == End::Open {
            found.end = end;
        }
    }

    /// All subscriptions of a client end.
    pub fn end_all(&mut self, client: usize, end: End) {
        for session in self.sessions.iter_mut().filter(|session| session.client == client) {
            if session.end == End::Open && session.stage != Stage::Over {
                session.end = end;
            }
        }
    }

    /// A publish of event `n` was refused, or its connection is gone.
    pub fn settle(&mut self, n: usize, outcome: Outcome) {
        let event = &mut self.events[n];
        event.open -= 1;
        event.lost |= outcome == Outcome::Lost;
        if event.open > 0 || matches!(event.outcome, Outcome::Published { .. }) {
            return;
        }
        event.outcome = if event.lost { Outcome::Lost } else { Outcome::Refused };
        assert!(event.lost || event.got.is_empty(), "event {n} was delivered and refused");
    }
}

/// Whether a place is behind another of which a subscriber says that it knows all up to it. Of another numbering it knows
/// nothing.
fn is_behind(known: Place, place: Place) -> bool {
    known.0 != place.0 || known.1 < place.1
}

/// What comes through a whole subscription has the next number.
fn follow(session: &Session, n: usize, events: &[Event]) {
    let before = session.run.last().map_or(session.from, |last| events[*last].place);
    if let (Some((e1, o1)), Some((e2, o2))) = (before, events[n].place) {
        assert!(
            e1 == e2 && o2 == o1 + 1,
            "client {}: {e1:08x}-{o1} is followed by {e2:08x}-{o2} (event {n})",
            session.client
        );
    }
}

/// Reads a position.
pub fn place(id: &str) -> Place {
    let (epoch, offset) = id.split_once('-').expect("two parts");
    (u32::from_str_radix(epoch, 16).expect("hex"), offset.parse().expect("decimal"))
}
