//! One fake client: what it wants to say and what it waits for; what it makes of what it is sent is in `ears`. It
//! knows no shard; its socket is a pipe of [`Net`].

use crate::acks::{Acked, Book};
use crate::dice::Dice;
use crate::features::Features;
use crate::frames::{self, CLOSE, PING, TEXT};
use crate::model::{End, Model, Outcome};
use crate::net::Net;
use crate::places;
use crate::rights::Moment;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What surrounds a client while it acts.
pub struct Scene<'w> {
    pub net: &'w mut Net,
    pub model: &'w mut Model,
    pub dice: &'w mut Dice,
    pub step: u64,
    pub now_us: u64,
    pub keep_alive_us: u64,
    pub features: Features,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    Http,
    Courier,
    V1,
    Events,
    Router,
    FreqSearch,
    /// Server-sent events.
    Stream,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Publish(usize),
    Batch(Vec<usize>),
    Report,
    Stats,
    Channels,
    Letters,
    /// A request with this refusal for an answer.
    Bad(u16),
    /// A socket or a stream; with this subscription from the start.
    Upgrade(Tongue, Option<usize>),
}

pub struct Expected {
    pub ask: Ask,
    /// Where it ends in the stream.
    pub end: u64,
    /// What it shows, and when it was said.
    pub token: Option<usize>,
    pub at: Moment,
}

/// What a socket is owed, in the order of what it said.
#[derive(Debug, PartialEq, Eq)]
pub enum Owed {
    Welcome,
    /// Of one of the client's subscriptions.
    Subscribed(usize),
    /// Of one, or (true) of the oldest to the same channel or pattern.
    Unsubscribed(usize, bool),
    /// Of an event, whose publish ends there in the stream.
    Published(usize, u64),
    Pong,
    /// RFC 6455 5.5.3
    Echo,
    /// Dialect `freqsearch`: a `pong`, behind which the first of these subscriptions has made way for the other.
    Changed(usize, usize),
    /// With this token it wants to stay.
    Renewed(usize),
    /// To an acknowledgement.
    Acked(Acked),
    /// Who hears this channel, asked then.
    Presence(usize, Moment),
    Error,
}

pub enum Mark {
    Sent(usize),
    Left,
}

/// A subscription by its name.
pub struct Named {
    pub id: String,
    /// Channel or pattern; of several the first.
    pub target: String,
    pub session: usize,
    pub asked_to_end: bool,
}

pub struct Client {
    pub id: usize,
    pub pipe: usize,
    pub tongue: Tongue,
    /// Of the subscriptions that share one copy of each event.
    pub ear: usize,
    pub out: Vec<u8>,
    pub written: u64,
    pub queued: u64,
    pub marks: VecDeque<(u64, Mark)>,
    pub expected: VecDeque<Expected>,
    pub inbox: Vec<u8>,
    /// Bytes that came before `inbox`, and control frames.
    pub before: u64,
    pub controls: u32,
    /// What a plain socket is owed for pings and the like, in order.
    pub replies: VecDeque<&'static str>,
    /// What a socket of another dialect is owed.
    pub owed: VecDeque<Owed>,
    pub named: Vec<Named>,
    /// Of the subscriptions that acknowledge, by name; it acknowledges all that comes.
    pub books: BTreeMap<String, Book>,
    pub diligent: bool,
    /// What `exclude` knows it by.
    pub name: Option<String>,
    /// Dialect `freqsearch`: the types asked for, and the subscription of them.
    pub types: BTreeSet<String>,
    pub interest: usize,
    /// Reads only a little at a time, or nothing.
    pub lazy: Option<usize>,
    pub ever_lazy: bool,
    /// Does not write either.
    pub mute: bool,
    pub upgrading: bool,
    pub socket: bool,
    /// Which compression its socket offered; whether one was agreed on, and whether the last frame that came has it.
    pub offer: Option<usize>,
    pub zips: bool,
    pub came_zipped: bool,
    pub close_sent: bool,
    pub fin_sent: bool,
    pub close_seen: Option<u16>,
    /// An answer said that the connection closes.
    pub refused: bool,
    /// How many answers it had when a stop began, if another was half on the wire: that one must still come.
    pub owed_at_stop: Option<u64>,
    /// Nothing will happen on this connection any more.
    pub over: bool,
    /// It saw an error that means that a subscription was not taken.
    pub turned_down: bool,
    /// The channels that it ever asked for, a bit for each.
    pub asked: u64,
    /// By channel, of a plain socket: the open subscription; what was asked for last.
    pub sessions: Vec<Option<usize>>,
    pub wants: Vec<bool>,
    /// When ends were asked for that are not answered yet.
    pub left_at: VecDeque<u64>,
    pub stats: Option<serde_json::Value>,
    pub listed: Option<serde_json::Value>,
    /// Who hears a channel, as it was answered last.
    pub present: Option<BTreeSet<String>>,
    /// Of a stream: the id of the last event.
    pub last_id: String,
    pub idle_since_us: u64,
    pub answers: u64,
    /// The shard may have been full when it came.
    pub may_be_turned_away: bool,
    /// What it shows with requests, and its text.
    pub token: Option<usize>,
    shown: String,
    /// When it asked for its socket.
    pub since: Moment,
    /// When it saw that it was let in.
    pub let_in_us: u64,
    /// It was told that what it may hear has become less, and will be told which subscription that ends.
    pub loses: bool,
    /// Dialect `router`: one subscription was refused, or one that it had is about to end.
    pub refused_or_lost: bool,
}

impl Client {
    pub fn new(id: usize, pipe: usize, ear: usize, channels: usize, now_us: u64) -> Client {
        Client {
            id,
            pipe,
            tongue: Tongue::Http,
            ear,
            out: Vec::new(),
            written: 0,
            queued: 0,
            marks: VecDeque::new(),
            expected: VecDeque::new(),
            inbox: Vec::new(),
            before: 0,
            controls: 0,
            replies: VecDeque::new(),
            owed: VecDeque::new(),
            named: Vec::new(),
            books: BTreeMap::new(),
            diligent: false,
            name: None,
            types: BTreeSet::new(),
            interest: 0,
            lazy: None,
            ever_lazy: false,
            mute: false,
            upgrading: false,
            socket: false,
            offer: None,
            zips: false,
            came_zipped: false,
            close_sent: false,
            fin_sent: false,
            close_seen: None,
            refused: false,
            owed_at_stop: None,
            over: false,
            turned_down: false,
            asked: 0,
            sessions: vec![None; channels],
            wants: vec![false; channels],
            left_at: VecDeque::new(),
            stats: None,
            listed: None,
            present: None,
            last_id: String::new(),
            idle_since_us: now_us,
            answers: 0,
            may_be_turned_away: false,
            token: None,
            shown: String::new(),
            since: Moment::default(),
            let_in_us: 0,
            loses: false,
            refused_or_lost: false,
        }
    }

    /// A stop begins.
    pub fn see_stop(&mut self, net: &Net) {
        let half = !self.inbox.is_empty() || net.readable_bytes(self.pipe) > 0;
        self.owed_at_stop = half.then_some(self.answers);
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.queued += bytes.len() as u64;
    }

    /// Shows a token from now on.
    pub fn show(&mut self, token: Option<usize>, model: &Model) {
        let text = token.map(|token| model.rights.tokens[token].text.clone());
        (self.token, self.shown) = (token, text.unwrap_or_default());
    }

    pub fn request(&mut self, ask: Ask, bytes: &[u8], at: Moment) {
        match self.shown.is_empty() {
            true => self.say(bytes),
            false => self.say(&places::showing(bytes, &self.shown, self.id + self.token.unwrap_or(0))),
        }
        match &ask {
            Ask::Publish(n) => self.marks.push_back((self.queued, Mark::Sent(*n))),
            Ask::Batch(items) => {
                self.marks.extend(items.iter().map(|n| (self.queued, Mark::Sent(*n))));
            }
            Ask::Upgrade(tongue, _) => (self.tongue, self.upgrading) = (*tongue, true),
            _ => {}
        }
        self.expected.push_back(Expected { ask, end: self.queued, token: self.token, at });
    }

    /// Says a message on a socket.
    pub fn tell(&mut self, text: &str, scene: &mut Scene<'_>) {
        scene.model.note(|| format!("  client {} will say {text}", self.id));
        self.say(&self.message(text.as_bytes(), scene.dice));
    }

    /// Says one that asks for the end of a subscription.
    pub fn tell_leaving(&mut self, text: &str, scene: &mut Scene<'_>) {
        self.tell(text, scene);
        self.marks.push_back((self.queued, Mark::Left));
    }

    pub fn subscribe(&mut self, channel: usize, name: &str, scene: &mut Scene<'_>) {
        self.asked |= 1 << channel;
        self.wants[channel] = true;
        self.tell(&format!("{{\"type\":\"subscribe\",\"channel\":\"{name}\"}}"), scene);
    }

    pub fn unsubscribe(&mut self, channel: usize, name: &str, scene: &mut Scene<'_>) {
        self.wants[channel] = false;
        self.tell_leaving(&format!("{{\"type\":\"unsubscribe\",\"channel\":\"{name}\"}}"), scene);
    }

    /// Says something that is answered at once.
    pub fn chat(&mut self, scene: &mut Scene<'_>) {
        let said: &[(u8, &str, &'static str)] = &[
            (TEXT, "ping", "pong"),
            (TEXT, "{\"type\":\"ping\"}", "{\"type\":\"pong\"}"),
            (TEXT, "{\"type\":\"hello\"}", "ack"),
            (TEXT, "hello", "VALIDATION_ERROR"),
            (PING, "are you there", "PONG"),
        ];
        let (opcode, text, reply) = *scene.dice.pick(said);
        self.replies.push_back(reply);
        let bytes = match opcode {
            PING => frames::client_frame(true, PING, text.as_bytes(), scene.dice),
            _ => self.message(text.as_bytes(), scene.dice),
        };
        self.say(&bytes);
    }

    pub fn send_binary(&mut self, scene: &mut Scene<'_>) {
        self.say(&frames::client_frame(true, frames::BINARY, b"no", scene.dice));
        self.close_sent = true;
        self.abandon(scene.model);
    }

    /// Says good-bye; events on their way are not waited for.
    pub fn send_close(&mut self, scene: &mut Scene<'_>) {
        self.say(&frames::client_frame(true, CLOSE, &1000_u16.to_be_bytes(), scene.dice));
        self.close_sent = true;
        self.abandon(scene.model);
    }

    fn abandon(&mut self, model: &mut Model) {
        self.end_sessions(model, End::Abnormal);
    }

    pub fn end_sessions(&mut self, model: &mut Model, end: End) {
        model.end_all(self.id, end);
    }

    /// The client sends no more, but reads on.
    pub fn fin(&mut self, scene: &mut Scene<'_>) {
        self.fin_sent = true;
        scene.net.client_fin(self.pipe);
        if self.socket || self.upgrading {
            self.abandon(scene.model);
        }
    }

    /// The client is gone: by a reset, a close, or without any word (`None`).
    pub fn vanish(&mut self, reset: Option<bool>, scene: &mut Scene<'_>) {
        if let Some(reset) = reset {
            scene.net.client_close(self.pipe, reset);
        }
        self.abandon(scene.model);
        self.finish_requests(Outcome::Lost, scene.model);
        self.over = true;
    }

    pub fn finish_requests(&mut self, outcome: Outcome, model: &mut Model) {
        let written = self.written;
        let mut settle = |n, end| {
            let outcome = if end > written { Outcome::Refused } else { outcome };
            model.settle(n, outcome);
        };
        for Expected { ask, end, .. } in self.expected.drain(..) {
            match ask {
                Ask::Publish(n) => settle(n, end),
                Ask::Batch(items) => items.into_iter().for_each(|n| settle(n, end)),
                _ => {}
            }
        }
        for owed in self.owed.drain(..) {
            if let Owed::Published(n, end) = owed {
                settle(n, end);
            }
        }
    }

    pub fn speaks_frames(&self) -> bool {
        self.socket && self.tongue != Tongue::Stream
    }

    pub fn wants_to_write(&self, net: &Net) -> bool {
        !self.over
            && !self.mute
            && !self.fin_sent
            && !self.out.is_empty()
            && net.writable_bytes(self.pipe) > 0
    }

    pub fn wants_to_read(&self, net: &Net) -> bool {
        !self.over && self.lazy.is_none() && (net.readable_bytes(self.pipe) > 0 || net.at_end(self.pipe))
    }

    pub fn write(&mut self, max: usize, scene: &mut Scene<'_>) {
        if self.fin_sent || self.over {
            return;
        }
        let n = scene.net.client_write(self.pipe, &self.out[..self.out.len().min(max)]);
        self.out.drain(..n);
        self.written += n as u64;
        while let Some((at, mark)) = self.marks.front()
            && *at <= self.written
        {
            match mark {
                Mark::Sent(n) => {
                    let event = &mut scene.model.events[*n];
                    if event.sent.is_none() {
                        (event.sent, event.sent_us) = (Some(scene.step), scene.now_us);
                    }
                }
                Mark::Left => self.left_at.push_back(scene.step),
            }
            self.marks.pop_front();
        }
    }

    pub fn read(&mut self, max: usize, scene: &mut Scene<'_>) {
        if self.over {
            return;
        }
        scene.net.client_read(self.pipe, max, &mut self.inbox);
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut at = 0;
        while !self.over
            && let Some(n) = self.take_in(&inbox[at..], scene)
        {
            at += n;
            self.before += n as u64;
        }
        inbox.drain(..at);
        self.inbox = inbox;
        if scene.net.at_end(self.pipe) && !self.over {
            self.ended(scene);
        }
    }

    /// At rest nothing may be owed to a client that reads.
    pub fn assert_served(&self, model: &Model) {
        if self.over || self.refused {
            return;
        }
        assert!(self.out.is_empty(), "client {}: {} bytes are not read", self.id, self.out.len());
        assert!(self.expected.is_empty(), "client {}: {:?} is not answered", self.id, self.expected[0].ask);
        if !self.socket || self.close_sent {
            return;
        }
        assert!(
            model.rights.holds(self.id, model.at),
            "client {}: it is still here, and what it showed has ended or is revoked",
            self.id
        );
        assert!(!self.loses, "client {}: nothing has ended", self.id);
        assert!(self.replies.is_empty(), "client {}: no reply {:?}", self.id, self.replies[0]);
        assert!(self.owed.is_empty(), "client {}: {:?} is owed", self.id, self.owed[0]);
        if self.tongue != Tongue::Courier {
            return;
        }
        for (channel, wanted) in self.wants.iter().enumerate() {
            let open = self.sessions[channel].is_some();
            let name = &model.channels[channel].name;
            assert!(
                open == *wanted || self.turned_down,
                "client {}: {name}: asked for {wanted}, subscribed {open}",
                self.id
            );
        }
    }
}
