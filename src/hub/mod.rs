//! One shard of the hub: the channels it owns, the members it has, and what it tells the other shards. Driven
//! by the runtime (or a simulation), which calls in with what happened and takes the effects; it never awaits,
//! holds no socket and reads no clock. The promise: per channel every member on every shard gets every event
//! exactly once and in the owner's order, from the moment its join was answered until it leaves or is cut off.

mod channels;
mod idle;
mod mail;
mod outbox;
mod outlet;
mod pump;
mod subscriptions;
#[cfg(test)]
mod tests;
mod types;

pub use crate::metrics::Counters;
pub use channels::{ChannelOptions, ChannelRule};
pub use mail::{Batch, LaneBounds, Load, Mail, Post, Ticket};
pub use outbox::{Bounds, Flushed, Outbox};
pub use outlet::{Outlet, Sent};
pub use types::*;

use crate::event::{Channel, Frame, Position};
use crate::metrics::{ShardState, Snapshot};
use crate::stdx::slab::{Key, Slab};
use channels::Channels;
use subscriptions::{Place, Subscriptions};

struct Pending {
    origin: Origin,
    position: Option<Position>,
    reached: u32,
    /// Reports that are missing; negative while they overtake the owner's word.
    missing: i64,
}

struct Gathering {
    origin: Origin,
    names_max: usize,
    missing: usize,
    snapshot: Snapshot,
}

/// One shard.
pub struct Hub {
    options: Options,
    channels: Channels,
    subscriptions: Subscriptions,
    /// Mail for other shards.
    pub post: Post,
    pending: Slab<Pending>,
    gathering: Slab<Gathering>,
    /// What came out since the last look.
    pub effects: Effects,
    /// What was counted; the runtime counts here too.
    pub counters: Counters,
    draw_epoch: Box<dyn FnMut() -> u32 + Send>,
}

/// Publishes and gathers that one shard may have waiting: more than its connections may have in flight together.
const PENDING_MAX: u32 = 1 << 24;

impl Hub {
    /// An empty shard. `draw_epoch` gives a random number for each new channel.
    pub fn new(options: Options, draw_epoch: Box<dyn FnMut() -> u32 + Send>) -> Hub {
        let mut hub = Hub {
            channels: Channels::new(options.channels.clone()),
            subscriptions: Subscriptions::new(options.outbox),
            post: Post::new(options.shards, options.lane),
            pending: Slab::with_limit(PENDING_MAX),
            gathering: Slab::with_limit(PENDING_MAX),
            effects: Effects::default(),
            counters: Counters::default(),
            draw_epoch,
            options,
        };
        hub.make_configured(0);
        hub
    }

    /// Other bounds and channel rules from now on; members stay.
    pub fn reload(&mut self, options: Options, now_us: u64) {
        self.subscriptions.bounds = options.outbox;
        self.post.set_bounds(options.lane);
        self.channels.reload(options.channels.clone(), now_us);
        self.options = options;
        self.make_configured(now_us);
    }

    fn make_configured(&mut self, now_us: u64) {
        for channel in self.options.channels.configured.clone() {
            if self.owner(channel.as_str()) == self.options.shard {
                self.owned(&channel, now_us);
            }
        }
    }

    fn owner(&self, channel: &str) -> usize {
        Channel::owner(channel, self.options.shards)
    }

    fn owned(&mut self, channel: &Channel, now_us: u64) -> u32 {
        match self.channels.find(channel.as_str()) {
            Some(slot) => slot,
            None => self.channels.create(channel, (self.draw_epoch)(), now_us),
        }
    }

    /// Publishes an event that came in on this shard. The name must be valid.
    pub fn publish(
        &mut self,
        channel: &str,
        frame: Frame,
        origin: Origin,
        now_us: u64,
        outlet: &mut impl Outlet,
    ) -> Publishing {
        let owner = self.owner(channel);
        if owner == self.options.shard {
            return self.publish_here(channel, frame, origin, now_us, outlet);
        }
        if !self.post.has_room(owner, frame.len()) {
            self.counters.mailbox_full += 1;
            return Publishing::Refused(Refusal::MailboxFull);
        }
        let Some(ticket) = self.wait(Pending { origin, position: None, reached: 0, missing: 0 }) else {
            return Publishing::Refused(Refusal::MailboxFull);
        };
        let channel = Channel::parse(channel).expect("checked by the caller");
        self.post.push(owner, Mail::Publish { channel, frame, ticket });
        Publishing::Waiting
    }

    fn publish_here(
        &mut self,
        channel: &str,
        frame: Frame,
        origin: Origin,
        now_us: u64,
        outlet: &mut impl Outlet,
    ) -> Publishing {
        let slot = match self.channels.find(channel) {
            Some(slot) => slot,
            None => self.owned(&Channel::parse(channel).expect("checked by the caller"), now_us),
        };
        let reports = self.channels.at(slot).interests.len();
        if reports == 0 {
            return Publishing::Done(self.number(slot, &frame, now_us, outlet));
        }
        if !self.interests_have_room(slot, frame.len()) {
            return Publishing::Refused(Refusal::MailboxFull);
        }
        let pending = Pending { origin, position: None, reached: 0, missing: reports as i64 };
        let Some(ticket) = self.wait(pending) else { return Publishing::Refused(Refusal::MailboxFull) };
        let published = self.number(slot, &frame, now_us, outlet);
        self.deliver_to_interests(slot, &frame, ticket);
        let pending = self.pending.get_mut(ticket.key).expect("just inserted");
        (pending.position, pending.reached) = (Some(published.position), published.reached);
        Publishing::Waiting
    }

    fn wait(&mut self, pending: Pending) -> Option<Ticket> {
        let key = self.pending.insert(pending).ok()?;
        Some(Ticket { shard: self.options.shard as u16, key })
    }

    /// Numbers an event of a channel that this shard owns and delivers it to the members here.
    fn number(&mut self, slot: u32, frame: &Frame, now_us: u64, outlet: &mut impl Outlet) -> Published {
        self.counters.numbered += 1;
        let owned = self.channels.at(slot);
        owned.position.offset += 1;
        let (position, local, members) = (owned.position, owned.local, owned.members);
        let reached = match local {
            Some(local) => self.subscriptions.deliver(local, frame, outlet, &mut self.counters),
            None => 0,
        };
        if members == 0 {
            self.channels.rest(slot, now_us);
        }
        Published { position, reached }
    }

    fn interests_have_room(&mut self, slot: u32, bytes: usize) -> bool {
        let post = &self.post;
        let room = self.channels.at(slot).interests.iter().all(|i| post.has_room(i.shard.into(), bytes));
        self.counters.mailbox_full += u64::from(!room);
        room
    }

    fn deliver_to_interests(&mut self, slot: u32, frame: &Frame, ticket: Ticket) {
        for interest in &self.channels.at(slot).interests {
            let mail = Mail::Deliver { slot: interest.slot, frame: frame.clone(), ticket };
            self.post.push(interest.shard.into(), mail);
        }
    }

    /// Makes room for a connection; its key is the same here as in the runtime's table.
    pub fn admit(&mut self, member: Key) {
        self.subscriptions.admit(member);
    }

    /// Subscribes a member. The name must be valid.
    pub fn join(&mut self, member: Key, channel: &str, now_us: u64) -> Joining {
        let known = self.subscriptions.local_named(channel);
        let Some(found) = self.subscriptions.member(member) else { return Joining::Already };
        if let Some(subscription) = known.and_then(|local| found.subscribed.find(local)) {
            return match subscription.place {
                Place::Direct | Place::Queued => Joining::Already,
                Place::Pending | Place::Cancelled => {
                    subscription.place = Place::Pending;
                    Joining::Waiting
                }
            };
        }
        let owner = self.owner(channel);
        let channel = Channel::parse(channel).expect("checked by the caller");
        if owner == self.options.shard {
            let slot = self.owned(&channel, now_us);
            if self.channels.join(slot, None).is_err() {
                return Joining::Full;
            }
            let local = self.subscriptions.open(&channel, owner);
            self.channels.at(slot).local = Some(local);
            self.subscriptions.attach(member.slot, local);
            return Joining::Done;
        }
        let local = self.subscriptions.open(&channel, owner);
        self.subscriptions.expect_join(member, local);
        let slot = self.subscriptions.locals.key_at(local).expect("just opened");
        self.post.push(owner, Mail::Join { channel, slot, member });
        Joining::Waiting
    }

    /// Ends one subscription; events that were queued before are still sent. Answers whether there was one.
    pub fn leave(&mut self, member: Key, channel: &str, now_us: u64) -> bool {
        let Some(local) = self.subscriptions.local_named(channel) else { return false };
        if self.subscriptions.member(member).is_none() {
            return false;
        }
        self.leave_local(member.slot, local, now_us)
    }

    fn leave_local(&mut self, slot: u32, local: u32, now_us: u64) -> bool {
        if !self.subscriptions.detach(slot, local) {
            return false;
        }
        let lists = self.subscriptions.locals.at(local).expect("detached from it");
        let (channel, owner, empty) = (lists.channel.clone(), lists.owner, lists.members() == 0);
        self.tell_left(channel, owner, empty, now_us);
        self.subscriptions.close_if_unused(local);
        true
    }

    fn tell_left(&mut self, channel: Channel, owner: usize, none_here: bool, now_us: u64) {
        if owner != self.options.shard {
            return self.post.push(owner, Mail::Leave { channel });
        }
        let slot = self.channels.find(channel.as_str()).expect("a channel with members is kept");
        if none_here {
            self.channels.at(slot).local = None;
        }
        self.channels.leave(slot, None, now_us);
    }

    /// Whether a member hears a channel or waits for it.
    pub fn hears(&mut self, member: Key, channel: &str) -> bool {
        let Some(local) = self.subscriptions.local_named(channel) else { return false };
        self.subscriptions.member(member).is_some_and(|m| m.subscribed.find(local).is_some())
    }

    /// How many members a channel may have over all shards; 0: no limit.
    pub fn clients_max(&self, channel: &str) -> u32 {
        self.channels.clients_max_of(channel)
    }

    /// How many channels a member hears or waits for.
    pub fn subscriptions_of(&mut self, member: Key) -> usize {
        self.subscriptions.member(member).map_or(0, |m| m.subscribed.as_slice().len())
    }

    /// Ends all subscriptions of a member; what was queued before is still sent.
    pub fn retire(&mut self, member: Key, now_us: u64) {
        let Some(found) = self.subscriptions.member(member) else { return };
        let locals: Vec<u32> = found.subscribed.as_slice().iter().map(|s| s.local).collect();
        for local in locals {
            self.leave_local(member.slot, local, now_us);
        }
    }

    /// Retires a member and drops what waits for it, but for a frame that is half on the wire.
    pub fn give_up(&mut self, member: Key, now_us: u64) {
        self.retire(member, now_us);
        if let Some(outbox) = self.subscriptions.member(member).and_then(|m| m.outbox.as_mut()) {
            self.counters.events_dropped += outbox.give_up() as u64;
        }
    }

    /// The connection is gone.
    pub fn dismiss(&mut self, member: Key, now_us: u64) {
        self.give_up(member, now_us);
        if let Some(found) = self.subscriptions.member(member) {
            found.outbox = None;
            found.subscribed = Default::default();
            found.generation = 0;
        }
    }

    /// Queues a control frame (or an answer) for a member.
    pub fn push_control(&mut self, member: Key, bytes: &[u8]) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.push_control(member.slot, bytes, &mut self.counters);
        }
    }

    /// Sends early what waits for a member, if its answers take much of their room.
    pub fn relieve(&mut self, member: Key, outlet: &mut impl Outlet) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.relieve(member.slot, outlet, &mut self.counters);
        }
    }

    /// Queues what opens the socket of a member that was just admitted.
    pub fn push_greeting(&mut self, member: Key, bytes: &[u8]) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.queue(member.slot, |outbox| outbox.push_greeting(bytes));
        }
    }

    /// Queues the close frame for a member, whatever waits before it.
    pub fn push_last(&mut self, member: Key, bytes: &[u8]) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.queue(member.slot, |outbox| outbox.push_last(bytes));
        }
    }

    /// Whether nothing waits for a member.
    pub fn owes_nothing(&mut self, member: Key) -> bool {
        self.subscriptions.member(member).is_none_or(|m| m.outbox.as_ref().is_none_or(|o| o.is_empty()))
    }

    /// The member's socket takes bytes again.
    pub fn writable(&mut self, member: Key) {
        if self.subscriptions.member(member).is_some() {
            self.subscriptions.writable(member.slot);
        }
    }

    /// Sends what the turn gathered.
    pub fn flush(&mut self, outlet: &mut impl Outlet) {
        self.subscriptions.flush(outlet, &mut self.counters);
    }

    /// Whether a flush has something to send.
    pub fn is_dirty(&self) -> bool {
        !self.subscriptions.dirty_locals.is_empty() || !self.subscriptions.dirty_members.is_empty()
    }

    /// Takes one of the members that were given up since the last look.
    pub fn take_cut(&mut self) -> Option<(Key, Cut)> {
        self.subscriptions.cut.pop()
    }

    /// Whether members were given up since the last look.
    pub fn has_cut(&self) -> bool {
        !self.subscriptions.cut.is_empty()
    }

    /// Publishes of this shard's connections that are not answered yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How many channels this shard's members hear or wait for.
    pub fn heard(&self) -> usize {
        self.subscriptions.locals.len()
    }

    /// The queues of this shard's members, to look at.
    pub fn outboxes(&self) -> impl Iterator<Item = &Outbox> {
        self.subscriptions.members.iter().filter_map(|member| member.outbox.as_deref())
    }

    /// Takes one piece of mail from shard `from`.
    pub fn receive(&mut self, from: usize, mail: Mail, now_us: u64, outlet: &mut impl Outlet) {
        match mail {
            Mail::Publish { channel, frame, ticket } => {
                self.publish_for(&channel, frame, ticket, now_us, outlet);
            }
            Mail::Deliver { slot, frame, ticket } => {
                let reached = match self.subscriptions.locals.get(slot) {
                    Some(_) => self.subscriptions.deliver(slot.slot, &frame, outlet, &mut self.counters),
                    None => 0,
                };
                self.tell(ticket.shard.into(), Mail::Reached { key: ticket.key, reached }, now_us, outlet);
            }
            Mail::Numbered { key, position, reached, reports } => {
                self.report(key, Some(position), reached, i64::from(reports));
            }
            Mail::Reached { key, reached } => self.report(key, None, reached, -1),
            Mail::Refused { key, refusal } => {
                if let Some(pending) = self.pending.remove(key) {
                    self.effects.answers.push(Answer { origin: pending.origin, outcome: Err(refusal) });
                }
            }
            Mail::Join { channel, slot, member } => {
                let owned = self.owned(&channel, now_us);
                let taken = self.channels.join(owned, Some((from as u16, slot))).is_ok();
                self.post.push(from, Mail::Joined { slot, member, taken });
            }
            Mail::Joined { slot, member, taken } => self.joined(slot, member, taken, now_us),
            Mail::Leave { channel } => {
                let slot = self.channels.find(channel.as_str()).expect("a channel with members is kept");
                self.channels.leave(slot, Some(from as u16), now_us);
            }
            Mail::Look => {}
            Mail::Gather { key, names_max } => self.effects.asked.push((from, key, names_max)),
            Mail::Gathered { key, snapshot } => self.gathered(key, *snapshot),
        }
    }

    /// Sends mail to a shard that may be this one.
    fn tell(&mut self, shard: usize, mail: Mail, now_us: u64, outlet: &mut impl Outlet) {
        if shard == self.options.shard {
            self.receive(shard, mail, now_us, outlet);
        } else {
            self.post.push(shard, mail);
        }
    }

    /// Publishes, as the owner, for a connection of another shard.
    fn publish_for(
        &mut self,
        channel: &Channel,
        frame: Frame,
        ticket: Ticket,
        now_us: u64,
        outlet: &mut impl Outlet,
    ) {
        let slot = self.owned(channel, now_us);
        if !self.interests_have_room(slot, frame.len()) {
            let mail = Mail::Refused { key: ticket.key, refusal: Refusal::MailboxFull };
            return self.post.push(ticket.shard.into(), mail);
        }
        let published = self.number(slot, &frame, now_us, outlet);
        self.deliver_to_interests(slot, &frame, ticket);
        let reports = self.channels.at(slot).interests.len() as u32;
        let Published { position, reached } = published;
        self.post.push(ticket.shard.into(), Mail::Numbered { key: ticket.key, position, reached, reports });
    }

    /// One of the words that a pending publish waits for. A shard's report may overtake the owner's.
    fn report(&mut self, key: Key, position: Option<Position>, reached: u32, missing: i64) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        pending.position = pending.position.or(position);
        pending.reached += reached;
        pending.missing += missing;
        if let (Some(position), 0) = (pending.position, pending.missing) {
            let published = Published { position, reached: pending.reached };
            self.effects.answers.push(Answer { origin: pending.origin, outcome: Ok(published) });
            self.pending.remove(key);
        }
    }

    fn joined(&mut self, slot: Key, member: Key, taken: bool, now_us: u64) {
        let local = slot.slot;
        let wanted = self.subscriptions.settle_join(member, local);
        let lists = self.subscriptions.locals.at(local).expect("a pending join keeps its channel");
        let (channel, owner) = (lists.channel.clone(), lists.owner);
        match (taken, wanted) {
            (true, true) => self.subscriptions.attach(member.slot, local),
            (true, false) => self.tell_left(channel.clone(), owner, false, now_us),
            (false, _) => {}
        }
        if wanted {
            let outcome = if taken { Ok(()) } else { Err(Full) };
            self.effects.joined.push(Joined { member, channel, outcome });
        }
        self.subscriptions.close_if_unused(local);
    }

    /// How many channels this shard owns.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Since when this shard's longest idle channel is idle, in steady microseconds.
    pub fn longest_idle_us(&self) -> Option<u64> {
        self.channels.longest_idle().map(|(_, since)| since)
    }

    /// Forgets the longest idle channel, if there is one.
    pub fn evict(&mut self) {
        if let Some((slot, _)) = self.channels.longest_idle() {
            self.channels.remove(slot);
            self.counters.channels_evicted += 1;
        }
    }

    /// When the next ephemeral channel is to be forgotten, in steady microseconds.
    pub fn sweep_due_us(&self) -> Option<u64> {
        self.channels.idle_ephemeral.first().map(|(_, since)| since + self.options.ephemeral_idle_us)
    }

    /// Forgets ephemeral channels that nobody came to hear; costs next to nothing while there is none.
    pub fn sweep(&mut self, now_us: u64) {
        while let Some((slot, since)) = self.channels.idle_ephemeral.first()
            && since + self.options.ephemeral_idle_us <= now_us
        {
            self.channels.remove(slot);
        }
    }

    /// Asks every shard for its state; it comes as an effect. `own` is this shard's.
    /// Answers false when too many such requests wait.
    pub fn gather(&mut self, origin: Origin, names_max: usize, own: ShardState) -> bool {
        let mut snapshot = Snapshot::default();
        snapshot.add(self.snapshot(own, names_max), names_max);
        let missing = self.options.shards - 1;
        if missing == 0 {
            self.effects.gathered.push((origin, snapshot));
            return true;
        }
        let Ok(key) = self.gathering.insert(Gathering { origin, names_max, missing, snapshot }) else {
            return false;
        };
        for shard in (0..self.options.shards).filter(|shard| *shard != self.options.shard) {
            self.post.push(shard, Mail::Gather { key, names_max });
        }
        true
    }

    /// Answers another shard's question with this shard's state.
    pub fn answer_gather(&mut self, to: usize, key: Key, names_max: usize, own: ShardState) {
        let snapshot = Box::new(self.snapshot(own, names_max));
        self.post.push(to, Mail::Gathered { key, snapshot });
    }

    fn snapshot(&self, mut own: ShardState, names_max: usize) -> Snapshot {
        own.channels = self.channels.len();
        own.counters = self.counters;
        Snapshot {
            channels: self.channels.counts(names_max).collect(),
            channels_total: self.channels.len(),
            shards: vec![own],
        }
    }

    fn gathered(&mut self, key: Key, snapshot: Snapshot) {
        let Some(gathering) = self.gathering.get_mut(key) else { return };
        gathering.snapshot.add(snapshot, gathering.names_max);
        gathering.missing -= 1;
        if gathering.missing == 0
            && let Some(done) = self.gathering.remove(key)
        {
            self.effects.gathered.push((done.origin, done.snapshot));
        }
    }
}
