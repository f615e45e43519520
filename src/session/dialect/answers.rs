//! What became of a command, in the words of the client's dialect. `None` where the dialect says nothing.

use super::v1::Code;
use super::{Dialect, courier, router, v1};
use crate::event::{Channel, Position};
use crate::session::command::{Ref, Subscribe};
use crate::session::{Reason, Refusal};

/// Why a command was not carried out.
#[derive(Debug)]
pub enum Denied<'d> {
    /// The connection has as many subscriptions as it may.
    TooManySubscriptions {
        /// How many that is.
        max: usize,
    },
    /// The channel has as many clients as it may.
    ChannelFull {
        /// How many that is.
        max: usize,
    },
    /// The connection has another subscription of this id.
    SubscriptionExists(&'d str),
    /// The connection has no such subscription.
    NotSubscribed,
    /// The event was refused.
    Publish(&'d Refusal),
    /// Its holder may not hear the channel, or anything of the pattern.
    Unauthorized,
    /// A token that is not taken; why.
    Token(&'static str),
    /// This server does not do that; the command's name.
    NotAvailable(&'static str),
}

impl Denied<'_> {
    fn code(&self) -> Code {
        match self {
            Denied::TooManySubscriptions { .. } => Code::SubscriptionLimit,
            Denied::ChannelFull { .. } => Code::ChannelFull,
            Denied::SubscriptionExists(_) => Code::SubscriptionExists,
            Denied::NotSubscribed => Code::NotSubscribed,
            Denied::Publish(refusal) => Code::of_refusal(refusal),
            Denied::Unauthorized | Denied::Token(_) => Code::Forbidden,
            Denied::NotAvailable(_) => Code::NotAvailable,
        }
    }

    fn words(&self) -> String {
        match self {
            Denied::TooManySubscriptions { max } => format!("Subscription limit reached: {max}"),
            Denied::ChannelFull { max } => format!("Channel connection limit reached: {max}"),
            Denied::SubscriptionExists(id) => format!("There is a subscription with the id {id}"),
            Denied::NotSubscribed => "There is no such subscription".to_owned(),
            Denied::Publish(refusal) => refusal.message.clone(),
            Denied::Unauthorized => Reason::Unauthorized.text().to_owned(),
            Denied::Token(why) => (*why).to_owned(),
            Denied::NotAvailable(what) => format!("{what} is not available"),
        }
    }
}

impl Dialect {
    /// The answer to a subscription that was made. `position` is the channel's at that moment, if it is one channel.
    /// `recovered` and `replayed` as in [`v1::subscribed`].
    pub fn subscribed(
        self,
        wish: &Subscribe,
        position: Option<Position>,
        recovered: bool,
        replayed: u32,
    ) -> Option<String> {
        match self {
            Dialect::Courier => {
                let channel = wish.targets.first().map_or("", |target| target.as_str());
                Some(courier::about_channel("subscribed", channel))
            }
            Dialect::V1 => Some(v1::subscribed(wish, position, recovered, replayed)),
            Dialect::Router => Some(router::subscribed(wish)),
            Dialect::Events | Dialect::FreqSearch => None,
        }
    }

    /// The answer to the end of a subscription; `target` is the text of its channel or pattern.
    pub fn unsubscribed(self, reference: &Ref, id: &str, target: &str) -> Option<String> {
        match self {
            Dialect::Courier => Some(courier::about_channel("unsubscribed", target)),
            Dialect::V1 => Some(v1::unsubscribed(reference, id, target)),
            Dialect::Router => Some(router::unsubscribed(id)),
            Dialect::Events | Dialect::FreqSearch => None,
        }
    }

    /// The answer to what was not carried out; the socket stays open.
    pub fn denied(self, reference: &Ref, why: &Denied<'_>, unix_ms: u64) -> Option<String> {
        match (self, why) {
            (Dialect::Courier, Denied::TooManySubscriptions { max }) => {
                Some(courier::too_many_subscriptions(*max))
            }
            (Dialect::Courier, Denied::ChannelFull { max }) => {
                Some(courier::limit_reached(courier::LimitType::PerChannel, *max))
            }
            (Dialect::Courier, Denied::Unauthorized) => Some(courier::unauthorized()),
            (Dialect::Courier, other) => Some(courier::invalid(&other.words())),
            (Dialect::V1, Denied::Publish(Refusal { status: 429, message, facts, .. })) => {
                let wait_s = facts.get("retry_after_seconds").and_then(serde_json::Value::as_u64);
                Some(v1::rate_limited(reference, message, wait_s.unwrap_or(1)))
            }
            (Dialect::V1, why) => Some(v1::error(reference, why.code(), &why.words())),
            (Dialect::Router, why) => Some(router::error(&router_words(why), unix_ms)),
            (Dialect::Events | Dialect::FreqSearch, _) => None,
        }
    }

    /// The answer to one message too many; the socket stays open.
    pub fn rate_limited(
        self,
        reference: &Ref,
        kind: &str,
        retry_after_s: u64,
        unix_ms: u64,
    ) -> Option<String> {
        let words = || format!("Rate limit exceeded for message type '{kind}'");
        match self {
            Dialect::Courier => Some(courier::rate_limited(kind, retry_after_s)),
            Dialect::V1 => Some(v1::rate_limited(reference, &words(), retry_after_s)),
            Dialect::Router => Some(router::error(&words(), unix_ms)),
            Dialect::Events | Dialect::FreqSearch => None,
        }
    }

    /// Told when events of a channel were lost for this subscriber: those from `from` to `to`, both included.
    pub fn gap(self, channel: &Channel, from: Position, to: Position, reason: &str) -> Option<String> {
        (self == Dialect::V1).then(|| v1::gap(channel, from, to, reason))
    }

    /// Said before a drain.
    pub fn shutdown(self, words: &str) -> Option<String> {
        match self {
            Dialect::Courier => Some(courier::shutdown(words)),
            Dialect::V1 => Some(v1::shutdown(words)),
            Dialect::Events | Dialect::Router | Dialect::FreqSearch => None,
        }
    }
}

fn router_words(why: &Denied<'_>) -> String {
    match why {
        Denied::NotSubscribed => router::NOT_FOUND.to_owned(),
        Denied::Publish(_) => format!("Failed to publish event: {}", why.words()),
        _ => format!("Failed to subscribe: {}", why.words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn said(dialect: Dialect, why: &Denied<'_>) -> Option<Value> {
        let text = dialect.denied(&Ref::default(), why, 0)?;
        Some(serde_json::from_str(&text).expect("answers are JSON"))
    }

    #[test]
    fn every_denial_has_words_in_the_dialects_that_answer() {
        let refusal = Refusal::new(413, "Event size exceeded", "too large");
        for (why, code, words) in [
            (Denied::TooManySubscriptions { max: 3 }, "SUBSCRIPTION_LIMIT_EXCEEDED", "Failed to subscribe: "),
            (Denied::ChannelFull { max: 3 }, "CHANNEL_FULL", "Failed to subscribe: "),
            (Denied::SubscriptionExists("i"), "SUBSCRIPTION_EXISTS", "Failed to subscribe: "),
            (Denied::NotSubscribed, "NOT_SUBSCRIBED", "Subscription not found"),
            (Denied::Unauthorized, "FORBIDDEN", "Failed to subscribe: Unauthorized access to channel"),
            (Denied::Token("Invalid token"), "FORBIDDEN", "Failed to subscribe: Invalid token"),
            (Denied::Publish(&refusal), "EVENT_TOO_LARGE", "Failed to publish event: too large"),
            (
                Denied::NotAvailable("history"),
                "NOT_AVAILABLE",
                "Failed to subscribe: history is not available",
            ),
        ] {
            assert_eq!(said(Dialect::V1, &why).unwrap()["code"], code);
            assert!(said(Dialect::Router, &why).unwrap()["error"].as_str().unwrap().starts_with(words));
            assert_eq!(said(Dialect::Courier, &why).unwrap()["type"], "error");
            assert!(said(Dialect::Events, &why).is_none() && said(Dialect::FreqSearch, &why).is_none());
        }
    }

    #[test]
    fn a_drain_and_a_gap_are_told_where_the_dialect_has_words_for_them() {
        let position = Position { epoch: 1, offset: 2 };
        let channel = Channel::parse("a").unwrap();
        for dialect in Dialect::ALL {
            assert_eq!(dialect.shutdown("bye").is_some(), matches!(dialect, Dialect::Courier | Dialect::V1));
            assert_eq!(dialect.gap(&channel, position, position, "slow").is_some(), dialect == Dialect::V1);
        }
    }
}
