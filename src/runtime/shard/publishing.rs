//! Events on their way in: single publishes and batches over HTTP, and publishes on sockets. One admission for all;
//! what differs is where the answer goes, and that others may have to be asked before it can be given.

use super::super::driver::Driver;
use super::batches::{Item, Keep, keep};
use super::letters::is_retry;
use super::requests::draining;
use super::{Shard, Sockets};
use crate::event::{DEAD_LETTERS, Event, Facts};
use crate::hub::{self, Answer as PublishAnswer, Near, Origin, Published, Publishing, Stored};
use crate::mailbox::drain::Stage;
use crate::session::Refusal;
use crate::session::admission::{self, Admitted, Said};
use crate::session::batch::{self};
use crate::session::cloudevents::{self, Mode};
use crate::session::publisher::{Form, Publisher, Settled};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::http::Head;

/// The place of a publish that is not an item of a batch.
pub(super) const SINGLE: u32 = 0;

/// What became of an event at once.
pub(super) enum Outcome {
    Done(Published),
    Waiting,
    Refused(Refusal),
}

impl<D: Driver> Shard<D> {
    /// `POST /publish` and `POST /publish/{channel}`.
    #[expect(clippy::too_many_arguments, reason = "what a publish is made of, from one caller")]
    pub(super) fn publish(
        &mut self,
        driver: &mut D,
        key: Key,
        publisher: &mut Publisher,
        mut form: Form,
        channel: Option<&str>,
        head: &Head<'_>,
        body: &[u8],
        now: Now,
    ) {
        if let Err(refusal) = self.admit_publish(key, &mut form, head.service_name, now) {
            return self.refuse_publish(publisher, &form, &refusal);
        }
        if self.stage > Stage::Serving {
            return self.refuse_publish(publisher, &form, &draining());
        }
        let mut said = Said { channel, body, service: head.service_name, ..Said::default() };
        if has_rare_fields(head) {
            match self.rare_fields(&mut said, head) {
                Ok(Mode::Plain) => {}
                Ok(mode) => return self.publish_cloud(driver, key, publisher, form, said, head, mode, now),
                Err(refusal) => return self.refuse_publish(publisher, &form, &refusal),
            }
        }
        // Where it goes comes from far, and is here when the event is read.
        let near = channel.map(|channel| self.hub.approach(channel));
        let mut facts = Facts::default();
        match admission::admit(&said, &mut facts, &self.options.limits, &self.options.session, now) {
            Ok(admitted) => self.publish_admitted(driver, key, publisher, form, admitted, near, now),
            Err(refusal) => self.refuse_publish(publisher, &form, &refusal),
        }
    }

    /// Takes over what the fields say that few requests have, and answers how the body carries events.
    pub(super) fn rare_fields<'b>(&mut self, said: &mut Said<'b>, head: &Head<'b>) -> Result<Mode, Refusal> {
        let key = head.idempotency_key.map(|field| admission::idempotency_key(field.as_bytes()));
        said.key = key.transpose()?;
        said.traceparent = head.traceparent();
        cloudevents::mode(head.content_type, head.is_cloud_event)
    }

    pub(super) fn refuse_publish(&mut self, publisher: &mut Publisher, form: &Form, refusal: &Refusal) {
        self.count_refused(refusal);
        self.refuse(publisher, form, refusal);
    }

    /// Counts a publish that was refused.
    pub(super) fn count_refused(&mut self, refusal: &Refusal) {
        self.hub.counters.publishes_refused += 1;
        if refusal.error == admission::MISFIT {
            self.count_misfit(refusal.facts.get("event_type").and_then(|kind| kind.as_str()));
            self.keep_misfit(refusal);
        }
    }

    /// By type, as long as there are not too many: those that a schema describes, and those of earlier settings.
    #[cold]
    fn count_misfit(&mut self, kind: Option<&str>) {
        self.hub.counters.schema_refused += 1;
        let schemas = self.options.session.schemas.as_ref().map(|policy| &policy.schemas);
        let known = kind.filter(|kind| schemas.is_some_and(|schemas| schemas.knows(kind)));
        let misfits = &mut self.hub.misfits;
        let room = |kind: &&str| misfits.len() < MISFIT_TYPES_MAX || misfits.contains_key(*kind);
        let kind = known.filter(room).unwrap_or_default();
        *misfits.entry(kind.into()).or_default() += 1;
    }

    /// `near` is of the event's channel.
    #[expect(clippy::too_many_arguments, reason = "what a publish is made of, from two callers")]
    fn publish_admitted(
        &mut self,
        driver: &mut D,
        key: Key,
        publisher: &mut Publisher,
        form: Form,
        admitted: Admitted<'_>,
        near: Option<Near>,
        now: Now,
    ) {
        let Admitted { channel, event, facts } = admitted;
        if let Err(refused) = self.may_publish(&channel) {
            return self.refuse_publish(publisher, &form, &refused.refusal());
        }
        let near = near.unwrap_or_else(|| self.hub.approach(&channel));
        self.hub.look_near(&near);
        let keep = keep(&channel, &event, facts);
        let origin = Origin { connection: key, request: publisher.next_request(), item: SINGLE };
        // Most are taken: what is written meanwhile is seldom in vain.
        self.answer.clear();
        admission::write_answer_head(&channel, facts, self.time_text.at(now.unix_ms), &mut self.answer);
        match self.hand_in_near(driver, near, &channel, event, origin, now) {
            Outcome::Done(published) => {
                self.finish_answer(&published, keep);
                let known = published.first.as_ref().and_then(|first| first.answer.as_deref());
                let body = known.unwrap_or(&self.answer);
                publisher.answer_json(&form, body, &self.letterhead);
            }
            Outcome::Waiting if keep.is_some() => {
                publisher.answer_later(form, &[]);
                let place = (key, origin.request, SINGLE);
                let head = std::mem::take(&mut self.answer);
                self.under_way.items.insert(place, Item { head, keep, of_batch: false });
            }
            Outcome::Waiting => publisher.answer_later(form, &self.answer),
            Outcome::Refused(refusal) => self.refuse_publish(publisher, &form, &refusal),
        }
    }

    /// Gives an event to the hub.
    pub(super) fn hand_in(
        &mut self,
        driver: &mut D,
        channel: &str,
        event: Event,
        origin: Origin,
        now: Now,
    ) -> Outcome {
        let near = self.hub.approach(channel);
        self.hand_in_near(driver, near, channel, event, origin, now)
    }

    fn hand_in_near(
        &mut self,
        driver: &mut D,
        near: Near,
        channel: &str,
        event: Event,
        origin: Origin,
        now: Now,
    ) -> Outcome {
        if channel == DEAD_LETTERS {
            return Outcome::Refused(reserved());
        }
        self.judge_hearers(channel, now);
        let mut outlet = Sockets { driver, connections: &self.connections };
        match self.hub.publish_near(near, channel, event, origin, now.steady_us, &mut outlet) {
            Publishing::Done(published) => {
                self.hub.counters.published += 1;
                Outcome::Done(published)
            }
            Publishing::Waiting => Outcome::Waiting,
            Publishing::Refused(why) => {
                self.look_at_lanes();
                Outcome::Refused(not_published(why))
            }
        }
    }

    /// Completes the answer in `answer`, and keeps it for repeats of the same publish.
    fn finish_answer(&mut self, published: &Published, keep: Option<Keep>) {
        let Some(Keep { channel, id, has_own_time }) = keep else {
            return write_tail(published, &mut self.answer);
        };
        if let Some(first) = published.first.as_ref().filter(|_| !has_own_time) {
            admission::retime_answer_head(&mut self.answer, first.at_ms);
        }
        write_tail(published, &mut self.answer);
        // What is told to a repeat that came before the first was answered is not that one's answer.
        if published.first.is_none() {
            self.hub.remember(&channel, &id, &self.answer);
        }
    }

    /// The answer that begins with `head`, kept for repeats too; a repeat is told what the first was.
    pub(super) fn whole_answer(
        &mut self,
        head: Vec<u8>,
        published: &Published,
        keep: Option<Keep>,
    ) -> Vec<u8> {
        if let Some(answer) = published.first.as_ref().and_then(|first| first.answer.as_ref()) {
            return answer.to_vec();
        }
        self.answer = head;
        self.finish_answer(published, keep);
        std::mem::take(&mut self.answer)
    }

    /// A publish that other shards had a part in is done.
    pub(super) fn publish_answered(&mut self, driver: &mut D, answer: PublishAnswer, now: Now) {
        if is_retry(answer.origin) {
            return self.retry_answered(answer);
        }
        match answer.outcome {
            Ok(_) => self.hub.counters.published += 1,
            Err(_) => {
                self.hub.counters.publishes_refused += 1;
                self.hub.counters.requests_refused += 1;
            }
        }
        let Origin { connection: key, request, item } = answer.origin;
        if self.open_at(key).is_some() {
            return self.said_answered(driver, key, answer, now);
        }
        let waited = match self.under_way.items.is_empty() {
            true => None,
            false => self.under_way.items.remove(&(key, request, item)),
        };
        match waited {
            Some(Item { head, keep, of_batch: true }) => {
                let result = self.result(head, answer.outcome.map_err(not_published), keep);
                self.put_result(driver, answer.origin, &result, now);
            }
            Some(Item { head, keep, .. }) => {
                let whole = answer.outcome.map(|published| self.whole_answer(head, &published, keep));
                self.settle(driver, answer.origin, now, |_| settled(whole));
            }
            None => self.settle(driver, answer.origin, now, |head| {
                settled(answer.outcome.map(|published| {
                    let mut body = head.to_vec();
                    write_tail(&published, &mut body);
                    body
                }))
            }),
        }
    }

    /// CloudEvents on `/publish/{channel}`.
    #[expect(clippy::too_many_arguments, reason = "what a publish is made of, from one caller")]
    #[inline(never)]
    fn publish_cloud(
        &mut self,
        driver: &mut D,
        key: Key,
        publisher: &mut Publisher,
        form: Form,
        said: Said<'_>,
        head: &Head<'_>,
        mode: Mode,
        now: Now,
    ) {
        let made;
        let mut said = said;
        match mode {
            Mode::Batch => {
                return match batch::array(said.body) {
                    Ok(items) => {
                        self.publish_items(driver, key, publisher, form, said, head, items, mode, now)
                    }
                    Err(refusal) => self.refuse_publish(publisher, &form, &refusal),
                };
            }
            Mode::Binary => match cloudevents::binary(head.field_lines(), head.content_type, said.body) {
                Ok(text) => {
                    made = text;
                    said.body = made.as_bytes();
                }
                Err(refusal) => return self.refuse_publish(publisher, &form, &refusal),
            },
            Mode::Structured | Mode::Plain => {}
        }
        let mut facts = Facts::default();
        match cloudevents::admit(&said, &mut facts, &self.options.limits, &self.options.session, now) {
            Ok(admitted) => self.publish_admitted(driver, key, publisher, form, admitted, None, now),
            Err(refusal) => self.refuse_publish(publisher, &form, &refusal),
        }
    }
}

/// Nobody but the server tells of dead letters.
fn reserved() -> Refusal {
    let words = format!("{DEAD_LETTERS} is the server's own channel: it tells of dead letters there");
    Refusal::new(403, "Reserved channel", words).at("/channel", "is the server's own")
}

/// Event types that are counted one by one.
const MISFIT_TYPES_MAX: usize = 1_000;

/// Whether the head says more of an event than most do.
#[inline]
fn has_rare_fields(head: &Head<'_>) -> bool {
    // The media type of a CloudEvent, in whatever case and with whatever parameters.
    let cloud =
        |text: &str| text.get(..CLOUD_TYPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(CLOUD_TYPE));
    head.idempotency_key.is_some()
        || head.is_cloud_event
        || head.traceparent().is_some()
        || head.content_type.is_some_and(cloud)
}

/// How the media types of CloudEvents begin.
const CLOUD_TYPE: &str = "application/cloudevents";

/// Why an event was not taken, or taken and not stored (contract 11).
pub(super) fn not_published(why: hub::Refusal) -> Refusal {
    match why {
        hub::Refusal::MailboxFull => super::requests::overloaded(
            "The way to the channel's subscribers is full; nothing was delivered, try again",
        ),
        hub::Refusal::LogBehind => super::requests::overloaded(
            "The disk does not keep up with what is to be stored; nothing was delivered, try again",
        ),
        hub::Refusal::NotStored => {
            Refusal::new(507, "Not stored", "The event was delivered, but the disk did not take it")
        }
    }
}

fn settled(outcome: Result<Vec<u8>, hub::Refusal>) -> Settled {
    outcome.map_or_else(|why| Settled::Refused(not_published(why)), Settled::Json)
}

fn write_tail(published: &Published, out: &mut Vec<u8>) {
    admission::write_answer_tail(published.position, published.reached, stored(published), out);
}

fn stored(published: &Published) -> Option<&'static str> {
    published.stored.map(|stored| match stored {
        Stored::Disk => "disk",
        Stored::Memory | Stored::Nowhere => "memory",
    })
}
