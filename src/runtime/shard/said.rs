//! Events that clients publish on their sockets.

use super::super::driver::Driver;
use super::Shard;
use super::batches::keep;
use super::connection::{Publish, Waiting};
use super::publishing::{Outcome, SINGLE, not_published};
use super::requests::draining;
use crate::event::Facts;
use crate::hub::{Answer as PublishAnswer, Origin, Published};
use crate::mailbox::drain::Stage;
use crate::session::Refusal;
use crate::session::admission::{self, Admitted, Said};
use crate::session::command::{Body, Publish as Wanted};
use crate::session::dialect::answers::Denied;
use crate::session::dialect::{Dialect, router, v1};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;

impl<D: Driver> Shard<D> {
    /// A client publishes on its socket.
    pub(super) fn publish_said(&mut self, driver: &mut D, key: Key, wanted: Wanted<'_>, now: Now) {
        let Wanted { reference, body } = wanted;
        self.act_for(key);
        if let Err(refusal) = self.admit_said(key, now) {
            self.hub.counters.publishes_refused += 1;
            return self.deny(key, &reference, &Denied::Publish(&refusal), now);
        }
        let (limits, options) = (&self.options.limits, &self.options.session);
        let mut facts = Facts::default();
        let (admitted, event_id) = match &body {
            _ if self.stage > Stage::Serving => (Err(draining()), None),
            Body::Envelope(text) => {
                let said = Said { body: text.as_bytes(), ..Said::default() };
                (admission::admit(&said, &mut facts, limits, options, now), None)
            }
            Body::Event { channel, text, extras, id } => {
                let made = (channel.as_str(), text.as_str());
                let admitted = admission::admit_made(made, &mut facts, extras, limits, options, now);
                (admitted, Some(id.clone()))
            }
        };
        let Admitted { channel, event, facts } = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.count_refused(&refusal);
                return self.deny(key, &reference, &Denied::Publish(&refusal), now);
            }
        };
        if let Err(refused) = self.may_publish(&channel) {
            self.hub.counters.publishes_refused += 1;
            return self.deny(key, &reference, &Denied::Publish(&refused.refusal()), now);
        }
        let keep = keep(&channel, &event, facts);
        let mut head = Vec::new();
        admission::write_answer_head(&channel, facts, self.time_text.at(now.unix_ms), &mut head);
        let said = Publish { reference, event_id: event_id.unwrap_or_default(), head, keep };
        let origin = Origin { connection: key, request: 0, item: SINGLE };
        match self.hand_in(driver, &channel, event, origin, now) {
            Outcome::Done(published) => self.answer_said(key, said, Ok(published), now),
            Outcome::Waiting => {
                if let Some(open) = self.open_at(key) {
                    open.waiting = Some(Box::new(Waiting::Publish(said)));
                }
            }
            Outcome::Refused(refusal) => {
                self.hub.counters.publishes_refused += 1;
                self.answer_said(key, said, Err(refusal), now);
            }
        }
    }

    pub(super) fn said_answered(&mut self, driver: &mut D, key: Key, answer: PublishAnswer, now: Now) {
        let Some(open) = self.open_at(key) else { return };
        if let Some(Waiting::Publish(said)) = open.waiting.take().map(|waiting| *waiting) {
            self.answer_said(key, said, answer.outcome.map_err(not_published), now);
            self.go_on(driver, key, now);
        }
    }

    fn answer_said(&mut self, key: Key, said: Publish, outcome: Result<Published, Refusal>, now: Now) {
        let Publish { reference, event_id, head, keep } = said;
        let is_router = self.dialect_at(key) == Some(Dialect::Router);
        let words = match outcome {
            Ok(published) if is_router => {
                router::published(&event_id, published.dropped > 0 && published.reached == 0)
            }
            Err(refusal) if is_router && refusal.status != 403 => router::published(&event_id, true),
            Ok(published) => {
                let body = self.result(head, Ok(published), keep);
                v1::published(&reference, &body)
            }
            Err(refusal) => return self.deny(key, &reference, &Denied::Publish(&refusal), now),
        };
        self.say(key, &words);
    }
}
