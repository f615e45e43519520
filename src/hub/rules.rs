//! What an operator set for channels: by pattern, the first that matches, else for all of them.

use super::channels::Channels;
use super::history::Keep;
use super::slow::Slow;
use crate::event::{Channel, DEAD_LETTERS, matches};

/// What an operator set for the channels that match a pattern; the first match wins.
#[derive(Clone, Debug, Default)]
pub struct ChannelRule {
    /// A channel name in which a segment may be `*`, the last one `**`.
    pub pattern: String,
    /// Members over all cores; 0: no limit; `None`: the default.
    pub clients_max: Option<u32>,
    /// Vanishes with its last member.
    pub ephemeral: bool,
    /// What happens when a subscriber's queue is full; `None`: the default.
    pub slow: Option<Slow>,
    /// Joins and leaves are told on the channel.
    pub presence: bool,
    /// No event is more urgent than another, whatever its publisher says.
    pub normal: bool,
    /// How many events are kept; `None`: the default.
    pub keep_size: Option<u32>,
    /// How long they are kept, in microseconds; `None`: the default.
    pub keep_ttl_us: Option<u64>,
    /// Whether they are kept on disk too; `None`: the default.
    pub durable: Option<bool>,
}

/// How channels are made and kept.
#[derive(Clone, Debug, Default)]
pub struct ChannelOptions {
    /// Members of a channel over all cores, where no rule says otherwise; 0: no limit.
    pub clients_max: u32,
    /// What happens when a subscriber's queue is full, where no rule says otherwise.
    pub slow: Slow,
    /// What is kept of the past, where no rule says otherwise.
    pub keep: Keep,
    /// Bytes that all shards may keep of the past; an event that is larger is not kept.
    pub history_bytes_max: u64,
    /// In order.
    pub rules: Vec<ChannelRule>,
    /// Listed from the start, and never forgotten.
    pub configured: Vec<Channel>,
}

impl Channels {
    /// Its limit of members, whether it vanishes with its last one, whether it is configured.
    pub fn traits_of(&self, channel: &Channel) -> (u32, bool, bool) {
        let rule = self.rule_of(channel.as_str());
        // Letters are kept by their numbers in their channel, so it never begins anew.
        let configured = channel.as_str() == DEAD_LETTERS || self.options.configured.contains(channel);
        let ephemeral = rule.is_some_and(|rule| rule.ephemeral) || vanishes(channel.as_str());
        (self.clients_max_of(channel.as_str()), ephemeral && !configured, configured)
    }

    pub fn rule_of(&self, channel: &str) -> Option<&ChannelRule> {
        self.options.rules.iter().find(|rule| matches(&rule.pattern, channel))
    }

    /// How much is kept of the past of a channel of this name.
    pub fn keep_of(&self, channel: &str) -> Keep {
        let (rule, all) = (self.rule_of(channel), self.options.keep);
        Keep {
            size: rule.and_then(|rule| rule.keep_size).unwrap_or(all.size),
            ttl_us: rule.and_then(|rule| rule.keep_ttl_us).unwrap_or(all.ttl_us),
            durable: rule.and_then(|rule| rule.durable).unwrap_or(all.durable),
        }
    }

    /// Whether it is kept who hears a channel of this name.
    pub fn keeps_presence(&self, channel: &str) -> bool {
        self.rule_of(channel).is_some_and(|rule| rule.presence)
    }

    /// Whether all events of a channel of this name are of the same priority.
    pub fn is_normal(&self, channel: &str) -> bool {
        self.rule_of(channel).is_some_and(|rule| rule.normal)
    }

    /// How many members a channel of this name may have.
    pub fn clients_max_of(&self, channel: &str) -> u32 {
        self.rule_of(channel).and_then(|rule| rule.clients_max).unwrap_or(self.options.clients_max)
    }

    /// What happens when the queue of one of its subscribers is full.
    pub fn slow_of(&self, channel: &str) -> Slow {
        self.rule_of(channel).and_then(|rule| rule.slow).unwrap_or(self.options.slow)
    }
}

/// The two families that last no longer than their subscribers (contract 8).
fn vanishes(channel: &str) -> bool {
    channel.starts_with("forge.job.") || channel.starts_with("backtest.")
}
