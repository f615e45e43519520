//! Dead letters: what is asked of them over HTTP, events that are kept because they were refused, and letters that are
//! published again, which the shard that has them does as if a client had asked for it.

use super::super::driver::Driver;
use super::Shard;
use super::publishing::{Outcome, not_published};
use crate::event::{Cause, Channel, DEAD_LETTERS, Extras, Facts, Position, Priority};
use crate::hub::{
    Answer as PublishAnswer, Dead, Letter, LetterAnswer, LetterAsk, LetterFilter, Origin, Retried, RetryOrder,
};
use crate::mailbox::drain::Stage;
use crate::session::Refusal;
use crate::session::admission::Admitted;
use crate::session::letters::{self, LetterQuery};
use crate::session::publisher::{Form, Publisher, Settled};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::http::{Head, Method};

/// In place of a connection's slot: the publish is a letter's.
const RETRY_SLOT: u32 = u32::MAX;
/// Letters that are being published again, over all orders: each came with a request, and most are done at once.
pub(super) const RETRIES_MAX: u32 = 1 << 16;

/// An order that is under way.
pub(super) struct Retrying {
    shard: usize,
    origin: Origin,
    left: usize,
    letters: Vec<Retried>,
    missing: usize,
}

/// Whether a publish is a letter's.
pub(super) fn is_retry(origin: Origin) -> bool {
    origin.connection.slot == RETRY_SLOT
}

impl<D: Driver> Shard<D> {
    /// An event that no schema lets through becomes a letter, if nothing else was in its way.
    #[cold]
    pub(super) fn keep_misfit(&mut self, refusal: &Refusal) {
        let Some(misfit) = &refusal.misfit else { return };
        let channel = misfit.channel.as_str();
        if channel == DEAD_LETTERS || !self.lets_publish(channel) {
            return;
        }
        self.hub.bury(Dead {
            channel: misfit.channel.clone(),
            event: misfit.event.clone(),
            position: None,
            cause: Cause::Refused,
            detail: format!("{}: {}", refusal.error, refusal.message).into(),
            attempts: 0,
            subscription: None,
        });
    }

    /// `/dead-letters` and `/dead-letters/retry`.
    #[inline(never)]
    pub(super) fn letters(
        &mut self,
        key: Key,
        publisher: &mut Publisher,
        form: Form,
        head: &Head<'_>,
        now: Now,
    ) {
        let ask = match head.method {
            Method::Get | Method::Head => letters::read_list(head.query).map(|query| LetterAsk::List {
                after: query.after,
                limit: query.limit as usize,
                filter: filter(query),
            }),
            Method::Delete => letters::read_change(head.query).map(|query| LetterAsk::Purge(filter(query))),
            _ if self.stage > Stage::Serving => Err(super::requests::draining()),
            _ => letters::read_change(head.query).map(|query| LetterAsk::Retry(filter(query))),
        };
        match ask {
            Ok(ask) => {
                let named = matches!(
                    &ask,
                    LetterAsk::List { filter, .. } | LetterAsk::Purge(filter) | LetterAsk::Retry(filter)
                    if filter.id.is_some()
                );
                let origin = Origin { connection: key, request: publisher.next_request(), item: 0 };
                publisher.answer_later(form, &[u8::from(named)]);
                self.hub.ask_letters(ask, origin, now.steady_us);
            }
            Err(refusal) => self.refuse(publisher, &form, &refusal),
        }
    }

    /// The shard that has the letters has answered.
    pub(super) fn letters_answered(
        &mut self,
        driver: &mut D,
        origin: Origin,
        answer: &LetterAnswer,
        now: Now,
    ) {
        self.settle(driver, origin, now, |context| {
            let found = match answer {
                LetterAnswer::Page(page) => page.letters.len(),
                LetterAnswer::Purged(purged) => *purged,
                LetterAnswer::Retried(letters, _) => letters.len(),
            };
            if found == 0 && context.first() == Some(&1) {
                return Settled::Refused(letters::not_found());
            }
            Settled::Json(match answer {
                LetterAnswer::Page(page) => {
                    letters::write_page(page.total, page.letters.iter().map(|(id, told)| (*id, told)))
                }
                LetterAnswer::Purged(purged) => letters::purged(*purged),
                LetterAnswer::Retried(letters, left) => letters::retried(letters.iter().map(told), *left),
            })
        });
    }

    /// Publishes letters again.
    pub(super) fn retry_letters(&mut self, driver: &mut D, order: RetryOrder, now: Now) {
        let RetryOrder { shard, origin, letters, left } = order;
        let retrying = Retrying { shard, origin, left, missing: letters.len(), letters: Vec::new() };
        // More orders than the slab takes would need more requests than may wait.
        let Ok(key) = self.retrying.insert(retrying) else { return };
        for (item, letter) in letters.iter().enumerate() {
            let connection = Key { slot: RETRY_SLOT, generation: key.slot };
            let origin = Origin { connection, request: key.generation, item: item as u32 };
            let retried = |outcome, refused_for_good| Retried {
                id: letter.id,
                channel: letter.channel.clone(),
                outcome,
                refused_for_good,
            };
            let (outcome, for_good) = match self.publish_letter(driver, letter, origin, now) {
                Ok(Outcome::Done(published)) => (Ok((published.position, published.reached)), false),
                // Until the answer is there it counts as failed.
                Ok(Outcome::Waiting) => (Err(("", String::new())), false),
                Ok(Outcome::Refused(refusal)) => (Err((refusal.error, refusal.message)), false),
                Err(refusal) => (Err((refusal.error, refusal.message)), true),
            };
            let waits = matches!(&outcome, Err(("", _)));
            let Some(retrying) = self.retrying.get_mut(key) else { return };
            retrying.letters.push(retried(outcome, for_good));
            retrying.missing -= usize::from(!waits);
        }
        self.finish_retry(key);
    }

    /// Passes a letter's event as if it had just been published.
    fn publish_letter(
        &mut self,
        driver: &mut D,
        letter: &Letter,
        origin: Origin,
        now: Now,
    ) -> Result<Outcome, Refusal> {
        let mut deaths = letter.deaths;
        deaths.retries += 1;
        let extras = Extras {
            priority: Priority::new(letter.priority.into()).unwrap_or_default(),
            router: letter.router,
            deaths,
            ..Extras::default()
        };
        let (limits, options) = (&self.options.limits, &self.options.session);
        let (made, mut facts) = ((letter.channel.as_str(), letter.event()), Facts::default());
        let admitted = letters::admit(made, &mut facts, extras, limits, options, now);
        let Admitted { channel, event, .. } = admitted?;
        Ok(self.hand_in(driver, &channel, event, origin, now))
    }

    /// A letter that other shards had a part in has been published, or not.
    pub(super) fn retry_answered(&mut self, answer: PublishAnswer) {
        let Origin { connection, request, item } = answer.origin;
        let key = Key { slot: connection.generation, generation: request };
        let Some(retrying) = self.retrying.get_mut(key) else { return };
        if let Some(letter) = retrying.letters.get_mut(item as usize) {
            letter.outcome = match answer.outcome.map_err(not_published) {
                Ok(published) => Ok((published.position, published.reached)),
                Err(refusal) => Err((refusal.error, refusal.message)),
            };
        }
        retrying.missing -= 1;
        self.finish_retry(key);
    }

    fn finish_retry(&mut self, key: Key) {
        if self.retrying.get(key).is_some_and(|retrying| retrying.missing == 0)
            && let Some(Retrying { shard, origin, left, letters, .. }) = self.retrying.remove(key)
        {
            self.hub.letters_retried(shard, origin, letters, left);
        }
    }
}

fn filter(query: LetterQuery) -> LetterFilter {
    let LetterQuery { id, channel, cause, before_ms, .. } = query;
    LetterFilter { id, channel, cause, before_ms }
}

fn told(letter: &Retried) -> (Position, &Channel, letters::Outcome<'_>) {
    let outcome = match &letter.outcome {
        Ok(done) => Ok(*done),
        Err((error, words)) => Err((*error, &**words)),
    };
    (letter.id, &letter.channel, outcome)
}
