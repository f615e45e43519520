//! Messages of dialect `router`, any text: every answer is JSON, a published event is complete and one that the server
//! would take itself, and the targets of a subscription cover a channel exactly when one of its topics does.
#![no_main]
use courier::event::{Event, Facts, Position, matches};
use courier::session::command::{Body, Command, Context, Subscribe, Target};
use courier::session::dialect::router::{TYPES, read, render, subscribed};
use serde_json::Value;

const POSITION: Position = Position { epoch: 1, offset: 2 };

fn look(text: &str) {
    let mut bits = 0;
    let mut draw = || {
        bits += 1;
        bits
    };
    let mut context = Context { client_id: "client", unix_ms: 7, topics_max: 9, draw: &mut draw };
    match read(text, &mut context) {
        Command::Answer(answer) => {
            // An echo may hold what only its sender understands, a lone surrogate or a huge number.
            let understood = serde_json::from_str::<Value>(text).is_ok();
            match serde_json::from_str::<Value>(&answer) {
                Ok(answer) => assert_eq!(answer.as_object().unwrap().len(), 3),
                Err(error) => assert!(!understood, "{error}: {answer}"),
            }
        }
        Command::Publish(publish) => published(publish.body),
        Command::Subscribe(wish) => wanted(&wish),
        Command::Unsubscribe(_) | Command::Health => {}
        other => panic!("{other:?}"),
    }
}

fn published(body: Body) {
    let Body::Event { channel, text, extras, id } = body else { panic!("an envelope") };
    let facts = Facts::read(&text).expect("what goes out is an event");
    let kind = facts.kind.0.as_deref().expect("it has a type");
    assert!(TYPES.contains(&kind));
    if let Ok(event) = serde_json::from_str::<Value>(&text) {
        assert_eq!(event.as_object().unwrap().len(), 14);
        assert_eq!(event["metadata"].as_object().unwrap().len(), 9);
        assert_eq!((&event["topic"], &event["id"]), (&channel.as_str().into(), &(&*id).into()));
        assert_eq!(event["priority"], extras.priority.number());
    }
    let event = Event::new(&text, &facts, Some(extras), 7);
    let mut out = Vec::new();
    let at = render(&event, &channel, POSITION, &mut out).expect("a place for the label") as usize;
    assert!(out[..at].ends_with(b"\"subscription_id\":\"") && out[at..] == *b"\"}");
}

fn wanted(wish: &Subscribe) {
    let answer: Value = serde_json::from_str(&subscribed(wish)).expect("an answer is JSON");
    assert!(wish.label().is_some());
    let topics: Vec<&str> =
        answer["topics"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let stars = |topic: &str| topic.split('.').all(|part| !part.contains('*') || part == "*");
    // `**` is an addition of the server's; the rule of the original is for topics without it.
    if !topics.iter().all(|topic| stars(topic)) {
        return;
    }
    let names = ["a", "a.b", "a.b.c", "task.failed", "a..b", "."];
    for name in
        names.iter().chain(topics.iter().filter(|topic| courier::event::Channel::check(topic).is_ok()))
    {
        let naive = topics.is_empty() || topics.iter().any(|topic| original(topic, name));
        let covered = wish.targets.iter().any(|target| match target {
            Target::Channel(channel) => channel.as_str() == *name,
            Target::Pattern(pattern) => pattern.matches(name),
        });
        assert_eq!(naive, covered, "{topics:?} {name}");
        assert!(!covered || wish.targets.iter().any(|target| matches(target.as_str(), name)));
    }
}

/// `sources.md` 2.4, word for word. A pattern beyond the length of a channel's name covers none.
fn original(topic: &str, name: &str) -> bool {
    let (wanted, given) = (topic.split('.').collect::<Vec<_>>(), name.split('.').collect::<Vec<_>>());
    let meets = wanted.iter().zip(&given).all(|(wanted, given)| *wanted == "*" || wanted == given);
    topic == "*" || wanted.len() == given.len() && meets
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    look(text);
    look(&format!("{{\"type\":\"publish\",\"event\":{text}}}"));
    look(&format!("{{\"type\":\"publish\",\"event\":{{\"topic\":\"a\",{text}}}}}"));
    look(&format!("{{\"type\":\"subscribe\",\"subscription\":{text}}}"));
    look(&format!("{{\"type\":\"subscribe\",\"subscription\":{{\"topics\":[{text}]}}}}"));
});
