//! Gathers what the documents at `/openapi.json` and `/asyncapi.json` are made from: the tables and bounds that the
//! server itself goes by.

use crate::admin::describe::{Asked, Close, Documents, Interface, Limits, Path};
use crate::config::{AuthMode, Settings};
use crate::runtime::shard::Options;
use crate::session::admission::KEY_CHARS_MAX;
use crate::session::batch::ITEMS_MAX;
use crate::session::route::{ROUTES, Route, Socket};
use crate::session::{Reason, Retry};

/// Both documents.
pub fn documents(options: &Options, settings: &Settings) -> Documents {
    Documents::of(&interface(options, settings))
}

fn interface(options: &Options, settings: &Settings) -> Interface {
    let asked =
        || Asked { cookie: settings.auth.cookie.clone(), certificates: !settings.tls.client_ca.is_empty() };
    let session = &options.session;
    let there = |route: &Route<'_>| session.echo || *route != Route::Socket(Socket::Echo);
    let path = |(path, route): &(&'static str, Route<'static>)| Path {
        path,
        methods: route.methods(),
        socket: matches!(route, Route::Socket(_)),
    };
    Interface {
        version: options.facts.version,
        paths: ROUTES.iter().filter(|(_, route)| there(route)).map(path).collect(),
        closes: Reason::ALL.iter().map(|reason| close(*reason)).collect(),
        heartbeat_s: session.heartbeat_us as f64 / 1e6,
        limits: Limits {
            event_bytes: options.limits.event_bytes_max,
            payload_bytes: options.limits.payload_bytes_max,
            metadata_bytes: options.limits.metadata_bytes_max,
            message_bytes: session.message_bytes_max,
            batch_items: ITEMS_MAX,
            key_chars: KEY_CHARS_MAX,
            subscriptions: session.subscriptions_max,
            report_names: REPORT_NAMES_MAX,
        },
        asked: (settings.auth.mode == AuthMode::Required).then(asked),
    }
}

/// Channel names in a report (contract 16).
const REPORT_NAMES_MAX: usize = 1000;

fn close(reason: Reason) -> Close {
    let retry = match reason.retry() {
        Retry::No => "no",
        Retry::Later => "later",
        Retry::WithJitter => "with jitter",
        Retry::WithToken => "with a new token",
    };
    Close { code: reason.code(), reason: reason.text(), retry }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::clock::Now;
    use serde_json::Value;

    fn made(echo: bool) -> (Value, Value) {
        let mut options = super::super::build::options(&Settings::default(), 0, 1, Now::default());
        options.session.echo = echo;
        let documents = documents(&options, &Settings::default());
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        (read(&documents.openapi), read(&documents.asyncapi))
    }

    #[test]
    fn every_path_is_described_with_its_methods_and_no_other_is() {
        let (openapi, asyncapi) = made(true);
        let addresses = asyncapi["channels"].as_object().unwrap().values();
        let addresses: Vec<&str> = addresses.map(|channel| channel["address"].as_str().unwrap()).collect();
        let paths = openapi["paths"].as_object().unwrap();
        assert_eq!(addresses.len() + paths.len(), ROUTES.len());
        for (path, route) in ROUTES {
            if matches!(route, Route::Socket(_)) {
                assert!(addresses.contains(&path), "{path}");
                continue;
            }
            let described = paths[path].as_object().unwrap().keys().filter(|key| *key != "parameters");
            let mut described: Vec<String> = described.map(|key| key.to_uppercase()).collect();
            let mut taken: Vec<&str> = route.methods().split(", ").collect();
            described.sort();
            taken.sort();
            assert_eq!(described, taken, "{path}");
        }
        assert_eq!(made(false).1["channels"].as_object().unwrap().len(), addresses.len() - 1);
    }

    #[test]
    fn every_reason_to_close_is_described() {
        let (_, asyncapi) = made(false);
        let closes = asyncapi["x-close-reasons"].as_array().unwrap();
        assert_eq!(closes.len(), Reason::ALL.len());
        assert!(closes.iter().any(|close| close["reason"] == "Slow consumer" && close["code"] == 1013));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let (openapi, asyncapi) = made(true);
        for document in [openapi, asyncapi] {
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(found.len() > 20);
            for reference in found {
                assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
            }
        }
    }
}
