//! What one socket is subscribed to, under the names that its client gave or was given. Only the dialects that name
//! subscriptions keep a book; elsewhere the channel is the name, and the hub knows it.

use super::command::{Subscribe, Which};
use std::collections::HashSet;
use std::ops::Range;

/// Up to so many names are compared one after the other; more are kept in a set besides.
const COMPARED_MAX: usize = 64;

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
/// `max_subscriptions_per_connection`, which may be no bound: whether a name is taken does not cost more with each.
#[derive(Debug, Default)]
pub struct Book {
    entries: Vec<Entry>,
    /// The names of all, once there are more than [`COMPARED_MAX`].
    ids: HashSet<Box<str>>,
}

impl Book {
    /// Enters a subscription whose parts have the numbers `tags`. Answers false, and enters nothing, when the id is
    /// taken.
    pub fn enter(&mut self, wish: &Subscribe, tags: Range<u32>) -> bool {
        let is_taken = match self.ids.is_empty() {
            true => self.entries.iter().any(|entry| entry.id == wish.id),
            false => self.ids.contains(&wish.id),
        };
        if is_taken {
            return false;
        }
        let channel = wish.targets.first().map_or("", |target| target.as_str()).into();
        self.entries.push(Entry { id: wish.id.clone(), channel, tags });
        if !self.ids.is_empty() {
            self.ids.insert(wish.id.clone());
        } else if self.entries.len() > COMPARED_MAX {
            self.ids = self.entries.iter().map(|entry| entry.id.clone()).collect();
        }
        true
    }

    /// Takes a subscription out; of several to one channel the oldest.
    pub fn strike(&mut self, which: &Which) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| match which {
            Which::Id(id) => entry.id == *id,
            Which::Channel(channel) => entry.channel == *channel,
        })?;
        let struck = self.entries.remove(at);
        self.ids.remove(&struck.id);
        Some(struck)
    }

    /// Takes out every subscription of which one of these is a part.
    pub fn strike_parts(&mut self, tags: &[u32]) -> Vec<Entry> {
        let struck: Vec<Entry> =
            self.entries.extract_if(.., |entry| tags.iter().any(|tag| entry.tags.contains(tag))).collect();
        for entry in &struck {
            self.ids.remove(&entry.id);
        }
        struck
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
