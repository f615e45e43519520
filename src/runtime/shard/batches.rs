//! Many events in one request, whose results are put together in order, whichever core they come from; and what is
//! noted of publishes whose answers are given later.

use super::super::driver::Driver;
use super::Shard;
use super::publishing::Outcome;
use super::requests::draining;
use crate::event::{Event, Facts};
use crate::hub::{Origin, Published};
use crate::mailbox::drain::Stage;
use crate::session::Refusal;
use crate::session::admission::{self, Admitted, Said};
use crate::session::batch::{self, Results};
use crate::session::cloudevents::{self, Mode};
use crate::session::publisher::{Form, Publisher, Settled};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::http::Head;
use std::collections::HashMap;

/// Publishes of this shard whose answers are given later and are to be kept, or belong to a batch.
#[derive(Default)]
pub(super) struct UnderWay {
    batches: HashMap<(Key, u32), Results>,
    pub items: HashMap<(Key, u32, u32), Item>,
}

/// What is needed of a publish with an idempotency key when it is answered.
pub(super) struct Keep {
    pub channel: Box<str>,
    pub id: Box<str>,
    /// Its answer tells the event's own time, not the server's.
    pub has_own_time: bool,
}

/// One publish whose answer needs more than its place among the connection's answers.
pub(super) struct Item {
    /// The answer, as far as it is known.
    pub head: Vec<u8>,
    /// If it has an idempotency key: the answer is kept then.
    pub keep: Option<Keep>,
    /// It is an item of a batch.
    pub of_batch: bool,
}

impl UnderWay {
    /// The connection is gone, and so is who would be answered; who repeats a publish is another.
    pub fn forget(&mut self, key: Key) {
        if !self.batches.is_empty() {
            self.batches.retain(|(connection, _), _| *connection != key);
        }
        if !self.items.is_empty() {
            self.items.retain(|(connection, ..), item| *connection != key || item.keep.is_some());
        }
    }
}

impl<D: Driver> Shard<D> {
    /// The result of one item of a batch, whose answer begins with `head`.
    pub(super) fn result(
        &mut self,
        head: Vec<u8>,
        outcome: Result<Published, Refusal>,
        keep: Option<Keep>,
    ) -> Vec<u8> {
        match outcome {
            Ok(published) => self.whole_answer(head, &published, keep),
            Err(refusal) => batch::refused(&refusal),
        }
    }

    pub(super) fn put_result(&mut self, driver: &mut D, origin: Origin, result: &[u8], now: Now) {
        let place = (origin.connection, origin.request);
        let Some(results) = self.under_way.batches.get_mut(&place) else { return };
        results.put(origin.item as usize, result);
        if results.is_complete()
            && let Some(results) = self.under_way.batches.remove(&place)
        {
            self.settle(driver, origin, now, |_| Settled::Json(results.body()));
        }
    }

    /// `POST /publish/batch`.
    #[expect(clippy::too_many_arguments, reason = "what a batch is made of, from one caller")]
    #[inline(never)]
    pub(super) fn publish_batch(
        &mut self,
        driver: &mut D,
        key: Key,
        publisher: &mut Publisher,
        mut form: Form,
        head: &Head<'_>,
        body: &[u8],
        now: Now,
    ) {
        if let Err(refusal) = self.admit_publish(key, &mut form, head.service_name, now) {
            return self.refuse_publish(publisher, &form, &refusal);
        }
        let said = Said { service: head.service_name, ..Said::default() };
        match batch::items(head.content_type, body) {
            Ok(items) => {
                self.publish_items(driver, key, publisher, form, said, head, items, Mode::Plain, now)
            }
            Err(refusal) => self.refuse_publish(publisher, &form, &refusal),
        }
    }

    /// Publishes every item; `said` is what they have in common.
    #[expect(clippy::too_many_arguments, reason = "what a batch is made of, from two callers")]
    pub(super) fn publish_items<'b>(
        &mut self,
        driver: &mut D,
        key: Key,
        publisher: &mut Publisher,
        mut form: Form,
        mut said: Said<'b>,
        head: &Head<'b>,
        items: batch::Items<'_>,
        mode: Mode,
        now: Now,
    ) {
        if self.stage > Stage::Serving {
            return self.refuse_publish(publisher, &form, &draining());
        }
        if let Err(refusal) = self.rare_fields(&mut said, head) {
            return self.refuse_publish(publisher, &form, &refusal);
        }
        let request = publisher.next_request();
        let mut results = Results::new(items.len());
        let (allowed, limited) = self.admit_items(key, &mut form, head.service_name, items.len(), now);
        for (item, text) in items.enumerate() {
            if item >= allowed {
                self.hub.counters.publishes_refused += 1;
                results.put(item, &limited);
                continue;
            }
            let own_key = said.key.map(|key| batch::key_of_item(key, item));
            let result = text.and_then(|text| {
                let said = Said { body: text.as_bytes(), key: own_key.as_deref(), ..said };
                let (limits, options) = (&self.options.limits, &self.options.session);
                let mut facts = Facts::default();
                match mode {
                    Mode::Plain => admission::admit(&said, &mut facts, limits, options, now),
                    _ => cloudevents::admit(&said, &mut facts, limits, options, now),
                }
                .map(|admitted| {
                    self.publish_item(
                        driver,
                        Origin { connection: key, request, item: item as u32 },
                        admitted,
                        now,
                    )
                })
            });
            match result {
                Ok(Some(result)) => results.put(item, &result),
                Ok(None) => {}
                Err(refusal) => {
                    self.count_refused(&refusal);
                    results.put(item, &batch::refused(&refusal));
                }
            }
        }
        if results.is_complete() {
            return publisher.answer_json(&form, &results.body(), &self.letterhead);
        }
        publisher.answer_later(form, &[]);
        self.under_way.batches.insert((key, request), results);
    }

    /// One item; its result, unless others are asked.
    fn publish_item(
        &mut self,
        driver: &mut D,
        origin: Origin,
        admitted: Admitted<'_>,
        now: Now,
    ) -> Option<Vec<u8>> {
        let Admitted { channel, event, facts } = admitted;
        if let Err(refused) = self.may_publish(&channel) {
            self.hub.counters.publishes_refused += 1;
            return Some(batch::refused(&refused.refusal()));
        }
        let keep = keep(&channel, &event, facts);
        let mut head = Vec::new();
        admission::write_answer_head(&channel, facts, self.time_text.at(now.unix_ms), &mut head);
        match self.hand_in(driver, &channel, event, origin, now) {
            Outcome::Done(published) => Some(self.result(head, Ok(published), keep)),
            Outcome::Waiting => {
                let place = (origin.connection, origin.request, origin.item);
                self.under_way.items.insert(place, Item { head, keep, of_batch: true });
                None
            }
            Outcome::Refused(refusal) => {
                self.hub.counters.publishes_refused += 1;
                Some(batch::refused(&refusal))
            }
        }
    }
}

/// Where the answer to an event is to be kept, if its publisher gave it a key.
#[inline]
pub(super) fn keep(channel: &str, event: &Event, facts: &Facts<'_>) -> Option<Keep> {
    let id = event.extras()?.id.as_deref()?;
    let has_own_time = admission::own_time(facts).is_some();
    Some(Keep { channel: channel.into(), id: id.into(), has_own_time })
}
