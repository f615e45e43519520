//! How members come to hear something and cease to: at once where this shard owns the channel, else with a word from
//! the owner.

use super::acks::Acks;
use super::approach::Heard;
use super::crowds::{Manner, Source};
use super::members::Badge;
use super::members::Place;
use super::subscriptions::Ask;
use super::{From, Full, Hub, Joined, Joining, Mail, Recovery, Standing, Target, Wish};
use crate::event::{Channel, ConnectionId, Filter, Position};
use crate::stdx::slab::Key;
use std::rc::Rc;

impl Hub {
    /// Subscribes a member, under a tag that none of its other subscriptions has.
    pub fn join(&mut self, member: Key, tag: u32, wish: &Wish<'_>, now_us: u64) -> Joining {
        let Some(found) = self.subscriptions.member(member) else { return Joining::Already };
        match found.subscribed.find(tag).map(|s| s.place) {
            Some(Place::Pending) => return Joining::Waiting,
            Some(_) => return Joining::Already,
            None => {}
        }
        match wish.target {
            Target::Channel(name) => self.join_channel(member, tag, name, wish, now_us),
            Target::Pattern(pattern) => self.join_pattern(member, tag, pattern, wish),
        }
    }

    fn join_channel(&mut self, member: Key, tag: u32, name: &str, wish: &Wish<'_>, now_us: u64) -> Joining {
        let owner = self.owner(name);
        let channel = Channel::parse(name).expect("checked by the caller");
        let slow = self.channels.slow_of(name);
        if owner == self.options.shard {
            let who = ConnectionId::new(owner, member);
            let Ok((slot, standing)) = self.let_in(&channel, None, who, wish.ephemeral, wish.from, now_us)
            else {
                return Joining::Full;
            };
            let local = self.subscriptions.open(&channel, owner, slow);
            let ask = self.ask(member, tag, Source::Channel(local), wish);
            self.channels.at(slot).heard = Some(Heard { local, crowd: ask.crowd });
            self.settle_in(ask, &standing);
            return Joining::Done(standing);
        }
        let local = self.subscriptions.open(&channel, owner, slow);
        let ask = self.ask(member, tag, Source::Channel(local), wish);
        self.subscriptions.expect_join(ask);
        self.subscriptions.locals.at_mut(local).expect("just opened").pending += 1;
        let slot = self.subscriptions.locals.key_at(local).expect("just opened");
        let Wish { ephemeral, from, .. } = *wish;
        let in_order = wish.acks.is_some() || wish.tracks > 0;
        self.post.push(owner, Mail::Join { channel, slot, member, tag, ephemeral, in_order, from });
        Joining::Waiting
    }

    /// The label of a wish: that of the part of the same subscription before, if there is one. The parts of a
    /// subscription are asked for one right after the other, so it is the last that the member has.
    fn badge(&mut self, member: Key, wish: &Wish<'_>) -> Option<Rc<Badge>> {
        let unix_ms_at_0 = self.unix_ms_at_0;
        let parts = self.subscriptions.member(member)?.subscribed.as_slice();
        if wish.tracks > 0 {
            // All parts of a stream share one, also those that were let in meanwhile.
            let known = parts.iter().find_map(|part| part.label.clone());
            return Some(known.unwrap_or_else(|| Rc::new(Badge::tracking(wish.tracks))));
        }
        let last = parts.last().and_then(|part| part.label.as_ref());
        let before = last.filter(|badge| Some(badge.label) == wish.label).cloned();
        if let Some(acks) = &wish.acks {
            let channel = match wish.target {
                Target::Channel(name) if acks.resumes => Channel::parse(name).ok(),
                _ => None,
            };
            let new = || Badge::acking(Acks::new(acks, channel, unix_ms_at_0), wish.label);
            return Some(before.unwrap_or_else(|| Rc::new(new())));
        }
        let label = wish.label?;
        Some(before.unwrap_or_else(|| Rc::new(Badge::new(label))))
    }

    /// Finds the crowd for a wish.
    pub(super) fn ask(&mut self, member: Key, tag: u32, source: Source, wish: &Wish<'_>) -> Ask {
        let filter = self.subscriptions.filters.take(wish.filter.as_ref());
        let manner = Manner { form: wish.form, filter, each: wish.each, rule: wish.rule };
        let crowd = self.subscriptions.crowd(source, manner);
        Ask { member: member.slot, tag, crowd, label: self.badge(member, wish) }
    }

    /// As the owner: lets one more member in, of this shard or another. Answers the channel's slot too.
    pub(super) fn let_in(
        &mut self,
        channel: &Channel,
        remote: Option<(u16, Key)>,
        who: ConnectionId,
        ephemeral: bool,
        from: Option<From>,
        now_us: u64,
    ) -> Result<(u32, Standing), Full> {
        let is_new = self.channels.find(channel.as_str()).is_none();
        let slot = self.owned(channel, now_us);
        if is_new && ephemeral {
            self.channels.make_ephemeral(slot);
        }
        let mut standing = self.channels.join(slot, remote)?;
        standing.recovery = from.map(|from| self.recover(slot, from, now_us));
        let present = self.channels.at(slot).present.as_mut();
        if present.is_some_and(|present| present.enter(who)) {
            self.news.push(channel.clone());
        }
        Ok((slot, standing))
    }

    fn recover(&mut self, slot: u32, from: From, now_us: u64) -> Recovery {
        let recovery = self.channels.resolve(slot, from, now_us, &mut self.counters);
        self.counters.replays += u64::from(from != From::Join);
        self.counters.replays_short += u64::from(!recovery.recovered);
        recovery
    }

    /// Gives a subscription that was let in its place: in its crowd, or behind it.
    fn settle_in(&mut self, ask: Ask, standing: &Standing) {
        if let (Some(position), Some(places)) =
            (standing.position, ask.label.as_ref().and_then(|badge| badge.places.as_ref()))
        {
            let offset = standing.recovery.map_or(position.offset, |recovery| recovery.next - 1);
            places.start(ask.tag, Position { offset, ..position });
        }
        match &standing.recovery {
            Some(recovery) if recovery.behind => self.subscriptions.fall_behind(ask, recovery),
            _ => self.subscriptions.attach(ask),
        }
    }

    /// As the owner: one member less, of this shard or another.
    pub(super) fn let_go(&mut self, channel: &Channel, remote: Option<u16>, who: ConnectionId, now_us: u64) {
        let slot = self.channels.find(channel.as_str()).expect("a channel with members is kept");
        let present = self.channels.at(slot).present.as_mut();
        if present.is_some_and(|present| present.leave(who)) {
            self.news.push(channel.clone());
        }
        if self.channels.leave(slot, remote, now_us) {
            self.forget_channel(slot);
        }
    }

    /// The owner has answered a join.
    pub(super) fn joined(&mut self, slot: Key, member: Key, tag: u32, outcome: Result<Standing, Full>) {
        let local = slot.slot;
        let wanted = self.subscriptions.settle_join(member, tag, Source::Channel(local));
        let lists = self.subscriptions.locals.get_mut(slot).expect("a pending join keeps its channel");
        lists.pending -= 1;
        let (channel, owner) = (lists.channel.clone(), lists.owner);
        match (wanted, outcome) {
            (Some(ask), outcome) => {
                let crowd = ask.crowd;
                if let Ok(standing) = &outcome {
                    self.settle_in(ask, standing);
                }
                self.subscriptions.close_crowd_if_unused(crowd);
                self.effects.joined.push(Joined { member, tag, channel: Some(channel), outcome });
            }
            (None, Ok(_)) => self.post.push(owner, Mail::Leave { channel, member }),
            (None, Err(Full)) => {}
        }
        self.subscriptions.close_if_unused(local);
    }

    /// Ends one subscription; events that were queued before are still sent. Answers whether there was one.
    pub fn leave(&mut self, member: Key, tag: u32, now_us: u64) -> bool {
        if self.subscriptions.member(member).is_none() {
            return false;
        }
        self.subscriptions.end_flights(member.slot, tag).into_iter().for_each(|dead| self.bury(dead));
        let Some((source, joined)) = self.subscriptions.detach(member.slot, tag) else { return false };
        match source {
            Source::Pattern(pattern) => self.left_pattern(pattern),
            Source::Channel(local) => self.left_channel(local, member, joined, now_us),
        }
        joined
    }

    fn left_channel(&mut self, local: u32, member: Key, joined: bool, now_us: u64) {
        let lists = self.subscriptions.locals.at(local).expect("detached from it");
        let (channel, owner, members) = (lists.channel.clone(), lists.owner, lists.members);
        if joined {
            self.tell_left(channel, owner, member, members == 0, now_us);
        }
        self.subscriptions.close_if_unused(local);
    }

    fn tell_left(&mut self, channel: Channel, owner: usize, member: Key, none_here: bool, now_us: u64) {
        if owner != self.options.shard {
            return self.post.push(owner, Mail::Leave { channel, member });
        }
        if none_here && let Some(slot) = self.channels.find(channel.as_str()) {
            self.channels.at(slot).heard = None;
        }
        self.let_go(&channel, None, ConnectionId::new(owner, member), now_us);
    }

    /// Another filter for a subscription from now on. Answers whether there is such a subscription.
    pub fn refilter(&mut self, member: Key, tag: u32, filter: Option<Filter>) -> bool {
        let Some(found) = self.subscriptions.member(member) else { return false };
        let Some(crowd) = found.subscribed.find(tag).map(|s| s.crowd) else { return false };
        self.subscriptions.refilter(member.slot, tag, crowd, filter.as_ref());
        true
    }

    /// The subscription, let in or not yet, through which a member hears a channel by its name.
    pub fn tag_of(&mut self, member: Key, channel: &str) -> Option<u32> {
        let local = self.subscriptions.local_named(channel)?;
        let crowds = &self.subscriptions.locals.at(local)?.exact;
        let member = self
            .subscriptions
            .members
            .get(member.slot as usize)
            .filter(|m| m.generation == member.generation)?;
        member.subscribed.tag_in(crowds)
    }

    /// How many members a channel may have over all shards; 0: no limit.
    pub fn clients_max(&self, channel: &str) -> u32 {
        self.channels.clients_max_of(channel)
    }

    /// How many subscriptions a member has, let in or not yet.
    pub fn subscriptions_of(&mut self, member: Key) -> usize {
        self.subscriptions.member(member).map_or(0, |m| m.subscribed.as_slice().len())
    }

    /// Ends all subscriptions of a member; what was queued before is still sent.
    pub fn retire(&mut self, member: Key, now_us: u64) {
        let Some(found) = self.subscriptions.member(member) else { return };
        let tags: Vec<u32> = found.subscribed.as_slice().iter().map(|s| s.tag).collect();
        for tag in tags {
            self.leave(member, tag, now_us);
        }
    }
}
