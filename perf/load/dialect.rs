//! The words by which a subscriber asks each of Courier's dialects for one channel. What comes back is the same to all:
//! the event's own text, verbatim, in whatever stands around it (see [`crate::reader`]).

use serde_json::json;

/// What a subscriber speaks.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Raw events; rivals are asked the same way.
    Courier,
    /// Subprotocol `courier.v1`.
    V1,
    /// `/ws/events/{channel}`
    Events,
    /// `/router`, by command.
    Router,
    /// `/api/v1/ws/events`
    Freqsearch,
    /// Server-sent events.
    Sse,
}

/// How one subscriber asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Wish {
    /// What to ask for, with the query.
    pub path: String,
    /// An upgrade to WebSocket, or a plain request.
    pub socket: bool,
    /// Further fields of the request, each with its line end.
    pub fields: String,
    /// What is said once the socket is open; the answer to it holds [`SUBSCRIBED`].
    pub command: Option<String>,
}

/// What an answered command holds in every dialect that has commands.
pub const SUBSCRIBED: &[u8] = b"\"type\":\"subscribed\"";

impl Dialect {
    /// How to ask for `channel`, by the pattern that covers it instead of its name if there is one.
    pub fn wish(self, channel: &str, pattern: Option<&str>) -> Wish {
        let path = match self {
            Dialect::Courier => format!("/ws/{channel}"),
            Dialect::V1 if pattern.is_some() => "/ws".to_owned(),
            Dialect::V1 => format!("/ws/{channel}"),
            Dialect::Events => format!("/ws/events/{channel}"),
            Dialect::Router => "/router".to_owned(),
            Dialect::Freqsearch => format!("/api/v1/ws/events?rooms={channel}"),
            Dialect::Sse => format!("/sse/{channel}"),
        };
        let fields = match self {
            Dialect::V1 => "Sec-WebSocket-Protocol: courier.v1\r\n",
            Dialect::Sse => "Accept: text/event-stream\r\n",
            _ => "",
        };
        let command = match (self, pattern) {
            (Dialect::V1, Some(pattern)) => Some(json!({"type": "subscribe", "ref": 1, "pattern": pattern})),
            (Dialect::Router, _) => {
                let topics = [pattern.unwrap_or(channel)];
                Some(json!({"type": "subscribe", "subscription": {"topics": topics}}))
            }
            _ => None,
        };
        let command = command.map(|command| command.to_string());
        Wish { path, socket: self != Dialect::Sse, fields: fields.to_owned(), command }
    }

    /// Whether a pattern can be asked for.
    pub fn knows_patterns(self) -> bool {
        matches!(self, Dialect::V1 | Dialect::Router)
    }

    /// Whether a query can narrow what comes down to some types.
    pub fn knows_types(self) -> bool {
        matches!(self, Dialect::Courier | Dialect::V1 | Dialect::Sse)
    }
}
