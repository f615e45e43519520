//! The server's interface as documents (contract 2): `/openapi.json` for what is asked over HTTP, `/asyncapi.json` for
//! what is said on sockets. Made once at start from the tables that the server itself goes by; knows no request.

mod asyncapi;
mod messages;
mod openapi;
mod operations;
mod security;
mod shapes;

use crate::event::PRIORITY_NAMES;
use serde_json::{Map, Value, json};

/// What the documents are made from.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Of the package.
    pub version: &'static str,
    /// Every path there is.
    pub paths: Vec<Path>,
    /// Why sockets are closed.
    pub closes: Vec<Close>,
    /// Between two heartbeats on a socket, in seconds.
    pub heartbeat_s: f64,
    /// Sizes and counts.
    pub limits: Limits,
    /// Where who may do what is asked; `None`: nobody is.
    pub asked: Option<Asked>,
}

/// What a client may show.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The cookie that may bring a token; empty: none.
    pub cookie: String,
    /// Certificates of clients are looked at.
    pub certificates: bool,
}

/// One path.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// With `{channel}` where a channel goes.
    pub path: &'static str,
    /// As `Allow` names them.
    pub methods: &'static str,
    /// A socket is opened there.
    pub socket: bool,
}

/// One reason to close a socket.
#[derive(Clone, Copy, Debug)]
pub struct Close {
    /// The status code (RFC 6455 7.4).
    pub code: u16,
    /// The words.
    pub reason: &'static str,
    /// `no`, `later` or `with jitter`.
    pub retry: &'static str,
}

/// Bounds that clients meet.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of an event and of a request's body, in bytes.
    pub event_bytes: usize,
    /// Of an event's `data`, in bytes.
    pub payload_bytes: usize,
    /// Of an event's `metadata`, in bytes.
    pub metadata_bytes: usize,
    /// Of a message from a client, in bytes.
    pub message_bytes: usize,
    /// Of a batch, in items.
    pub batch_items: usize,
    /// Of an idempotency key, in characters.
    pub key_chars: usize,
    /// Subscriptions of one connection.
    pub subscriptions: usize,
    /// Channel names in a report.
    pub report_names: usize,
}

/// Both documents, as they are sent.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// `/openapi.json`
    pub openapi: Box<[u8]>,
    /// `/asyncapi.json`
    pub asyncapi: Box<[u8]>,
}

impl Documents {
    /// Writes both.
    ///
    /// # Panics
    /// If a path is described nowhere, which a test of the server's tables rules out.
    pub fn of(interface: &Interface) -> Documents {
        Documents {
            openapi: openapi::document(interface).to_string().into_bytes().into_boxed_slice(),
            asyncapi: asyncapi::document(interface).to_string().into_bytes().into_boxed_slice(),
        }
    }
}

/// What both documents say of the whole.
fn info(interface: &Interface, summary: &str) -> Value {
    json!({
        "title": "Courier",
        "version": interface.version,
        "summary": summary,
        "license": { "name": "MIT OR Apache-2.0" },
    })
}

/// Shapes that both documents refer to.
fn common_shapes() -> Map<String, Value> {
    let names = PRIORITY_NAMES.map(|(name, _)| name);
    let shapes = json!({
        "Channel": {
            "description": "A named stream of events; segments are separated by dots.",
            "type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[A-Za-z0-9._:-]+$",
            "examples": ["user.user_123", "forge.job.7"],
        },
        "Pattern": {
            "description": "A channel in which a whole segment may be * (exactly one segment) or the last may be ** (one or more). * alone is every channel.",
            "type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[A-Za-z0-9._:*-]+$",
            "examples": ["user.*", "task.**"],
        },
        "Position": {
            "description": "Where an event stands in its channel: the numbering's name, and a number that grows by one per event.",
            "type": "string", "pattern": "^[0-9a-f]{8}-[0-9]+$", "examples": ["5f0c2a9e-42"],
        },
        "Timestamp": {
            "description": "RFC 3339 in UTC with milliseconds.",
            "type": "string", "format": "date-time", "examples": ["2026-01-02T03:04:05.678Z"],
        },
        "ConnectionId": { "type": "string", "pattern": "^conn_[0-9a-f]{12}$" },
        "Priority": {
            "description": "1 (lowest) to 10, or a name; 5 (NORMAL) when it is not said. The higher goes first wherever a queue forms.",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 10 },
                { "type": "string", "enum": names },
            ],
        },
        "Event": {
            "description": "Any JSON object that is not empty. It is delivered byte for byte as it came.",
            "type": "object", "minProperties": 1,
            "examples": [{ "type": "order.filled", "source": "matcher", "data": { "id": "7f3a9c" } }],
        },
    });
    match shapes {
        Value::Object(shapes) => shapes,
        _ => Map::new(),
    }
}

fn reference(shape: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{shape}") })
}

/// The schema of an object from its members: `name:shape`, `name?:shape` for one that may be missing, `name=text` for a
/// constant. Members that are not named may be there too.
fn object(members: &str) -> Value {
    let mut required: Vec<&str> = Vec::new();
    let mut properties = Map::new();
    for member in members.split_whitespace() {
        if let Some((name, text)) = member.split_once('=') {
            required.push(name);
            properties.insert(name.to_owned(), json!({ "const": text }));
            continue;
        }
        let (name, of) = member.split_once(':').expect("a member is name:shape");
        let optional = name.strip_suffix('?');
        if optional.is_none() {
            required.push(name);
        }
        properties.insert(optional.unwrap_or(name).to_owned(), shape(of));
    }
    json!({ "type": "object", "required": required, "properties": properties })
}

/// A shape by its word; `a|null` may be null, `[a]` is a list of them, a capital letter starts one of the shared ones.
fn shape(word: &str) -> Value {
    if let Some(word) = word.strip_suffix("|null") {
        return json!({ "anyOf": [shape(word), { "type": "null" }] });
    }
    if let Some(word) = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return json!({ "type": "array", "items": shape(word) });
    }
    match word {
        "any" => json!({}),
        "count" => json!({ "type": "integer", "minimum": 0 }),
        "string" | "integer" | "number" | "boolean" | "object" => json!({ "type": word }),
        shared => reference(shared),
    }
}
