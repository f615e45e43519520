//! Who may do what, in the words of OpenAPI and of AsyncAPI: the places where a token or a key may be, and the refusals of those who have
//! none, or none that reaches so far. Said only of a server that asks.

use super::{Interface, reference};
use serde_json::{Map, Value, json};

/// What anybody may ask: probes, and the descriptions.
const OPEN: [&str; 5] = ["/health", "/health/live", "/health/ready", "/openapi.json", "/asyncapi.json"];

/// The places where a token or key may be; empty when nobody is asked for one.
pub fn schemes(interface: &Interface) -> Map<String, Value> {
    let mut schemes = Map::new();
    let Some(asked) = &interface.asked else { return schemes };
    let mut add = |name: &str, scheme: Value| schemes.insert(name.to_owned(), scheme);
    add(
        "bearer",
        json!({
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "A token, or the API key of a service.",
        }),
    );
    add(
        "apiKey",
        json!({ "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The API key of a service." }),
    );
    add(
        "query",
        json!({
            "type": "apiKey", "in": "query", "name": "token",
            "description": "A token, where no field can be set. Proxies may log it.",
        }),
    );
    if !asked.cookie.is_empty() {
        add(
            "cookie",
            json!({
                "type": "apiKey", "in": "cookie", "name": asked.cookie,
                "description": "A token, only from pages of the server and of allowed origins.",
            }),
        );
    }
    if asked.certificates {
        add(
            "certificate",
            json!({ "type": "mutualTLS", "description": "The certificate of a client that the settings know." }),
        );
    }
    schemes
}

/// The same in the words of AsyncAPI 3.0.0, for sockets.
pub fn socket_schemes(interface: &Interface) -> Map<String, Value> {
    let mut schemes = schemes(interface);
    for (name, scheme) in &mut schemes {
        match name.as_str() {
            "bearer" => {
                scheme["description"] =
                    json!("A token, or the API key of a service; also as the subprotocol bearer.<token>.");
            }
            "certificate" => scheme["type"] = json!("X509"),
            _ => scheme["type"] = json!("httpApiKey"),
        }
    }
    schemes
}

/// Adds to what is done at a path that it needs a token or a key, and how it is refused.
pub fn secure(path: &str, operation: &mut Value, interface: &Interface) {
    if interface.asked.is_none() || OPEN.contains(&path) {
        return;
    }
    let any: Vec<Value> = schemes(interface).keys().map(|name| json!({ name: [] })).collect();
    operation["security"] = json!(any);
    let refusal = |description: &str| {
        json!({
            "description": description,
            "content": {
                "application/json": { "schema": reference("Refusal") },
                "application/problem+json": { "schema": reference("Problem") },
            },
        })
    };
    let mut missing = refusal("No token or key, or one that is not good, has ended or was revoked.");
    missing["headers"] = json!({ "WWW-Authenticate": { "required": true, "schema": { "type": "string" } } });
    operation["responses"]["401"] = missing;
    operation["responses"]["403"] = refusal(
        "The token or key does not reach so far, X-Service-Name is not its service, or the page is of a foreign origin.",
    );
}
