//! Who hears a channel, where its option `presence` is on: kept by the owner, told on the channel as connections come
//! and go, and to whoever asks.

use super::{Hub, Mail, Origin, Outlet};
use crate::event::{Channel, ConnectionId, Event, Facts};
use crate::stdx::clock::{Now, rfc3339_ms};
use std::collections::BTreeMap;

/// The connections that hear a channel by its name, and through how many subscriptions.
#[derive(Default)]
pub(super) struct Present(BTreeMap<ConnectionId, u32>);

impl Present {
    /// One subscription more. Answers whether the connection is new, and how many there are.
    pub fn enter(&mut self, who: ConnectionId) -> Option<usize> {
        let subscriptions = self.0.entry(who).or_insert(0);
        *subscriptions += 1;
        (*subscriptions == 1).then_some(self.0.len())
    }

    /// One subscription less. Answers how many connections there are, if that was the last of this one.
    pub fn leave(&mut self, who: ConnectionId) -> Option<usize> {
        let subscriptions = self.0.get_mut(&who)?;
        *subscriptions -= 1;
        if *subscriptions > 0 {
            return None;
        }
        self.0.remove(&who);
        Some(self.0.len())
    }
}

/// A connection came or went; told at the end of the turn.
pub(super) struct News {
    pub channel: Channel,
    pub kind: &'static str,
    pub who: ConnectionId,
    pub count: usize,
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
        present.map_or_else(Vec::new, |present| present.0.keys().copied().collect())
    }

    /// Publishes what came and went in this turn on its channels.
    pub(super) fn tell_news(&mut self, now_us: u64, outlet: &mut impl Outlet) {
        for news in std::mem::take(&mut self.news) {
            let Some(slot) = self.channels.find(news.channel.as_str()) else { continue };
            let event = self.news_event(&news, now_us);
            if !self.targets_have_room(slot, event.frame().len()) {
                self.counters.presence_dropped += 1;
                continue;
            }
            let durable = self.channels.at(slot).durable.is_some();
            if durable && self.holds() {
                self.hold(slot, &event);
                continue;
            }
            let (position, _) = self.number(slot, &event, now_us, outlet);
            if durable {
                self.log(slot, position, &event);
            }
            self.send_on(slot, &event, position, None);
        }
    }

    fn news_event(&self, news: &News, now_us: u64) -> Event {
        let at_ms = self.unix_ms_at_0.wrapping_add(now_us / 1000);
        let mut stamp = [0; 24];
        rfc3339_ms(at_ms, &mut stamp);
        let stamp = std::str::from_utf8(&stamp).expect("digits and signs");
        let News { channel, kind, who, count } = news;
        let text = format!(
            r#"{{"type":"{kind}","channel":"{channel}","connection":"{who}","count":{count},"timestamp":"{stamp}"}}"#
        );
        Event::new(&text, &Facts::read(&text).expect("written as JSON"), None, at_ms)
    }
}
