//! What clients say of events that they got.

use super::super::driver::Driver;
use super::Shard;
use crate::event::Channel;
use crate::hub::{AckWish, Acked, Scope, Settled, Verdict};
use crate::session::command::{Ack, AckOutcome, Subscribe};
use crate::session::dialect::{Dialect, router, v1};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;

/// How the events of a subscription are to be acknowledged, as the hub is asked for it. Those of the router vanish with
/// their connection.
pub(super) fn wish(dialect: Dialect, wish: &Subscribe) -> Option<AckWish<'_>> {
    let acks = wish.acks?;
    let is_router = dialect == Dialect::Router;
    Some(AckWish {
        timeout_us: acks.timeout_us,
        delay_us: acks.delay_us,
        attempts_max: acks.attempts_max,
        subscription: &wish.id,
        resumes: !is_router,
        heading: if is_router { router::heading } else { v1::heading },
    })
}

impl<D: Driver> Shard<D> {
    /// What became of events that the client got. In `courier.v1` it is told only where it asks to be.
    pub(super) fn acknowledge(&mut self, key: Key, ack: &Ack, now: Now) {
        let is_router = self.dialect_at(key) == Some(Dialect::Router);
        let acked = match ack.up_to {
            _ if is_router => Acked::Named(&ack.names, router::is_named),
            Some(last) => Acked::UpTo(last),
            None => Acked::Each(&ack.ids),
        };
        let verdict = match ack.outcome {
            AckOutcome::Taken => Verdict::Done,
            AckOutcome::Again => Verdict::Again,
            AckOutcome::Dead => Verdict::Dead,
        };
        let scope = match (&ack.subscription, ack.channel.as_ref().map(Channel::as_str)) {
            (Some(id), _) => Scope::Subscription(id),
            (None, Some(channel)) => Scope::Channel(channel),
            (None, None) => Scope::Any,
        };
        let settled = self.hub.acknowledge(key, scope, acked, verdict, now.steady_us);
        let Settled { subscriptions, count, in_flight, position } = settled;
        if is_router && subscriptions == 0 {
            self.say(key, &router::error(router::NOT_FOUND, now.unix_ms));
        } else if is_router {
            self.say(key, &router::acked(ack.subscription.as_deref(), count, in_flight));
        } else if ack.reference.is_given() {
            self.say(key, &v1::acked(&ack.reference, count, in_flight, position));
        }
    }
}
