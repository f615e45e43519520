//! Workloads A and C of `perf/run` with one feature each, on the shard without a kernel of [`crate::shard`]: what a publish
//! costs with it in use, and what it costs while it is there and nobody uses it. `benches/run features` prints the table.
//!
//! `2k_deflate` is a row of workload A alone: in C each of sixteen events a turn is compressed, which takes minutes to count
//! and says what `wire.deflate_1k` and `wire.deflate_16k` say. There are no rows for tokens, schemas and limits in use.

use courier::config::{ChannelHistory, ChannelOption, Settings};

use crate::Operation;
use crate::shard::{Case, EVENT};

type Change = fn(&mut Case);

/// With all that can be switched off switched off.
const PLAIN: &str = "plain";

/// There, and used by nobody.
const UNUSED: &[(&str, Change)] = &[
    ("compression", |case| case.settings.compression.enabled = true),
    ("slow_modes", |case| case.settings.outbox.slow = courier::config::Slow::Conflate),
    ("freqsearch_join", |case| case.settings.freqsearch.join = true),
    ("router_queues", |case| case.settings.router.multi_queue = true),
    ("history_of_others", |case| {
        let history = ChannelHistory { size: Some(256), ..ChannelHistory::default() };
        others(&mut case.settings, ChannelOption { history, ..ChannelOption::default() });
    }),
    ("presence_of_others", |case| {
        others(&mut case.settings, ChannelOption { presence: Some(true), ..ChannelOption::default() });
    }),
    ("priority_off", |case| {
        others(&mut case.settings, ChannelOption { priority: Some(false), ..ChannelOption::default() });
    }),
];

/// In use by every subscriber, or every publisher.
const USED: &[(&str, Change)] = &[
    ("history_16", |case| {
        case.settings.history.size = 16;
        case.turns_before = 1_001;
    }),
    ("history_256", |case| {
        case.settings.history.size = 256;
        case.turns_before = 16_001;
    }),
    ("v1", v1),
    ("v1_history", |case| {
        v1(case);
        case.settings.history.size = 16;
        case.turns_before = 1_001;
    }),
    ("events", |case| case.path = |channel| format!("/ws/events/load.{channel}")),
    ("router", |case| {
        case.path = |_| "/router".to_owned();
        case.command = |channel| {
            Some(format!(r#"{{"type":"subscribe","subscription":{{"topics":["load.{channel}"]}}}}"#))
        };
    }),
    ("freqsearch", |case| case.path = |channel| format!("/api/v1/ws/events?rooms=load.{channel}")),
    ("sse", |case| {
        case.path = |channel| format!("/sse/load.{channel}");
        case.fields = "Accept: text/event-stream\r\n";
    }),
    ("filter", |case| case.path = |channel| format!("/ws/load.{channel}?types=load")),
    ("pattern", |case| {
        v1(case);
        case.path = |_| "/ws".to_owned();
        case.command =
            |channel| Some(format!(r#"{{"type":"subscribe","ref":1,"pattern":"load.{channel}.*"}}"#));
        case.publish_to = |channel| format!("/publish/load.{channel}.x");
    }),
    ("2k", large),
    ("2k_deflate", |case| {
        large(case);
        case.settings.compression.enabled = true;
        case.fields = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    }),
];

fn v1(case: &mut Case) {
    case.fields = "Sec-WebSocket-Protocol: courier.v1\r\n";
}

fn large(case: &mut Case) {
    case.event = EVENT.replace("opqr", &"opqrstuv".repeat(240));
}

fn others(settings: &mut Settings, option: ChannelOption) {
    settings.channel_options.push(ChannelOption { pattern: "other.*".to_owned(), ..option });
}

/// `A.plain`, `A.unused.compression`, `C.v1` and so on.
pub fn names() -> impl Iterator<Item = String> {
    let unused = UNUSED.iter().map(|(name, _)| format!("unused.{name}"));
    let rows: Vec<String> = [PLAIN.to_owned(), "built_in".to_owned()]
        .into_iter()
        .chain(unused)
        .chain(USED.iter().map(|(name, _)| (*name).to_owned()))
        .collect();
    ["A", "C"]
        .into_iter()
        .flat_map(move |key| rows.clone().into_iter().map(move |row| format!("{key}.{row}")))
        .filter(|name| name != "C.2k_deflate")
}

/// The operation of one of [`names`], and how many events each publishes.
pub fn operation(name: &str) -> Option<Operation> {
    let (key, row) = name.split_once('.')?;
    let mut case = match key {
        "A" => Case::one_channel(),
        "C" => Case::own_channels(),
        _ => return None,
    };
    if row != "built_in" {
        case.settings.history.size = 0;
        case.settings.compression.enabled = false;
    }
    let known =
        |rows: &[(&str, Change)], row: &str| rows.iter().find(|(name, _)| *name == row).map(|row| row.1);
    match row.strip_prefix("unused.") {
        Some(row) => known(UNUSED, row)?(&mut case),
        None if row == PLAIN || row == "built_in" => {}
        None => known(USED, row)?(&mut case),
    }
    Some(case.operation())
}
