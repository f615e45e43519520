//! Connections that speak HTTP: their bytes become requests, requests become publishes, reports and sockets, and
//! answers go out in order.

use super::super::driver::Driver;
use super::Shard;
use super::connection::{End, Protocol};
use crate::hub::Origin;
use crate::session::publisher::{Answer, Form, Next, Publisher, Settled, Silence};
use crate::session::route::{Route, Socket, route};
use crate::session::{Door, Refusal};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::http::{Head, head as read_head};

/// A publisher that is told to come back should wait so long, in seconds: long enough for a full mailbox to empty
/// or a restart to end.
const RETRY_AFTER_S: &str = "1";

/// After the last answer the peer has so long to close, in microseconds; an early close would destroy what it has
/// not read yet.
pub(super) const LINGER_US: u64 = 5_000_000;

/// What a request did to its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It speaks HTTP still.
    Stays,
    /// It is something else now.
    Changed,
}

impl<D: Driver> Shard<D> {
    pub(super) fn take_publisher(&mut self, key: Key) -> Option<Box<Publisher>> {
        let connection = self.connections.get_mut(key)?;
        let placeholder = Protocol::Ending(End { socket: false, half_closed: true });
        match std::mem::replace(&mut connection.protocol, placeholder) {
            Protocol::Http(publisher) => Some(publisher),
            other => {
                connection.protocol = other;
                None
            }
        }
    }

    /// Takes in bytes of a connection that speaks HTTP; with none, looks again at those that were kept.
    pub(super) fn requests(&mut self, driver: &mut D, key: Key, bytes: &mut [u8], now: Now) {
        let Some(mut publisher) = self.take_publisher(key) else { return };
        self.refresh_date(now);
        let kept_before = publisher.kept_bytes();
        let mut kept = publisher.take_pending();
        let from_kept = !kept.is_empty();
        if from_kept {
            kept.extend_from_slice(bytes);
        }
        let buffer: &[u8] = if from_kept { &kept } else { bytes };
        let (consumed, fate) = self.serve_all(driver, key, &mut publisher, buffer, now);
        if fate == Fate::Changed {
            self.kept_bytes -= kept_before;
            if publisher.unread {
                self.hungry.push(key);
            }
            let mut rest = buffer[consumed..].to_vec();
            if !rest.is_empty() {
                self.take_in(driver, key, &mut rest, now);
            }
            return self.effects(driver, now);
        }
        match (publisher.closing, from_kept, consumed) {
            (true, ..) => {}
            (false, true, 0) => publisher.keep(kept),
            // A new buffer of the right size: the old one may have held a large body.
            _ if consumed < buffer.len() => publisher.keep(buffer[consumed..].to_vec()),
            _ => {}
        }
        if publisher.closing || kept_before + publisher.kept_bytes() > 0 {
            self.account(&mut publisher, kept_before);
        }
        self.put_back(key, publisher, now);
        self.effects(driver, now);
    }

    fn serve_all(
        &mut self,
        driver: &mut D,
        key: Key,
        publisher: &mut Publisher,
        buffer: &[u8],
        now: Now,
    ) -> (usize, Fate) {
        let seen = publisher.habits.take();
        let mut head = Head::default();
        let (mut at, mut fate) = (0, Fate::Stays);
        while at < buffer.len() && fate == Fate::Stays {
            let (rest, options) = (&buffer[at..], &self.options.session);
            fate = match publisher.next(rest, seen.as_deref(), &mut head, options, now.steady_us) {
                Next::Wait => break,
                Next::Consumed(n) => {
                    at += n;
                    Fate::Stays
                }
                Next::Whole { body, consumed } => {
                    at += consumed;
                    self.serve(driver, key, publisher, &head, body, now)
                }
                Next::Chunked { request, consumed } => {
                    at += consumed;
                    let head = read_head(&request.head).ok().flatten();
                    let head = head.expect("it was read before its body was");
                    self.serve(driver, key, publisher, &head, &request.body, now)
                }
                Next::Refused(refusal, form) => {
                    self.refuse(publisher, &form, &refusal);
                    Fate::Stays
                }
            };
        }
        publisher.habits.put_back(seen);
        (at, fate)
    }

    /// Counts what the connection keeps now against the shard's budget.
    #[inline(never)]
    fn account(&mut self, publisher: &mut Publisher, kept_before: usize) {
        if publisher.closing {
            // The rest of what was refused; nothing will be made of it.
            publisher.drop_kept();
        }
        self.kept_bytes = self.kept_bytes - kept_before + publisher.kept_bytes();
        if publisher.kept_bytes() > 0 && self.keeps_too_much() {
            self.kept_bytes -= publisher.kept_bytes();
            let form = publisher.form(); // before it is dropped
            publisher.drop_kept();
            self.tell_kept();
            self.hub.counters.overloads += 1;
            let refusal = overloaded("Too many requests are under way").closing();
            self.refuse(publisher, &form, &refusal);
        }
    }

    fn put_back(&mut self, key: Key, mut publisher: Box<Publisher>, now: Now) {
        if !publisher.is_drained() || publisher.closing {
            self.list_writer(key, &mut publisher);
        }
        if let Silence::Until(until) = publisher.silence(&self.options.session, false, now.steady_us)
            && self.wheel.deadline(key.slot).is_none_or(|deadline| until < deadline)
        {
            self.wheel.set(key.slot, until);
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.protocol = Protocol::Http(publisher);
        }
    }

    fn list_writer(&mut self, key: Key, publisher: &mut Publisher) {
        if !publisher.listed {
            publisher.listed = true;
            self.writers.push(key);
        }
    }

    pub(super) fn refuse(&mut self, publisher: &mut Publisher, form: &Form, refusal: &Refusal) {
        self.hub.counters.requests_refused += 1;
        publisher.refuse(form, refusal, &self.letterhead);
    }

    fn serve(
        &mut self,
        driver: &mut D,
        key: Key,
        publisher: &mut Publisher,
        head: &Head<'_>,
        body: &[u8],
        now: Now,
    ) -> Fate {
        let form = Form::of(head, &self.options.session);
        let mut decoded = Vec::new(); // of few names
        let route = self.route(publisher.door, head, &mut decoded).and_then(|known| {
            self.permit(driver, key, &known, head, now).map_err(|refused| refused.refusal()).map(|()| known)
        });
        match route {
            Ok(Route::Publish(channel)) => {
                self.publish(driver, key, publisher, form, channel, head, body, now);
                Fate::Stays
            }
            Ok(Route::PublishNowhere(why)) => {
                self.publish_nowhere(key, publisher, form, why, head.service_name, now);
                Fate::Stays
            }
            Ok(Route::Report(report)) => {
                self.report(key, publisher, form, report, head.query);
                Fate::Stays
            }
            Ok(Route::Document(document)) => {
                self.document(publisher, &form, document);
                Fate::Stays
            }
            Ok(Route::Batch) => {
                self.publish_batch(driver, key, publisher, form, head, body, now);
                Fate::Stays
            }
            Ok(Route::Stream(channel)) => {
                let opened = self.open_stream(driver, key, publisher, head, channel, now);
                self.changed(publisher, &form, opened)
            }
            Ok(Route::History(channel)) => {
                self.history(key, publisher, form, channel, head.query, now);
                Fate::Stays
            }
            Ok(Route::Letters | Route::RetryLetters) => {
                self.letters(key, publisher, form, head, now);
                Fate::Stays
            }
            Ok(Route::Options(methods)) => {
                self.preflight(publisher, &form, methods, head);
                Fate::Stays
            }
            Ok(Route::Socket(socket)) => {
                let opened = self.open(driver, key, publisher, head, socket, now);
                self.changed(publisher, &form, opened)
            }
            Err(refusal) => self.changed(publisher, &form, Err(refusal)),
        }
    }

    fn changed(&mut self, publisher: &mut Publisher, form: &Form, opened: Result<(), Refusal>) -> Fate {
        match opened {
            Ok(()) => return Fate::Changed,
            Err(refusal) => self.refuse(publisher, form, &refusal),
        }
        Fate::Stays
    }

    /// A listener may have one dialect for all paths, whatever they say.
    fn route<'r>(&self, door: u8, head: &Head<'r>, decoded: &'r mut Vec<u8>) -> Result<Route<'r>, Refusal> {
        match self.options.session.door(door) {
            Door::Router if head.upgrade_requested => Ok(Route::Socket(Socket::Router)),
            Door::FreqSearch if head.upgrade_requested => Ok(Route::Socket(Socket::FreqSearch)),
            _ => route(head, self.options.session.echo, decoded),
        }
    }

    pub(super) fn settle(
        &mut self,
        driver: &mut D,
        origin: Origin,
        now: Now,
        make: impl FnOnce(&[u8]) -> Settled,
    ) {
        self.refresh_date(now);
        let key = origin.connection;
        let Some(mut publisher) = self.take_publisher(key) else { return };
        publisher.settle(origin.request, &self.letterhead, make);
        self.put_back(key, publisher, now);
        self.resume(driver, key, now);
    }

    fn preflight(&mut self, publisher: &mut Publisher, form: &Form, methods: &str, head: &Head<'_>) {
        let mut fields = vec![("Allow", methods)];
        if form.origin.is_some() && head.request_method.is_some() {
            fields.extend([
                ("Access-Control-Allow-Methods", methods),
                (
                    "Access-Control-Allow-Headers",
                    "Content-Type, Authorization, X-API-Key, X-Service-Name, Idempotency-Key, traceparent, \
                     Last-Event-ID",
                ),
                ("Access-Control-Max-Age", "3600"),
            ]);
        }
        let answer = Answer { status: 204, content_type: None, fields: &fields, body: b"" };
        publisher.answer(form, answer, &self.letterhead);
    }

    /// A connection that speaks HTTP may have been silent for too long.
    pub(super) fn request_timer(&mut self, driver: &D, key: Key, now: Now) {
        self.refresh_date(now);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Http(publisher) = &mut connection.protocol else { return };
        let owed = !driver.is_flushed(&connection.socket);
        match publisher.silence(&self.options.session, owed, now.steady_us) {
            Silence::Until(until) => self.wheel.set(key.slot, until),
            Silence::Idle => self.forget(key, now),
            Silence::Timeout => {
                let Some(mut publisher) = self.take_publisher(key) else { return };
                self.kept_bytes -= publisher.kept_bytes();
                let form = publisher.form();
                publisher.drop_kept();
                let refusal =
                    Refusal::new(408, "Request Timeout", "The request did not arrive in time").closing();
                self.refuse(&mut publisher, &form, &refusal);
                self.put_back(key, publisher, now);
                // Should the peer not read the answer either.
                self.wheel.set(key.slot, now.steady_us + LINGER_US);
            }
        }
    }
}

pub(super) fn overloaded(words: &str) -> Refusal {
    Refusal::new(503, "Server overloaded", words).field("Retry-After", RETRY_AFTER_S)
}

/// While the server stops, nothing new is taken.
pub(super) fn draining() -> Refusal {
    Refusal::new(503, "Server is shutting down", "The server is shutting down; try again later")
        .field("Retry-After", "5")
        .closing()
}
