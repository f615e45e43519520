//! How connections become streams of server-sent events (contract 7). What is refused is refused by status.

use super::super::driver::Driver;
use super::Shard;
use super::guard::bounded;
use super::plan::{Plan, channel_target};
use crate::session::command::Target;
use crate::session::credentials::Refused;
use crate::session::dialect::forms;
use crate::session::origin::Allowed;
use crate::session::publisher::{Form as AnswerForm, PAGE_FIELDS, Publisher};
use crate::session::query::{self, Format, Start, Wanted};
use crate::session::subscriber::Speech;
use crate::session::{Reason, Refusal};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::http::Head;
use crate::wire::sse;

/// A browser comes back to a stream that ended after so long, in milliseconds.
const STREAM_RETRY_MS: u32 = 3_000;

/// One position says where to begin in one channel; several say it in as many.
fn may_begin_there(wanted: &Wanted, channels: usize) -> Result<(), Refusal> {
    let named = match (wanted.places.len(), wanted.from) {
        (0, Start::After(_)) => 1,
        (0, _) => channels,
        (named, _) => named,
    };
    if named == channels {
        return Ok(());
    }
    let why = format!("names a place in {named} channels, and the stream has {channels}");
    Err(Refusal::new(400, "Invalid query", format!("last_event_id: {why}")).at("/last_event_id", &why))
}

impl<D: Driver> Shard<D> {
    /// Turns a connection into a stream of server-sent events. What is refused is refused by status.
    #[inline(never)]
    pub(super) fn open_stream(
        &mut self,
        driver: &mut D,
        key: Key,
        publisher: &mut Publisher,
        head: &Head<'_>,
        channel: Option<&str>,
        now: Now,
    ) -> Result<(), Refusal> {
        self.may_open(publisher)?;
        let wanted = query::read(head.query, head.last_event_id(), self.subscriptions_max())?;
        let targets: Vec<Target> = match channel {
            Some(channel) => channel_target(channel).into_iter().collect(),
            None => wanted.channels.iter().cloned().map(Target::Channel).collect(),
        };
        if targets.is_empty() {
            return Err(Refusal::new(400, "Invalid query", "Name a channel: /sse/{channel} or ?channel=")
                .at("/channel", "Field required"));
        }
        may_begin_there(&wanted, targets.len())?;
        if self.options.session.origins.is_foreign(head) {
            return Err(self.counted(Refused::Origin).refusal());
        }
        let asker = self.asker();
        if targets.iter().any(|target| bounded(asker.as_deref(), target, None).is_err()) {
            return Err(self.counted(Refused::Channel).refusal());
        }
        self.count_in(key, Speech::Stream, &asker).map_err(|_| {
            Refusal::new(503, "Connection limit exceeded", "There are as many connections as there may be")
                .field("Retry-After", "1")
        })?;
        let mut greeting = publisher.out.split_off(publisher.out_sent);
        let answers_bytes = greeting.len();
        let form = AnswerForm::of(head, &self.options.session);
        let fields: Vec<(&str, &str)> =
            form.origin.iter().flat_map(Allowed::fields).chain(PAGE_FIELDS).collect();
        sse::write_head(self.letterhead.date(), &fields, &mut greeting);
        sse::write_retry(STREAM_RETRY_MS, &mut greeting);
        self.hub.admit(key);
        let cloud =
            wanted.format == Format::CloudEvents || Format::of_accept(head.accept) == Format::CloudEvents;
        let form = if cloud { forms::SSE_CLOUD } else { forms::SSE };
        let (speech, zipped, interest) = (Speech::Stream, false, None);
        let plan = Plan { speech, zipped, targets, wanted, form, interest, answers_bytes, asker };
        self.enter(driver, key, plan, &greeting, now);
        Ok(())
    }

    /// A stream whose channel is full is answered as a request that was refused: nothing of it is sent yet. The
    /// answers to requests before it stay.
    pub(super) fn stream_full(&mut self, key: Key, channel: &str, answers_bytes: usize, now: Now) {
        let max = self.clients_max_of_full(channel);
        let refusal = Refusal::new(503, "Channel full", format!("The channel {channel} has {max} clients"))
            .fact("limit", max)
            .field("Retry-After", "1");
        let mut publisher = Publisher::new(now.steady_us);
        self.refuse(&mut publisher, &AnswerForm::broken(), &refusal);
        self.hub.regreet(key, answers_bytes, &publisher.out);
        self.hub.uncork(key);
        self.end_socket(key, Reason::ChannelFull, true, now);
    }
}
