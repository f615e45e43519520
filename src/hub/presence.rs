//! Who hears a channel, where its option `presence` is on: kept by the owner, told on the channel as connections come
//! and go, and to whoever asks. However many come and go in a turn, a channel's members are told twice at most, of those
//! who came and of those who went: a thousand who leave together cost a thousand deliveries and not half a million.

use super::channels::Owned;
use super::{Hub, Mail, Origin, Outlet};
use crate::event::{Channel, ConnectionId, Event, Facts};
use crate::stdx::clock::{Now, rfc3339_ms};
use std::collections::BTreeMap;

/// Connections that one event names, at 20 bytes each: some 4 KiB. It says how many there are in all.
const TOLD_MAX: usize = 200;

/// The connections that hear a channel by its name.
#[derive(Default)]
pub(super) struct Present {
    /// Through how many subscriptions each does.
    here: BTreeMap<ConnectionId, u32>,
    /// Those of this turn that have come (true) or gone, against what was told before.
    changed: BTreeMap<ConnectionId, bool>,
}

impl Present {
    /// One subscription more. Answers whether this is the first thing to tell in this turn.
    pub fn enter(&mut self, who: ConnectionId) -> bool {
        let subscriptions = self.here.entry(who).or_insert(0);
        *subscriptions += 1;
        *subscriptions == 1 && self.note(who, true)
    }

    /// One subscription less. Answers as [`Present::enter`].
    pub fn leave(&mut self, who: ConnectionId) -> bool {
        // Who came before presence was switched on is not known.
        let Some(subscriptions) = self.here.get_mut(&who) else { return false };
        *subscriptions -= 1;
        if *subscriptions > 0 {
            return false;
        }
        self.here.remove(&who);
        self.note(who, false)
    }

    /// Who comes and goes in one turn, or goes and comes, has done neither for the others.
    fn note(&mut self, who: ConnectionId, came: bool) -> bool {
        let first = self.changed.is_empty();
        match self.changed.remove(&who) {
            Some(_) => false,
            None => {
                self.changed.insert(who, came);
                first
            }
        }
    }
}

impl Owned {
    /// Somebody came or went in this turn, and that is not told yet.
    pub fn has_news(&self) -> bool {
        self.present.as_ref().is_some_and(|present| !present.changed.is_empty())
    }
}

impl Hub {
    /// Told at least once a turn: the hub has no clock of its own, and its events carry the time of day.
    pub fn tell_time(&mut self, now: Now) {
        if self.unix_ms_at_0 == 0 {
            self.channels.begin_time(now.unix_ms.saturating_sub(1));
        }
        self.unix_ms_at_0 = now.unix_ms.wrapping_sub(now.steady_us / 1000);
    }

    /// Whether it is kept who hears a channel of this name.
    pub fn keeps_presence(&self, channel: &str) -> bool {
        self.channels.keeps_presence(channel)
    }

    /// Asks who hears a channel by its name; the answer comes as an effect, empty where `presence` is off.
    pub fn presence(&mut self, channel: &str, origin: Origin) {
        let owner = self.owner(channel);
        if owner == self.options.shard {
            let present = self.present(channel);
            return self.effects.present.push((origin, present));
        }
        let channel = self.named(channel);
        self.post.push(owner, Mail::Ask { channel, origin });
    }

    pub(super) fn present(&mut self, channel: &str) -> Vec<ConnectionId> {
        let Some(slot) = self.channels.find(channel) else { return Vec::new() };
        let present = self.channels.at(slot).present.as_ref();
        present.map_or_else(Vec::new, |present| present.here.keys().copied().collect())
    }

    /// Publishes who came and went in this turn on their channels.
    #[inline(never)]
    pub(super) fn tell_news(&mut self, now_us: u64, outlet: &mut impl Outlet) {
        for channel in std::mem::take(&mut self.news) {
            let Some(slot) = self.channels.find(channel.as_str()) else { continue };
            self.tell_news_of(slot, &channel, now_us, outlet);
            self.leave_behind(slot, now_us);
        }
    }

    fn tell_news_of(&mut self, slot: u32, channel: &Channel, now_us: u64, outlet: &mut impl Outlet) {
        let Some(present) = self.channels.at(slot).present.as_mut() else { return };
        let (count, changed) = (present.here.len(), std::mem::take(&mut present.changed));
        for (kind, came) in [("presence.joined", true), ("presence.left", false)] {
            let who: Vec<ConnectionId> =
                changed.iter().filter(|(_, has)| **has == came).map(|(who, _)| *who).collect();
            if !who.is_empty() {
                let event = self.news_event(channel, kind, &who, count, now_us);
                self.tell(slot, &event, now_us, outlet);
            }
        }
    }

    /// A channel that only what it had to tell has kept rests from now on, or is forgotten.
    fn leave_behind(&mut self, slot: u32, now_us: u64) {
        match self.channels.at(slot) {
            owned if owned.members > 0 => {}
            owned if owned.is_over() => self.forget_channel(slot),
            _ => self.channels.rest(slot, now_us),
        }
    }

    fn tell(&mut self, slot: u32, event: &Event, now_us: u64, outlet: &mut impl Outlet) {
        if !self.targets_have_room(slot, event.frame().len()) {
            self.counters.presence_dropped += 1;
            return;
        }
        let durable = self.channels.at(slot).durable.is_some();
        if durable && self.holds() {
            self.hold(slot, event);
            return;
        }
        let (position, _) = self.number(slot, event.clone(), now_us, outlet);
        if durable {
            self.log(slot, position, event);
        }
        self.send_on(slot, event, position, None);
    }

    fn news_event(
        &self,
        channel: &Channel,
        kind: &str,
        who: &[ConnectionId],
        count: usize,
        now_us: u64,
    ) -> Event {
        let at_ms = self.unix_ms_at_0.wrapping_add(now_us / 1000);
        let mut stamp = [0; 24];
        rfc3339_ms(at_ms, &mut stamp);
        let stamp = std::str::from_utf8(&stamp).expect("digits and signs");
        let only = if let [only] = who { format!(r#""connection":"{only}","#) } else { String::new() };
        let listed: Vec<String> = who.iter().take(TOLD_MAX).map(|who| format!("\"{who}\"")).collect();
        let (listed, total, truncated) = (listed.join(","), who.len(), who.len() > TOLD_MAX);
        let text = format!(
            r#"{{"type":"{kind}","channel":"{channel}",{only}"connections":[{listed}],"total":{total},"truncated":{truncated},"count":{count},"timestamp":"{stamp}"}}"#
        );
        Event::new(&text, &Facts::read(&text).expect("written as JSON"), None, at_ms)
    }
}
