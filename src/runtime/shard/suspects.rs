//! Who is to be judged again, and when. All whose tokens end and all whom a change of rules or keys concerns are suspects at
//! once, and no event is queued for a suspect: before one comes, the suspects among those who hear it are judged, which costs
//! less than to send it to them. The others are judged, and told, some hundreds per turn, so that no turn takes long
//! however many there are. How one is judged is in `rights`.

use super::super::driver::Driver;
use super::Shard;
use crate::hub::Mail;
use crate::mailbox::drain::Stage;
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::stdx::slots::Slots;

/// Connections that are to be judged again, by their slots. A slot may have changed hands since: who is in it then is judged
/// once more than needed.
#[derive(Default)]
pub(super) struct Suspects {
    /// Their tokens have ended, or they are to be told that they will.
    due: Slots,
    /// The rules or keys have changed.
    stale: Slots,
    /// Not suspects: judged, but for what they wait to be let in to, which is judged when that is answered.
    held: Slots,
}

impl Suspects {
    fn is_empty(&self) -> bool {
        self.due.is_empty() && self.stale.is_empty()
    }

    fn contains(&self, slot: u32) -> bool {
        self.due.contains(slot) || self.stale.contains(slot)
    }

    /// A connection is gone.
    pub fn forget(&mut self, slot: u32) {
        self.due.remove(slot);
        self.stale.remove(slot);
        self.held.remove(slot);
    }

    /// The rules or keys have changed for all in slots below this one.
    pub fn suspect_all(&mut self, slots: u32) {
        self.stale.insert_below(slots);
    }

    /// Nobody's token counts any more.
    pub fn let_off_due(&mut self) {
        self.due = Slots::default();
    }

    /// Whether a connection is to be looked at once more when owners have answered it.
    pub fn hold(&mut self, slot: u32, held: bool) {
        if held {
            self.held.insert(slot);
        } else {
            self.held.remove(slot);
        }
    }

    /// Whether it is held so.
    pub fn is_held(&self, slot: u32) -> bool {
        self.held.contains(slot)
    }
}

impl<D: Driver> Shard<D> {
    /// Whoever's token ends now, or who is to be told that it will, is a suspect.
    pub(super) fn look_at_passes(&mut self, now: Now) {
        let Some(guard) = &mut self.guard else { return };
        if guard.moments.first().is_none_or(|(at_ms, _)| *at_ms > now.unix_ms) {
            return;
        }
        let later = guard.moments.split_off(&(now.unix_ms + 1, 0));
        for (_, token) in std::mem::replace(&mut guard.moments, later) {
            self.suspects.due.insert(Key::from_u64(token).slot);
        }
    }

    /// Whether somebody may still be in who should not be. When all have been sent away nobody is judged any more (seed 9041 of
    /// the simulation turned for ever).
    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty() && self.stage < Stage::Done
    }

    /// Judges some of the suspects.
    pub(super) fn judge_some(&mut self, now: Now) {
        for _ in 0..self.options.judged_per_turn {
            if let Some(slot) = self.suspects.due.pop() {
                self.connections.key_at(slot).into_iter().for_each(|key| self.pass_is_due(key, now));
            } else if let Some(slot) = self.suspects.stale.pop() {
                self.connections.key_at(slot).into_iter().for_each(|key| self.judge_one_again(key, now));
            } else {
                return;
            }
        }
    }

    /// Judges one connection, if it is a suspect.
    pub(super) fn judge_suspect(&mut self, key: Key, now: Now) {
        if self.suspects.due.remove(key.slot) {
            self.pass_is_due(key, now);
        }
        if self.suspects.stale.remove(key.slot) {
            self.judge_one_again(key, now);
        }
    }

    /// Before an event comes on a channel.
    #[inline]
    pub(super) fn judge_hearers(&mut self, channel: &str, now: Now) {
        if self.has_suspects() {
            let suspects = &self.suspects;
            let hearers = self.hub.hearers(channel, |slot| suspects.contains(slot));
            self.judge_before_event(&hearers, now);
        }
    }

    /// Before mail is taken that may bring one.
    #[inline]
    pub(super) fn judge_hearers_of(&mut self, mail: &Mail, now: Now) {
        if self.has_suspects() {
            let suspects = &self.suspects;
            let hearers = self.hub.hearers_of(mail, |slot| suspects.contains(slot));
            self.judge_before_event(&hearers, now);
        }
    }

    /// Before the hub tells of who came and went, of whom there may be more by this.
    pub(super) fn judge_hearers_of_news(&mut self, now: Now) {
        while self.has_suspects() {
            let suspects = &self.suspects;
            let hearers = self.hub.hearers_of_news(|slot| suspects.contains(slot));
            if hearers.is_empty() {
                return;
            }
            self.judge_before_event(&hearers, now);
        }
    }

    /// These would get an event now. Whose token has ended leaves its channels at once; to close it has time.
    #[cold]
    #[inline(never)]
    fn judge_before_event(&mut self, hearers: &[Key], now: Now) {
        // Whoever hands in the event may be writing there.
        let answer = std::mem::take(&mut self.answer);
        for key in hearers {
            if self.suspects.due.contains(key.slot)
                && self.pass_at(*key).is_some_and(|pass| pass.has_ended(now.unix_ms))
            {
                self.hub.retire(*key, now.steady_us);
            } else {
                self.judge_suspect(*key, now);
            }
        }
        self.answer = answer;
    }
}
