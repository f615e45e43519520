//! The patterns that this shard's members hear, and those that other shards watch for theirs. What a channel resolves
//! to is kept beside the channel and looked up again only after the patterns have changed.

use super::crowds::{CrowdList, NONE};
use super::index::PatternIndex;
use crate::event::{DEAD_LETTERS, Pattern};
use crate::stdx::slab::{Key, Slab};
use std::collections::HashMap;

type ByPattern = HashMap<Pattern, u32, foldhash::quality::RandomState>;

/// A pattern that members of this shard hear.
pub(super) struct Heard {
    pub pattern: Pattern,
    pub crowds: CrowdList,
    /// Shards that have not said yet that they watch for it.
    pub missing: usize,
    /// Subscriptions that wait for that.
    pub waiting: Vec<(Key, u32)>,
}

/// The patterns of this shard's members.
pub(super) struct Patterns {
    by_pattern: ByPattern,
    index: PatternIndex,
    pub slab: Slab<Heard>,
    /// Grows with every change of a pattern or its crowds: what was resolved before is not true any more.
    pub version: u64,
    found: Vec<u32>,
}

impl Patterns {
    pub fn new() -> Patterns {
        Patterns {
            by_pattern: ByPattern::default(),
            index: PatternIndex::default(),
            slab: Slab::with_limit(NONE),
            version: 0,
            found: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    pub fn find(&self, pattern: &Pattern) -> Option<u32> {
        self.by_pattern.get(pattern).copied()
    }

    /// Adds a pattern that is not there and for which `missing` shards are asked to watch.
    pub fn add(&mut self, pattern: &Pattern, missing: usize) -> Key {
        let heard =
            Heard { pattern: pattern.clone(), crowds: CrowdList::new(), missing, waiting: Vec::new() };
        let Ok(key) = self.slab.insert(heard) else {
            unreachable!("there are fewer patterns than subscriptions")
        };
        self.by_pattern.insert(pattern.clone(), key.slot);
        self.index.insert(pattern, key.slot);
        self.version += 1;
        key
    }

    /// Takes out a pattern that nobody hears any more. Answers it.
    pub fn remove_if_unused(&mut self, slot: u32) -> Option<Pattern> {
        self.slab.at(slot).filter(|heard| heard.crowds.is_empty())?;
        let heard = self.slab.key_at(slot).and_then(|key| self.slab.remove(key))?;
        self.by_pattern.remove(&heard.pattern);
        self.index.remove(&heard.pattern);
        self.version += 1;
        Some(heard.pattern)
    }

    /// The crowds of all patterns that cover a channel, appended.
    pub fn crowds_of(&mut self, channel: &str, crowds: &mut Vec<u32>) {
        if channel == DEAD_LETTERS {
            return;
        }
        self.found.clear();
        self.index.matching(channel, &mut self.found);
        for heard in self.found.iter().filter_map(|slot| self.slab.at(*slot)) {
            crowds.extend_from_slice(&heard.crowds);
        }
    }
}

/// The patterns that other shards watch.
pub(super) struct Watched {
    by_pattern: ByPattern,
    index: PatternIndex,
    slab: Slab<Vec<u16>>,
    /// As that of [`Patterns`].
    pub version: u64,
    found: Vec<u32>,
}

impl Watched {
    pub fn new() -> Watched {
        Watched {
            by_pattern: ByPattern::default(),
            index: PatternIndex::default(),
            slab: Slab::with_limit(NONE),
            version: 0,
            found: Vec::new(),
        }
    }

    /// A shard wants the events of all channels that a pattern covers.
    pub fn add(&mut self, pattern: &Pattern, shard: u16) {
        self.version += 1;
        if let Some(shards) = self.by_pattern.get(pattern).and_then(|slot| self.slab.at_mut(*slot)) {
            return shards.push(shard);
        }
        let Ok(key) = self.slab.insert(vec![shard]) else { unreachable!("memory ends before the slots do") };
        self.by_pattern.insert(pattern.clone(), key.slot);
        self.index.insert(pattern, key.slot);
    }

    /// A shard does not want them any more.
    pub fn remove(&mut self, pattern: &Pattern, shard: u16) {
        self.version += 1;
        let Some(&slot) = self.by_pattern.get(pattern) else { return };
        let Some(key) = self.slab.key_at(slot) else { return };
        let shards = self.slab.at_mut(slot).expect("just seen");
        if let Some(at) = shards.iter().position(|known| *known == shard) {
            shards.swap_remove(at);
        }
        if shards.is_empty() {
            self.slab.remove(key);
            self.by_pattern.remove(pattern);
            self.index.remove(pattern);
        }
    }

    /// The shards with a pattern that covers a channel, each once.
    pub fn shards_of(&mut self, channel: &str) -> Vec<u16> {
        if channel == DEAD_LETTERS {
            return Vec::new();
        }
        self.found.clear();
        self.index.matching(channel, &mut self.found);
        let lists = self.found.iter().filter_map(|slot| self.slab.at(*slot));
        let mut shards: Vec<u16> = lists.flatten().copied().collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }
}
