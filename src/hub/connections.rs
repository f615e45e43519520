//! What the runtime does with a member besides subscribing it: its queue, its socket, its end.

use super::pump::Way;
use super::subscriptions::Subscriptions;
use super::{Cut, GapTold, Hub, Outbox, Outlet};
use crate::stdx::slab::Key;

impl Hub {
    /// Makes room for a connection; its key is the same here as in the runtime's table.
    pub fn admit(&mut self, member: Key) {
        self.subscriptions.admit(member);
    }

    /// Retires a member and drops what waits for it, but for a frame that is half on the wire and the words for what it
    /// has lost before.
    pub fn give_up(&mut self, member: Key, now_us: u64) {
        self.retire(member, now_us);
        let Subscriptions { members, waiting, .. } = &mut self.subscriptions;
        let found = members.get_mut(member.slot as usize).filter(|m| m.generation == member.generation);
        if let Some(outbox) = found.and_then(|m| m.outbox.as_mut()) {
            self.counters.events_dropped += outbox.give_up() as u64;
            waiting.count(outbox);
        }
    }

    /// The connection is gone.
    pub fn dismiss(&mut self, member: Key, now_us: u64) {
        self.give_up(member, now_us);
        self.subscriptions.gaps.of(member);
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.drop_outbox(member.slot);
        }
        if let Some(found) = self.subscriptions.member(member) {
            found.subscribed = Default::default();
            found.generation = 0;
        }
    }

    /// Queues a control frame (or an answer) for a member.
    pub fn push_control(&mut self, member: Key, bytes: &[u8]) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.push_control(member.slot, bytes, &mut self.counters);
        }
    }

    /// Sends early what waits for a member, if its answers take much of their room.
    pub fn relieve(&mut self, member: Key, now_us: u64, outlet: &mut impl Outlet) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions
                .relieve(member.slot, &mut Way { outlet, counters: &mut self.counters, now_us });
        }
    }

    /// Queues an answer that may be larger than what answers may take together; it is refused, with its member, only
    /// when others wait that take as much as they may.
    pub fn push_answer(&mut self, member: Key, bytes: &[u8]) {
        let Some(found) = self.subscriptions.member(member) else { return };
        let waits = found.outbox.as_ref().map_or(0, |outbox| outbox.control_bytes());
        if waits > self.subscriptions.bounds.control_bytes_max {
            return self.subscriptions.give_up(member.slot, Cut::Slow, &mut self.counters);
        }
        self.subscriptions.queue(member.slot, |outbox| outbox.push_last(bytes));
    }

    /// Queues what opens the socket of a member that was just admitted.
    pub fn push_greeting(&mut self, member: Key, bytes: &[u8]) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.queue(member.slot, |outbox| outbox.push_greeting(bytes));
        }
    }

    /// Holds back whatever is queued for a member that was just admitted, until [`Hub::uncork`].
    pub fn cork(&mut self, member: Key) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.cork(member.slot);
        }
    }

    /// Lets go what was held back.
    pub fn uncork(&mut self, member: Key) {
        self.writable(member);
    }

    /// Queues the close frame for a member, whatever waits before it.
    pub fn push_last(&mut self, member: Key, bytes: &[u8]) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.queue(member.slot, |outbox| outbox.push_last(bytes));
        }
    }

    /// Whether nothing waits for a member.
    pub fn owes_nothing(&mut self, member: Key) -> bool {
        self.subscriptions.member(member).is_none_or(|m| m.outbox.as_ref().is_none_or(|o| o.is_empty()))
    }

    /// What a member has lost and was not told: to be told before [`Hub::writable`].
    pub fn take_gaps(&mut self, member: Key) -> Vec<GapTold> {
        if self.subscriptions.gaps.is_empty() {
            return Vec::new();
        }
        let told = self.subscriptions.gaps.of(member);
        self.counters.gaps += told.len() as u64;
        told
    }

    /// Queues a frame that tells of a loss before every event that has not begun.
    pub fn push_gap(&mut self, member: Key, bytes: &[u8]) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.queue(member.slot, |outbox| outbox.push_gap(bytes));
        }
    }

    /// Puts another greeting in place of all that is queued for a member that is still corked, but for the first
    /// `kept` bytes.
    pub fn regreet(&mut self, member: Key, kept: usize, bytes: &[u8]) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.queue(member.slot, |outbox| outbox.regreet(kept, bytes));
        }
    }

    /// The member's socket takes bytes again.
    pub fn writable(&mut self, member: Key) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.writable(member.slot);
        }
    }

    /// Sends what the turn gathered.
    pub fn flush(&mut self, now_us: u64, outlet: &mut impl Outlet) {
        if !self.news.is_empty() {
            self.tell_news(now_us, outlet);
        }
        if self.desk.is_dirty() {
            self.tell_letters(now_us, outlet);
        }
        self.subscriptions.flush(&mut Way { outlet, counters: &mut self.counters, now_us });
        if !self.subscriptions.gaps.is_empty() {
            let members = &self.subscriptions.members;
            // A queue that waits for its socket is told of all its losses at once, when they can be read.
            let waits = |key: Key| {
                let member = members.get(key.slot as usize).filter(|m| m.generation == key.generation);
                member.and_then(|m| m.outbox.as_ref()).is_some_and(|outbox| outbox.blocked)
            };
            let told = self.subscriptions.gaps.tell(|key| !waits(key));
            self.counters.gaps += told.len() as u64;
            self.effects.gaps.extend(told);
        }
    }

    /// Whether a flush has something to send.
    pub fn is_dirty(&self) -> bool {
        !self.news.is_empty()
            || self.desk.is_dirty()
            || !self.subscriptions.dirty_crowds.is_empty()
            || !self.subscriptions.waiting.dirty.is_empty()
    }

    /// Takes one of the members that were given up since the last look.
    pub fn take_cut(&mut self) -> Option<(Key, Cut)> {
        self.subscriptions.cut.pop()
    }

    /// Whether members were given up since the last look.
    pub fn has_cut(&self) -> bool {
        !self.subscriptions.cut.is_empty()
    }

    /// Publishes of this shard's connections that are not answered yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How many channels this shard's members hear or wait for.
    pub fn heard(&self) -> usize {
        self.subscriptions.locals.len()
    }

    /// The queues of this shard's members, to look at.
    pub fn outboxes(&self) -> impl Iterator<Item = &Outbox> {
        self.subscriptions.members.iter().filter_map(|member| member.outbox.as_deref())
    }
}
