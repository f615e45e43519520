//! Messages of dialect `courier.v1`, any text: every answer is an object with `type` and the `ref` that was given, and
//! what comes out as a command is what a whole document says.
#![no_main]
use courier::session::command::{Body, Command, Context, Which};
use courier::session::dialect::v1::{read, subscribed};
use serde_json::Value;
use serde_json::value::RawValue;

fn look(text: &str) {
    let mut bits = 0;
    let mut draw = || {
        bits += 1;
        bits
    };
    let mut context = Context { client_id: "c", unix_ms: 7, topics_max: 9, draw: &mut draw };
    let command = read(text, &mut context);
    let Ok(document) = serde_json::from_str::<Value>(text) else {
        // A `ref` that only its sender understands, a lone surrogate or a huge number, comes back as it was.
        if let Command::Answer(answer) = command {
            serde_json::from_str::<&RawValue>(&answer).expect("an answer is JSON");
        }
        return;
    };
    match command {
        Command::Answer(answer) => {
            let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
            let fields = if answer["type"] == "pong" { 2 } else { 5 };
            assert_eq!(answer.as_object().unwrap().len(), fields);
            assert!(answer["ref"].is_null() || answer["ref"] == document["ref"]);
        }
        Command::Ignore => assert_eq!(document["type"], "pong"),
        Command::Subscribe(wish) => {
            let named = [&document["channel"], &document["pattern"]].map(Value::as_str);
            assert_eq!(Some(wish.targets[0].as_str()), named[0].or(named[1]));
            let answer: Value = serde_json::from_str(&subscribed(&wish, None, false, 0)).expect("JSON");
            assert_eq!((&answer["ref"], &answer["id"]), (&document["ref"], &Value::from(&*wish.id)));
        }
        Command::Unsubscribe(end) => match end.which {
            Which::Id(id) => assert_eq!(document["id"], *id),
            Which::Channel(name) => {
                assert!(document["channel"] == *name || document["pattern"] == *name);
            }
        },
        Command::Publish(publish) => assert!(matches!(publish.body, Body::Envelope(body) if body == text)),
        Command::Auth { token, .. } => assert_eq!(document["token"], *token),
        Command::History(history) => assert!((1..=1000).contains(&history.limit)),
        Command::Presence { channel, .. } => assert_eq!(document["channel"], channel.as_str()),
        other => panic!("{other:?}"),
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    look(text);
    look(&format!("{{\"type\":\"subscribe\",{text}}}"));
});
