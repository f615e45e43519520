//! Reading what is kept: from memory at once, or, where that begins later, from the log, whose answer comes another
//! time. The last part of a row always comes from memory or is answered when nothing is behind it.

use super::behind::Chunk;
use super::durable::LogEpoch;
use super::history::{From, Page, PageWish};
use super::{Hub, Mail, Origin};
use crate::event::{Channel, Event, Position};
use crate::stdx::slab::Key;

/// Older events that are wanted from the log: those from a place on and below a number, oldest first.
#[derive(Clone, Debug)]
pub struct LogRead {
    /// Comes back with the answer.
    pub key: Key,
    /// Of which channel.
    pub channel: Channel,
    /// From where on.
    pub from: LogFrom,
    /// Memory has this number and what follows.
    pub below: u64,
    /// At most so many.
    pub events_max: usize,
    /// At most so many bytes of frames, but at least one event.
    pub bytes_max: usize,
}

/// A place in a channel's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFrom {
    /// This number.
    Offset(u64),
    /// The first event that the server took at this time or later, in Unix milliseconds.
    Since(u64),
}

/// What the log found.
#[derive(Clone, Debug)]
pub struct LogFound {
    /// Of the question.
    pub key: Key,
    /// In order; damaged ones are left out.
    pub events: Vec<(Position, Event)>,
    /// From where a further read goes on; `below` of the question when there is nothing more.
    pub next: u64,
}

/// Who waits for the log.
pub(super) enum Reader {
    /// A subscription that catches up, of this shard or another.
    Replay { shard: usize, replay: Key, slot: Key },
    /// Somebody who wants a page.
    Page {
        shard: usize,
        origin: Origin,
        wish: Box<PageWish>,
        slot: Key,
        /// What was found so far.
        found: Vec<(Position, Event)>,
    },
    /// The dead letters of an earlier life.
    Letters,
}

/// A row that is wanted for a subscription that catches up.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub from: LogFrom,
    pub events_max: usize,
    pub bytes_max: usize,
}

/// Whether a page takes more of the log than was found. One of the newest goes on to the end, and keeps no more than it
/// may hold.
fn wants_more(wish: &PageWish, found: &mut Vec<(Position, Event)>) -> bool {
    let bytes =
        |found: &[(Position, Event)]| found.iter().map(|(_, event)| event.payload().len()).sum::<usize>();
    if !wish.newest_first {
        return found.len() < wish.events_max && bytes(found) < wish.bytes_max;
    }
    let (mut left, mut sum) = (found.len(), bytes(found));
    while left > wish.events_max || sum > wish.bytes_max && left > 1 {
        sum -= found[found.len() - left].1.payload().len();
        left -= 1;
    }
    found.drain(..found.len() - left);
    true
}

impl Hub {
    /// As the owner: answers a subscription that catches up.
    pub(super) fn recall(
        &mut self,
        shard: usize,
        replay: Key,
        channel: &Channel,
        wanted: Wanted,
        now_us: u64,
    ) {
        let slot = self.channels.find(channel.as_str()).expect("a channel with members is kept");
        let owned = self.channels.at(slot);
        let Wanted { from, events_max, bytes_max } = wanted;
        if owned.is_in_log(from) {
            let below = owned.memory_from();
            let slot = self.channels.key_of(slot);
            let reader = Reader::Replay { shard, replay, slot };
            return self.ask_log(reader, channel, from, below, (events_max, bytes_max));
        }
        let from = match from {
            LogFrom::Offset(offset) => offset,
            LogFrom::Since(unix_ms) => {
                owned.ring.as_ref().map_or(owned.position.offset + 1, |ring| ring.since(unix_ms))
            }
        };
        let chunk = self.chunk(slot, from, events_max, bytes_max);
        self.hand_over(shard, replay, chunk, now_us);
    }

    /// As the owner: what memory has from a number on.
    fn chunk(&mut self, slot: u32, from: u64, events_max: usize, bytes_max: usize) -> Chunk {
        let owned = self.channels.at(slot);
        let end = owned.position;
        let mut chunk = Chunk { events: Vec::new(), end, next: from.max(owned.memory_from()) };
        let mut bytes = 0;
        while chunk.events.len() < events_max
            && let Some(event) = self.channels.share(slot, chunk.next)
        {
            bytes += event.frame().len();
            if bytes > bytes_max && !chunk.events.is_empty() {
                break;
            }
            chunk.events.push((Position { offset: chunk.next, ..end }, event));
            chunk.next += 1;
        }
        chunk
    }

    fn hand_over(&mut self, shard: usize, replay: Key, chunk: Chunk, now_us: u64) {
        if shard == self.options.shard {
            self.caught(replay, chunk, now_us);
        } else {
            self.post.push(shard, Mail::Caught { replay, chunk: Box::new(chunk) });
        }
    }

    pub(super) fn ask_log(
        &mut self,
        reader: Reader,
        channel: &Channel,
        from: LogFrom,
        below: u64,
        (events_max, bytes_max): (usize, usize),
    ) {
        // As many as connections, of which there are fewer than the slab takes.
        let Ok(key) = self.readers.insert(reader) else { return };
        let channel = channel.clone();
        self.effects.reads.push(LogRead { key, channel, from, below, events_max, bytes_max });
    }

    /// The log has answered.
    pub fn log_found(&mut self, found: LogFound, now_us: u64) {
        let LogFound { key, events, next } = found;
        match self.readers.remove(key) {
            Some(Reader::Replay { shard, replay, slot }) => {
                // A channel is kept as long as somebody catches up on it.
                let Some(end) = self.channels.position_at(slot) else { return };
                self.hand_over(shard, replay, Chunk { events, end, next }, now_us);
            }
            Some(Reader::Page { shard, origin, wish, slot, mut found }) => {
                let went_on = !events.is_empty();
                found.extend(events);
                if self.channels.position_at(slot).is_none() {
                    return self.answer_page(shard, origin, Page::default());
                }
                let below = self.channels.at(slot.slot).memory_from();
                if next < below && went_on && wants_more(&wish, &mut found) {
                    let channel = self.channels.at(slot.slot).channel.clone();
                    let bounds = (wish.events_max, wish.bytes_max);
                    let reader = Reader::Page { shard, origin, wish, slot, found };
                    return self.ask_log(reader, &channel, LogFrom::Offset(next), below, bounds);
                }
                let page = self.whole_page(slot.slot, &wish, found, next, now_us);
                self.answer_page(shard, origin, page);
            }
            Some(Reader::Letters) => self.letters_found(events, next, now_us),
            None => {}
        }
    }

    /// As the owner: answers who wants a page.
    pub(super) fn recall_page(
        &mut self,
        shard: usize,
        channel: &Channel,
        wish: Box<PageWish>,
        origin: Origin,
        now_us: u64,
    ) {
        let Some(slot) = self.channels.find(channel.as_str()) else {
            return self.answer_page(shard, origin, Page::default());
        };
        let from = self.page_from(slot, &wish, now_us);
        let owned = self.channels.at(slot);
        if owned.is_in_log(from) {
            let (below, key) = (owned.memory_from(), self.channels.key_of(slot));
            let bounds = (wish.events_max, wish.bytes_max);
            return self.ask_log(
                Reader::Page { shard, origin, wish, slot: key, found: Vec::new() },
                channel,
                from,
                below,
                bounds,
            );
        }
        let page = self.page_of(slot, &wish, now_us);
        self.answer_page(shard, origin, page);
    }

    /// From where on a page is to be looked for; the newest need no more than as many as are wanted.
    fn page_from(&mut self, slot: u32, wish: &PageWish, now_us: u64) -> LogFrom {
        let first = match wish.from {
            Some(From::Since(unix_ms)) if !wish.newest_first => return LogFrom::Since(unix_ms),
            Some(From::Since(_)) | None => 1,
            Some(from) => self.channels.resolve(slot, from, now_us, &mut self.counters).next,
        };
        let owned = self.channels.at(slot);
        let newest = (owned.position.offset + 1).saturating_sub(wish.events_max as u64);
        let first = first.max(owned.kept_from());
        LogFrom::Offset(if wish.newest_first { first.max(newest) } else { first })
    }

    /// What the log has found, and what memory has behind it.
    fn whole_page(
        &mut self,
        slot: u32,
        wish: &PageWish,
        mut events: Vec<(Position, Event)>,
        next: u64,
        now_us: u64,
    ) -> Page {
        let mut page = self.page_of(slot, wish, now_us);
        if let Some(From::Since(unix_ms)) = wish.from {
            events.retain(|(_, event)| event.at_ms() >= unix_ms);
        }
        let ttl_ms = self.channels.at(slot).keep_ttl_us / 1000;
        let now_ms = self.unix_ms_at_0.wrapping_add(now_us / 1000);
        events.retain(|(_, event)| {
            !event.is_expired(now_us) && (ttl_ms == 0 || event.at_ms().saturating_add(ttl_ms) > now_ms)
        });
        let joined = self.channels.at(slot).memory_from() <= next;
        let behind = std::mem::take(&mut page.events);
        if wish.newest_first {
            events.reverse();
            page.events = behind.into_iter().chain(events).collect();
        } else {
            page.events = events;
            page.events.extend(behind.into_iter().filter(|_| joined));
        }
        page.events.truncate(wish.events_max);
        page
    }

    fn answer_page(&mut self, shard: usize, origin: Origin, page: Page) {
        if shard == self.options.shard {
            self.effects.pages.push((origin, page));
        } else {
            self.post.push(shard, Mail::Page { origin, page: Box::new(page) });
        }
    }
}

impl super::channels::Owned {
    /// The number from which on memory has the channel's events.
    pub fn memory_from(&self) -> u64 {
        self.ring.as_ref().map_or(self.position.offset + 1, |ring| ring.first())
    }

    /// The number of the first event in the log that memory does not have; 0: there is none.
    fn log_first(&self) -> u64 {
        self.durable.as_ref().map_or(0, |durable| durable.first)
    }

    /// The number from which on the channel's events are kept, in the log or in memory.
    pub fn kept_from(&self) -> u64 {
        match self.log_first() {
            0 => self.memory_from(),
            first => first.min(self.memory_from()),
        }
    }

    /// Whether what is kept from there on begins in the log.
    fn is_in_log(&self, from: LogFrom) -> bool {
        let first = self.log_first();
        let older = match from {
            LogFrom::Offset(offset) => offset < self.memory_from(),
            LogFrom::Since(unix_ms) => self.trimmed_ms >= unix_ms,
        };
        first > 0 && first < self.memory_from() && older
    }

    /// The position of a number: that of this numbering, or of an earlier one that the log has.
    pub fn place(&self, offset: u64) -> Position {
        let of = |epoch: &&LogEpoch| (epoch.first..=epoch.last).contains(&offset);
        let found = self.durable.as_ref().and_then(|durable| durable.epochs.iter().find(of));
        Position { epoch: found.map_or(self.position.epoch, |epoch| epoch.epoch), offset }
    }

    /// How far an earlier numbering went.
    pub fn earlier(&self, epoch: u32) -> Option<&LogEpoch> {
        self.durable.as_ref()?.epochs.iter().find(|known| known.epoch == epoch)
    }
}
