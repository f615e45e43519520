//! Messages of dialect `courier`, any text, against `serde_json::Value`: what is no object is told, what asks for
//! something is a command, and all else is acknowledged with its type and size.
#![no_main]
use courier::event::Channel;
use courier::session::command::Command;
use courier::session::dialect::courier::read;
use serde_json::{Value, json};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let command = read(text);
    if text == "ping" {
        return assert!(matches!(command, Command::Answer(answer) if answer == "pong"));
    }
    // The two readers differ on numbers beyond a double, lone surrogates and depth: then only the form is looked at.
    let document = serde_json::from_str::<Value>(text).ok();
    let object = document.as_ref().and_then(Value::as_object);
    let field = |name: &str| object.and_then(|object| object.get(name)).and_then(Value::as_str);
    match command {
        Command::Answer(answer) => {
            let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
            match answer["type"].as_str() {
                Some("pong") => assert_eq!(field("type"), Some("ping")),
                Some("ack") if document.is_some() => {
                    let expected = json!({"type":"ack","message_type":field("type"),"size_bytes":text.len()});
                    assert_eq!(answer, expected);
                }
                Some("ack") => {}
                Some("error") => assert_eq!(answer["code"], "VALIDATION_ERROR"),
                other => panic!("an answer of type {other:?}"),
            }
        }
        Command::Ignore => assert_eq!(field("type"), Some("pong")),
        Command::Subscribe(wish) => assert_eq!(wish.targets[0].as_str(), field("channel").unwrap()),
        Command::Unsubscribe(_) => Channel::check(field("channel").unwrap()).unwrap(),
        other => panic!("{other:?}"),
    }
});
