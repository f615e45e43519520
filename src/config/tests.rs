//! What the whole room promises: the same meaning in each source, all mistakes at once with their places, every key of
//! the table held to its range, and the shipped files.
mod samples;

use super::*;
use samples::SAMPLES;

pub(super) fn sources(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let owned = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let file = Some((PathBuf::from("courier.yaml"), file.to_owned()));
    Sources { file, environment: owned(environment), flags: owned(flags), files: None }
}

pub(super) fn good(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Settings {
    let loaded = load(sources(file, environment, flags));
    loaded.unwrap_or_else(|mistakes| panic!("{file:?} {environment:?} {flags:?}:\n{mistakes}")).settings
}

pub(super) fn bad(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<String> {
    match load(sources(file, environment, flags)) {
        Ok(loaded) => panic!("{file:?} loads as {:?}", changes(&loaded.settings)),
        Err(mistakes) => mistakes.list.iter().map(Mistake::to_string).collect(),
    }
}

/// `outbox.events` and `5` as a file.
fn file_with(key: &str, value: &str) -> String {
    let (mut text, mut indent) = (String::new(), String::new());
    for part in key.split('.') {
        text += &format!("{indent}{part}:\n");
        indent += "  ";
    }
    format!("{} {value}\n", text.trim_end())
}

#[test]
fn key_means_the_same_in_file_variable_and_flag() {
    for (key, yaml, bare) in SAMPLES {
        let from_file = good(&file_with(key, yaml), &[], &[]);
        assert_ne!(from_file, Settings::default(), "{key}");
        assert_eq!(good("", &[(&environment::variable(key), bare)], &[]), from_file, "{key}");
        assert_eq!(good("", &[], &[(key, bare)]), from_file, "{key}");
    }
}

#[test]
fn every_built_key_has_a_sample_and_every_planned_one_takes_only_its_default() {
    for (key, default) in doc::values(&Settings::default()) {
        // A certificate is no text: tests/server/test_tls.py makes some.
        if SAMPLES.iter().any(|(sample, ..)| *sample == key) || key.starts_with("tls.") {
            continue;
        }
        assert_eq!(good(&file_with(&key, &default), &[], &[]), Settings::default(), "{key}");
        let refused = bad(&file_with(&key, "other"), &[], &[]);
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(
            refused[0].contains(&format!("{key}: not built yet; leave it out or at {default}")),
            "{refused:?}"
        );
    }
}

/// Each dotted key and what its rule says of its range.
fn ranges(section: &mut dyn table::Section, path: &str, all: &mut Vec<(String, String)>) {
    section.each(&mut |name, _, field| {
        let key = apply::join(path, name);
        all.push((key.clone(), field.describe()));
        if let Some(inner) = field.section() {
            ranges(inner, &key, all);
        }
    });
}

#[test]
fn both_ends_of_every_range_are_accepted_and_nothing_beyond() {
    let mut all = Vec::new();
    ranges(&mut Settings::default(), "", &mut all);
    let numbers = all.iter().filter_map(|(key, about)| about.split_once(" to ").map(|ends| (key, ends)));
    assert!(numbers.clone().count() >= 20);
    for (key, (least, rest)) in numbers {
        let most = rest.split([' ', ',']).next().unwrap();
        // What remains to be refused within the range are contradictions to other keys.
        let in_range = |value: &str| match load(sources("", &[], &[(key, value)])) {
            Ok(loaded) => doc::values(&loaded.settings).contains(&(key.clone(), value.to_owned())),
            Err(mistakes) => [" to ", "number"].iter().all(|word| !mistakes.to_string().contains(word)),
        };
        assert!(in_range(least) && in_range(most), "{key}");
        let beyond = format!("{most}1");
        assert!(!in_range(&beyond) && !in_range("-1") && !in_range("18446744073709551616"), "{key}");
    }
}

#[test]
fn later_source_overrides_an_earlier_one() {
    let file = "port: 1\nshards: 1\noutbox: {events: 1, bytes: 5000}\n";
    let environment = [("COURIER_PORT", "2"), ("COURIER_SHARDS", "2")];
    let settings = good(file, &environment, &[("port", "3")]);
    assert_eq!((settings.port, settings.shards, settings.outbox.events), (3, 2, 1));
    assert_eq!(settings.outbox.bytes, 5_000);
    assert_eq!(settings.max_total_connections, Settings::default().max_total_connections);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_place() {
    let file = "port: 99999\nheartbeat_intervall: 3\noutbox:\n  event: 5\n  slow: explode\nauth: demanded\n";
    let environment =
        [("COURIER_SHARDS", "x"), ("COURIER_OUTBOX__EVENT", "1"), ("COURIER_CHANNELS", "a,b c")];
    let expected = [
        "courier.yaml:1:7: port: must be 1 to 65535, is 99999",
        "courier.yaml:2:1: heartbeat_intervall: unknown; did you mean `heartbeat_interval`?",
        "courier.yaml:4:3: outbox.event: unknown; did you mean `outbox.events`?",
        "courier.yaml:5:9: outbox.slow: must be disconnect, drop_oldest or conflate, is explode",
        "courier.yaml:6:7: auth.mode: must be off, insecure or required, is demanded",
        "COURIER_SHARDS: must be a whole number, 0 to 1024, is x",
        "COURIER_OUTBOX__EVENT: unknown; did you mean `COURIER_OUTBOX__EVENTS`?",
        "COURIER_CHANNELS: channels[1]: must be 1 to 100 letters, digits, dots, hyphens, colons or underscores, \
         is \"b c\"",
        "--port: must be 1 to 65535, is 65536",
    ];
    assert_eq!(bad(file, &environment, &[("port", "65536")]), expected);
}

#[test]
fn key_that_stands_twice_is_refused_in_both_spellings() {
    assert_eq!(
        bad("port: 1\nport: 2\n", &[], &[]),
        ["courier.yaml:2:1: port: stands twice, first in line 1"]
    );
    let doubled = "outbox: {events: 1}\nshards: 1\noutbox: {bytes: 5000}\n";
    assert_eq!(bad(doubled, &[], &[]), ["courier.yaml:3:1: outbox: stands twice, first in line 1"]);
    let spelled = "jwt: {algorithm: HS256}\nauth:\n  jwt: {algorithm: HS256}\n";
    assert_eq!(
        bad(spelled, &[], &[]),
        ["courier.yaml:3:20: auth.jwt.algorithm: is set twice, first in line 1"]
    );
}

#[test]
fn older_spellings_mean_today_s_keys() {
    assert_eq!(good("auth: insecure\n", &[], &[]).auth.mode, AuthMode::Insecure);
    assert_eq!(
        good("jwt: {secret: \"\", algorithm: HS256}\nlog_level: critical\n", &[], &[]).log_level,
        LogLevel::Error
    );
    let refused =
        bad("jwt: {algorithm: RS256, secret: hush, secrett: x}\n", &[("COURIER_JWT__SECRET", "hush")], &[]);
    assert!(refused[0].contains("did you mean `auth.jwt.secret`?"), "{refused:?}");
    assert!(refused[1].starts_with("COURIER_JWT__SECRET: auth.jwt.secret: is a kind of key"), "{refused:?}");
    assert!(!refused.iter().any(|line| line.contains("hush")), "a secret is never told: {refused:?}");
}

#[test]
fn listener_tells_each_mistake_and_there_are_at_most_sixteen() {
    let file = "listeners:\n  - {dialect: router}\n  - {address: 9090, dialect: freqserch}\n  \
                - {address: \"localhost:1\", tls: true, dialects: router}\n";
    let expected = [
        "courier.yaml:2:5: listeners[0]: needs address, such as {address: \"127.0.0.1:9090\", dialect: router}",
        "courier.yaml:3:15: listeners[1].address: must be an IP address or localhost with a port, such as \
         127.0.0.1:9090 or [::1]:9090, is 9090",
        "courier.yaml:3:30: listeners[1].dialect: must be courier, router, events or freqsearch, is freqserch",
        "courier.yaml:4:41: listeners[2].dialects: unknown; did you mean `listeners[2].dialect`?",
    ];
    assert_eq!(bad(file, &[], &[]), expected);
    let many = |count| format!("listeners: [{}]\n", "{address: localhost:0}, ".repeat(count));
    assert_eq!(good(&many(LISTENERS_MAX), &[], &[]).listeners.len(), LISTENERS_MAX);
    let told = bad(&many(LISTENERS_MAX + 1), &[], &[]);
    assert_eq!(told, ["courier.yaml:1:12: listeners: must be at most 16 addresses"]);
}

#[test]
fn variables_that_only_look_like_settings_are_left_alone() {
    let environment = [
        ("COURIER_TEST_ECHO", "1"),
        ("COURIER_PORT", "tcp://10.0.0.1:8766"),
        ("COURIER_PORT_8766_TCP_ADDR", "10.0.0.1"),
        ("COURIER_SERVICE_HOST", "10.0.0.1"),
        ("COURIERS", "x"),
        ("PORT", "x"),
    ];
    let loaded = load(sources("", &environment, &[])).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.notes.iter().any(|note| note.contains("Kubernetes")), "{:?}", loaded.notes);
}

/// `jwt: SECRET` was answered with the secret, on the terminal and in the log.
#[test]
fn text_in_the_place_of_a_section_is_not_said_again() {
    for file in
        ["jwt: hush\n", "auth: {jwt: hush}\n", "auth: {jwt: [hush]}\n", "auth: {jwt: {keys: [hush]}}\n"]
    {
        let told = bad(file, &[], &[]).concat();
        assert!(told.contains("must be a section") && !told.contains("hush"), "{told}");
    }
    assert!(!bad("", &[("COURIER_JWT", "hush")], &[]).concat().contains("hush"));
}

#[test]
fn channel_option_needs_its_pattern_and_tells_each_mistake() {
    let file = "channel_options:\n  - {max_clients: 1}\n  -\n  - word\n  - {match: \"a*\", max_client: 1}\n";
    let expected = [
        "courier.yaml:2:5: channel_options[0]: needs match, such as {match: \"user.*\", max_clients: 100}",
        "courier.yaml:3:4: channel_options[1]: needs match, such as {match: \"user.*\", max_clients: 100}",
        "courier.yaml:4:5: channel_options[2]: must be a section of `key: value` lines, is a text",
        "courier.yaml:5:13: channel_options[3].match: must be a channel name in which whole segments may be * \
         and the last may be **, is the text \"a*\"",
        "courier.yaml:5:19: channel_options[3].max_client: unknown; did you mean `channel_options[3].max_clients`?",
    ];
    assert_eq!(bad(file, &[], &[]), expected);
}

#[test]
fn limits_by_type_tell_each_mistake() {
    let with = |value: &str| bad(&format!("rate_limit: {{messages: {{per_type: {value}}}}}\n"), &[], &[]);
    for (value, told) in [
        ("[trade]", "per_type: must be names with numbers, such as {trade: 50}"),
        ("5", "per_type: must be names with numbers, such as {trade: 50}"),
        ("{trade: 0}", "per_type.trade: must be 1 to 1000000000"),
        ("{trade: many}", "per_type.trade: must be a whole number, 1 to 1000000000"),
        ("{trade: 1, trade: 2}", "per_type.trade: stands twice"),
    ] {
        let refused = with(value);
        assert!(refused.len() == 1 && refused[0].contains(told), "{value}: {refused:?}");
    }
    assert_eq!(with("{a: 0, b: -1}").len(), 2);
}

#[test]
fn mistakes_are_bounded_and_counted() {
    let file: String = (0..40_000).map(|i| format!("k{i}: 1\n")).collect();
    let mistakes = load(sources(&file, &[], &[])).unwrap_err();
    assert_eq!((mistakes.list.len(), mistakes.more), (MISTAKES_MAX, 40_000 - MISTAKES_MAX));
    assert!(mistakes.to_string().ends_with("\nand 39900 more"));
}

#[test]
fn deep_variable_name_is_a_mistake_and_no_recursion() {
    let name = format!("COURIER_{}X", "A__".repeat(40_000));
    let refused = bad("", &[(&name, "1")], &[]);
    assert!(refused[0].contains("unknown"), "{refused:?}");
}

#[test]
fn empty_file_section_and_list_set_nothing() {
    for file in ["", "# only a comment\n", "---\n", "outbox:\nchannels:\n  # - global\nchannel_options: ~\n"]
    {
        assert_eq!(good(file, &[], &[]), Settings::default(), "{file:?}");
    }
}

#[test]
fn shipped_files_load() {
    let courier = include_str!("../../config/courier.yaml");
    assert_eq!(good(courier, &[], &[]), Settings::default());
    let development = good(include_str!("../../config/development.yaml"), &[], &[]);
    assert_eq!((development.log_level, development.environment.as_str()), (LogLevel::Debug, "development"));
    let production = include_str!("../../config/production.yaml");
    assert_eq!(good(production, &[], &[]).environment, "production");
    assert_eq!(good(production, &[("PORT", "9000")], &[]).port, 9000);
}

#[test]
fn file_that_cannot_be_read_is_one_clear_mistake() {
    let told = |path: &str| read(Some(Path::new(path)), Vec::new()).unwrap_err().to_string();
    assert!(told("no/such.yaml").starts_with("no/such.yaml: cannot be read: "));
    assert!(told("src").starts_with("src: cannot be read: "));
    assert_eq!(
        told("/dev/zero"),
        format!("/dev/zero: is larger than {FILE_BYTES_MAX} bytes; is it the right file?")
    );
}
