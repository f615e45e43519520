//! How an event is taken: by the shard of its publisher, which asks the owner of its channel, which numbers it,
//! delivers it to its own members and sends it on.

use super::pump::{Arrival, Reach};
use super::remembered::Kept;
use super::{Door, Hub, Mail, Near, Origin, Outlet, Published, Publishing, Refusal, Ticket};
use crate::event::{Channel, Event, Position, Priority};

/// What the owner did with an event.
enum Taken {
    Refused(Refusal),
    Repeat(Published),
    /// So many shards will report besides, when the event is sent on to them.
    Numbered(Published, Option<(usize, Event)>),
    /// It waits for its write.
    Held,
}

impl Hub {
    /// Publishes an event that came in on this shard. The name must be valid.
    pub fn publish(
        &mut self,
        channel: &str,
        event: Event,
        origin: Origin,
        now_us: u64,
        outlet: &mut impl Outlet,
    ) -> Publishing {
        self.publish_near(self.approach(channel), channel, event, origin, now_us, outlet)
    }

    /// [`Hub::publish`], for whom has approached the channel already.
    pub fn publish_near(
        &mut self,
        near: Near,
        channel: &str,
        mut event: Event,
        origin: Origin,
        now_us: u64,
        outlet: &mut impl Outlet,
    ) -> Publishing {
        if event.priority() != Priority::NORMAL {
            self.level(channel, &mut event);
        }
        let owner = near.owner;
        if owner == self.options.shard {
            return self.publish_here(near, channel, event, origin, now_us, outlet);
        }
        if !self.post.has_room(owner, event.frame().len()) {
            self.counters.mailbox_full += 1;
            return Publishing::Refused(Refusal::MailboxFull);
        }
        let Some(ticket) = self.wait(origin) else { return Publishing::Refused(Refusal::MailboxFull) };
        let channel = self.named(channel);
        self.post.push(owner, Mail::Publish { channel, event, ticket });
        Publishing::Waiting
    }

    #[cold]
    #[inline(never)]
    fn level(&self, channel: &str, event: &mut Event) {
        if self.channels.is_normal(channel) {
            event.make_normal();
        }
    }

    /// A name that is known to be valid; one that is heard here costs no copy.
    pub(super) fn named(&self, name: &str) -> Channel {
        match self.subscriptions.local_named(name).and_then(|local| self.subscriptions.locals.at(local)) {
            Some(local) => local.channel.clone(),
            None => Channel::parse(name).expect("checked by the caller"),
        }
    }

    fn publish_here(
        &mut self,
        near: Near,
        channel: &str,
        event: Event,
        origin: Origin,
        now_us: u64,
        outlet: &mut impl Outlet,
    ) -> Publishing {
        // It may have been forgotten since.
        let slot = match near.owned.and_then(|key| Some((key.slot, self.channels.slab.get(key)?))) {
            Some((slot, owned)) => {
                debug_assert_eq!(owned.channel.as_str(), channel, "another channel was approached");
                slot
            }
            None => self.owned(&Channel::parse(channel).expect("checked by the caller"), now_us),
        };
        let (published, reports, event) = match self.take(slot, event, now_us, outlet) {
            Taken::Refused(why) => return Publishing::Refused(why),
            Taken::Repeat(first) => return Publishing::of(first),
            Taken::Held => {
                let Some(ticket) = self.wait(origin) else {
                    return Publishing::Refused(Refusal::MailboxFull);
                };
                self.log.answer_last_to(ticket);
                return Publishing::Waiting;
            }
            Taken::Numbered(published, None) => return Publishing::of(published),
            Taken::Numbered(published, Some((reports, event))) => (published, reports, event),
        };
        let ticket = self.wait(origin);
        self.send_on(slot, &event, published.position, ticket);
        let Some(ticket) = ticket else { return Publishing::of(published) };
        self.await_reports(ticket.key, &published, reports);
        Publishing::Waiting
    }

    /// Publishes, as the owner, for a connection of another shard.
    pub(super) fn publish_for(
        &mut self,
        channel: &Channel,
        event: Event,
        ticket: Ticket,
        now_us: u64,
        outlet: &mut impl Outlet,
    ) {
        let slot = self.owned(channel, now_us);
        let Ticket { shard, key } = ticket;
        let answer = match self.take(slot, event, now_us, outlet) {
            Taken::Refused(refusal) => Mail::Refused { key, refusal },
            Taken::Repeat(first) => Mail::Repeated { key, first: Box::new(first) },
            Taken::Held => return self.log.answer_last_to(ticket),
            Taken::Numbered(Published { position, reached, dropped, stored, .. }, others) => {
                let mut reports = 0;
                if let Some((others, event)) = others {
                    self.send_on(slot, &event, position, Some(ticket));
                    reports = others as u32;
                }
                Mail::Numbered { key, position, reached, dropped, reports, stored }
            }
        };
        self.post.push(shard.into(), answer);
    }

    /// As the owner: numbers an event and delivers it here, unless there is no room to send it on or it is a repeat.
    fn take(&mut self, slot: u32, event: Event, now_us: u64, outlet: &mut impl Outlet) -> Taken {
        if let Some(id) = id_of(&event)
            && let Some(first) = self.repeat(slot, id, now_us)
        {
            let is_held = self.channels.at(slot).holds(first.position);
            return if is_held { Taken::Refused(Refusal::LogBehind) } else { Taken::Repeat(first) };
        }
        let reports = self.channels.targets(slot, &mut self.watched).len();
        if reports > 0 && !self.targets_have_room(slot, event.frame().len()) {
            return Taken::Refused(Refusal::MailboxFull);
        }
        let durable = self.channels.at(slot).durable.is_some();
        if durable && !self.log.has_room() {
            self.counters.log_full += 1;
            return Taken::Refused(Refusal::LogBehind);
        }
        let held = durable && self.holds();
        // Most are needed by nobody once they are delivered: then their count, which the cores share, is not touched.
        let needed = durable || reports > 0 || event.extras().is_some();
        let copy = needed.then(|| event.clone());
        let (position, reach) = match held {
            true => (self.hold(slot, &event), Reach::default()),
            false => self.number(slot, event, now_us, outlet),
        };
        let stored = (durable && !held).then(|| self.log.stored());
        if let Some(event) = &copy {
            let kept = Kept { position, at_ms: event.at_ms(), reach, stored, body: None };
            self.remember_taken(slot, event, kept, now_us);
        }
        match &copy {
            _ if held => return Taken::Held,
            Some(event) if durable => self.log(slot, position, event),
            _ => {}
        }
        let others = copy.filter(|_| reports > 0).map(|event| (reports, event));
        Taken::Numbered(Published::new(position, reach, stored), others)
    }

    /// What repeats of an event are told, and those who look after what nobody receives.
    fn remember_taken(&mut self, slot: u32, event: &Event, kept: Kept, now_us: u64) {
        if event.extras().is_some_and(|extras| extras.keep) {
            self.watch_over(slot, event, kept.position);
        }
        if let Some(id) = id_of(event) {
            let channel = &self.channels.at(slot).channel;
            self.counters.ids_dropped += self.remembered.note(channel, id, kept, now_us);
        }
    }

    /// Numbers an event of a channel that this shard owns and delivers it to the members here.
    pub(super) fn number(
        &mut self,
        slot: u32,
        event: Event,
        now_us: u64,
        outlet: &mut impl Outlet,
    ) -> (Position, Reach) {
        self.counters.numbered += 1;
        self.last_event_ms = Some(event.at_ms());
        let owned = self.channels.at(slot);
        owned.position.offset += 1;
        let (position, heard, members, keep) = (owned.position, owned.heard, owned.members, owned.keep);
        let local = heard.map(|heard| heard.local).or_else(|| self.covered(slot));
        let kept = (keep > 0).then(|| event.clone());
        let arrival = Arrival { event, position, now_us };
        let reach = match local {
            Some(local) => self.subscriptions.deliver(local, arrival, outlet, &mut self.counters),
            None => Reach::default(),
        };
        // Behind the fan-out: what was rendered for it is kept and counted with the event.
        if let Some(event) = kept {
            self.channels.keep(slot, &event, now_us, &mut self.counters);
        }
        if members == 0 {
            self.channels.rest(slot, now_us);
        }
        (position, reach)
    }

    pub(super) fn targets_have_room(&mut self, slot: u32, bytes: usize) -> bool {
        let targets = self.channels.targets(slot, &mut self.watched);
        let room = targets.iter().all(|target| self.post.has_room(target.shard.into(), bytes));
        self.counters.mailbox_full += u64::from(!room);
        room
    }

    /// Sends an event to the other shards that hear the channel.
    pub(super) fn send_on(&mut self, slot: u32, event: &Event, position: Position, ticket: Option<Ticket>) {
        let owned = self.channels.at(slot);
        let urgency = if owned.in_order { Priority::NORMAL } else { event.priority() };
        let channel = owned.channel.clone();
        for target in self.channels.targets(slot, &mut self.watched) {
            let door = target.slot.map_or_else(|| Door::Name(channel.clone()), Door::Slot);
            let mail = Mail::Deliver { door, event: event.clone(), urgency, position, ticket };
            self.post.push(target.shard.into(), mail);
        }
    }

    /// The local side of a channel of this shard that is heard here through patterns only.
    fn covered(&mut self, slot: u32) -> Option<u32> {
        if self.subscriptions.patterns.is_empty() {
            return None;
        }
        let version = self.subscriptions.patterns.version;
        let owned = self.channels.at(slot);
        if owned.uncovered == version {
            return None;
        }
        let channel = owned.channel.clone();
        if let Some(local) = self.subscriptions.local_named(channel.as_str()) {
            return Some(local);
        }
        if !self.subscriptions.is_covered(channel.as_str()) {
            self.channels.at(slot).uncovered = version;
            return None;
        }
        Some(self.resolution(&channel, self.options.shard))
    }

    fn resolution(&mut self, channel: &Channel, owner: usize) -> u32 {
        let channels = &self.channels;
        let slow = || channels.slow_of(channel.as_str());
        let (local, forgotten) = self.subscriptions.resolution(channel, owner, slow);
        self.counters.resolutions_dropped += u64::from(forgotten);
        local
    }

    /// Where an event that its owner sent is heard.
    fn local_at(&mut self, door: &Door, owner: usize) -> Option<u32> {
        match door {
            Door::Slot(key) => self.subscriptions.locals.get(*key).map(|_| key.slot),
            Door::Name(channel) if self.subscriptions.patterns.is_empty() => {
                self.subscriptions.local_named(channel.as_str())
            }
            Door::Name(channel) => Some(self.resolution(channel, owner)),
        }
    }

    /// Delivers an event that its owner sent.
    pub(super) fn deliver_for(
        &mut self,
        owner: usize,
        door: &Door,
        arrival: Arrival,
        ticket: Option<Ticket>,
        outlet: &mut impl Outlet,
    ) {
        let Reach { reached, dropped } = match self.local_at(door, owner) {
            Some(local) => self.subscriptions.deliver(local, arrival, outlet, &mut self.counters),
            None => Reach::default(),
        };
        let Some(Ticket { shard, key }) = ticket else { return };
        if usize::from(shard) == self.options.shard {
            self.report(key, None, reached, dropped, -1);
        } else {
            self.post.push(shard.into(), Mail::Reached { key, reached, dropped });
        }
    }
}

/// What its publisher knows the event by, if it said so.
fn id_of(event: &Event) -> Option<&str> {
    event.extras()?.id.as_deref()
}
