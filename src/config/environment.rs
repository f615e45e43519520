//! Environment variables and flags as trees of settings: `COURIER_OUTBOX__EVENTS` is `outbox.events`. Variables that
//! only look like settings are left alone.
use super::mistakes::At;
use super::yaml::{Entry, Node, Value};

/// What names a setting in the environment.
const PREFIX: &str = "COURIER_";
/// Prefixes of names that are not settings: switches of the test suite, and what Kubernetes sets for a service
/// that is called courier.
const FOREIGN_PREFIXES: [&str; 3] = ["COURIER_TEST_", "COURIER_SERVICE_", "COURIER_PORT_"];
/// Deepest key of a variable or flag; the deepest known one has 3 parts. It bounds the recursion over the tree.
const PARTS_MAX: usize = 8;

/// The variable that sets a dotted key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// The dotted key that a variable sets, if it is a setting.
pub(super) fn key(name: &str, value: &str) -> Option<String> {
    let foreign = FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if foreign || is_kubernetes_port(name, value) {
        return None;
    }
    Some(name.strip_prefix(PREFIX)?.to_ascii_lowercase().replace("__", "."))
}

/// Kubernetes gives `COURIER_PORT=tcp://10.0.0.1:8766` to every container beside a service called courier.
pub(super) fn is_kubernetes_port(name: &str, value: &str) -> bool {
    name == "COURIER_PORT" && value.starts_with("tcp://")
}

/// `outbox.events` and `5` as the tree of `{outbox: {events: 5}}`.
pub(super) fn tree(key: &str, value: &str) -> Node {
    let at = At::default();
    let wrap = |node, part: &str| {
        let entry = Entry { key: part.to_owned(), at, node };
        Node { at, value: Value::Map(vec![entry]) }
    };
    if key.split('.').count() > PARTS_MAX {
        return wrap(Node::bare(value, at), key);
    }
    key.rsplit('.').fold(Node::bare(value, at), wrap)
}
