//! A connection while it speaks HTTP: takes bytes apart into requests, keeps their answers in order (RFC 9112
//! 9.3.2) though some wait for other shards, and knows how long it may stay silent. It holds no buffer of
//! a request that arrives whole, which is the rule.

use super::answer::{write, write_json, write_refusal};
use super::habits::Habits;
use super::refusal::Refusal;
use super::{Options, admission};
use crate::wire::http::{CONTINUE, Framing, Head, Letterhead, Seen};
use std::collections::VecDeque;

pub use super::answer::{Answer, Form, JSON, PAGE_FIELDS, Settled};
pub use super::chunked::ChunkedRequest;

/// Requests of one connection that may wait for their answers; further ones are not read until some are done.
pub const PIPELINE_MAX: usize = 64;

/// Bytes of answers that may wait for the peer to read them; until then no further request is read.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The next thing in the bytes.
#[expect(missing_docs, reason = "each line says what its fields are")]
pub enum Next<'b> {
    /// Nothing more can be done with these bytes now.
    Wait,
    /// So many bytes are taken; call again with the rest.
    Consumed(usize),
    /// A request whose body stands in the bytes; its head was read.
    Whole { body: &'b [u8], consumed: usize },
    /// A request whose body came in chunks.
    Chunked { request: Box<ChunkedRequest>, consumed: usize },
    /// Answer in this form, then close.
    Refused(Refusal, Form),
}

enum Slot {
    Waiting { form: Form, context: Box<[u8]> },
    Ready(Vec<u8>),
}

/// What became of silence.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    /// It may last until then (steady microseconds).
    Until(u64),
    /// Too long in the middle of a request: answer 408, then close.
    Timeout,
    /// Too long between requests: close.
    Idle,
}

/// One HTTP connection.
pub struct Publisher {
    /// The listener; [`Options::doors`] says what is spoken there.
    pub door: u8,
    /// Bytes of a request that has not arrived whole.
    pending: Vec<u8>,
    /// Looking again is useless before so many bytes are there.
    needed: usize,
    chunked: Option<Box<ChunkedRequest>>,
    in_body: bool,
    /// When the last request came or the one under way began, or when the peer last took some of its answers.
    pub since_us: u64,
    slots: VecDeque<Slot>,
    first: u32,
    /// Answers to be sent.
    pub out: Vec<u8>,
    /// Of which so many bytes are.
    pub out_sent: usize,
    /// The socket takes no more now.
    pub blocked: bool,
    /// No further request is read; the connection ends when the answers are out.
    pub closing: bool,
    /// Requests wait only because earlier answers do.
    pub held: bool,
    /// The socket holds bytes that were not read for the same reason.
    pub unread: bool,
    /// Listed among those with answers to write.
    pub listed: bool,
    /// How a request whose body is still to come wants its answer.
    form: Option<Box<Form>>,
    /// Its peer waits to be asked for the body, and earlier answers go first.
    wants_continue: bool,
    /// What it says each time.
    pub habits: Habits,
}

impl Publisher {
    /// A connection that has said nothing yet.
    pub fn new(now_us: u64) -> Publisher {
        Publisher {
            door: 0,
            pending: Vec::new(),
            needed: 0,
            chunked: None,
            in_body: false,
            since_us: now_us,
            slots: VecDeque::new(),
            first: 0,
            out: Vec::new(),
            out_sent: 0,
            blocked: false,
            closing: false,
            held: false,
            unread: false,
            listed: false,
            form: None,
            wants_continue: false,
            habits: Habits::default(),
        }
    }

    /// Takes the bytes that were kept, to go before new ones.
    pub fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Keeps bytes that no request could be made of yet.
    pub fn keep(&mut self, bytes: Vec<u8>) {
        self.pending = bytes;
    }

    /// Bytes that are kept.
    #[inline]
    pub fn kept_bytes(&self) -> usize {
        self.pending.capacity() + self.chunked.as_ref().map_or(0, |c| c.body.capacity())
    }

    /// Drops what is kept: the request will not be served.
    pub fn drop_kept(&mut self) {
        self.pending = Vec::new();
        self.chunked = None;
        self.begin_anew(self.since_us);
    }

    /// Whether bytes wait only because earlier answers do.
    pub fn is_paused(&self) -> bool {
        !self.closing
            && (self.slots.len() >= PIPELINE_MAX || self.out.len() - self.out_sent > ANSWER_BYTES_MAX)
    }

    /// Finds the next request in `bytes`, and puts its head into `head`. One that breaks the protocol is refused for good.
    pub fn next<'b>(
        &mut self,
        bytes: &'b [u8],
        seen: Option<&'b Seen>,
        head: &mut Head<'b>,
        options: &Options,
        now_us: u64,
    ) -> Next<'b> {
        if self.closing || bytes.len() < self.needed.max(1) {
            return Next::Wait;
        }
        if self.is_paused() {
            self.held = true;
            return Next::Wait;
        }
        if self.chunked.is_none() && seen.is_some_and(|seen| head.read_again(bytes, seen)) {
            self.habits.confirm();
            return self.with_head(bytes, head, options, now_us);
        }
        match self.advance(bytes, head, options, now_us) {
            Ok(next) => next,
            Err(refusal) => Next::Refused(refusal, self.form()),
        }
    }

    fn advance<'b>(
        &mut self,
        bytes: &'b [u8],
        head: &mut Head<'b>,
        options: &Options,
        now_us: u64,
    ) -> Result<Next<'b>, Refusal> {
        if self.chunked.is_some() {
            return self.feed_chunked(bytes, options, now_us);
        }
        if !head.read(bytes)? {
            if self.needed == 0 {
                self.since_us = now_us;
            }
            self.needed = bytes.len() + 1;
            return Ok(Next::Wait);
        }
        let next = self.with_head(bytes, head, options, now_us);
        if matches!(next, Next::Whole { .. }) {
            self.habits.learn(head);
        }
        Ok(next)
    }

    /// A head is whole; is its body?
    #[inline(always)]
    fn with_head<'b>(
        &mut self,
        bytes: &'b [u8],
        head: &Head<'b>,
        options: &Options,
        now_us: u64,
    ) -> Next<'b> {
        let length = match head.framing {
            Framing::None => 0,
            Framing::Length(length) => length,
            Framing::Chunked => return self.begin_chunked(bytes, head, options, now_us),
        };
        if length > options.event_bytes_max as u64 {
            return too_large(length, head, options);
        }
        let consumed = head.len + length as usize;
        let Some(body) = bytes.get(head.len..consumed) else {
            self.await_body(head, options, now_us);
            self.needed = consumed;
            return Next::Wait;
        };
        self.begin_anew(now_us);
        Next::Whole { body, consumed }
    }

    #[cold]
    fn begin_chunked<'b>(
        &mut self,
        bytes: &'b [u8],
        head: &Head<'b>,
        options: &Options,
        now_us: u64,
    ) -> Next<'b> {
        self.await_body(head, options, now_us);
        self.chunked = Some(Box::new(ChunkedRequest::of(&bytes[..head.len])));
        self.needed = 0;
        Next::Consumed(head.len)
    }

    fn begin_anew(&mut self, now_us: u64) {
        self.needed = 0;
        self.wants_continue = false;
        self.in_body = false;
        self.form = None;
        self.since_us = now_us;
    }

    #[cold]
    fn await_body(&mut self, head: &Head<'_>, options: &Options, now_us: u64) {
        if !self.in_body {
            self.in_body = true;
            self.since_us = now_us;
            self.form = Some(Box::new(Form::of(head, options)));
            self.wants_continue = head.expect_continue;
        }
        self.ask_for_body();
    }

    fn ask_for_body(&mut self) {
        if self.wants_continue && self.slots.is_empty() {
            self.wants_continue = false;
            self.out.extend_from_slice(CONTINUE);
        }
    }

    /// How the request under way wants its answer, as far as is known.
    pub fn form(&self) -> Form {
        self.form.as_ref().map_or_else(Form::broken, |form| Form::clone(form))
    }

    #[cold]
    fn feed_chunked<'b>(
        &mut self,
        bytes: &'b [u8],
        options: &Options,
        now_us: u64,
    ) -> Result<Next<'b>, Refusal> {
        let request = self.chunked.as_mut().expect("asked for by the caller");
        let (consumed, whole) = request.feed(bytes, options.event_bytes_max)?;
        if !whole {
            return Ok(if consumed == 0 { Next::Wait } else { Next::Consumed(consumed) });
        }
        let request = self.chunked.take().expect("fed just now");
        self.begin_anew(now_us);
        Ok(Next::Chunked { request, consumed })
    }

    /// Whether every request so far is answered.
    pub fn is_settled(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether all answers are out too.
    pub fn is_drained(&self) -> bool {
        self.slots.is_empty() && self.out.len() == self.out_sent
    }

    /// Writes an answer, in its turn.
    pub fn answer(&mut self, form: &Form, response: Answer<'_>, letterhead: &Letterhead) {
        self.answer_by(form, |out| write(form, &response, letterhead, out));
    }

    /// Writes the answer that nearly all requests get, in its turn: 200 and this JSON.
    pub fn answer_json(&mut self, form: &Form, body: &[u8], letterhead: &Letterhead) {
        self.answer_by(form, |out| write_json(form, body, letterhead, out));
    }

    fn answer_by(&mut self, form: &Form, write: impl FnOnce(&mut Vec<u8>)) {
        self.closing |= form.close;
        if self.slots.is_empty() {
            return write(&mut self.out);
        }
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.slots.push_back(Slot::Ready(bytes));
    }

    /// Answers with a refusal.
    pub fn refuse(&mut self, form: &Form, refusal: &Refusal, letterhead: &Letterhead) {
        let mut form = form.clone();
        form.close |= refusal.close;
        self.answer_by(&form, |out| write_refusal(&form, refusal, letterhead, out));
    }

    /// The number that [`Publisher::answer_later`] will give to the next request.
    pub fn next_request(&self) -> u32 {
        self.first.wrapping_add(self.slots.len() as u32)
    }

    /// Keeps a place for an answer that others have to be asked for; `context` comes back with it.
    pub fn answer_later(&mut self, form: Form, context: &[u8]) {
        if form.close {
            self.closing = true;
        }
        self.slots.push_back(Slot::Waiting { form, context: context.into() });
    }

    /// Writes the answer to `request`; `make` is given what was kept with its place. Nothing is done when the
    /// request is not one of those that wait.
    pub fn settle(&mut self, request: u32, letterhead: &Letterhead, make: impl FnOnce(&[u8]) -> Settled) {
        let at = request.wrapping_sub(self.first) as usize;
        let Some(Slot::Waiting { form, context }) = self.slots.get(at) else { return };
        let mut bytes = Vec::new();
        make(context).write(form, letterhead, &mut bytes);
        self.slots[at] = Slot::Ready(bytes);
        while let Some(Slot::Ready(bytes)) = self.slots.front() {
            self.out.extend_from_slice(bytes);
            self.slots.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        self.ask_for_body();
    }

    /// The socket has taken a part of the answers, and there are more: a peer that reads them, if slowly, is not silent.
    /// A request that is under way has its own time, but for one whose rest waits in the socket because of the answers.
    #[cold]
    pub fn sent_some(&mut self, now_us: u64) {
        if self.is_paused() || self.closing || self.needed == 0 && !self.in_body {
            self.since_us = now_us;
        }
    }

    /// What the time says. `owed`: the socket has not let go of all that was sent.
    pub fn silence(&self, options: &Options, owed: bool, now_us: u64) -> Silence {
        if !self.slots.is_empty() {
            return Silence::Until(now_us + options.keep_alive_us);
        }
        let stuck = owed || self.out.len() > self.out_sent;
        let (limit, verdict) = if self.closing || self.is_paused() {
            (options.body_us, Silence::Idle)
        } else if self.in_body {
            (options.body_us, Silence::Timeout)
        } else if self.needed > 0 {
            (options.head_us, Silence::Timeout)
        } else if stuck {
            (options.body_us, Silence::Idle)
        } else {
            (options.keep_alive_us, Silence::Idle)
        };
        let until = self.since_us + limit;
        if now_us >= until { verdict } else { Silence::Until(until) }
    }
}

#[cold]
fn too_large<'b>(length: u64, head: &Head<'b>, options: &Options) -> Next<'b> {
    let refusal = admission::too_large("event", length, options.event_bytes_max).closing();
    Next::Refused(refusal, Form::of(head, options))
}

#[cfg(test)]
mod tests;
