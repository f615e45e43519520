//! What clients say of events that they got.

use super::super::driver::Driver;
use super::Shard;
use crate::event::Channel;
use crate::hub::{AckWish, Acked, Settled, Verdict};
use crate::session::command::{Ack, AckOutcome, Subscribe};
use crate::session::dialect::v1;
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;

/// How the events of a subscription are to be acknowledged, as the hub is asked for it.
pub(super) fn wish(wish: &Subscribe) -> Option<AckWish<'_>> {
    let acks = wish.acks?;
    Some(AckWish { timeout_us: acks.timeout_us, attempts_max: acks.attempts_max, subscription: &wish.id })
}

impl<D: Driver> Shard<D> {
    /// What became of events that the client got. It is told only where it asks to be.
    pub(super) fn acknowledge(&mut self, key: Key, ack: &Ack, now: Now) {
        let acked = ack.up_to.map_or(Acked::Each(&ack.ids), Acked::UpTo);
        let verdict = match ack.outcome {
            AckOutcome::Taken => Verdict::Done,
            AckOutcome::Again => Verdict::Again,
            AckOutcome::Dead => Verdict::Dead,
        };
        let channel = ack.channel.as_ref().map(Channel::as_str);
        let settled = self.hub.acknowledge(key, channel, acked, verdict, now.steady_us);
        if ack.reference.is_given() {
            let Settled { count, in_flight, position } = settled;
            self.say(key, &v1::acked(&ack.reference, count, in_flight, position));
        }
    }
}
