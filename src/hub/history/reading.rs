//! Pages of what is kept, for whoever asks; the channel's owner answers.

use super::super::{Hub, Mail, Origin};
use super::From;
use crate::event::{Event, Position};

/// Which events are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageWish {
    /// From where on; `None`: all that are kept.
    pub from: Option<From>,
    /// At most so many.
    pub events_max: usize,
    /// At most so many bytes of them, but at least one.
    pub bytes_max: usize,
    /// The newest of them, and those first.
    pub newest_first: bool,
}

/// What a channel's owner has.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The channel's numbering; `None`: there is no such channel.
    pub epoch: Option<u32>,
    /// The first and the last event that are kept.
    pub kept: Option<(Position, Position)>,
    /// Those that were wanted.
    pub events: Vec<(Position, Event)>,
}

impl Hub {
    /// Asks for a page; it comes as an effect. The name must be valid. A channel that is unknown stays so.
    pub fn page(&mut self, channel: &str, wish: PageWish, origin: Origin, now_us: u64) {
        let owner = self.owner(channel);
        let channel = self.named(channel);
        if owner == self.options.shard {
            return self.recall_page(owner, &channel, Box::new(wish), origin, now_us);
        }
        self.post.push(owner, Mail::Read { channel, origin, wish: Box::new(wish) });
    }

    /// As the owner: what memory has.
    pub(in super::super) fn page_of(&mut self, slot: u32, wish: &PageWish, now_us: u64) -> Page {
        let next = match wish.from {
            Some(from) => self.channels.resolve(slot, from, now_us, &mut self.counters).next,
            None => {
                self.channels.trim_now(slot, now_us, &mut self.counters);
                0
            }
        };
        let owned = self.channels.at(slot);
        let epoch = owned.position.epoch;
        let mut page = Page { epoch: Some(epoch), ..Page::default() };
        let (first, last) = (owned.kept_from(), owned.position);
        page.kept = (first <= last.offset).then(|| (owned.place(first), last));
        let Some(ring) = owned.ring.as_ref() else { return page };
        let at = |offset| Position { epoch, offset };
        let found = ring.from(next).filter(|(_, event)| !event.is_expired(now_us));
        match wish.newest_first {
            true => take(&mut page, found.rev(), at, wish),
            false => take(&mut page, found, at, wish),
        }
        page
    }
}

fn take(
    page: &mut Page,
    found: impl Iterator<Item = (u64, Event)>,
    at: impl Fn(u64) -> Position,
    wish: &PageWish,
) {
    let mut bytes = 0;
    for (offset, event) in found.take(wish.events_max) {
        bytes += event.payload().len();
        if bytes > wish.bytes_max && !page.events.is_empty() {
            return;
        }
        page.events.push((at(offset), event));
    }
}
