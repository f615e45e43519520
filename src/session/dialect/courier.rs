//! Dialect `courier` (contract 4): raw events, no welcome, answers to the few things a client may say.

use crate::session::close::Reason;
use serde_json::json;

/// `{"type":"ping"}`: the heartbeat.
pub const PING: &str = r#"{"type":"ping"}"#;
/// The answer to `{"type":"ping"}`.
pub const PONG: &str = r#"{"type":"pong"}"#;

/// The answer to `subscribe` or `unsubscribe`; `kind` is `subscribed` or `unsubscribed`.
pub fn about_channel(kind: &str, channel: &str) -> String {
    json!({ "type": kind, "channel": channel }).to_string()
}

/// The answer to an object that asks for nothing.
pub fn ack(message_type: Option<&str>, size_bytes: usize) -> String {
    json!({ "type": "ack", "message_type": message_type, "size_bytes": size_bytes }).to_string()
}

/// The answer to what is not understood; the socket stays open.
pub fn invalid(fault: &str) -> String {
    json!({ "type": "error", "code": "VALIDATION_ERROR", "message": "Message validation failed",
            "errors": [fault] })
    .to_string()
}

/// A subscription beyond what one connection may have; the socket stays open.
pub fn too_many_subscriptions(max: usize) -> String {
    json!({ "type": "error", "code": "SUBSCRIPTION_LIMIT_EXCEEDED",
            "message": format!("Subscription limit reached: {max}"), "limit": max })
    .to_string()
}

/// Which limit on connections was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitType {
    /// Of the whole server.
    Global,
    /// Of one address.
    PerAddress,
    /// Of one channel.
    PerChannel,
}

/// Said before the close that a limit brings about.
pub fn limit_reached(limit: LimitType, max: usize) -> String {
    let (name, words) = match limit {
        LimitType::Global => ("global", "Global connection limit reached"),
        LimitType::PerAddress => ("per_address", "Address connection limit reached"),
        LimitType::PerChannel => ("per_channel", "Channel connection limit reached"),
    };
    json!({ "type": "error", "code": "CONNECTION_LIMIT_EXCEEDED", "limit_type": name, "limit": max,
            "message": format!("{words}: {max}") })
    .to_string()
}

/// The reason to close that goes with a limit.
pub fn limit_reason(limit: LimitType) -> Reason {
    match limit {
        LimitType::PerChannel => Reason::ChannelFull,
        LimitType::Global | LimitType::PerAddress => Reason::ConnectionLimit,
    }
}

/// Said before a drain.
pub fn shutdown(words: &str) -> String {
    json!({ "type": "shutdown", "message": words, "code": Reason::Shutdown.code() }).to_string()
}
