//! What the router says besides events (`sources.md` 2.2), and its health (2.5).

use super::super::text::plus_zero;
use crate::session::command::Subscribe;
use serde_json::json;

/// Said first; the id is a UUID.
pub fn welcome(client_id: &str, unix_ms: u64) -> String {
    json!({ "type": "welcome", "client_id": client_id, "server_time": plus_zero(unix_ms) }).to_string()
}

/// Said instead of the welcome to one client too many; then the socket is closed 1000.
pub fn max_clients_reached(max: usize) -> String {
    json!({ "type": "error", "error": "max_clients_reached", "message": format!("Maximum clients ({max}) reached") })
        .to_string()
}

/// The answer to `ping`; `echo` is JSON.
pub fn pong(echo: Option<&str>, unix_ms: u64) -> String {
    let echo = echo.unwrap_or("null");
    format!("{{\"type\":\"pong\",\"timestamp\":\"{}\",\"echo\":{echo}}}", plus_zero(unix_ms))
}

/// The answer to `subscribe`.
pub fn subscribed(wish: &Subscribe) -> String {
    let acks = wish.acks.map_or_else(String::new, |acks| {
        let seconds = |us: u64| us as f64 / 1e6;
        let (retries, delay, timeout) =
            (acks.attempts_max - 1, seconds(acks.delay_us), seconds(acks.timeout_us));
        format!(",\"ack\":true,\"max_retries\":{retries},\"retry_delay\":{delay},\"timeout\":{timeout}")
    });
    format!(
        "{{\"type\":\"subscribed\",\"subscription_id\":\"{}\",\"topics\":{}{acks}}}",
        wish.id, wish.topics
    )
}

/// The answer to `unsubscribe`.
pub fn unsubscribed(id: &str) -> String {
    json!({ "type": "unsubscribed", "subscription_id": id }).to_string()
}

/// The answer to `publish`; `dropped` when the queue was full.
pub fn published(event_id: &str, dropped: bool) -> String {
    match dropped {
        false => json!({ "type": "published", "event_id": event_id, "status": "queued" }),
        true => {
            json!({ "type": "published", "event_id": event_id, "status": "dropped", "reason": "queue_full" })
        }
    }
    .to_string()
}

/// The answer to `ack` and `nack`: how many events that concerned, and how many of the subscriptions that were meant are
/// still in flight.
pub fn acked(subscription: Option<&str>, count: usize, in_flight: usize) -> String {
    json!({ "type": "acked", "subscription_id": subscription, "count": count, "in_flight": in_flight })
        .to_string()
}

/// The answer to `unsubscribe` of what is not there.
pub const NOT_FOUND: &str = "Subscription not found";

/// What could not be done.
pub fn error(words: &str, unix_ms: u64) -> String {
    json!({ "type": "error", "error": words, "timestamp": plus_zero(unix_ms) }).to_string()
}

/// The figures behind `get_health`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Health {
    /// Since the start, in seconds.
    pub uptime_seconds: f64,
    /// Events published.
    pub events_processed: u64,
    /// Events that could not be delivered.
    pub events_failed: u64,
    /// Events that wait in queues.
    pub events_in_queue: u64,
    /// Subscriptions in all.
    pub active_subscriptions: u64,
    /// Clients in all.
    pub connected_clients: u64,
    /// When the last event was published, in milliseconds since 1970.
    pub last_event_at_ms: Option<u64>,
}

/// So many events waiting are too many, whatever the queue holds (`sources.md` 2.5).
const QUEUE_DEGRADED_EVENTS: u64 = 8000;

/// The answer to `get_health`. One event in ten failed is unhealthy (`sources.md` 2.5).
pub fn health(figures: &Health) -> String {
    let full = figures.events_in_queue > QUEUE_DEGRADED_EVENTS;
    let failing = figures.events_failed.saturating_mul(10) > figures.events_processed;
    let status = if failing {
        "unhealthy"
    } else if full {
        "degraded"
    } else {
        "healthy"
    };
    let errors: Vec<&str> = [(full, "Queue approaching capacity"), (failing, "High failure rate")]
        .into_iter()
        .filter_map(|(holds, words)| holds.then_some(words))
        .collect();
    json!({ "type": "health", "health": {
        "status": status, "uptime": figures.uptime_seconds, "events_processed": figures.events_processed,
        "events_failed": figures.events_failed, "events_in_queue": figures.events_in_queue,
        "active_subscriptions": figures.active_subscriptions, "connected_clients": figures.connected_clients,
        "last_event_at": figures.last_event_at_ms.map(plus_zero), "errors": errors } })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const NOW: u64 = 1_795_271_775_123;
    const ISO: &str = "2026-11-21T14:36:15.123+00:00";

    fn said(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_servers_messages_have_the_fields_of_the_original() {
        assert_eq!(said(&welcome("u", NOW)), json!({"type":"welcome","client_id":"u","server_time":ISO}));
        assert_eq!(
            said(&published("i", false)),
            json!({"type":"published","event_id":"i","status":"queued"})
        );
        assert_eq!(
            said(&published("i", true)),
            json!({"type":"published","event_id":"i","status":"dropped","reason":"queue_full"})
        );
        assert_eq!(said(&unsubscribed("i")), json!({"type":"unsubscribed","subscription_id":"i"}));
        assert_eq!(
            said(&max_clients_reached(2)),
            json!({"type":"error","error":"max_clients_reached","message":"Maximum clients (2) reached"})
        );
    }

    #[test]
    fn health_has_every_figure_and_its_thresholds() {
        let figures =
            Health { uptime_seconds: 1.5, events_processed: 10, events_failed: 1, ..Health::default() };
        assert_eq!(
            said(&health(&figures)),
            json!({"type":"health","health":{
            "status":"healthy","uptime":1.5,"events_processed":10,"events_failed":1,"events_in_queue":0,
            "active_subscriptions":0,"connected_clients":0,"last_event_at":null,"errors":[]}})
        );
        let full = Health { events_in_queue: 8001, last_event_at_ms: Some(NOW), ..figures };
        let shown = said(&health(&full));
        assert_eq!(
            (&shown["health"]["status"], &shown["health"]["last_event_at"]),
            (&json!("degraded"), &json!(ISO))
        );
        let failing = said(&health(&Health { events_failed: 2, ..full }));
        assert_eq!(failing["health"]["status"], "unhealthy");
        assert_eq!(failing["health"]["errors"], json!(["Queue approaching capacity", "High failure rate"]));
    }
}
