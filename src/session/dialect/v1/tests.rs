//! What clients say in dialect `courier.v1`, and what it comes to.

use super::*;
use crate::event::{Facts, Priorities, Priority};
use serde_json::{Value, json};

pub(super) fn with<T>(text: &str, look: impl FnOnce(Command<'_>) -> T) -> T {
    let mut draw = || 0;
    look(read(text, &mut Context { client_id: "c", unix_ms: 0, topics_max: 9, draw: &mut draw }))
}

pub(super) fn answer(text: &str) -> Value {
    with(text, |command| match command {
        Command::Answer(answer) => serde_json::from_str(&answer).expect("answers are JSON"),
        other => panic!("{text}: {other:?}"),
    })
}

fn subscribe(text: &str) -> Subscribe {
    with(text, |command| match command {
        Command::Subscribe(wish) => *wish,
        other => panic!("{text}: {other:?}"),
    })
}

#[test]
fn a_subscription_says_what_of_which_channel_from_where() {
    let wish = subscribe(
        r#"{"type":"subscribe","ref":"r","id":"mine","channel":"a.b","types":["x.*"],"priorities":["HIGH"],
            "sources":["s"],"after":"000000ab-7","format":"cloudevents","later":1}"#,
    );
    assert_eq!((wish.reference.json(), &*wish.id), ("\"r\"", "mine"));
    assert_eq!(wish.targets[0].as_str(), "a.b");
    let only = Priorities::only([Priority::new(7).unwrap()]);
    let filter = crate::event::Filter::new(vec!["x.*".to_owned()], only, vec!["s".to_owned()]);
    assert_eq!(wish.filter, filter);
    assert_eq!(wish.from, Start::After(Position { epoch: 0xab, offset: 7 }));
    assert_eq!(wish.form, forms::V1_CLOUD);
}

#[test]
fn a_pattern_may_be_plain_and_an_id_is_made_when_none_is_given() {
    let wish = subscribe(r#"{"type":"subscribe","pattern":"a.*"}"#);
    assert!(matches!(&wish.targets[..], [Target::Pattern(pattern)] if pattern.as_str() == "a.*"));
    assert_eq!((wish.from, wish.id.len(), wish.reference.json()), (Start::Live, 36, "null"));
    let wish = subscribe(r#"{"type":"subscribe","pattern":"a.b","since":"1970-01-01T00:00:01Z"}"#);
    assert!(matches!(&wish.targets[..], [Target::Channel(_)]));
    assert_eq!(wish.from, Start::Since(1000));
}

#[test]
fn the_other_commands_are_read() {
    with(r#"{"type":"unsubscribe","id":"i","ref":1}"#, |command| {
        let expected = Unsubscribe { reference: Ref::parse("1").unwrap(), which: Which::Id("i".into()) };
        assert!(matches!(command, Command::Unsubscribe(end) if end == expected));
    });
    for text in [r#"{"type":"unsubscribe","channel":"c.*"}"#, r#"{"type":"unsubscribe","pattern":"c.*"}"#] {
        with(text, |command| {
            assert!(
                matches!(command, Command::Unsubscribe(end) if end.which == Which::Channel("c.*".into()))
            );
        });
    }
    let publish = r#"{"type":"publish","channel":"c","data":{"x":1.0}}"#;
    with(publish, |command| match command {
        Command::Publish(publish_) => {
            assert!(matches!(publish_.body, Body::Envelope(text) if text == publish))
        }
        other => panic!("{other:?}"),
    });
    with(r#"{"type":"auth","token":"t"}"#, |command| {
        assert!(matches!(command, Command::Auth { token, .. } if token == "t"));
    });
    with(r#"{"type":"history","channel":"c","limit":5,"order":"newest"}"#, |command| {
        assert!(matches!(command, Command::History(h) if h.limit == 5 && h.newest_first));
    });
    with(r#"{"type":"presence","channel":"c"}"#, |command| {
        assert!(matches!(command, Command::Presence { channel, .. } if channel.as_str() == "c"));
    });
    with(r#"{"type":"pong"}"#, |command| assert!(matches!(command, Command::Ignore)));
}

#[test]
fn pings_are_answered_with_their_mark() {
    assert_eq!(answer(r#"{"type":"ping","ref":false}"#), json!({"type":"pong","ref":false}));
    assert_eq!(answer("ping"), json!({"type":"pong","ref":null}));
}

#[test]
fn what_is_not_understood_is_told_with_code_and_mark() {
    let stars = format!(r#"{{"type":"subscribe","pattern":"{}"}}"#, ["*"; 100].join("."));
    let deep = format!(r#"{{"type":"ping","a":{}"#, "[".repeat(100_000));
    let many = format!(r#"{{"type":"subscribe","channel":[{}"a"]}}"#, "\"a\",".repeat(10_000));
    for (text, code) in [
        ("", "INVALID_JSON"),
        ("pong", "INVALID_JSON"),
        ("[]", "INVALID_MESSAGE"),
        (&deep, "INVALID_MESSAGE"),
        ("{}", "INVALID_MESSAGE"),
        (r#"{"type":1}"#, "INVALID_MESSAGE"),
        (r#"{"type":"dance"}"#, "UNKNOWN_TYPE"),
        (r#"{"type":"ping","ref":{}}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe"}"#, "INVALID_MESSAGE"),
        (&many, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","channel":"a","pattern":"b.*"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","channel":"a","id":""}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","channel":"a","since":"now"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","channel":"a","after":"ab-7"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","channel":"a","after":"+00000ab-7"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","pattern":"a.*","since":"1970-01-01T00:00:01Z"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","pattern":"a.*","after":"000000ab-7"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","channel":"a","priorities":[0]}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","channel":"a","types":["a","*"]}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","channel":"a","types":["a.*.b"]}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","channel":"a","format":"xml"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"subscribe","channel":"a.*"}"#, "INVALID_CHANNEL"),
        (&stars, "INVALID_PATTERN"),
        (r#"{"type":"unsubscribe"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"auth"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"history","channel":"a","limit":1001}"#, "INVALID_MESSAGE"),
        (r#"{"type":"history","channel":"a","limit":0}"#, "INVALID_MESSAGE"),
        (r#"{"type":"presence","channel":""}"#, "INVALID_CHANNEL"),
    ] {
        let answer = answer(text);
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)), "{text}");
        assert_eq!(answer["ref"], Value::Null);
        assert_eq!(answer.as_object().unwrap().len(), 5);
    }
    assert_eq!(answer(r#"{"type":"dance","ref":"r"}"#)["ref"], "r");
}

#[test]
fn an_event_comes_in_an_envelope_as_it_was() {
    let text = r#"{"type":"t", "n":1.0}"#;
    let event = Event::new(text, &Facts::read(text).unwrap(), None, 0);
    let mut out = Vec::new();
    render(&event, &Channel::parse("a.b").unwrap(), Position { epoch: 0xab, offset: 7 }, &mut out);
    let expected = format!(r#"{{"type":"event","channel":"a.b","id":"000000ab-7","event":{text}}}"#);
    assert_eq!(&out[2..], expected.as_bytes());
}
