//! A publish of this shard that waits for others, the owner and those who deliver it too, and how the words of all become
//! the publisher's answer.

use super::durable::Stored;
use super::pump::Reach;
use super::{Answer, Hub, Origin, Published, Refusal, Ticket};
use crate::event::Position;
use crate::stdx::slab::Key;

/// A publish that waits for other shards.
pub(super) struct Pending {
    origin: Origin,
    position: Option<Position>,
    reach: Reach,
    stored: Option<Stored>,
    /// Reports that are missing; negative while they overtake the owner's word.
    missing: i64,
}

impl Hub {
    /// `None`: too many wait.
    pub(super) fn wait(&mut self, origin: Origin) -> Option<Ticket> {
        let pending = Pending { origin, position: None, reach: Reach::default(), stored: None, missing: 0 };
        let key = self.pending.insert(pending).ok()?;
        Some(Ticket { shard: self.options.shard as u16, key })
    }

    /// As the owner too: the event is numbered, and so many shards will report.
    pub(super) fn await_reports(&mut self, key: Key, published: &Published, reports: usize) {
        let pending = self.pending.get_mut(key).expect("just inserted");
        pending.position = Some(published.position);
        pending.stored = published.stored;
        pending.reach = Reach { reached: published.reached, dropped: published.dropped };
        pending.missing = reports as i64;
    }

    /// The owner has numbered the event of a pending publish; `reports` shards report besides.
    pub(super) fn numbered(
        &mut self,
        key: Key,
        position: Position,
        reach: Reach,
        reports: i64,
        stored: Option<Stored>,
    ) {
        self.pending.get_mut(key).into_iter().for_each(|pending| pending.stored = stored);
        self.report(key, Some(position), reach.reached, reach.dropped, reports);
    }

    /// One of the words that a pending publish waits for. A shard's report may overtake the owner's.
    pub(super) fn report(
        &mut self,
        key: Key,
        position: Option<Position>,
        reached: u32,
        dropped: u32,
        missing: i64,
    ) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        pending.position = pending.position.or(position);
        pending.reach.reached += reached;
        pending.reach.dropped += dropped;
        pending.missing += missing;
        if let (Some(position), 0) = (pending.position, pending.missing) {
            let outcome = Published::new(position, pending.reach, pending.stored).outcome();
            self.effects.answers.push(Answer { origin: pending.origin, outcome });
            self.pending.remove(key);
        }
    }

    /// The owner has answered a publish for good: it did not take it, or had taken it before.
    pub(super) fn settled(&mut self, key: Key, outcome: Result<Published, Refusal>) {
        if let Some(pending) = self.pending.remove(key) {
            self.effects.answers.push(Answer { origin: pending.origin, outcome });
        }
    }
}
