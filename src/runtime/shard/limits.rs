//! How much may come in a while, over all shards (contract 14): publishes of a service, messages of a client, new
//! connections. Where no limit is set nothing is counted, and nothing is looked up.

use super::super::driver::Driver;
use super::Shard;
use crate::auth::Holder;
use crate::mailbox::counters::Counters;
use crate::rate::{Quota, Rate, Taken, Who, Window};
use crate::session::command::{Fields, Ref, cut};
use crate::session::credentials::Asker;
use crate::session::dialect::Dialect;
use crate::session::publisher::{Form, Publisher};
use crate::session::quota::{self, Shown};
use crate::session::route::BadName;
use crate::session::{Reason, Refusal, batch};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use std::hash::Hash;

/// Names that are counted at one time, of publishers and of clients: far more services than there are, and the most
/// sockets that one machine was seen to hold, each with some types of messages. Beyond it newcomers share a count. At
/// some 100 bytes each, and 16 more for each moment in which something was granted, of which there are 257 at most.
const PUBLISHERS_MAX: usize = 65_536;
const CLIENTS_MAX: usize = 262_144;

/// A client that goes on after so many refusals in one window does not listen to them.
const REFUSED_MAX: u32 = 100;

/// How much is allowed.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// Publishes of one service.
    pub publish: Rate,
    /// Whether a publisher must say its name.
    pub needs_service: bool,
    /// Messages of one client, but for the types that are limited by themselves.
    pub messages: Rate,
    /// Messages of some types, each in as long a window.
    pub by_type: Vec<(Box<str>, u32)>,
    /// New connections in a second.
    pub connects: Rate,
}

impl Rates {
    /// Whether messages on sockets are counted.
    pub fn counts_messages(&self) -> bool {
        self.messages.is_on() || !self.by_type.is_empty()
    }

    /// What holds for messages of a type, and whether that is for this type alone.
    fn of_messages(&self, kind: &str) -> (Rate, bool) {
        match self.by_type.iter().find(|(known, _)| **known == *kind) {
            Some((_, limit)) => (Rate { limit: *limit, ..self.messages }, true),
            None => (self.messages, false),
        }
    }
}

/// What came in lately, counted over all shards.
pub struct Counts {
    publishes: Counters<Window>,
    messages: Counters<Window>,
    /// Of one name only.
    connects: Counters<Window>,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            publishes: Counters::new(PUBLISHERS_MAX),
            messages: Counters::new(CLIENTS_MAX),
            connects: Counters::new(1),
        }
    }
}

impl<D: Driver> Shard<D> {
    /// Counts `wanted` in one of the tables.
    fn take(
        &mut self,
        table: fn(&Counts) -> &Counters<Window>,
        name: &impl Hash,
        wanted: u32,
        rate: Rate,
        now: Now,
    ) -> Taken {
        let look = table(&self.shared.counts).look(
            name,
            |window| window.is_idle(rate, now.steady_us),
            |window| {
                let taken = window.take(wanted, rate, now.steady_us);
                (taken, taken.granted > 0)
            },
        );
        self.hub.counters.rates_evicted += u64::from(look.evicted);
        self.hub.counters.rates_shared += u64::from(look.shared);
        look.found
    }

    /// Whether one more connection may come in this second.
    pub(super) fn may_connect(&mut self, now: Now) -> bool {
        let taken = self.take(|counts| &counts.connects, &(), 1, self.options.rates.connects, now);
        self.hub.counters.connects_limited += u64::from(taken.granted == 0);
        taken.granted > 0
    }

    /// Who publishes: the holder of the key or token with which it came, the service that it says it is, or the address
    /// of whoever says nothing.
    fn publisher<'h>(&self, key: Key, asker: &'h Asker, service: Option<&'h str>) -> Option<Who<'h>> {
        match (asker.as_ref().map(|grants| grants.holder()), service) {
            (Some(Holder::Service { name }), _) => Some(Who::Service(name)),
            (Some(Holder::User { id, .. }), _) => Some(Who::User(id)),
            (None, Some(name)) if !name.is_empty() => Some(Who::Service(name)),
            (None, _) => {
                let peer = self.connections.get(key)?.peer();
                Some(Who::Address(peer.to_canonical()))
            }
        }
    }

    /// Whether somebody says, or is known by a key as, a service.
    fn is_named(&self, service: Option<&str>) -> bool {
        service.is_some_and(|name| !name.is_empty())
            || self.asker().is_some_and(|grants| grants.service().is_some())
    }

    /// A request wants to publish. Every answer to it says what is left then.
    ///
    /// # Errors
    /// 422 when a name is missing, 429 when nothing is left.
    #[inline]
    pub(super) fn admit_publish(
        &mut self,
        key: Key,
        form: &mut Form,
        service: Option<&str>,
        now: Now,
    ) -> Result<(), Refusal> {
        let Rates { publish, needs_service, .. } = self.options.rates;
        if !publish.is_on() && !needs_service {
            return Ok(());
        }
        if needs_service && !self.is_named(service) {
            return Err(quota::nameless());
        }
        self.count_publishes(key, form, service, 1, now).map(drop)
    }

    /// `POST /publish/{channel}` with what is no channel's name: it counts as any other publish.
    #[inline(never)]
    pub(super) fn publish_nowhere(
        &mut self,
        key: Key,
        publisher: &mut Publisher,
        mut form: Form,
        why: BadName,
        service: Option<&str>,
        now: Now,
    ) {
        let admitted = self.admit_publish(key, &mut form, service, now);
        self.refuse_publish(publisher, &form, &admitted.err().unwrap_or_else(|| why.refusal()));
    }

    /// Of a batch whose request was admitted, and counted as its first item, so many items may be published; the result
    /// of each other item is given with them.
    pub(super) fn admit_items(
        &mut self,
        key: Key,
        form: &mut Form,
        service: Option<&str>,
        items: usize,
        now: Now,
    ) -> (usize, Vec<u8>) {
        let further = items.saturating_sub(1) as u32;
        if further == 0 || !self.options.rates.publish.is_on() {
            return (items, Vec::new());
        }
        let granted = self.count_publishes(key, form, service, further, now);
        let quota = match granted {
            Ok((granted, _)) if granted == further => return (items, Vec::new()),
            Ok((granted, quota)) => (granted, quota),
            Err(refusal) => return (1, batch::refused(&refusal)),
        };
        let asker = self.asker();
        let refusal = self.publisher(key, &asker, service).map(|who| self.too_many(who, &quota.1, now));
        (1 + quota.0 as usize, refusal.map_or_else(Vec::new, |refusal| batch::refused(&refusal)))
    }

    fn too_many(&self, who: Who<'_>, quota: &Quota, now: Now) -> Refusal {
        quota::too_many(who, quota, self.options.rates.publish, now)
    }

    fn count_publishes(
        &mut self,
        key: Key,
        form: &mut Form,
        service: Option<&str>,
        wanted: u32,
        now: Now,
    ) -> Result<(u32, Quota), Refusal> {
        let rate = self.options.rates.publish;
        let asker = self.asker();
        let Some(who) = self.publisher(key, &asker, service).filter(|_| rate.is_on()) else {
            return Ok((wanted, Quota { limit: 0, remaining: 0, reset_us: 0 }));
        };
        let Taken { granted, quota } = self.take(|counts| &counts.publishes, &who, wanted, rate, now);
        form.quota = Some(Box::new(Shown::new(&quota, now)));
        self.hub.counters.publishes_limited += u64::from(wanted - granted);
        if granted == 0 { Err(self.too_many(who, &quota, now)) } else { Ok((granted, quota)) }
    }

    /// A socket wants to publish; it counts as whoever opened it would over HTTP, without the name of a service.
    ///
    /// # Errors
    /// 429 when nothing is left.
    pub(super) fn admit_said(&mut self, key: Key, now: Now) -> Result<(), Refusal> {
        if !self.options.rates.publish.is_on() {
            return Ok(());
        }
        self.count_publishes(key, &mut Form::broken(), None, 1, now).map(drop)
    }

    /// Whether a client may send the message in `said` too; if not it is told. The bare heartbeat is free.
    pub(super) fn may_say(&mut self, key: Key, now: Now) -> bool {
        let said = std::mem::take(&mut self.said);
        let may = std::str::from_utf8(&said).is_ok_and(|text| self.may_say_text(key, text, now));
        self.said = said;
        may
    }

    fn may_say_text(&mut self, key: Key, text: &str, now: Now) -> bool {
        let Some(dialect) = self.dialect_at(key) else { return true };
        if text == "ping" && matches!(dialect, Dialect::Courier | Dialect::V1) {
            return true;
        }
        let fields = Fields::read(text, &["type", "ref"]).ok();
        let kind = fields.as_ref().and_then(|fields| fields.string("type").ok().flatten());
        let kind = kind.as_deref().unwrap_or("unknown");
        let (rate, alone) = self.options.rates.of_messages(kind);
        if !rate.is_on() {
            return true;
        }
        let asker = self.grants_at(key);
        let user = asker.as_ref().and_then(|grants| grants.user()).map(Who::User);
        let who = user.unwrap_or_else(|| Who::Connection(self.connection_id(key)));
        let name = (who, alone.then_some(kind));
        let taken = self.take(|counts| &counts.messages, &name, 1, rate, now);
        if taken.granted > 0 {
            return true;
        }
        let reference = fields.as_ref().and_then(|fields| Ref::parse(fields.given("ref")?));
        let wait_s = quota::seconds(&taken.quota).max(1);
        let words = dialect.rate_limited(&reference.unwrap_or_default(), cut(kind), wait_s, now.unix_ms);
        self.said_too_much(key, rate, words, now);
        false
    }

    fn said_too_much(&mut self, key: Key, rate: Rate, words: Option<String>, now: Now) {
        self.hub.counters.messages_limited += 1;
        let Some(open) = self.open_at(key) else { return };
        if open.subscriber.refused(rate.window_us, now.steady_us) < REFUSED_MAX {
            return self.say_if(key, words);
        }
        self.hub.counters.flooders_closed += 1;
        self.end_socket(key, Reason::TooManyMessages, true, now);
    }
}
