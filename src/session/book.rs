//! What one socket is subscribed to, under the names that its client gave or was given. Only the dialects that name
//! subscriptions keep a book; elsewhere the channel is the name, and the hub knows it.

use super::command::{Subscribe, Which};
use std::ops::Range;

/// One subscription by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The client's name for it.
    pub id: Box<str>,
    /// The channel, or the text of the pattern; of several topics the first.
    pub channel: Box<str>,
    /// The hub's numbers of its parts, one per topic.
    pub tags: Range<u32>,
}

/// All subscriptions of one socket, in the order in which they were made. Their number is bounded by
/// `max_subscriptions_per_connection`, so a search looks at each.
#[derive(Debug, Default)]
pub struct Book {
    entries: Vec<Entry>,
}

impl Book {
    /// Enters a subscription whose parts have the numbers `tags`. Answers false, and enters nothing, when the id is
    /// taken.
    pub fn enter(&mut self, wish: &Subscribe, tags: Range<u32>) -> bool {
        let free = self.entries.iter().all(|entry| entry.id != wish.id);
        if free {
            let channel = wish.targets.first().map_or("", |target| target.as_str()).into();
            self.entries.push(Entry { id: wish.id.clone(), channel, tags });
        }
        free
    }

    /// Takes a subscription out; of several to one channel the oldest.
    pub fn strike(&mut self, which: &Which) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| match which {
            Which::Id(id) => entry.id == *id,
            Which::Channel(channel) => entry.channel == *channel,
        })?;
        Some(self.entries.remove(at))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
