//! `/openapi.json`: OpenAPI 3.1.0.

use super::operations::operation;
use super::{Interface, Path, info, security, shapes};
use serde_json::{Map, Value, json};

pub fn document(interface: &Interface) -> Value {
    let paths = interface.paths.iter().filter(|path| !path.socket);
    let mut components = json!({ "schemas": shapes::shapes(interface) });
    let schemes = security::schemes(interface);
    if !schemes.is_empty() {
        components["securitySchemes"] = Value::Object(schemes);
    }
    json!({
        "openapi": "3.1.0",
        "info": info(interface, "A real-time event hub: publishing, streams and state over HTTP. The sockets are described in /asyncapi.json."),
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "publish", "description": "Events in." },
            { "name": "streams", "description": "Events out, as server-sent events." },
            { "name": "dead letters", "description": "Events that nobody took." },
            { "name": "state", "description": "What the server is doing." },
            { "name": "descriptions", "description": "This document and its sibling." },
        ],
        "paths": paths.map(|path| (path.path.to_owned(), item(path, interface))).collect::<Map<_, _>>(),
        "components": components,
    })
}

/// Everything that may be done at a path: what the table says, and nothing else.
fn item(path: &Path, interface: &Interface) -> Value {
    let main = operation(path.path, interface)
        .unwrap_or_else(|| panic!("nobody knows what is done at {}", path.path));
    let methods = path.methods.split(", ").map(|method| {
        let mut done = match method {
            "HEAD" => main.clone(),
            "DELETE" => operation(&format!("DELETE {}", path.path), interface)
                .unwrap_or_else(|| panic!("nobody knows what is deleted at {}", path.path)),
            "OPTIONS" => options(&main, path),
            _ => main.clone(),
        };
        if method != "OPTIONS" {
            security::secure(path.path, &mut done, interface);
        }
        if method == "HEAD" {
            done = as_head(&done);
        }
        (method.to_ascii_lowercase(), done)
    });
    let mut item: Map<String, Value> = methods.collect();
    if path.path.contains("{channel}") {
        item.insert(
            "parameters".to_owned(),
            json!([{
                "name": "channel", "in": "path", "required": true,
                "description": "Percent-encoded once. For one that is called batch, /publish/b%61tch.",
                "schema": { "$ref": "#/components/schemas/Channel" },
            }]),
        );
    }
    Value::Object(item)
}

/// The same without bodies (RFC 9110 9.3.2).
fn as_head(main: &Value) -> Value {
    let mut head = main.clone();
    head["operationId"] = json!(format!("{}_head", main["operationId"].as_str().unwrap_or_default()));
    head["summary"] = json!("The same, without the body.");
    if let Some(answers) = head["responses"].as_object_mut() {
        for answer in answers.values_mut().filter_map(Value::as_object_mut) {
            answer.remove("content");
        }
    }
    head
}

fn options(main: &Value, path: &Path) -> Value {
    let id = main["operationId"].as_str().unwrap_or_default();
    let mut options = json!({
        "operationId": format!("{id}_options"),
        "summary": "What may be done here; the answer to a browser's preflight.",
        "tags": main["tags"],
        "responses": {
            "204": {
                "description": "Nothing but fields.",
                "headers": { "Allow": { "required": true, "schema": { "const": path.methods } } },
            },
        },
    });
    if path.path.contains("{channel}") {
        // Nobody looks at the name yet.
        options["parameters"] =
            json!([{ "name": "channel", "in": "path", "required": true, "schema": { "type": "string" } }]);
    }
    options
}
