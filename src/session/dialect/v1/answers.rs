//! What the server says in dialect `courier.v1` besides events (contract 5), and the table of its errors.

use super::super::text::zulu;
use crate::event::{Channel, ConnectionId, Event, Position};
use crate::session::command::{Ref, Subscribe};
use crate::session::history::{Standing, write_page_fields};
use crate::session::{Reason, Refusal};
use serde_json::{Value, json};

/// Who speaks.
const SERVER: &str = concat!("courier/", env!("CARGO_PKG_VERSION"));

/// The most connections that one answer about presence lists; the count is of all.
pub const PRESENCE_LISTED_MAX: usize = 1000;

/// Why a message was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Not JSON.
    InvalidJson,
    /// No object, a field missing or of the wrong kind.
    InvalidMessage,
    /// A `type` that nobody knows.
    UnknownType,
    /// A name outside the grammar.
    InvalidChannel,
    /// A pattern outside the grammar.
    InvalidPattern,
    /// The id is taken by another subscription of this connection.
    SubscriptionExists,
    /// More subscriptions than one connection may have.
    SubscriptionLimit,
    /// There is no such subscription.
    NotSubscribed,
    /// The channel has as many clients as it may.
    ChannelFull,
    /// An event that cannot be published as it is.
    InvalidEvent,
    /// An event beyond a limit on sizes.
    EventTooLarge,
    /// Not for this client.
    Forbidden,
    /// Too much in too short a time.
    RateLimited,
    /// The server does not take it now.
    Unavailable,
    /// This server does not do that.
    NotAvailable,
}

impl Code {
    /// All of them, for documents and tests.
    pub const ALL: [Code; 15] = [
        Code::InvalidJson,
        Code::InvalidMessage,
        Code::UnknownType,
        Code::InvalidChannel,
        Code::InvalidPattern,
        Code::SubscriptionExists,
        Code::SubscriptionLimit,
        Code::NotSubscribed,
        Code::ChannelFull,
        Code::InvalidEvent,
        Code::EventTooLarge,
        Code::Forbidden,
        Code::RateLimited,
        Code::Unavailable,
        Code::NotAvailable,
    ];

    /// The word, and whether the same message may succeed later.
    const fn row(self) -> (&'static str, bool) {
        match self {
            Code::InvalidJson => ("INVALID_JSON", false),
            Code::InvalidMessage => ("INVALID_MESSAGE", false),
            Code::UnknownType => ("UNKNOWN_TYPE", false),
            Code::InvalidChannel => ("INVALID_CHANNEL", false),
            Code::InvalidPattern => ("INVALID_PATTERN", false),
            Code::SubscriptionExists => ("SUBSCRIPTION_EXISTS", false),
            Code::SubscriptionLimit => ("SUBSCRIPTION_LIMIT_EXCEEDED", false),
            Code::NotSubscribed => ("NOT_SUBSCRIBED", false),
            Code::ChannelFull => ("CHANNEL_FULL", true),
            Code::InvalidEvent => ("INVALID_EVENT", false),
            Code::EventTooLarge => ("EVENT_TOO_LARGE", false),
            Code::Forbidden => ("FORBIDDEN", false),
            Code::RateLimited => ("RATE_LIMIT_EXCEEDED", true),
            Code::Unavailable => ("UNAVAILABLE", true),
            Code::NotAvailable => ("NOT_AVAILABLE", false),
        }
    }

    /// The word that a client's code matches.
    pub const fn word(self) -> &'static str {
        self.row().0
    }

    /// Whether the same message may succeed later.
    pub const fn retry(self) -> bool {
        self.row().1
    }

    /// The code for a publish that was refused.
    pub fn of_refusal(refusal: &Refusal) -> Code {
        match refusal.status {
            401 | 403 => Code::Forbidden,
            413 => Code::EventTooLarge,
            429 => Code::RateLimited,
            400..500 => Code::InvalidEvent,
            _ => Code::Unavailable,
        }
    }
}

/// A message with its mark as the client wrote it, which no number type would keep.
fn answer(kind: &str, reference: &Ref, body: Value) -> String {
    let body = body.to_string();
    let comma = if body == "{}" { "" } else { "," };
    format!("{{\"type\":\"{kind}\",\"ref\":{}{comma}{}", reference.json(), &body[1..])
}

/// Said first. `expires_at_ms` is when the token ends, in milliseconds since 1970.
pub fn welcome(connection: ConnectionId, heartbeat_seconds: u64, expires_at_ms: Option<u64>) -> String {
    json!({ "type": "welcome", "connection": connection.to_string(), "server": SERVER,
            "heartbeat_seconds": heartbeat_seconds, "expires_at": expires_at_ms.map(zulu) })
    .to_string()
}

/// The answer to `ping`.
pub fn pong(reference: &Ref) -> String {
    answer("pong", reference, json!({}))
}

/// The answer to `subscribe`. `position` is the channel's at that moment, `None` for a pattern. `recovered` only when
/// every event between the position that was given and now went out before; `replayed` says how many those were.
pub fn subscribed(wish: &Subscribe, position: Option<Position>, recovered: bool, replayed: u32) -> String {
    let channel = wish.targets.first().map(|target| target.as_str());
    let mut body = json!({ "id": wish.id, "channel": channel, "position": position.map(|p| p.to_string()),
                           "recovered": recovered, "replayed": replayed });
    if let Some(acks) = &wish.acks {
        body["ack"] = json!(true);
        body["ack_timeout"] = json!(acks.timeout_us as f64 / 1e6);
        body["max_attempts"] = json!(acks.attempts_max);
    }
    answer("subscribed", &wish.reference, body)
}

/// The answer to `unsubscribe`.
pub fn unsubscribed(reference: &Ref, id: &str, channel: &str) -> String {
    answer("unsubscribed", reference, json!({ "id": id, "channel": channel }))
}

/// The answer to `ack` and `nack`: how many events that concerned, how many of the subscription are still in flight, and
/// up to where all are settled.
pub fn acked(reference: &Ref, count: usize, in_flight: usize, position: Option<Position>) -> String {
    let position = position.map(|position| position.to_string());
    answer("acked", reference, json!({ "count": count, "in_flight": in_flight, "position": position }))
}

/// The answer to `publish`: `body` is that of `POST /publish` (contract 3.1), a JSON object with something in it.
pub fn published(reference: &Ref, body: &[u8]) -> String {
    let body = std::str::from_utf8(body).expect("an answer is JSON");
    format!("{{\"type\":\"published\",\"ref\":{},{}", reference.json(), &body[1..])
}

/// The answer to `presence`: how many hear the channel (`count` and `total`), the first [`PRESENCE_LISTED_MAX`] of them,
/// and whether these are not all.
pub fn presence(reference: &Ref, channel: &Channel, connections: &[ConnectionId]) -> String {
    let listed: Vec<String> =
        connections.iter().take(PRESENCE_LISTED_MAX).map(ConnectionId::to_string).collect();
    let (total, truncated) = (connections.len(), connections.len() > PRESENCE_LISTED_MAX);
    let body = json!({ "channel": channel.as_str(), "count": total, "connections": listed, "total": total,
                       "truncated": truncated });
    answer("presence", reference, body)
}

/// The answer to `history`, as bytes: a page as of `GET /history/{channel}`.
pub fn history_page<'e>(
    reference: &Ref,
    standing: &Standing<'_>,
    events: impl Iterator<Item = (Position, &'e Event)>,
) -> Vec<u8> {
    let mut out = format!("{{\"type\":\"history\",\"ref\":{},", reference.json()).into_bytes();
    write_page_fields(standing, events, &mut out);
    out.push(b'}');
    out
}

/// The answer to `auth`: the socket lives with the new token, which ends then, in milliseconds since 1970.
pub fn authenticated(reference: &Ref, expires_at_ms: Option<u64>) -> String {
    answer("authenticated", reference, json!({ "expires_at": expires_at_ms.map(zulu) }))
}

/// The answer to what is not carried out.
pub fn error(reference: &Ref, code: Code, message: &str) -> String {
    let body = json!({ "code": code.word(), "message": message, "retry": code.retry() });
    answer("error", reference, body)
}

/// One publish or message too many; the same may succeed after so many seconds.
pub fn rate_limited(reference: &Ref, message: &str, retry_after_s: u64) -> String {
    let code = Code::RateLimited;
    let body = json!({ "code": code.word(), "message": message, "retry": code.retry(),
                       "retry_after_seconds": retry_after_s });
    answer("error", reference, body)
}

/// Events of a channel that this subscriber will not get: those from `from` to `to`, both included.
pub fn gap(channel: &Channel, from: Position, to: Position, reason: &str) -> String {
    json!({ "type": "gap", "channel": channel.as_str(), "from": from.to_string(), "to": to.to_string(),
            "reason": reason })
    .to_string()
}

/// The token ends soon.
pub fn expiring(in_seconds: u64) -> String {
    json!({ "type": "expiring", "in_seconds": in_seconds }).to_string()
}

/// Said before a drain.
pub fn shutdown(words: &str) -> String {
    json!({ "type": "shutdown", "message": words, "code": Reason::Shutdown.code() }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Form, Pattern};
    use crate::session::command::Target;
    use crate::session::query::Start;
    use crate::stdx::slab::Key;

    fn said(text: &str) -> Value {
        serde_json::from_str(text).expect("what is said is JSON")
    }

    const POSITION: Position = Position { epoch: 0xab, offset: 7 };

    #[test]
    fn every_message_has_the_fields_of_the_contract() {
        let id = ConnectionId::new(1, Key { slot: 2, generation: 3 });
        let channel = Channel::parse("a.b").unwrap();
        let mark = Ref::parse("1.50e2").unwrap();
        let welcome_body = json!({"type":"welcome","connection":"conn_010000020003","server":SERVER,
                                  "heartbeat_seconds":30,"expires_at":"2026-11-21T14:36:15.123Z"});
        assert_eq!(said(&welcome(id, 30, Some(1_795_271_775_123))), welcome_body);
        assert!(pong(&mark).contains("\"ref\":1.50e2}"));
        assert_eq!(
            said(&unsubscribed(&mark, "i", "a.b")),
            json!({"type":"unsubscribed","ref":150.0,"id":"i","channel":"a.b"})
        );
        let answer = br#"{"status":"published","id":"000000ab-7"}"#;
        assert_eq!(
            said(&published(&mark, answer)),
            json!({"type":"published","ref":150.0,"status":"published","id":"000000ab-7"})
        );
        assert_eq!(
            said(&presence(&mark, &channel, &[id])),
            json!({"type":"presence","ref":150.0,"channel":"a.b","count":1,"connections":["conn_010000020003"],
                   "total":1,"truncated":false})
        );
        assert_eq!(
            said(&gap(&channel, POSITION, POSITION, "slow consumer")),
            json!({"type":"gap","channel":"a.b","from":"000000ab-7","to":"000000ab-7","reason":"slow consumer"})
        );
        assert_eq!(said(&expiring(60)), json!({"type":"expiring","in_seconds":60}));
        assert_eq!(said(&shutdown("bye")), json!({"type":"shutdown","message":"bye","code":1001}));
    }

    #[test]
    fn a_subscription_is_answered_with_its_channel_or_pattern() {
        let mut wish = Subscribe {
            reference: Ref::default(),
            id: "i".into(),
            targets: vec![Target::Channel(Channel::parse("a").unwrap())],
            filter: None,
            from: Start::Live,
            form: Form::RAW,
            acks: None,
            topics: "".into(),
        };
        assert_eq!(
            said(&subscribed(&wish, Some(POSITION), true, 3)),
            json!({"type":"subscribed","ref":null,"id":"i","channel":"a","position":"000000ab-7","recovered":true,
                   "replayed":3})
        );
        wish.targets = vec![Target::Pattern(Pattern::parse("a.*").unwrap())];
        let answer = said(&subscribed(&wish, None, false, 0));
        assert_eq!((&answer["channel"], &answer["position"]), (&json!("a.*"), &Value::Null));
    }

    #[test]
    fn codes_differ_and_errors_say_whether_to_try_again() {
        let mut words: Vec<&str> = Code::ALL.iter().map(|code| code.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
        assert_eq!(
            said(&error(&Ref::parse("true").unwrap(), Code::ChannelFull, "full")),
            json!({"type":"error","ref":true,"code":"CHANNEL_FULL","message":"full","retry":true})
        );
        for (status, code) in
            [(400, Code::InvalidEvent), (413, Code::EventTooLarge), (503, Code::Unavailable)]
        {
            assert_eq!(Code::of_refusal(&Refusal::new(status, "x", "y")), code);
        }
    }

    #[test]
    fn a_long_presence_is_cut_but_counted() {
        let ids = vec![ConnectionId::new(0, Key { slot: 0, generation: 0 }); PRESENCE_LISTED_MAX + 5];
        let answer = said(&presence(&Ref::default(), &Channel::parse("a").unwrap(), &ids));
        assert_eq!((&answer["total"], &answer["truncated"]), (&json!(PRESENCE_LISTED_MAX + 5), &json!(true)));
        assert_eq!(answer["connections"].as_array().unwrap().len(), PRESENCE_LISTED_MAX);
    }
}
