//! Any settings file, environment and flags: no panic, bounded mistakes, and what loads is within its ranges and
//! survives being written and read again.
#![no_main]
use courier::config::{self, MISTAKES_MAX, Settings, Sources};
use libfuzzer_sys::fuzz_target;

/// Ends the file and each variable or flag in the input; it cannot stand in a settings file.
const SEPARATOR: char = '\u{1}';

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split(SEPARATOR);
    let file = parts.next().map(|text| ("fuzz.yaml".into(), text.to_owned()));
    let pairs: Vec<(String, String)> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let (environment, flags) = pairs.into_iter().partition(|(name, _)| !name.starts_with("--"));
    let flags: Vec<(String, String)> = flags;
    let flags = flags.into_iter().map(|(name, value)| (name[2..].to_owned(), value)).collect();
    match config::load(Sources { file, environment, flags, files: None }) {
        Ok(loaded) => check(&loaded.settings),
        Err(mistakes) => {
            assert!((1..=MISTAKES_MAX).contains(&mistakes.list.len()));
            assert!(!mistakes.to_string().chars().any(|c| c.is_control() && c != '\n'));
        }
    }
});

fn check(settings: &Settings) {
    assert!((1..=1 << 20).contains(&settings.outbox.events));
    assert!((1 << 10..=1 << 30).contains(&settings.outbox.bytes));
    assert!(settings.shards <= 1_024);
    assert!((50..=3_600_000).contains(&settings.heartbeat_interval_ms));
    assert!(settings.max_event_size <= settings.mailbox.bytes);
    assert!(settings.shutdown.grace_ms <= settings.shutdown.timeout_ms);
    assert!(settings.shutdown.reason.len() <= 123);
    assert!(settings.channels.iter().all(|name| (1..=100).contains(&name.len())));
    assert!(settings.channel_options.iter().all(|option| !option.pattern.is_empty()));
    let text = config::to_yaml(settings);
    let again = config::load(Sources { file: Some(("again.yaml".into(), text)), ..Sources::default() });
    assert_eq!(&again.expect("what was written loads").settings, settings);
}
