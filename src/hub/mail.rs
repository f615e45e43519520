//! What shards tell each other, and the post that gathers it: one message per shard and turn.

use super::behind::Chunk;
use super::durable::Stored;
use super::history::{From, Page, PageWish};
use super::letters::{Dead, LetterAnswer, LetterAsk};
use super::recall::LogFrom;
use super::types::{Full, Names, Origin, Published, Refusal, Standing};
use crate::event::{Channel, ConnectionId, Event, Pattern, Position, Priority};
use crate::metrics::Snapshot;
use crate::stdx::slab::Key;
use std::cmp::Reverse;
use std::sync::Arc;

/// A publish that waits for its answer: the shard that took it, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The shard of the publisher.
    pub shard: u16,
    /// Its entry in that shard's pending publishes.
    pub key: Key,
}

/// How an event finds a channel on a shard with subscribers.
pub enum Door {
    /// At the slot that the shard named when it joined.
    Slot(Key),
    /// By name, because members may hear it through patterns.
    Name(Channel),
}

/// One thing that a shard tells another.
#[expect(missing_docs, reason = "each line says what its fields are for")]
pub enum Mail {
    /// To the owner: number this event and deliver it.
    Publish { channel: Channel, event: Event, ticket: Ticket },
    /// From the owner to a shard with subscribers. On its way `urgency` counts: that of the event, or what all of the channel
    /// have.
    Deliver { door: Door, event: Event, urgency: Priority, position: Position, ticket: Option<Ticket> },
    /// From the owner to the publisher's shard: numbered; `reports` shards will say how many they reached.
    Numbered {
        key: Key,
        position: Position,
        reached: u32,
        dropped: u32,
        reports: u32,
        stored: Option<Stored>,
    },
    /// From the owner to the publisher's shard: not taken, nothing delivered.
    Refused { key: Key, refusal: Refusal },
    /// From the owner to the publisher's shard: an earlier publish had the same id.
    Repeated { key: Key, first: Box<Published> },
    /// To the owner: the answer to a publish that carried an id.
    Remember { channel: Channel, id: Box<str>, body: Arc<[u8]> },
    /// To the owner: who hears this channel?
    Ask { channel: Channel, origin: Origin },
    /// The answer to `Ask`.
    Present { origin: Origin, present: Vec<ConnectionId> },
    /// To the owner: what is kept of this channel?
    Read { channel: Channel, origin: Origin, wish: Box<PageWish> },
    /// The answer to `Read`.
    Page { origin: Origin, page: Box<Page> },
    /// To the owner of the channel of dead letters: one more.
    Bury(Box<Dead>),
    /// To the same: something is to be done with them.
    AskLetters { origin: Origin, ask: Box<LetterAsk> },
    /// The answer to `AskLetters`.
    Letters { origin: Origin, answer: Box<LetterAnswer> },
    /// From a shard with subscribers to the publisher's.
    Reached { key: Key, reached: u32, dropped: u32 },
    /// To the owner: a member of the sender's wants this channel's events, delivered to `slot`; maybe in their order, whatever
    /// their priority.
    Join {
        channel: Channel,
        slot: Key,
        member: Key,
        tag: u32,
        ephemeral: bool,
        in_order: bool,
        from: Option<From>,
    },
    /// From the owner: every event after this message comes to `slot`; or the channel is full.
    Joined { slot: Key, member: Key, tag: u32, outcome: Result<Standing, Full> },
    /// To the owner: what is kept of the channel from this number on, for a subscription that catches up.
    Catch { replay: Key, channel: Channel, from: LogFrom, events_max: u32, bytes_max: u32 },
    /// The answer to `Catch`. What it holds counts against no bound but that of what is asked for in one turn.
    Caught { replay: Key, chunk: Box<Chunk> },
    /// To the owner: one member less.
    Leave { channel: Channel, member: Key },
    /// To every shard: members of the sender's hear this pattern, which is at `slot` there.
    Watch { pattern: Pattern, slot: Key },
    /// The answer: each event that the sender numbers from now on comes, if the pattern covers its channel.
    Watching { slot: Key },
    /// To every shard: the last of them has left.
    Unwatch { pattern: Pattern },
    /// To the shard whose idle channel has been idle the longest: there are too many channels, take a turn.
    Look,
    /// To every shard: count yourself, with at most so many channel names.
    Gather { key: Key, names: Names },
    /// The answer to `Gather`.
    Gathered { key: Key, snapshot: Box<Snapshot> },
}

impl Mail {
    /// The bytes that count against a lane's bound: events. The rest is bounded by the number of connections and
    /// of publishes that wait.
    fn event(&self) -> Option<&Event> {
        match self {
            Mail::Publish { event, .. } | Mail::Deliver { event, .. } => Some(event),
            Mail::Bury(dead) => Some(&dead.event),
            _ => None,
        }
    }

    /// How urgent it is; nothing passes mail without an urgency. Answers to publishes may stand anywhere.
    fn priority(&self) -> Option<Priority> {
        match self {
            Mail::Publish { event, .. } => Some(event.priority()),
            Mail::Deliver { urgency, .. } => Some(*urgency),
            Mail::Numbered { .. } | Mail::Reached { .. } | Mail::Refused { .. } => Some(Priority::NORMAL),
            _ => None,
        }
    }
}

/// How much may be on its way from one shard to another.
#[derive(Clone, Copy, Debug)]
pub struct LaneBounds {
    /// Events, in all batches together.
    pub events_max: usize,
    /// Bytes of events, in all batches together; a single larger event passes an empty lane.
    pub bytes_max: usize,
}

/// Events and their bytes on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Events.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Everything that one shard tells another in one turn.
#[derive(Default)]
pub struct Batch {
    /// In order.
    pub mail: Vec<Mail>,
    /// What of it counts against the lane's bound.
    pub load: Load,
    /// Some event behind what is sealed is not NORMAL.
    mixed: bool,
    /// So much of the mail is passed by nothing that comes later.
    sealed: usize,
}

impl Batch {
    /// Puts the more urgent first.
    fn sort(&mut self) {
        let later = &mut self.mail[self.sealed..];
        for run in later.chunk_by_mut(|one, other| one.priority().is_some() && other.priority().is_some()) {
            run.sort_by_key(|mail| mail.priority().map(Reverse));
        }
    }
}

/// The mail of a turn that has not been handed to the lanes yet, by destination.
pub struct Post {
    outgoing: Vec<Batch>,
    in_lane: Vec<Load>,
    bounds: LaneBounds,
}

impl Post {
    pub(super) fn new(shards: usize, bounds: LaneBounds) -> Post {
        Post {
            outgoing: (0..shards).map(|_| Batch::default()).collect(),
            in_lane: vec![Load::default(); shards],
            bounds,
        }
    }

    /// Whether another event may be sent to `shard`.
    pub(super) fn has_room(&self, shard: usize, bytes: usize) -> bool {
        let (waiting, lane) = (self.outgoing[shard].load, self.in_lane[shard]);
        let (events, total) = (waiting.events + lane.events, waiting.bytes + lane.bytes);
        events < self.bounds.events_max && (events == 0 || total + bytes <= self.bounds.bytes_max)
    }

    /// Adds mail for `shard`, to go out at the end of the turn.
    pub fn push(&mut self, shard: usize, mail: Mail) {
        let batch = &mut self.outgoing[shard];
        if let Some(event) = mail.event() {
            batch.load.events += 1;
            batch.load.bytes += event.frame().len();
        }
        batch.mixed |= mail.priority().is_some_and(|priority| priority != Priority::NORMAL);
        batch.mail.push(mail);
    }

    /// What waits is passed by nothing that comes later: of one channel, urgency is about to mean another thing.
    pub(super) fn seal(&mut self) {
        for batch in self.outgoing.iter_mut().filter(|batch| batch.mixed) {
            batch.sort();
            (batch.mixed, batch.sealed) = (false, batch.mail.len());
        }
    }

    /// Other bounds from now on.
    pub(super) fn set_bounds(&mut self, bounds: LaneBounds) {
        self.bounds = bounds;
    }

    /// Told once per turn: what of earlier batches `shard` has not taken yet.
    pub fn set_in_lane(&mut self, shard: usize, load: Load) {
        self.in_lane[shard] = load;
    }

    /// Takes the batch for `shard`, if there is one.
    pub fn take(&mut self, shard: usize) -> Option<Batch> {
        let batch = &mut self.outgoing[shard];
        if batch.mail.is_empty() {
            return None;
        }
        if batch.mixed {
            batch.sort();
        }
        // The next turn will hold about as much.
        let next = Batch { mail: Vec::with_capacity(batch.mail.len()), ..Batch::default() };
        Some(std::mem::replace(batch, next))
    }

    /// Puts back a batch that found its lane full; it goes before all later mail.
    pub fn put_back(&mut self, shard: usize, mut batch: Batch) {
        let later = std::mem::take(&mut self.outgoing[shard]);
        if later.sealed > 0 {
            batch.sealed = batch.mail.len() + later.sealed;
        }
        batch.mail.extend(later.mail);
        batch.load.events += later.load.events;
        batch.load.bytes += later.load.bytes;
        batch.mixed |= later.mixed;
        self.outgoing[shard] = batch;
    }

    /// Whether something waits for a lane.
    pub fn is_empty(&self) -> bool {
        self.outgoing.iter().all(|batch| batch.mail.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Extras, Facts};

    fn numbers(post: &mut Post) -> Vec<usize> {
        let mail = post.take(1).map_or(Vec::new(), |batch| batch.mail);
        let number = |mail| if let Mail::Gather { names, .. } = mail { names.max } else { 0 };
        mail.into_iter().map(number).collect()
    }

    #[test]
    fn what_comes_back_goes_before_what_came_later() {
        let mut post = Post::new(2, LaneBounds { events_max: 1, bytes_max: 1 });
        let key = Key { slot: 0, generation: 1 };
        post.push(1, Mail::Gather { key, names: 1.into() });
        let batch = post.take(1).unwrap();
        post.push(1, Mail::Gather { key, names: 2.into() });
        post.put_back(1, batch);
        post.push(1, Mail::Gather { key, names: 3.into() });
        assert_eq!(numbers(&mut post), [1, 2, 3]);
        assert!(post.is_empty());
    }

    /// Mail of the kind that a word like `9name` says.
    fn mail_of(word: &str) -> Mail {
        let (channel, key) = (Channel::parse("a").unwrap(), Key { slot: 0, generation: 1 });
        let (priority, name) = word.split_at(word.find(|c: char| !c.is_ascii_digit()).unwrap());
        match name {
            "join" => {
                let (tag, ephemeral, in_order, from) = (0, false, false, None);
                Mail::Join { channel, slot: key, member: key, tag, ephemeral, in_order, from }
            }
            "ack" => Mail::Reached { key, reached: 0, dropped: 0 },
            name => {
                let extras = Extras { priority: Priority::word(priority).unwrap(), ..Extras::default() };
                let event = Event::new(name, &Facts::default(), Some(Box::new(extras)), 0);
                Mail::Publish { channel, event, ticket: Ticket { shard: 0, key } }
            }
        }
    }

    fn names(batch: &Batch) -> String {
        let name = |mail: &Mail| match mail.event() {
            Some(event) => event.text().to_owned(),
            None if mail.priority().is_some() => "ack".to_owned(),
            None => "join".to_owned(),
        };
        batch.mail.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_more_urgent_goes_first_but_not_past_a_join() {
        let mut post = Post::new(2, LaneBounds { events_max: 10, bytes_max: 1000 });
        for word in ["5a", "9b", "ack", "5c", "join", "1d", "10e", "10f"] {
            post.push(1, mail_of(word));
        }
        assert_eq!(names(&post.take(1).unwrap()), "b a ack c join e f d");
    }

    #[test]
    fn what_is_sealed_is_passed_by_nothing_even_when_it_comes_back() {
        let mut post = Post::new(2, LaneBounds { events_max: 10, bytes_max: 1000 });
        ["1a", "4b"].into_iter().for_each(|word| post.push(1, mail_of(word)));
        post.seal();
        ["5c", "9d"].into_iter().for_each(|word| post.push(1, mail_of(word)));
        let batch = post.take(1).unwrap();
        assert_eq!(names(&batch), "b a d c");
        post.put_back(1, batch);
        post.push(1, mail_of("10e"));
        assert_eq!(names(&post.take(1).unwrap()), "b a e d c");
        ["1a", "4b"].into_iter().for_each(|word| post.push(1, mail_of(word)));
        assert_eq!(names(&post.take(1).unwrap()), "b a", "the next batch is sorted from its beginning");
    }
}
