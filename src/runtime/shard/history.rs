//! Pages of stored events, for requests and for sockets; and from where on a subscriber wants the past.

use super::super::driver::Driver;
use super::Shard;
use super::connection::Waiting;
use crate::event::{Channel, Position};
use crate::hub::{From, Origin, Page, PageWish, Recovery};
use crate::session::command::{History, Ref};
use crate::session::dialect::answers::Denied;
use crate::session::dialect::v1;
use crate::session::history::{self, PageQuery, Standing, write_page};
use crate::session::publisher::{Form, PIPELINE_MAX, Publisher, Settled};
use crate::session::query::{Start, Wanted};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::websocket::frame::{Opcode, write_frame};

/// Bytes of events in one answer to a request, at most; what is left out comes with `after`. A thousand events of
/// 20 KB fit.
const PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// As above on a socket, whose other messages wait meanwhile.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a subscriber lost events that were not kept long enough, in words.
const SHORT_REASON: &str = "history too short";

/// From where on the hub is asked for the past.
pub(super) fn from(start: Start) -> Option<From> {
    match start {
        Start::Live => None,
        Start::Since(unix_ms) => Some(From::Since(unix_ms)),
        Start::After(position) => Some(From::After(position)),
    }
}

/// As [`from`], for one of the channels of a connection that was opened for them. One that tells its places in all of
/// them hears nothing before it knows them all.
pub(super) fn from_of(wanted: &Wanted, channel: usize, tracks: bool) -> Option<From> {
    let place = wanted.places.get(channel).copied().flatten();
    match place.map(From::After).or(from(wanted.from)) {
        None if tracks => Some(From::Join),
        from => from,
    }
}

impl<D: Driver> Shard<D> {
    /// `GET /history/{channel}`.
    #[inline(never)]
    pub(super) fn history(
        &mut self,
        key: Key,
        publisher: &mut Publisher,
        form: Form,
        channel: &str,
        asked: &str,
        now: Now,
    ) {
        let query = match history::read(asked) {
            Ok(query) => query,
            Err(refusal) => return self.refuse(publisher, &form, &refusal),
        };
        // One connection cannot make the server hold a large page for each of its requests.
        let bytes_max = if publisher.is_settled() { PAGE_BYTES_MAX } else { PAGE_BYTES_MAX / PIPELINE_MAX };
        let origin = Origin { connection: key, request: publisher.next_request(), item: 0 };
        publisher.answer_later(form, channel.as_bytes());
        self.hub.page(channel, wish(&query, bytes_max), origin, now.steady_us);
    }

    /// A socket asks for a page.
    pub(super) fn ask_history(&mut self, key: Key, asked: History, now: Now) {
        let History { reference, channel, from, limit, newest_first } = asked;
        let asker = self.grants_at(key);
        if self.may_read(&asker, channel.as_str()).is_err() {
            return self.deny(key, &reference, &Denied::Unauthorized, now);
        }
        let query = PageQuery { from, limit, newest_first };
        let origin = Origin { connection: key, request: 0, item: 0 };
        self.hub.page(channel.as_str(), wish(&query, MESSAGE_BYTES_MAX), origin, now.steady_us);
        // Where this shard is the owner it has answered already.
        if let Some((_, page)) = self.hub.effects.pages.pop_if(|(to, _)| *to == origin) {
            return self.say_page(key, &reference, &channel, &page);
        }
        if let Some(open) = self.open_at(key) {
            open.waiting = Some(Box::new(Waiting::History { reference, channel }));
        }
    }

    /// The owner has said what it keeps.
    pub(super) fn page_answered(&mut self, driver: &mut D, origin: Origin, page: &Page, now: Now) {
        let key = origin.connection;
        if self.has_suspects() {
            self.judge_suspect(key, now);
        }
        if let Some(open) = self.open_at(key) {
            if let Some(Waiting::History { reference, channel }) = open.waiting.take().map(|w| *w) {
                // Its rights may have changed since it asked.
                let asker = self.grants_at(key);
                match self.may_read(&asker, channel.as_str()) {
                    Ok(_) => self.say_page(key, &reference, &channel, page),
                    Err(_) => self.deny(key, &reference, &Denied::Unauthorized, now),
                }
                self.go_on(driver, key, now);
            }
            return;
        }
        self.settle(driver, origin, now, |channel| {
            let channel = std::str::from_utf8(channel).ok().and_then(|name| Channel::parse(name).ok());
            let channel = channel.expect("kept with the question");
            let mut body = Vec::new();
            write_page(&standing(&channel, page), stored(page), &mut body);
            Settled::Json(body)
        });
    }

    fn say_page(&mut self, key: Key, reference: &Ref, channel: &Channel, page: &Page) {
        let text = v1::history_page(reference, &standing(channel, page), stored(page));
        self.answer.clear();
        write_frame(Opcode::Text, &text, &mut self.answer);
        self.hub.push_answer(key, &self.answer);
    }

    /// A subscription that begins in the past has been told that it is there: it is told what it missed, and its events
    /// may come.
    pub(super) fn begin(
        &mut self,
        key: Key,
        channel: &str,
        recovery: Option<Recovery>,
        tags: std::ops::Range<u32>,
    ) {
        if let (Some((from, to)), Ok(channel)) =
            (recovery.and_then(|recovery| recovery.lost), Channel::parse(channel))
        {
            self.say_lost(key, &channel, from, to);
        }
        self.hub.begin(key, tags);
    }

    fn say_lost(&mut self, key: Key, channel: &Channel, from: Position, to: Position) {
        let dialect = self.dialect_at(key);
        let words = dialect.and_then(|dialect| dialect.gap(channel, from, to, SHORT_REASON));
        self.hub.counters.gaps += u64::from(words.is_some());
        self.say_if(key, words);
    }
}

fn wish(query: &PageQuery, bytes_max: usize) -> PageWish {
    let PageQuery { from: start, limit, newest_first } = *query;
    PageWish { from: from(start), events_max: limit as usize, bytes_max, newest_first }
}

fn standing<'p>(channel: &'p Channel, page: &Page) -> Standing<'p> {
    Standing { channel, epoch: page.epoch, kept: page.kept }
}

fn stored(page: &Page) -> impl Iterator<Item = (Position, &crate::event::Event)> {
    page.events.iter().map(|(position, event)| (*position, event))
}
