//! What is done at each path that speaks HTTP.

use super::{Interface, reference};
use crate::event::Cause;
use serde_json::{Map, Value, json};

/// The statuses of refusals, and when they come.
const REFUSALS: [(&str, &str); 9] = [
    (
        "400",
        "The request says something that cannot be; the body names every field at fault. So it does when an event does not fit the schema of its type (`Event validation failed`).",
    ),
    ("403", "A page of a foreign origin asks, where nobody is asked for a token."),
    ("408", "The request did not arrive in time."),
    ("413", "The event, or a part of it, is too large."),
    ("415", "CloudEvents in another format than JSON."),
    ("422", "X-Service-Name is missing, and asked for by rate_limit.publish.require_service_name."),
    ("429", "The publisher has published as much as it may in a while; Retry-After says when to try again."),
    ("431", "The head is too large."),
    ("503", "The server stops, or protects itself; nothing was delivered."),
];

/// Refusals of a publish, and of a question.
const OF_PUBLISH: [&str; 9] = ["400", "403", "408", "413", "415", "422", "429", "431", "503"];
const OF_QUESTION: [&str; 2] = ["400", "431"];

/// The main operation at a path: POST where something is published, else GET.
pub fn operation(path: &str, interface: &Interface) -> Option<Value> {
    Some(match path {
        "/publish" => publish("publish", "Publish an event; the body names the channel.", envelope()),
        "/publish/{channel}" => publish_to_channel(),
        "/publish/batch" => batch(interface),
        "/history/{channel}" => history(),
        "/dead-letters" => dead_letters(
            "dead_letters",
            "Dead letters, oldest first.",
            letter_page(),
            "DeadLetters",
            "With an id, that one.",
        ),
        "DELETE /dead-letters" => dead_letters(
            "purge_dead_letters",
            "Forget dead letters. Which must be said; all=true means all.",
            letter_filter(true),
            "Purged",
            "How many are gone.",
        ),
        "/dead-letters/retry" => dead_letters(
            "retry_dead_letters",
            "Publish dead letters again, at most 256 at once. Those that are taken are letters no more.",
            letter_filter(true),
            "Retried",
            "What became of each, and how many more there are.",
        ),
        "/sse" => stream("stream", true),
        "/sse/{channel}" => stream("stream_channel", false),
        "/health" => state(
            "health",
            "State, with counts and checks; 503 when it is unhealthy or draining.",
            "Health",
            true,
            interface,
        ),
        "/health/live" => state("live", "Whether the process is there.", "Live", false, interface),
        "/health/ready" => state("ready", "Whether new work is taken.", "Ready", false, interface),
        "/stats" => state("stats", "Counts since the start.", "Stats", true, interface),
        "/channels" => state("channels", "Channels and how many hear them.", "Channels", true, interface),
        "/openapi.json" => document("openapi", "This document."),
        "/asyncapi.json" => document("asyncapi", "The description of the sockets."),
        _ => return None,
    })
}

const ON_CHANNEL: &str =
    "Publish the whole body as an event. A CloudEvent in binary mode is told by its ce- fields.";

fn refusals(statuses: &[&str]) -> Map<String, Value> {
    let known = REFUSALS.iter().filter(|(status, _)| statuses.contains(status));
    known
        .map(|(status, description)| {
            let answer = json!({
                "description": description,
                "content": {
                    "application/json": { "schema": reference("Refusal") },
                    "application/problem+json": { "schema": reference("Problem") },
                },
            });
            ((*status).to_owned(), answer)
        })
        .collect()
}

fn answers(ok: Value, refused: &[&str]) -> Value {
    let mut all = refusals(refused);
    all.insert("200".to_owned(), ok);
    Value::Object(all)
}

fn json_answer(description: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn publish(id: &str, summary: &str, body: Value) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "tags": ["publish"],
        "parameters": publish_fields(),
        "requestBody": { "required": true, "content": body },
        "responses": answers(json_answer("Put into the queues of all who hear it.", reference("Published")), &OF_PUBLISH),
    })
}

fn publish_fields() -> Vec<Value> {
    let field = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "description": description, "schema": schema });
    vec![
        field(
            "X-Service-Name",
            "Who publishes; an event that names its source must name the same.",
            json!({ "type": "string" }),
        ),
        field(
            "Idempotency-Key",
            "A repeat within five minutes gets the first answer, and delivers nothing. Items of a batch are told apart by their place.",
            json!({ "type": "string", "maxLength": 256, "pattern": "^(\"[ !#-~]+\"|[ !#-~]*[!#-~][ !#-~]*)$" }),
        ),
        field(
            "traceparent",
            "Kept with the event (W3C Trace Context); a malformed one is passed over.",
            json!({ "type": "string" }),
        ),
    ]
}

fn envelope() -> Value {
    json!({ "application/json": { "schema": reference("PublishRequest") } })
}

fn event_or_cloud_event() -> Value {
    json!({
        "application/json": { "schema": reference("Event") },
        "application/cloudevents+json": { "schema": reference("CloudEvent") },
        "application/cloudevents-batch+json": {
            "schema": {
                "description": "CloudEvents; one that is none is refused alone. The answer is that of /publish/batch.",
                "type": "array",
            },
        },
    })
}

fn publish_to_channel() -> Value {
    let mut publish = publish("publish_to_channel", ON_CHANNEL, event_or_cloud_event());
    let schema = json!({ "anyOf": [reference("Published"), reference("Results")] });
    publish["responses"]["200"] = json_answer("As of /publish; for a batch as of /publish/batch.", schema);
    publish
}

fn batch(interface: &Interface) -> Value {
    let items = interface.limits.batch_items;
    let body = json!({
        "application/json": {
            "schema": {
                "description": "Each item is a PublishRequest; one that is none is refused alone.",
                "type": "array", "maxItems": items,
                "examples": [[{ "channel": "a", "data": { "n": 1 } }, { "channel": "b", "data": { "n": 2 } }]],
            },
        },
        "application/x-ndjson": {
            "schema": { "description": "One PublishRequest per line.", "type": "string" },
        },
    });
    let mut batch = publish(
        "publish_batch",
        "Publish several events; one that is refused does not stop the others.",
        body,
    );
    batch["responses"]["200"] = json_answer("One result per item, in order.", reference("Results"));
    batch
}

fn stream(id: &str, by_query: bool) -> Value {
    let parameter = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let list = json!({ "type": "string" });
    let mut parameters = vec![
        parameter("types", "Types of events, comma separated; the last segment may be *.", list.clone()),
        parameter("priorities", "Priorities, comma separated: 1 to 10 or names.", list.clone()),
        parameter("sources", "Sources of events, comma separated.", list),
        parameter(
            "since",
            "Stored events from that time on, before live ones.",
            json!({ "type": "string", "format": "date-time" }),
        ),
        parameter("after", "Stored events behind that one, before live ones.", reference("Position")),
        parameter(
            "last_event_id",
            "As the field Last-Event-ID, which goes before it.",
            reference("Position"),
        ),
        parameter(
            "format",
            "How events are written.",
            json!({ "type": "string", "enum": ["raw", "cloudevents"] }),
        ),
        json!({ "name": "Last-Event-ID", "in": "header", "schema": reference("Position") }),
    ];
    if by_query {
        let mut channels = parameter(
            "channel",
            "May be said several times.",
            json!({ "type": "array", "minItems": 1, "items": reference("Channel") }),
        );
        channels["required"] = json!(true);
        parameters.insert(0, channels);
    }
    let ok = json!({
        "description": "id is the position, event the type, data the event; a comment every 15 s.",
        "content": { "text/event-stream": { "schema": { "type": "string" } } },
    });
    json!({
        "operationId": id,
        "summary": "Events as they come.",
        "tags": ["streams"],
        "parameters": parameters,
        "responses": answers(ok, &["400", "403", "431", "503"]),
    })
}

fn history() -> Value {
    let parameter = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    json!({
        "operationId": "history",
        "summary": "Stored events of a channel.",
        "tags": ["streams"],
        "parameters": [
            parameter("since", "From the first event on that the server took at that time or later.", json!({ "type": "string", "format": "date-time" })),
            parameter("after", "What comes behind that one; it goes before since.", reference("Position")),
            parameter("limit", "At most so many.", json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 })),
            parameter("order", "newest: the newest of them, and those first.", json!({ "type": "string", "enum": ["oldest", "newest"], "default": "oldest" })),
        ],
        "responses": answers(json_answer("Of an unknown channel everything is null or empty.", reference("History")), &OF_QUESTION),
    })
}

/// Which letters are meant; all that is given must hold.
fn letter_filter(all: bool) -> Vec<Value> {
    let parameter = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let causes = Cause::ALL.map(Cause::word);
    let mut filter = vec![
        parameter("id", "This one; 404 when there is none.", reference("Position")),
        parameter("channel", "Of events of this channel.", reference("Channel")),
        parameter("reason", "For this reason.", json!({ "type": "string", "enum": causes })),
        parameter(
            "before",
            "That died before this time.",
            json!({ "type": "string", "format": "date-time" }),
        ),
    ];
    if all {
        filter.push(parameter(
            "all",
            "All of them, without any other parameter.",
            json!({ "const": "true" }),
        ));
    }
    filter
}

fn letter_page() -> Vec<Value> {
    let mut page = letter_filter(false);
    page.push(json!({ "name": "after", "in": "query", "description": "Behind this one.", "schema": reference("Position") }));
    page.push(json!({
        "name": "limit", "in": "query", "description": "Letters in one answer.",
        "schema": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 },
    }));
    page
}

fn dead_letters(id: &str, summary: &str, parameters: Vec<Value>, shape: &str, answer: &str) -> Value {
    let mut responses = answers(json_answer(answer, reference(shape)), &["400", "403", "431", "503"]);
    responses["404"] = json_answer("There is no letter of this id.", reference("Refusal"));
    json!({
        "operationId": id,
        "summary": summary,
        "tags": ["dead letters"],
        "parameters": parameters,
        "responses": responses,
    })
}

fn state(id: &str, summary: &str, shape: &str, names: bool, interface: &Interface) -> Value {
    let mut responses = answers(json_answer("The state.", reference(shape)), &OF_QUESTION);
    if matches!(shape, "Health" | "Ready") {
        responses["503"] = json_answer("The state: new work is not taken.", reference(shape));
    }
    let max = interface.limits.report_names;
    let limit = json!({
        "name": "limit", "in": "query", "description": "Names of channels in the answer.",
        "schema": { "type": "integer", "minimum": 1, "maximum": max, "default": max },
    });
    json!({
        "operationId": id,
        "summary": summary,
        "tags": ["state"],
        "parameters": if names { vec![limit] } else { vec![] },
        "responses": responses,
    })
}

fn document(id: &str, summary: &str) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "tags": ["descriptions"],
        "responses": answers(json_answer("The document.", json!({ "type": "object" })), &["431"]),
    })
}
