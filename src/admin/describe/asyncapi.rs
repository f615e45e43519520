//! `/asyncapi.json`: AsyncAPI 3.0.0.

use super::messages::{MESSAGES, Message, Speaker, dialects};
use super::{Interface, common_shapes, info, object, reference, security};
use serde_json::{Map, Value, json};

/// Bytes of a client's message in the dialects that have bounds of their own (contract 6, `sources.md` 2.1).
const ROUTER_MESSAGE_BYTES: usize = 10_000_000;
const FREQSEARCH_MESSAGE_BYTES: usize = 512;

pub fn document(interface: &Interface) -> Value {
    let sockets = || interface.paths.iter().filter(|path| path.socket).map(|path| path.path);
    let closes: Vec<Value> = interface
        .closes
        .iter()
        .map(|close| json!({ "code": close.code, "reason": close.reason, "retry": close.retry }))
        .collect();
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Courier",
            "version": interface.version,
            "description": "A real-time event hub: the sockets. What is asked over HTTP is described in /openapi.json.",
            "license": info(interface, "")["license"],
        },
        "defaultContentType": "application/json",
        "servers": {
            "courier": {
                "host": "{authority}", "protocol": "ws",
                "variables": { "authority": { "default": "127.0.0.1:8766", "description": "Host and port." } },
            },
        },
        "channels": sockets().map(|path| (name(path), channel(path, interface))).collect::<Map<_, _>>(),
        "operations": sockets().flat_map(operations).collect::<Map<_, _>>(),
        "components": {
            "messages": MESSAGES.iter().map(|line| (id(line), message(line))).collect::<Map<_, _>>(),
            "schemas": shapes(),
        },
        "x-close-reasons": closes,
    });
    let schemes = security::socket_schemes(interface);
    if !schemes.is_empty() {
        let any =
            schemes.keys().map(|name| json!({ "$ref": format!("#/components/securitySchemes/{name}") }));
        document["servers"]["courier"]["security"] = any.collect();
        document["components"]["securitySchemes"] = json!(schemes);
    }
    document
}

/// The identifier of a path's channel.
fn name(path: &str) -> String {
    let words: Vec<&str> =
        path.split('/').filter(|word| !word.is_empty()).map(|word| word.trim_matches(['{', '}'])).collect();
    if words.is_empty() { "root".to_owned() } else { words.join("_") }
}

/// The identifier of a message.
fn id((dialect, speaker, name, _, _): &Message) -> String {
    let speaker = if *speaker == Speaker::Client { "client" } else { "server" };
    format!("{dialect}.{speaker}.{name}")
}

fn spoken(path: &str) -> impl Iterator<Item = &'static Message> {
    let dialects = dialects(path).unwrap_or_else(|| panic!("nobody knows what is spoken at {path}"));
    MESSAGES.iter().filter(|(dialect, ..)| dialects.contains(dialect))
}

fn channel(path: &str, interface: &Interface) -> Value {
    let messages: Map<String, Value> = spoken(path)
        .map(|line| (id(line), json!({ "$ref": format!("#/components/messages/{}", id(line)) })))
        .collect();
    let bytes = match dialects(path) {
        Some(["router"]) => ROUTER_MESSAGE_BYTES,
        Some(["freqsearch"]) => FREQSEARCH_MESSAGE_BYTES,
        _ => interface.limits.message_bytes,
    };
    let mut channel = json!({
        "address": path,
        "description": format!(
            "A message of a client is text of at most {bytes} bytes. Heartbeat every {} s; at most {} subscriptions. Dialects: {} (by subprotocol where there are two).",
            interface.heartbeat_s,
            interface.limits.subscriptions,
            dialects(path).unwrap_or_default().join(", "),
        ),
        "messages": messages,
        "bindings": { "ws": { "method": "GET", "query": query(path), "bindingVersion": "0.1.0" } },
    });
    if path.contains("{channel}") {
        channel["parameters"] = json!({ "channel": { "description": "A channel's name, percent-encoded; a bad one closes the socket, 1008." } });
    }
    channel
}

/// What the queries of sockets may hold.
const QUERY: [(&str, &str); 8] = [
    ("types", "Types of events, comma separated; the last segment may be *."),
    ("priorities", "Priorities, comma separated: 1 to 10 or names."),
    ("sources", "Sources of events, comma separated."),
    ("since", "Stored events from that RFC 3339 time on, before live ones."),
    ("after", "Stored events behind that position, before live ones; it goes before since."),
    ("format", "raw, or cloudevents: each event as a CloudEvent."),
    ("rooms", "Channels, comma separated; what lies below one belongs to it."),
    ("token", "A token, where no header field can be set."),
];

/// What a query may hold.
fn query(path: &str) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let mut properties = Map::new();
    let (dialects, in_path) = (dialects(path).unwrap_or_default(), path.contains("{channel}"));
    for (name, description) in QUERY {
        let there = match name {
            "token" => true,
            "rooms" => dialects.contains(&"freqsearch"),
            // Subscriptions by command say what they want.
            "types" | "priorities" | "sources" => in_path || dialects.contains(&"freqsearch"),
            "since" | "after" => in_path,
            _ => in_path && dialects.contains(&"courier"),
        };
        if there {
            properties.insert(name.to_owned(), text(description));
        }
    }
    json!({ "type": "object", "properties": properties })
}

fn operations(path: &'static str) -> Vec<(String, Value)> {
    // An action is the server's: it sends what clients get.
    [(Speaker::Server, "send"), (Speaker::Client, "receive")]
        .into_iter()
        .map(|(speaker, action)| {
            let channel = name(path);
            let messages: Vec<Value> = spoken(path)
                .filter(|(_, by, ..)| *by == speaker)
                .map(|line| json!({ "$ref": format!("#/channels/{channel}/messages/{}", id(line)) }))
                .collect();
            let operation = json!({
                "action": action,
                "channel": { "$ref": format!("#/channels/{channel}") },
                "messages": messages,
            });
            (format!("{action}_{channel}"), operation)
        })
        .collect()
}

fn message(line: &Message) -> Value {
    let (_, _, name, members, summary) = line;
    let payload = match (*name, *members) {
        ("event", "") => reference("Event"),
        (_, "") => json!({}),
        (_, members) => object(members),
    };
    json!({ "name": name, "summary": summary, "payload": payload })
}

fn shapes() -> Map<String, Value> {
    let mut shapes = common_shapes();
    shapes.insert("Stored".to_owned(), object("id:Position timestamp:Timestamp event:Event"));
    shapes.insert(
        "RouterEvent".to_owned(),
        object(
            "id?:string topic?:string type?:string priority?:Priority source?:string|null target?:string|null \
             payload?:object metadata?:object timestamp?:string version?:string delivery_status?:string \
             delivery_attempts?:count last_delivery_attempt?:string|null delivery_error?:string|null",
        ),
    );
    shapes.insert(
        "RouterSubscription".to_owned(),
        object(
            "id?:string topics?:[Pattern] types?:[string] priorities?:[Priority] priority_mode?:string \
             sources?:[string] ack?:boolean max_retries?:count retry_delay?:number timeout?:number",
        ),
    );
    shapes
}
