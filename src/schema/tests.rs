//! The room as a whole: every shipped schema against good and bad events, and what a folder of one's own may do.

use super::*;
use serde_json::{Value, json};

fn policy(mode: Mode, more: &[(&str, Value)]) -> Policy {
    let sources: Vec<Source> = more.iter().map(|(kind, schema)| source(kind, &schema.to_string())).collect();
    let schemas = match more {
        [] => tests_support::shipped(),
        _ => Schemas::compile(&sources).map(Arc::new).unwrap_or_else(|mistakes| panic!("{mistakes:?}")),
    };
    Policy { mode, channels: Vec::new(), schemas }
}

fn source(kind: &str, text: &str) -> Source {
    Source { name: format!("{kind}.json"), kind: kind.to_owned(), text: text.to_owned() }
}

fn check(policy: &Policy, channel: &str, text: &str) -> Verdict {
    let facts = Facts::read(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    policy.check(channel, text, &facts)
}

fn fields(verdict: &Verdict) -> Vec<&str> {
    let Verdict::Misfit(faults) = verdict else { return Vec::new() };
    faults.list.iter().map(|fault| fault.field.as_str()).collect()
}

fn fits(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Fits { .. })
}

/// The first words of each mistake, with its place.
fn mistakes(schema: &str) -> Vec<(String, String)> {
    let Err(found) = Schemas::of_file(&source("mine", schema)) else { return Vec::new() };
    found.into_iter().map(|mistake| (mistake.pointer, mistake.words)).collect()
}

#[test]
fn the_table_holds_what_the_folder_does() {
    let mut files: Vec<String> = std::fs::read_dir("config/schemas")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut table: Vec<String> = SHIPPED.iter().map(|(kind, _)| format!("{kind}.json")).collect();
    table.sort();
    assert_eq!(table, files);
}

#[test]
fn good_examples_fit_and_bad_ones_name_their_fields() {
    let examples: Value = serde_json::from_str(include_str!("../../tests/schemas/examples.json")).unwrap();
    let policy = policy(Mode::Strict, &[]);
    for (kind, _) in SHIPPED {
        let of = &examples["types"][kind];
        let (good, bad) = (of["good"].as_array().unwrap(), of["bad"].as_array().unwrap());
        assert!(!good.is_empty() && !bad.is_empty(), "{kind} has no examples");
        for event in good {
            let verdict = check(&policy, "a", &event.to_string());
            assert!(fits(&verdict), "{event}: {verdict:?}");
        }
        for example in bad {
            let event = &example["event"];
            let verdict = check(&policy, "a", &event.to_string());
            let found = fields(&verdict);
            for field in example["fields"].as_array().unwrap() {
                assert!(found.contains(&field.as_str().unwrap()), "{event}: {field} is not in {verdict:?}");
            }
        }
    }
}

#[test]
fn what_the_five_systems_show_passes() {
    let examples: Value = serde_json::from_str(include_str!("../../tests/schemas/examples.json")).unwrap();
    let policy = policy(Mode::Known, &[]);
    for event in examples["shown"].as_array().unwrap() {
        let verdict = check(&policy, "a", &event.to_string());
        assert!(fits(&verdict) || verdict == Verdict::Unchecked, "{event}: {verdict:?}");
    }
}

#[test]
fn the_same_name_in_two_systems_is_told_in_the_words_of_the_nearer() {
    let policy = policy(Mode::Known, &[]);
    let misfit = |event: Value| {
        let verdict = check(&policy, "a", &event.to_string());
        fields(&verdict).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let courier = json!({ "type": "backtest.completed", "source": "s", "backtest_id": "b", "job_id": "j" });
    assert_eq!(misfit(courier), ["/user_id", "/duration_seconds", "/summary"]);
    let nested =
        json!({ "type": "backtest.completed", "metadata": { "source": "s" }, "data": { "job_id": 5 } });
    assert!(misfit(nested).contains(&"/data/job_id".to_owned()));
    let freqsearch =
        json!({ "type": "backtest.completed", "job_id": "j", "strategy_id": "s", "profit_pct": "1" });
    assert_eq!(misfit(freqsearch), ["/profit_pct"]);
}

#[test]
fn a_file_of_ones_own_replaces_the_shipped_one_and_adds_types() {
    let own = json!({ "required": ["n"], "properties": { "n": { "type": "integer" } } });
    let policy = policy(Mode::Known, &[("trade.executed", own.clone()), ("mine", own)]);
    assert_eq!(fields(&check(&policy, "a", r#"{"type":"trade.executed"}"#)), ["/n"]);
    assert!(fits(&check(&policy, "a", r#"{"type":"mine","n":1e2}"#)));
    assert_eq!(fields(&check(&policy, "a", r#"{"type":"mine","n":1.5}"#)), ["/n"]);
}

#[test]
fn a_schema_is_for_the_channels_that_it_names() {
    let own = json!({ "x-courier": { "type": "mine", "channels": ["a.*", "b.**"] }, "required": ["n"] });
    let policy = policy(Mode::Known, &[("file", own)]);
    assert_eq!(fields(&check(&policy, "a.x", r#"{"type":"mine"}"#)), ["/n"]);
    assert_eq!(fields(&check(&policy, "b.x.y", r#"{"type":"mine"}"#)), ["/n"]);
    assert_eq!(check(&policy, "a.x.y", r#"{"type":"mine"}"#), Verdict::Unchecked);
    let strict = Policy { mode: Mode::Strict, ..policy };
    assert!(matches!(check(&strict, "c", r#"{"type":"mine"}"#), Verdict::UnknownType(_)));
}

#[test]
fn modes_go_by_channel() {
    let mut policy = policy(Mode::Off, &[]);
    policy.channels = vec![("s.*".to_owned(), Mode::Strict), ("k.*".to_owned(), Mode::Known)];
    for (channel, known_checked, unknown_refused) in
        [("s.a", true, true), ("k.a", true, false), ("x", false, false)]
    {
        let verdict = check(&policy, channel, r#"{"type":"scout.progress","progress":101}"#);
        assert_eq!(fields(&verdict), if known_checked { vec!["/progress"] } else { vec![] }, "{channel}");
        let verdict = check(&policy, channel, r#"{"type":"mine"}"#);
        assert_eq!(matches!(verdict, Verdict::UnknownType(_)), unknown_refused, "{channel}");
    }
}

#[test]
fn mistakes_in_a_file_are_told_with_their_places() {
    let found = mistakes(r#"{"type":"strin","properties":{"a":{"minimum":"x"}},"required":"a"}"#);
    let places: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    for place in ["/type", "/properties/a/minimum", "/required"] {
        assert!(places.contains(&place), "{place} is not in {found:?}");
    }
    for (schema, place, words) in [
        ("[]", "", "a schema is"),
        ("{", "", "is not valid JSON"),
        (r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#, "/$schema", "must be"),
        (r#"{"x-courier":5}"#, "/x-courier", "must be an object"),
        (r#"{"x-courier":{"channel":[]}}"#, "/x-courier", "does not know channel"),
        (r#"{"x-courier":{"channels":["a.**.b"]}}"#, "/x-courier/channels/0", "A star must"),
        (
            r#"{"x-courier":{"type":"a\u001b[2J"}}"#,
            "/x-courier/type",
            "must have 1 to 100 bytes, and no control",
        ),
        (r#"{"properties":{"a":{"maximum":1,"m\u0061ximum":9}}}"#, "/properties/a/maximum", "is said twice"),
        (
            r#"{"properties":{"a":{"$ref":"https://example.com/x.json"}}}"#,
            "/properties/a/$ref",
            "leads to nothing",
        ),
        (r##"{"properties":{"a":{"$ref":"#/$defs/none"}}}"##, "/properties/a/$ref", "leads to nothing"),
        (r#"{"$ref":"file:///etc/passwd"}"#, "/$ref", "leads to nothing"),
    ] {
        let found = mistakes(schema);
        let told = found.iter().any(|(at, said)| at == place && said.starts_with(words));
        assert!(told, "{schema}: {found:?}");
    }
    assert!(!mistakes(r#"{"properties":{"a":{"pattern":"(?=x)y"}}}"#).is_empty(), "no looking around");
    assert!(
        !mistakes(r#"{"pattern":"(((((x{100}){100}){100}){100}){100})"}"#).is_empty(),
        "a pattern is bounded"
    );
}

#[test]
fn references_that_multiply_are_refused_and_those_that_turn_back_end() {
    let doubled: Vec<String> = (0..30)
        .map(|n| {
            format!(r##""d{n}":{{"allOf":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}"}}]}}"##, n + 1)
        })
        .collect();
    let schema = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d30":{{}}}}}}"##, doubled.join(","));
    assert!(mistakes(&schema)[0].1.starts_with("can look at one value more than"));
    let turning = json!({ "properties": { "a": { "$ref": "#" } }, "required": ["type"] });
    let policy = policy(Mode::Known, &[("mine", turning)]);
    assert_eq!(fields(&check(&policy, "x", r#"{"type":"mine","a":{"type":1,"a":{}}}"#)), ["/a/a/type"]);
    let still = json!({ "allOf": [{ "$ref": "#" }] });
    let policy = self::policy(Mode::Known, &[("mine", still)]);
    assert!(fits(&check(&policy, "x", r#"{"type":"mine"}"#)));
}

/// One that led back to itself at the name of a member never ended, and took the process with it.
#[test]
fn references_that_turn_back_at_a_name_end_there() {
    let turning = json!({ "propertyNames": { "$ref": "#/$defs/d" },
        "$defs": { "d": { "anyOf": [{ "const": 1 }, { "$ref": "#/$defs/d" }], "maxLength": 4 } } });
    let policy = policy(Mode::Known, &[("mine", turning)]);
    assert!(fits(&check(&policy, "x", r#"{"type":"mine","":1}"#)));
    assert!(!fits(&check(&policy, "x", r#"{"type":"mine","longer":1}"#)));
}

#[test]
fn hostile_events_are_judged_in_bounds() {
    let policy = policy(Mode::Known, &[]);
    let start = r#""type":"forge.job.failed","metadata":{"source":"s"}"#;
    let many: Vec<String> = (0..10_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let Verdict::Misfit(faults) =
        check(&policy, "a", &format!("{{{start},\"data\":{{{}}}}}", many.join(",")))
    else {
        panic!("taken");
    };
    assert_eq!((faults.list.len(), faults.total), (FAULTS_MAX, 10_004));
    let wrong = vec!["1"; 400_000].join(",");
    let verdict = check(&policy, "a", &format!(r#"{{"type":"dashboard.signal","reasons":[{wrong}]}}"#));
    assert_eq!(fields(&verdict).len(), 1, "of so large an event the first fault is enough");
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    assert!(fits(&check(&policy, "a", &format!(r#"{{"type":"order.filled","more":{deep}}}"#))));
    for (number, good) in
        [("1e999", false), ("-0.0", true), ("1.0000000000000000000000001", true), ("1E-400", true)]
    {
        let event = format!(
            r#"{{"type":"trade.signal_generated","source":"s","strategy_id":"s","user_id":"u",
            "signal_id":"i","token":"t","direction":"buy","confidence":{number},"reason":"r","price_at_signal":1e999}}"#
        );
        assert_eq!(fits(&check(&policy, "a", &event)), good, "{number}");
    }
    let whole =
        r#"{"type":"scout.completed","total_fetched":123456789012345678901234567890,"validated":2.0}"#;
    assert!(fits(&check(&policy, "a", whole)));
    assert_eq!(
        fields(&check(&policy, "a", r#"{"type":"order.filled","token":"a","\u0074oken":5}"#)),
        ["/token"]
    );
    assert!(
        fits(&check(&policy, "a", r#"{"type":"order.filled","token":"\ud800"}"#)),
        "half a character is a string"
    );
    let name = "n".repeat(10_000);
    let Verdict::Misfit(faults) = check(&policy, "a", &format!("{{{start},\"data\":{{\"{name}\":1}}}}"))
    else {
        panic!("taken");
    };
    assert!(faults.list.iter().all(|fault| fault.field.chars().count() <= 201));
}
