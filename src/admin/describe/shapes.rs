//! The shapes of bodies over HTTP.

use super::{Interface, common_shapes, object, reference};
use serde_json::{Map, Value, json};

/// Objects, by the words of [`object`].
const OBJECTS: [(&str, &str); 15] = [
    (
        "Published",
        "status=published channel:Channel event_type:string|null timestamp:Timestamp clients_reached:count id:Position stored?:string",
    ),
    ("Refused", "status=error code:integer detail:RefusalDetail"),
    ("Fault", "field:string message:string"),
    ("Refusal", "detail:RefusalDetail"),
    (
        "RefusalDetail",
        "error:string message:string validation_errors?:[Fault] validation_errors_total?:count event_type?:string|null component?:string \
         size_bytes?:count max_size_bytes?:count max_items?:count",
    ),
    (
        "Problem",
        "type:string title:string status:integer detail:string validation_errors?:[Fault] event_type?:string|null \
         component?:string size_bytes?:count max_size_bytes?:count",
    ),
    ("History", "channel:Channel epoch:string|null first:Position|null last:Position|null events:[Stored]"),
    ("DeadLetters", "total:count letters:[DeadLetter]"),
    (
        "DeadLetter",
        "id:Position type=dead_letter channel:Channel position:Position|null reason:string detail:string attempts:count \
         retries:count subscription:string|null priority:Priority router:boolean timestamp:Timestamp event:Event",
    ),
    ("Purged", "purged:count"),
    ("Retried", "retried:count failed:count left:count letters:[RetriedLetter]"),
    (
        "RetriedLetter",
        "id:Position channel:Channel status:string position?:Position clients_reached?:count error?:string message?:string",
    ),
    ("Stored", "id:Position timestamp:Timestamp event:Event"),
    ("Live", "status=alive"),
    (
        "Stats",
        "uptime_seconds:number total_connections:count total_messages_sent:count total_messages_received:count \
         active_clients:count active_channels:count channels:object schemas:object shards:[object] tls?:object",
    ),
];

pub fn shapes(interface: &Interface) -> Map<String, Value> {
    let mut shapes = common_shapes();
    shapes.extend(OBJECTS.iter().map(|(name, members)| ((*name).to_owned(), object(members))));
    let limits = &interface.limits;
    shapes["Event"]["description"] = json!(format!(
        "Any JSON object that is not empty, of at most {} bytes ({} of data, {} of metadata). It is delivered byte for byte as it came.",
        limits.event_bytes, limits.payload_bytes, limits.metadata_bytes
    ));
    let more = [
        ("PublishRequest", publish_request(limits.key_chars)),
        ("CloudEvent", cloud_event()),
        (
            "Results",
            json!({ "type": "array", "items": { "anyOf": [reference("Published"), reference("Refused")] } }),
        ),
        ("Health", health()),
        ("Ready", ready()),
        ("Channels", channels()),
    ];
    shapes.extend(more.map(|(name, schema)| (name.to_owned(), schema)));
    shapes
}

fn publish_request(key_chars: usize) -> Value {
    let mut schema = object(
        "channel:Channel data:Event priority?:Priority|null exclude?:ConnectionId|null keep?:boolean|null",
    );
    schema["properties"]["id"] = json!({
        "description": "A repeat within five minutes gets the first answer, and delivers nothing.",
        "type": ["string", "null"], "minLength": 1, "maxLength": key_chars,
    });
    schema["properties"]["ttl"] = json!({
        "description": "Seconds after which the event is not delivered any more.",
        "type": ["number", "null"], "exclusiveMinimum": 0,
    });
    schema
}

fn cloud_event() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let maybe = json!({ "type": ["string", "null"], "minLength": 1 });
    json!({
        "description": "CloudEvents 1.0 in the JSON format.",
        "type": "object",
        "required": ["id", "source", "specversion", "type"],
        "properties": {
            "id": text, "source": text, "specversion": { "const": "1.0" }, "type": text,
            "datacontenttype": maybe, "dataschema": maybe, "subject": maybe,
            "time": { "type": ["string", "null"], "format": "date-time" },
            "data": {},
            "data_base64": { "type": ["string", "null"], "contentEncoding": "base64" },
        },
        "not": { "required": ["data", "data_base64"] },
    })
}

fn health() -> Value {
    let mut schema = object(
        "status:string version:string environment:string uptime_seconds:count total_clients:count channels:object \
         components:object checks:object metrics:object timestamp:Timestamp",
    );
    schema["properties"]["status"] = json!({ "enum": ["healthy", "degraded", "unhealthy", "draining"] });
    schema["properties"]["channels"] = counts();
    schema["properties"]["metrics"] = object(
        "active_connections:count active_channels:count total_messages_sent:count total_messages_received:count",
    );
    schema
}

fn ready() -> Value {
    let mut schema = object("status:string ready:boolean");
    schema["properties"]["status"] = json!({ "enum": ["ready", "not_ready"] });
    schema
}

fn channels() -> Value {
    let mut schema = object("status=success message:string channels:object total_channels:count");
    schema["properties"]["channels"] = counts();
    schema
}

/// Clients by channel.
fn counts() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 } })
}
