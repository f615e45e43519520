//! The server's state as bytes (contract 16): a snapshot in, JSON out. Knows no socket.

pub mod describe;

use crate::metrics::{Certificates, ChannelCount, Snapshot};
use crate::stdx::clock::{Now, rfc3339_ms};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What is true of the server as long as it runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Of the package.
    pub version: &'static str,
    /// As set.
    pub environment: String,
    /// Sockets that may be; 0: no limit.
    pub sockets_max: usize,
    /// When the server was started, in steady microseconds.
    pub started_us: u64,
    /// What its TLS listeners serve, if it has some.
    pub certificates: Option<Certificates>,
    /// Its interface, described.
    pub documents: Arc<describe::Documents>,
}

/// At so many percent of the sockets that may be, the state is `degraded`.
const DEGRADED_PERCENT: usize = 90;

/// Status and body of `/health/live`.
pub fn live() -> (u16, Vec<u8>) {
    (200, json!({ "status": "alive" }).to_string().into_bytes())
}

/// Status and body of `/health/ready`.
pub fn ready(draining: bool) -> (u16, Vec<u8>) {
    let (status, word) = if draining { (503, "not_ready") } else { (200, "ready") };
    (status, json!({ "status": word, "ready": !draining }).to_string().into_bytes())
}

/// Status and body of `/health`.
pub fn health(snapshot: &Snapshot, facts: &Facts, draining: bool, now: Now) -> (u16, Vec<u8>) {
    let totals = snapshot.totals();
    let sockets = snapshot.sockets();
    let percent = (sockets * 100).checked_div(facts.sockets_max).unwrap_or(0);
    let capacity = if percent >= DEGRADED_PERCENT { "degraded" } else { "healthy" };
    let status = if draining { "draining" } else { capacity };
    let message = match (facts.sockets_max, capacity) {
        (0, _) => format!("Unlimited capacity ({sockets} active)"),
        (max, "degraded") => format!("High capacity usage: {sockets}/{max} ({percent}%)"),
        (max, _) => format!("Capacity available: {sockets}/{max} ({percent}%)"),
    };
    let mut stamp = [0; 24];
    rfc3339_ms(now.unix_ms, &mut stamp);
    let body = json!({
        "status": status,
        "version": facts.version,
        "environment": facts.environment,
        "uptime_seconds": uptime_s(facts, now) as u64,
        "total_clients": sockets,
        "channels": names(snapshot, |count| json!(count.clients)),
        "components": { "broker": status, "shards": "healthy" },
        "checks": {
            "connection_capacity": {
                "status": capacity,
                "message": message,
                "metadata": {
                    "total_connections": sockets,
                    "max_connections": if facts.sockets_max == 0 { Value::Null } else { json!(facts.sockets_max) },
                    "capacity_percent": percent,
                },
            },
            "connection_manager": {
                "status": "healthy",
                "message": format!("Operational ({} active channels)", snapshot.channels_total),
                "metadata": { "active_channels": snapshot.channels_total },
            },
        },
        "metrics": {
            "active_connections": sockets,
            "active_channels": snapshot.channels_total,
            "total_messages_sent": totals.deliveries,
            "total_messages_received": totals.published + totals.client_messages,
        },
        "timestamp": std::str::from_utf8(&stamp).expect("digits and signs"),
    });
    (if draining { 503 } else { 200 }, body.to_string().into_bytes())
}

/// Status and body of `/stats`.
pub fn stats(snapshot: &Snapshot, facts: &Facts, now: Now) -> (u16, Vec<u8>) {
    let totals = snapshot.totals();
    let channels = names(snapshot, |count| {
        let max = if count.clients_max == 0 { json!("unlimited") } else { json!(count.clients_max) };
        json!({ "active_clients": count.clients, "max_clients": max })
    });
    let misfits = snapshot.misfits().into_iter().map(|(kind, count)| {
        let kind = if kind.is_empty() { "(other)" } else { kind };
        (kind.to_owned(), json!(count))
    });
    let misfits: Map<String, Value> = misfits.collect();
    let mut body = json!({
        "uptime_seconds": uptime_s(facts, now),
        "total_connections": totals.sockets_opened,
        "total_messages_sent": totals.deliveries,
        "total_messages_received": totals.published + totals.client_messages,
        "active_clients": snapshot.sockets(),
        "active_channels": snapshot.channels_total,
        "channels": channels,
        "schemas": { "refused": totals.schema_refused, "refused_by_type": misfits },
        "shards": snapshot.shards.iter().map(shard).collect::<Vec<_>>(),
    });
    if let Some(certificates) = &facts.certificates {
        body["tls"] = tls(snapshot, certificates);
    }
    (200, body.to_string().into_bytes())
}

fn tls(snapshot: &Snapshot, certificates: &Certificates) -> Value {
    let totals = snapshot.totals();
    let expires = certificates.expires_ms.map(|unix_ms| {
        let mut stamp = [0; 24];
        rfc3339_ms(unix_ms, &mut stamp);
        String::from_utf8_lossy(&stamp).into_owned()
    });
    json!({
        "sockets": snapshot.shards.iter().map(|state| state.tls_sockets).sum::<usize>(),
        "handshakes": totals.tls_handshakes,
        "resumed": totals.tls_resumed,
        "failed": totals.tls_failed,
        "certificate_expires": expires,
        "certificate_reloads": certificates.reloads,
        "certificate_reloads_failed": certificates.reloads_failed,
    })
}

/// Status and body of `/channels`.
pub fn channels(snapshot: &Snapshot) -> (u16, Vec<u8>) {
    let body = json!({
        "status": "success",
        "message": format!("{} channels", snapshot.channels_total),
        "channels": names(snapshot, |count| json!(count.clients)),
        "total_channels": snapshot.channels_total,
    });
    (200, body.to_string().into_bytes())
}

fn uptime_s(facts: &Facts, now: Now) -> f64 {
    (now.steady_us - facts.started_us) as f64 / 1e6
}

fn names(snapshot: &Snapshot, value: impl Fn(&ChannelCount) -> Value) -> Map<String, Value> {
    snapshot.channels.iter().map(|(name, count)| (name.clone(), value(count))).collect()
}

fn shard(state: &crate::metrics::ShardState) -> Value {
    let mut shown = json!({
        "shard": state.shard,
        "connections": state.connections,
        "sockets": state.sockets,
        "channels": state.channels,
        "history_events": state.history_events,
        "history_bytes": state.history_bytes,
        "wrong_parks_ended": state.kicks,
        "tls_sockets": state.tls_sockets,
        "events_queued": state.events_queued,
        "backlog_bytes": state.backlog_bytes,
    });
    let all = shown.as_object_mut().expect("just made");
    all.extend(state.counters.named().into_iter().map(|(name, count)| (name.to_owned(), json!(count))));
    shown
}
