//! What the world knows of events and subscriptions, from the outside only: what publishers were answered and what
//! subscribers were sent. What can be judged when it happens is judged here; the rest in `verdict`.

use crate::plan::ChannelPlan;
use serde_json::Value;
use std::collections::BTreeMap;

/// What became of a publish, as far as its publisher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No answer yet.
    Open,
    /// 200; with its place in the channel's order, the count of subscribers, and the step of the answer.
    Published { epoch: u32, offset: u64, reached: u32, step: u64 },
    /// Any other answer, or it stands behind an answer that closed the connection: nobody may get it.
    Refused,
    /// The connection ended first.
    Lost,
}

pub struct Event {
    pub channel: usize,
    pub client: usize,
    pub bytes: Vec<u8>,
    /// The step at which its last byte was sent.
    pub sent: Option<u64>,
    pub outcome: Outcome,
    /// Subscribers that got it.
    pub got: u32,
}

/// How a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    /// `unsubscribed`, which was asked for at this step.
    Left(u64),
    /// 1001.
    Stopped,
    /// In a way in which queued events may be lost.
    Abnormal,
}

pub struct Session {
    pub client: usize,
    pub channel: usize,
    /// The step at which the client saw the 101 or `subscribed`.
    pub since: u64,
    pub got: Vec<usize>,
    pub end: End,
}

pub struct Model {
    pub channels: Vec<ChannelPlan>,
    pub events: Vec<Event>,
    pub sessions: Vec<Session>,
    /// Of each channel's positions, which event has it.
    pub positions: BTreeMap<(usize, u32, u64), usize>,
    pub published: u64,
    pub deliveries: u64,
    pub cuts: u64,
    pub stopping: bool,
}

impl Model {
    pub fn new(channels: Vec<ChannelPlan>) -> Model {
        Model {
            channels,
            events: Vec::new(),
            sessions: Vec::new(),
            positions: BTreeMap::new(),
            published: 0,
            deliveries: 0,
            cuts: 0,
            stopping: false,
        }
    }

    pub fn channel_named(&self, name: &str) -> usize {
        let found = self.channels.iter().position(|channel| channel.name == name);
        found.unwrap_or_else(|| panic!("nobody uses a channel {name:?}"))
    }

    /// Makes an event that names itself.
    pub fn event(&mut self, client: usize, channel: usize, padding: usize) -> usize {
        let n = self.events.len();
        let padding = "p".repeat(padding);
        let bytes = format!("{{\"n\":{n},\"type\":\"t{n}\" ,\"p\":\"{padding}\"}}").into_bytes();
        self.events.push(Event { channel, client, bytes, sent: None, outcome: Outcome::Open, got: 0 });
        n
    }

    /// A publisher was answered 200.
    pub fn published(&mut self, n: usize, body: &[u8], step: u64) {
        let body: Value = serde_json::from_slice(body).expect("an answer is JSON");
        let event = &mut self.events[n];
        let channel = &self.channels[event.channel].name;
        assert_eq!(body["status"], "published");
        assert_eq!(body["channel"], channel.as_str(), "the answer to event {n} names another channel");
        assert_eq!(body["event_type"], format!("t{n}"), "answers out of order");
        let id = body["id"].as_str().expect("a position");
        let (epoch, offset) = id.split_once('-').expect("two parts");
        let epoch = u32::from_str_radix(epoch, 16).expect("hex");
        let offset: u64 = offset.parse().expect("decimal");
        let reached = body["clients_reached"].as_u64().expect("a number") as u32;
        assert_eq!(event.outcome, Outcome::Open);
        event.outcome = Outcome::Published { epoch, offset, reached, step };
        let channel = event.channel;
        self.place(n, channel, epoch, offset);
        self.published += 1;
    }

    /// Notes that event `n` stands at a position.
    pub fn place(&mut self, n: usize, channel: usize, epoch: u32, offset: u64) {
        assert!(offset > 0, "event {n}: positions begin at 1");
        let holder = *self.positions.entry((channel, epoch, offset)).or_insert(n);
        assert_eq!(holder, n, "events {holder} and {n} share position {epoch:08x}-{offset}");
    }

    pub fn open(&mut self, client: usize, channel: usize, step: u64) -> usize {
        self.sessions.push(Session { client, channel, since: step, got: Vec::new(), end: End::Open });
        self.sessions.len() - 1
    }

    /// The number in an event's text.
    pub fn number_of(text: &[u8]) -> Option<usize> {
        let digits = text.strip_prefix(b"{\"n\":")?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    }

    /// A subscriber was sent event `n`.
    pub fn heard(&mut self, session: usize, n: usize, text: &[u8]) {
        let found = &mut self.sessions[session];
        let event = &mut self.events[n];
        assert_eq!(event.bytes, text, "event {n} is not what was published");
        assert!(event.sent.is_some(), "event {n} came before it was published");
        assert_ne!(event.outcome, Outcome::Refused, "event {n} was refused and delivered");
        assert!(!found.got.contains(&n), "client {} got event {n} twice", found.client);
        event.got += 1;
        self.deliveries += 1;
        if let Some(last) = found.got.last() {
            let last = self.events[*last].outcome;
            if let (
                Outcome::Published { epoch: e1, offset: o1, .. },
                Outcome::Published { epoch: e2, offset: o2, .. },
            ) = (last, self.events[n].outcome)
            {
                assert!(
                    e1 == e2 && o2 == o1 + 1,
                    "client {}: {e1:08x}-{o1} is followed by {e2:08x}-{o2} (event {n})",
                    found.client
                );
            }
        }
        found.got.push(n);
    }

    pub fn end(&mut self, session: usize, end: End) {
        let found = &mut self.sessions[session];
        if found.end == End::Open {
            found.end = end;
        }
    }

    pub fn settle(&mut self, n: usize, outcome: Outcome) {
        let event = &mut self.events[n];
        assert_eq!(event.outcome, Outcome::Open);
        assert!(outcome != Outcome::Refused || event.got == 0, "event {n} was delivered and refused");
        event.outcome = outcome;
    }
}
