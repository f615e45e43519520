//! Subscriptions to patterns. A shard with one asks every other to watch: from then on the owner of each channel that
//! the pattern covers sends it the channel's events, by name. A subscription is let in when all have said that they do.

use super::crowds::Source;
use super::{Hub, Joined, Joining, Mail, Standing, Wish};
use crate::event::Pattern;
use crate::stdx::slab::Key;

/// Where a subscription to a pattern stands.
const STANDING: Standing = Standing { position: None, members: 0, recovery: None };

impl Hub {
    pub(super) fn join_pattern(
        &mut self,
        member: Key,
        tag: u32,
        pattern: &Pattern,
        wish: &Wish<'_>,
    ) -> Joining {
        let slot = match self.subscriptions.patterns.find(pattern) {
            Some(slot) => slot,
            None => self.hear(pattern),
        };
        let ask = self.ask(member, tag, Source::Pattern(slot), wish);
        let heard = self.subscriptions.patterns.slab.at_mut(slot).expect("just found");
        if heard.missing > 0 {
            heard.waiting.push((member, tag));
            self.subscriptions.expect_join(ask);
            return Joining::Waiting;
        }
        self.subscriptions.attach(ask);
        Joining::Done(STANDING)
    }

    fn hear(&mut self, pattern: &Pattern) -> u32 {
        let others = self.options.shards - 1;
        let slot = self.subscriptions.patterns.add(pattern, others);
        for shard in (0..self.options.shards).filter(|shard| *shard != self.options.shard) {
            self.post.push(shard, Mail::Watch { pattern: pattern.clone(), slot });
        }
        slot.slot
    }

    /// Another shard wants the events that a pattern covers: each one that this shard numbers from now on.
    pub(super) fn watch(&mut self, from: usize, pattern: &Pattern, slot: Key) {
        self.watched.add(pattern, from as u16);
        self.post.push(from, Mail::Watching { slot });
    }

    /// One more shard watches for a pattern.
    pub(super) fn watching(&mut self, slot: Key) {
        let Some(heard) = self.subscriptions.patterns.slab.get_mut(slot) else { return };
        heard.missing -= 1;
        if heard.missing > 0 {
            return;
        }
        let waiting = std::mem::take(&mut heard.waiting);
        self.effects.watched.extend(waiting.into_iter().map(|(member, tag)| (member, tag, slot.slot)));
    }

    /// The next join that is done. Of those that waited for the same pattern each is let in when its turn to be told has come:
    /// what was said meanwhile on another's socket may be a publish, and no event comes before its subscription is answered.
    pub fn next_joined(&mut self) -> Option<Joined> {
        if let Some(joined) = self.effects.joined.pop() {
            return Some(joined);
        }
        while let Some((member, tag, slot)) = self.effects.watched.pop() {
            // Those that left meanwhile wait no more.
            if let Some(ask) = self.subscriptions.settle_join(member, tag, Source::Pattern(slot)) {
                self.subscriptions.attach(ask);
                return Some(Joined { member, tag, channel: None, outcome: Ok(STANDING) });
            }
        }
        None
    }

    /// A subscription to a pattern has ended: the last one ends the watch.
    pub(super) fn left_pattern(&mut self, slot: u32) {
        let Some(pattern) = self.subscriptions.patterns.remove_if_unused(slot) else { return };
        for shard in (0..self.options.shards).filter(|shard| *shard != self.options.shard) {
            self.post.push(shard, Mail::Unwatch { pattern: pattern.clone() });
        }
        if self.subscriptions.patterns.is_empty() {
            self.subscriptions.forget_resolutions();
        }
    }
}
