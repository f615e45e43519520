//! Requests that ask for the state of the server, or for the description of its interface.

use super::super::driver::Driver;
use super::Shard;
use crate::admin;
use crate::hub::{Names, Origin};
use crate::mailbox::drain::Stage;
use crate::metrics::Snapshot;
use crate::session::publisher::{Answer, Form, JSON, Publisher, Settled};
use crate::session::query::names_asked;
use crate::session::route::{Document, Report};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;

impl<D: Driver> Shard<D> {
    #[inline(never)]
    pub(super) fn report(
        &mut self,
        key: Key,
        publisher: &mut Publisher,
        form: Form,
        report: Report,
        asked: &str,
    ) {
        let draining = self.stage > Stage::Serving;
        let (status, body) = match report {
            Report::Live => admin::live(),
            Report::Ready => admin::ready(draining),
            Report::Health | Report::Stats | Report::Channels => {
                let names_max = match names_asked(asked) {
                    Ok(names_max) => names_max,
                    Err(refusal) => return self.refuse(publisher, &form, &refusal),
                };
                let origin = Origin { connection: key, request: publisher.next_request(), item: 0 };
                publisher.answer_later(form, &[report as u8]);
                let own = self.state();
                // More reports than the hub lets wait would need more connections than there can be.
                let names = Names { max: names_max, within: self.names_within() };
                self.hub.gather(origin, names, own);
                return;
            }
        };
        let answer = Answer { status, content_type: Some(JSON), fields: &[], body: &body };
        publisher.answer(&form, answer, &self.letterhead);
    }

    #[inline(never)]
    pub(super) fn document(&mut self, publisher: &mut Publisher, form: &Form, document: Document) {
        let documents = &self.options.facts.documents;
        let body = match document {
            Document::OpenApi => &documents.openapi,
            Document::AsyncApi => &documents.asyncapi,
        };
        publisher.answer_json(form, body, &self.letterhead);
    }

    /// All shards have counted themselves.
    pub(super) fn gather_answered(&mut self, driver: &mut D, origin: Origin, snapshot: &Snapshot, now: Now) {
        if self.health_answered(driver, origin.connection, snapshot, now) {
            return;
        }
        let draining = self.stage > Stage::Serving;
        let mut facts = self.options.facts.clone();
        facts.certificates = driver.certificates();
        self.settle(driver, origin, now, |context| {
            let (status, body) = match context.first() {
                Some(tag) if *tag == Report::Health as u8 => admin::health(snapshot, &facts, draining, now),
                Some(tag) if *tag == Report::Stats as u8 => admin::stats(snapshot, &facts, now),
                _ => admin::channels(snapshot),
            };
            Settled::Status(status, body)
        });
    }
}
