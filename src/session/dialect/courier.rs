//! Dialect `courier` (contract 4): raw events, no welcome, answers to the few things a client may say. Messages are
//! read as documents (tape of simd-json: no recursion, whatever the nesting).

use crate::event::{Channel, Form, syntax_words};
use crate::session::close::Reason;
use crate::session::command::{Command, Ref, Subscribe, Target, Unsubscribe, Which, start};
use crate::session::query::Start;
use serde_json::json;
use simd_json::prelude::*;

/// `{"type":"ping"}`: the heartbeat.
pub const PING: &str = r#"{"type":"ping"}"#;
/// The answer to `{"type":"ping"}`.
pub const PONG: &str = r#"{"type":"pong"}"#;

/// Reads one message.
pub fn read(text: &str) -> Command<'static> {
    if text == "ping" {
        return Command::Answer("pong".to_owned());
    }
    // simd-json unescapes in place.
    let mut spent = text.as_bytes().to_vec();
    let tape = match simd_json::to_tape(&mut spent) {
        Ok(tape) => tape,
        Err(error) => return Command::Answer(invalid(&format!("Invalid JSON: {}", why(text, &error)))),
    };
    let Some(object) = tape.as_value().as_object() else {
        return Command::Answer(invalid("Message must be a JSON object"));
    };
    let field = |name: &str| object.get(name).and_then(|value| value.into_string());
    match field("type") {
        Some("ping") => Command::Answer(PONG.to_owned()),
        Some("pong") => Command::Ignore,
        Some(kind @ ("subscribe" | "unsubscribe")) => {
            let text = |name: &str| match object.get(name) {
                None => Ok(None),
                Some(value) if value.is_null() => Ok(None),
                Some(value) => {
                    value.into_string().map(Some).ok_or_else(|| format!("{name} must be a string"))
                }
            };
            match text("since").and_then(|since| start(since, text("after")?).map_err(|fault| fault.0)) {
                Ok(from) => about(kind, field("channel"), from),
                Err(fault) => Command::Answer(invalid(&fault)),
            }
        }
        other => Command::Answer(ack(other, text.len())),
    }
}

/// Words for who wrote it, with line and column: the fast reader calls most faults an internal error. What it alone
/// refuses, such as half of a surrogate pair, it says itself.
#[cold]
fn why(text: &str, error: &simd_json::Error) -> String {
    let words = syntax_words(text);
    if words.is_empty() { error.to_string() } else { words }
}

fn about(kind: &str, channel: Option<&str>, from: Start) -> Command<'static> {
    let Some(name) = channel else {
        return Command::Answer(invalid(&format!("{kind}: channel is required and must be a string")));
    };
    match Channel::parse(name) {
        Err(why) => Command::Answer(invalid(&format!("Invalid channel name: {why}"))),
        Ok(channel) if kind == "subscribe" => Command::Subscribe(Box::new(Subscribe {
            reference: Ref::default(),
            id: "".into(),
            targets: vec![Target::Channel(channel)],
            filter: None,
            from,
            form: Form::RAW,
            acks: None,
            topics: "".into(),
        })),
        Ok(_) => Command::Unsubscribe(Unsubscribe {
            reference: Ref::default(),
            which: Which::Channel(name.into()),
        }),
    }
}

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

/// A subscription that the client's token does not allow; the socket stays open.
pub fn unauthorized() -> String {
    json!({ "type": "error", "code": "FORBIDDEN", "message": Reason::Unauthorized.text() }).to_string()
}

/// More messages than a client may send; the socket stays open.
pub fn rate_limited(message_type: &str, retry_after_seconds: u64) -> String {
    json!({ "type": "error", "code": "RATE_LIMIT_EXCEEDED", "retry_after_seconds": retry_after_seconds,
            "message": format!("Rate limit exceeded for message type '{message_type}'"),
            "message_type": message_type })
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
    /// Of one user.
    PerUser,
    /// Of one address.
    PerAddress,
    /// Of one channel.
    PerChannel,
}

/// Said before the close that a limit brings about.
pub fn limit_reached(limit: LimitType, max: usize) -> String {
    let (name, words) = match limit {
        LimitType::Global => ("global", "Global connection limit reached"),
        LimitType::PerUser => ("per_user", "User connection limit reached"),
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
        LimitType::Global | LimitType::PerUser | LimitType::PerAddress => Reason::ConnectionLimit,
    }
}

/// Said before a drain.
pub fn shutdown(words: &str) -> String {
    json!({ "type": "shutdown", "message": words, "code": Reason::Shutdown.code() }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn answer(text: &str) -> Value {
        match read(text) {
            Command::Answer(answer) => serde_json::from_str(&answer).expect("answers are JSON"),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn pings_and_pongs_are_answered_in_kind() {
        assert!(matches!(read("ping"), Command::Answer(answer) if answer == "pong"));
        assert_eq!(answer(PING), json!({"type":"pong"}));
        assert!(matches!(read(PONG), Command::Ignore));
    }

    #[test]
    fn subscribe_and_unsubscribe_name_a_channel() {
        let Command::Subscribe(wish) = read(r#"{"type":"subscribe","channel":"user.user_123"}"#) else {
            panic!()
        };
        assert_eq!(wish.targets, [Target::Channel(Channel::parse("user.user_123").unwrap())]);
        assert_eq!((&*wish.id, wish.form, wish.label()), ("", Form::RAW, None));
        let Command::Unsubscribe(end) = read(r#"{"channel":"\u0061","type":"unsubscribe"}"#) else {
            panic!()
        };
        assert_eq!(end.which, Which::Channel("a".into()));
    }

    #[test]
    fn any_other_object_is_acknowledged_with_its_type_and_size() {
        assert_eq!(
            answer(r#"{"type":"trade","x":1}"#),
            json!({"type":"ack","message_type":"trade","size_bytes":22})
        );
        assert_eq!(answer("{}"), json!({"type":"ack","message_type":null,"size_bytes":2}));
        assert_eq!(answer(r#"{"type":7}"#), json!({"type":"ack","message_type":null,"size_bytes":10}));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(answer(&deep), json!({"type":"ack","message_type":null,"size_bytes":deep.len()}));
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_fault() {
        let subscriptions = format!(r#"{{"type":"subscribe","channel":[{}"a"]}}"#, "\"a\",".repeat(10_000));
        let deep = "[".repeat(100_000);
        let stars = format!(r#"{{"type":"subscribe","channel":"{}"}}"#, ["*"; 50].join("."));
        for (text, fault) in [
            ("pong", "Invalid JSON: expected value at line 1 column 1"),
            ("{\"type\":\"\\ud800\"}", "Invalid JSON: "),
            ("", "Invalid JSON: "),
            (r#"{"type":"ping"} x"#, "Invalid JSON: "),
            (&deep, "Invalid JSON: "),
            ("[1]", "Message must be a JSON object"),
            ("7", "Message must be a JSON object"),
            (r#"{"type":"subscribe"}"#, "subscribe: channel is required and must be a string"),
            (&subscriptions, "subscribe: channel is required and must be a string"),
            (r#"{"type":"unsubscribe","channel":""}"#, "Invalid channel name: Channel name cannot be empty"),
            (&stars, "Invalid channel name: "),
        ] {
            let answer = answer(text);
            assert_eq!(answer["code"], "VALIDATION_ERROR", "{text}");
            assert_eq!(answer["message"], "Message validation failed");
            assert!(answer["errors"][0].as_str().unwrap().starts_with(fault), "{answer}");
            assert_eq!(answer.as_object().unwrap().len(), 4);
        }
    }

    #[test]
    fn the_servers_own_messages_are_those_of_the_contract() {
        let said = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        assert_eq!(said(about_channel("subscribed", "a")), json!({"type":"subscribed","channel":"a"}));
        assert_eq!(said(shutdown("bye")), json!({"type":"shutdown","message":"bye","code":1001}));
        let limit = json!({"type":"error","code":"CONNECTION_LIMIT_EXCEEDED","limit_type":"per_channel","limit":2,
                           "message":"Channel connection limit reached: 2"});
        assert_eq!(said(limit_reached(LimitType::PerChannel, 2)), limit);
        let rate = json!({"type":"error","code":"RATE_LIMIT_EXCEEDED","retry_after_seconds":6,"message_type":"trade",
                          "message":"Rate limit exceeded for message type 'trade'"});
        assert_eq!(said(rate_limited("trade", 6)), rate);
    }
}
