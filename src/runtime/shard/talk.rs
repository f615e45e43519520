//! What a client says on its socket is carried out here: subscriptions, publishes and questions. Answers keep the
//! order of the questions: while another core is asked, what the client says next waits.

use super::super::driver::Driver;
use super::connection::{First, Join, Open, Protocol, Waiting};
use super::guard::bounded;
use super::{Shard, Sockets, acks, history};
use crate::event::{Channel, ConnectionId, Filter, Form};
use crate::hub::{GapTold, Joining, Origin, Rule, Wish};
use crate::metrics::Snapshot;
use crate::session::command::{Command, Context, Ref, Subscribe, Target, Unsubscribe, Which};
use crate::session::credentials::Refused;
use crate::session::dialect::{Dialect, answers::Denied, router, uuid, v1};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use crate::wire::websocket::frame::{Opcode, write_frame};

/// Why a subscriber lost events, in words.
const GAP_REASON: &str = "slow consumer";

impl<D: Driver> Shard<D> {
    /// Queues a text message.
    pub(super) fn say(&mut self, key: Key, text: &str) {
        self.answer.clear();
        write_frame(Opcode::Text, text.as_bytes(), &mut self.answer);
        self.hub.push_control(key, &self.answer);
    }

    pub(super) fn say_if(&mut self, key: Key, text: Option<String>) {
        if let Some(text) = text {
            self.say(key, &text);
        }
    }

    pub(super) fn open_at(&mut self, key: Key) -> Option<&mut Open> {
        match &mut self.connections.get_mut(key)?.protocol {
            Protocol::Socket(open) => Some(open),
            _ => None,
        }
    }

    pub(super) fn dialect_at(&mut self, key: Key) -> Option<Dialect> {
        self.open_at(key)?.subscriber.dialect()
    }

    /// What `exclude` and lists call a connection.
    pub(super) fn connection_id(&self, key: Key) -> ConnectionId {
        ConnectionId::new(self.options.hub.shard, key)
    }

    pub(super) fn deny(&mut self, key: Key, reference: &Ref, why: &Denied<'_>, now: Now) {
        let dialect = self.dialect_at(key);
        self.say_if(key, dialect.and_then(|dialect| dialect.denied(reference, why, now.unix_ms)));
    }

    /// Carries out the message in `said`.
    pub(super) fn obey(&mut self, driver: &mut D, key: Key, now: Now) {
        let said = std::mem::take(&mut self.said);
        // The decoder has looked at every byte.
        if let Ok(text) = std::str::from_utf8(&said) {
            self.obey_text(driver, key, text, now);
        }
        self.said = said;
    }

    fn obey_text(&mut self, driver: &mut D, key: Key, text: &str, now: Now) {
        let topics_max = self.subscriptions_max();
        let mut random = self.random;
        let Some(open) = self.open_at(key) else { return };
        let client_id = open.subscriber.client_id();
        let mut context = Context {
            client_id: client_id.as_ref().map_or("", uuid::uuid_text),
            unix_ms: now.unix_ms,
            topics_max,
            draw: &mut || super::xorshift(&mut random),
        };
        let command = open.subscriber.understand(text, &mut context);
        self.random = random;
        match command {
            Command::Answer(text) => self.say(key, &text),
            Command::Ignore => {}
            Command::Subscribe(wish) => self.subscribe(key, wish, now),
            Command::Unsubscribe(wish) => self.unsubscribe(key, &wish, now),
            Command::Change(change) => self.change_interest(key, &change, now),
            Command::Publish(publish) => self.publish_said(driver, key, *publish, now),
            Command::Presence { reference, channel } => self.ask_presence(key, reference, channel, now),
            Command::Health => self.ask_health(key),
            Command::Auth { reference, token } => self.renew_pass(key, &reference, &token, now),
            Command::Ack(ack) => self.acknowledge(key, &ack, now),
            Command::History(asked) => self.ask_history(key, *asked, now),
        }
    }

    fn subscribe(&mut self, key: Key, wish: Box<Subscribe>, now: Now) {
        let Some(dialect) = self.dialect_at(key) else { return };
        if dialect == Dialect::Courier
            && let [Target::Channel(channel)] = &wish.targets[..]
            && self.hub.tag_of(key, channel.as_str()).is_some()
        {
            return self.say_if(key, dialect.subscribed(&wish, None, false, 0));
        }
        let max = self.subscriptions_max();
        if self.hub.subscriptions_of(key) + wish.targets.len() > max {
            return self.deny(key, &wish.reference, &Denied::TooManySubscriptions { max }, now);
        }
        let asker = self.grants_at(key);
        let filters =
            wish.targets.iter().map(|target| bounded(asker.as_deref(), target, wish.filter.clone()));
        let Ok(filters) = filters.collect::<Result<Vec<_>, _>>() else {
            self.counted(Refused::Channel);
            return self.deny(key, &wish.reference, &Denied::Unauthorized, now);
        };
        let Some(open) = self.open_at(key) else { return };
        let tags = open.subscriber.tags(wish.targets.len());
        if open.subscriber.keeps_book() && !open.subscriber.book().enter(&wish, tags.clone()) {
            return self.deny(key, &wish.reference, &Denied::SubscriptionExists(&wish.id), now);
        }
        // What is spliced into an event in flight cannot be compressed once for all.
        let form = if wish.acks.is_some() { wish.form } else { open.subscriber.form(wish.form) };
        let mut join = Join { wish: None, tags: tags.clone(), first: First::default() };
        for ((tag, target), filter) in tags.zip(&wish.targets).zip(filters) {
            let asked = hub_wish(dialect, target, filter, &wish, form);
            self.join(key, tag, target.as_str(), &asked, &mut join.first, now);
        }
        join.wish = Some(wish);
        self.await_join(key, join, now);
    }

    /// Asks for one part of a subscription.
    pub(super) fn join(
        &mut self,
        key: Key,
        tag: u32,
        name: &str,
        wish: &Wish<'_>,
        first: &mut First,
        now: Now,
    ) {
        match self.hub.join(key, tag, wish, now.steady_us) {
            Joining::Done(standing) => first.standing = first.standing.or(Some(standing)),
            Joining::Already => {}
            Joining::Full => first.full = Some(name.into()),
            Joining::Waiting => first.missing += 1,
        }
    }

    pub(super) fn await_join(&mut self, key: Key, join: Join, now: Now) {
        if join.first.missing == 0 {
            return self.join_done(key, join, now);
        }
        if let Some(open) = self.open_at(key) {
            open.waiting = Some(Box::new(Waiting::Join(join)));
        }
    }

    /// Every owner has answered: says so, or takes back what was let in when one channel was full.
    pub(super) fn join_done(&mut self, key: Key, join: Join, now: Now) {
        let Join { wish, tags, first } = join;
        let Some(wish) = wish else { return };
        if first.lost {
            self.take_back(key, &wish, tags, now);
            return self.deny(key, &wish.reference, &Denied::Unauthorized, now);
        }
        let Some(channel) = first.full else {
            let position = first.standing.and_then(|standing| standing.position);
            let recovery = first.standing.and_then(|standing| standing.recovery);
            let (recovered, replayed) = recovery.map_or((false, 0), |r| (r.recovered, r.replayed));
            if let Some(dialect) = self.dialect_at(key) {
                self.say_if(key, dialect.subscribed(&wish, position, recovered, replayed));
            }
            let channel = wish.targets.first().map_or("", |target| target.as_str());
            return self.begin(key, channel, recovery, tags);
        };
        self.take_back(key, &wish, tags, now);
        let max = self.clients_max_of_full(&channel);
        self.deny(key, &wish.reference, &Denied::ChannelFull { max }, now);
    }

    /// What the socket waited for is there: what was said meanwhile is heard.
    pub(super) fn go_on(&mut self, driver: &mut D, key: Key, now: Now) {
        // The answer may have found no room: who is given up for that is not heard, or the answer to what it said next, if
        // that is short, would come without the one before (seed 26718 of the simulation).
        if self.hub.has_cut() {
            self.cut(now);
        }
        let Some(open) = self.open_at(key) else { return };
        if std::mem::take(&mut open.subscriber.unread) {
            self.hungry.push(key);
        }
        self.guarded(key, now, |shard| shard.messages(driver, key, &mut [], now));
    }

    fn unsubscribe(&mut self, key: Key, wish: &Unsubscribe, now: Now) {
        let Some(dialect) = self.dialect_at(key) else { return };
        let Some(open) = self.open_at(key) else { return };
        if !open.subscriber.keeps_book() {
            let Which::Channel(channel) = &wish.which else { return };
            if let Some(tag) = self.hub.tag_of(key, channel) {
                self.hub.leave(key, tag, now.steady_us);
            }
            return self.say_if(key, dialect.unsubscribed(&wish.reference, "", channel));
        }
        let Some(entry) = open.subscriber.book().strike(&wish.which) else {
            return self.deny(key, &wish.reference, &Denied::NotSubscribed, now);
        };
        for tag in entry.tags {
            self.hub.leave(key, tag, now.steady_us);
        }
        self.say_if(key, dialect.unsubscribed(&wish.reference, &entry.id, &entry.channel));
    }

    fn ask_presence(&mut self, key: Key, reference: Ref, channel: Channel, now: Now) {
        let origin = Origin { connection: key, request: 0, item: 0 };
        let asker = self.grants_at(key);
        if self.may_read(&asker, channel.as_str()).is_err() {
            return self.deny(key, &reference, &Denied::Unauthorized, now);
        }
        if !self.hub.keeps_presence(channel.as_str()) {
            return self.deny(key, &reference, &Denied::NotAvailable("presence"), now);
        }
        self.hub.presence(channel.as_str(), origin);
        // Where this shard is the owner it has answered already.
        if let Some((_, present)) = self.hub.effects.present.pop_if(|(to, _)| *to == origin) {
            return self.say(key, &v1::presence(&reference, &channel, &present));
        }
        if let Some(open) = self.open_at(key) {
            open.waiting = Some(Box::new(Waiting::Presence { reference, channel }));
        }
    }

    /// The owner has said who hears a channel.
    pub(super) fn presence_answered(
        &mut self,
        driver: &mut D,
        origin: Origin,
        present: &[ConnectionId],
        now: Now,
    ) {
        let key = origin.connection;
        let Some(open) = self.open_at(key) else { return };
        if let Some(Waiting::Presence { reference, channel }) = open.waiting.take().map(|waiting| *waiting) {
            self.say(key, &v1::presence(&reference, &channel, present));
            self.go_on(driver, key, now);
        }
    }

    fn ask_health(&mut self, key: Key) {
        if let Some(open) = self.open_at(key) {
            open.waiting = Some(Box::new(Waiting::Health));
        }
        let own = self.state();
        self.hub.gather(Origin { connection: key, request: 0, item: 0 }, 0.into(), own);
    }

    /// All shards have counted themselves for a socket. Answers false when it was not a socket that asked.
    pub(super) fn health_answered(
        &mut self,
        driver: &mut D,
        key: Key,
        snapshot: &Snapshot,
        now: Now,
    ) -> bool {
        let started_us = self.options.facts.started_us;
        let Some(open) = self.open_at(key) else { return false };
        if let Some(Waiting::Health) = open.waiting.take().map(|waiting| *waiting) {
            let counters = snapshot.totals();
            let of_shards = |figure: fn(&crate::metrics::ShardState) -> u64| -> u64 {
                snapshot.shards.iter().map(figure).sum()
            };
            let health = router::Health {
                uptime_seconds: (now.steady_us - started_us) as f64 / 1e6,
                events_processed: counters.published,
                events_failed: counters.events_dropped,
                events_in_queue: of_shards(|shard| shard.events_queued),
                active_subscriptions: of_shards(|shard| shard.subscriptions),
                connected_clients: of_shards(|shard| shard.sockets as u64),
                last_event_at_ms: snapshot.shards.iter().filter_map(|shard| shard.last_event_ms).max(),
            };
            self.say(key, &router::health(&health));
            self.go_on(driver, key, now);
        }
        true
    }

    /// Tells a slow subscriber of all that it lost so far.
    pub(super) fn tell_gaps(&mut self, key: Key) {
        for gap in self.hub.take_gaps(key) {
            self.tell_gap(&gap);
        }
    }

    /// Events were lost for a slow subscriber.
    pub(super) fn tell_gap(&mut self, gap: &GapTold) {
        let dialect = self.dialect_at(gap.member);
        let words = dialect.and_then(|dialect| dialect.gap(&gap.channel, gap.from, gap.to, GAP_REASON));
        if let Some(words) = words {
            self.answer.clear();
            write_frame(Opcode::Text, words.as_bytes(), &mut self.answer);
            // What was lost came before what still waits.
            self.hub.push_gap(gap.member, &self.answer);
        }
    }

    /// Sends early what waits for a socket, if its answers take much of their room.
    pub(super) fn relieve(&mut self, driver: &mut D, key: Key, now: Now) {
        self.hub.relieve(key, now.steady_us, &mut Sockets { driver, connections: &self.connections });
    }
}

/// One target of a subscription, as the hub is asked for it.
fn hub_wish<'w>(
    dialect: Dialect,
    target: &'w Target,
    filter: Option<Filter>,
    wish: &'w Subscribe,
    form: Form,
) -> Wish<'w> {
    Wish {
        label: wish.label().filter(|_| dialect == Dialect::Router),
        each: dialect.manners().each || wish.acks.is_some(),
        acks: acks::wish(dialect, wish),
        rule: if dialect == Dialect::Router && wish.acks.is_none() { Rule::Router } else { Rule::Channel },
        from: history::from(wish.from),
        ..plain_wish(target, form, filter)
    }
}

/// A target in a form.
pub(super) fn plain_wish(target: &Target, form: Form, filter: Option<Filter>) -> Wish<'_> {
    let plain = match target {
        Target::Channel(channel) => Wish::channel(channel.as_str()),
        Target::Pattern(pattern) => Wish::pattern(pattern),
    };
    Wish { form, filter, ..plain }
}
