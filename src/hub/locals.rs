//! The channels that this shard's members hear, by name or through patterns. A channel that is heard through patterns
//! only is kept for what it resolved to, within a bound.

use super::crowds::{Local, NONE};
use super::slow::Slow;
use super::subscriptions::Subscriptions;
use crate::event::Channel;

/// Channels that are kept though nobody hears them by name. Each takes some 300 bytes: 40 MB at most; one that was
/// forgotten costs a look at the patterns, a microsecond, when its next event comes.
const RESOLUTIONS_MAX: usize = 1 << 17;

impl Subscriptions {
    pub(super) fn local_named(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The local side of a channel that is heard by name, made if there is none.
    pub(super) fn open(&mut self, channel: &Channel, owner: usize, slow: Slow) -> u32 {
        let slot = match self.local_named(channel.as_str()) {
            Some(slot) => slot,
            None => self.make_local(channel, owner, slow),
        };
        if self.locals.at(slot).is_some_and(|local| local.members == 0 && local.pending == 0) {
            self.resolutions -= usize::from(self.unheard.remove(slot));
        }
        slot
    }

    fn make_local(&mut self, channel: &Channel, owner: usize, slow: Slow) -> u32 {
        let channel = channel.clone();
        let Ok(key) = self.locals.insert(Local::new(channel.clone(), owner, slow)) else {
            unreachable!("there are fewer subscriptions than the slab takes: each needs a connection")
        };
        self.by_name.insert(channel, key.slot);
        key.slot
    }

    /// The local side of a channel that may be heard through patterns only. `slow` is asked for a new one; answers
    /// also whether another was forgotten for it.
    pub(super) fn resolution(
        &mut self,
        channel: &Channel,
        owner: usize,
        slow: impl FnOnce() -> Slow,
    ) -> (u32, bool) {
        if let Some(slot) = self.local_named(channel.as_str()) {
            return (slot, false);
        }
        let mut forgotten = false;
        if self.resolutions >= RESOLUTIONS_MAX
            && let Some((oldest, _)) = self.unheard.first()
        {
            self.close_if_unused(oldest);
            forgotten = true;
        }
        let slot = self.make_local(channel, owner, slow());
        self.unheard.touch(slot, 0);
        self.resolutions += 1;
        (slot, forgotten)
    }

    /// Looks up again which crowds hear a channel through patterns.
    #[inline(never)]
    pub(super) fn resolve(&mut self, slot: u32) {
        let local = self.locals.at_mut(slot).expect("asked for by the caller");
        local.patterned.clear();
        local.resolved = self.patterns.version;
        self.patterns.crowds_of(local.channel.as_str(), &mut local.patterned);
        // Whose rights do not reach this channel is no listener of it, and costs its events nothing.
        let (crowds, filters, channel) = (&self.crowds, &self.filters, local.channel.as_str());
        let filter = |crowd: &u32| crowds.at(*crowd).map_or(NONE, |crowd| crowd.manner.filter);
        local.patterned.retain(|crowd| filters.covers(filter(crowd), channel));
    }

    /// Whether a channel is covered by any pattern.
    pub(super) fn is_covered(&mut self, channel: &str) -> bool {
        self.scratch.clear();
        self.patterns.crowds_of(channel, &mut self.scratch);
        !self.scratch.is_empty()
    }

    /// There are no patterns any more: channels that were heard through some are heard by nobody.
    pub(super) fn forget_resolutions(&mut self) {
        while let Some((slot, _)) = self.unheard.first() {
            self.close_if_unused(slot);
        }
    }

    /// Forgets the local side of a channel that nobody here hears by name or waits for.
    pub(super) fn close_if_unused(&mut self, slot: u32) {
        let Some(local) = self.locals.at(slot) else { return };
        if local.members > 0 || local.pending > 0 || !local.exact.is_empty() {
            return;
        }
        self.by_name.remove(local.channel.as_str());
        self.resolutions -= usize::from(self.unheard.remove(slot));
        if let Some(key) = self.locals.key_at(slot) {
            self.locals.remove(key);
        }
    }
}
