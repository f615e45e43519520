//! Messages of dialect `freqsearch`: any text is answered by `pong` or not at all, and what a sequence of changes leaves
//! is what a naive set holds.
#![no_main]
use arbitrary::{Arbitrary, Unstructured};
use courier::event::{Event, Facts};
use courier::session::command::Command;
use courier::session::dialect::freqsearch::{Change, Interest, WORDS_MAX, read};
use serde_json::json;
use std::collections::BTreeSet;

#[derive(Arbitrary, Debug)]
struct Step {
    adds: bool,
    types: Vec<u8>,
    rooms: Vec<u8>,
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        match read(text) {
            Command::Answer(answer) => assert_eq!((text, &*answer), ("ping", "pong")),
            Command::Ignore | Command::Change(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let Ok(steps) = Vec::<Step>::arbitrary(&mut Unstructured::new(bytes)) else { return };
    let (mut interest, mut types, mut rooms) = (Interest::default(), BTreeSet::new(), BTreeSet::new());
    for step in steps {
        let words = |words: &[u8]| words.iter().map(|word| format!("w{word}")).collect::<Vec<_>>();
        let expected = Change { adds: step.adds, types: words(&step.types), rooms: words(&step.rooms) };
        let action = if step.adds { "subscribe" } else { "unsubscribe" };
        let message =
            json!({"action": action, "event_types": expected.types, "rooms": expected.rooms}).to_string();
        let Command::Change(change) = read(&message) else { panic!("{message}") };
        assert_eq!(change, expected);
        interest.apply(&change);
        for (set, words) in [(&mut types, change.types), (&mut rooms, change.rooms)] {
            for word in words {
                if !step.adds {
                    set.remove(&word);
                } else if set.len() < WORDS_MAX {
                    set.insert(word);
                }
            }
        }
        check(&interest, &types, &rooms);
    }
});

fn check(interest: &Interest, types: &BTreeSet<String>, rooms: &BTreeSet<String>) {
    assert_eq!(interest.targets().len(), if rooms.is_empty() { 1 } else { 2 * rooms.len() });
    let filter = interest.filter();
    assert_eq!(filter.is_none(), types.is_empty());
    for word in ["w0", "w7", "other"] {
        let text = json!({"type": word}).to_string();
        let event = Event::new(&text, &Facts::read(&text).expect("an event"), None, 0);
        let passes = filter.as_ref().is_none_or(|filter| filter.passes(&event));
        assert_eq!(passes, types.is_empty() || types.contains(word));
    }
}
