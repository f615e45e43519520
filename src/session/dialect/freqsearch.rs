//! Dialect `freqsearch` (`sources.md` 3, contract 6): every event in an envelope, narrowed by types and rooms that the
//! client names. Nothing but a text `ping` is ever answered; what is not understood is passed over in silence.

use super::text::{write_string, write_text_frame, zulu};
use crate::event::{Channel, Event, Filter, Pattern, Position, Priorities};
use crate::session::command::{Command, Target};
use simd_json::prelude::*;
use std::collections::BTreeSet;

/// The most types that one socket may name, and the most rooms: each costs a comparison per event.
pub const WORDS_MAX: usize = 128;

/// What a message changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `subscribe`; else `unsubscribe`.
    pub adds: bool,
    /// Event types, exact.
    pub types: Vec<String>,
    /// Rooms: channel names whose channel and everything below it is meant.
    pub rooms: Vec<String>,
}

/// Reads one message.
pub fn read(text: &str) -> Command<'static> {
    if text == "ping" {
        return Command::Answer("pong".to_owned());
    }
    // simd-json unescapes in place.
    let mut spent = text.as_bytes().to_vec();
    let change = simd_json::to_tape(&mut spent).ok().and_then(|tape| change(tape.as_value()));
    change.map_or(Command::Ignore, Command::Change)
}

fn change(message: simd_json::tape::Value<'_, '_>) -> Option<Change> {
    let object = message.as_object()?;
    let adds = match object.get("action")?.into_string()? {
        "subscribe" => true,
        "unsubscribe" => false,
        _ => return None,
    };
    let words = |name: &str| -> Option<Vec<String>> {
        let Some(list) = object.get(name).filter(|list| !list.is_null()) else { return Some(Vec::new()) };
        list.as_array()?.iter().map(|word| word.into_string().map(str::to_owned)).collect()
    };
    Some(Change { adds, types: words("event_types")?, rooms: words("rooms")? })
}

/// What one socket wants to hear. Empty, as at the start, it is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    types: BTreeSet<String>,
    rooms: BTreeSet<String>,
}

impl Interest {
    /// Everything in these rooms, a list with commas, as the address of a socket may name them (`?rooms=`). `None` if no
    /// channel can be in one of them: without it the socket would hear everything.
    pub fn in_rooms(list: &str) -> Option<Interest> {
        let rooms: Vec<String> = list.split(',').filter(|room| !room.is_empty()).map(str::to_owned).collect();
        if rooms.iter().any(|room| Channel::check(room).is_err()) {
            return None;
        }
        let mut interest = Interest::default();
        interest.apply(&Change { adds: true, types: Vec::new(), rooms });
        Some(interest)
    }

    /// Takes a change over. Words beyond [`WORDS_MAX`] are passed over, as are rooms that no channel can be in.
    pub fn apply(&mut self, change: &Change) -> Changed {
        let rooms = change.rooms.iter().filter(|room| Channel::check(room).is_ok());
        Changed {
            filter: apply(&mut self.types, change.types.iter(), change.adds),
            targets: apply(&mut self.rooms, rooms, change.adds),
        }
    }

    /// The filter by type.
    pub fn filter(&self) -> Option<Filter> {
        // A filter takes `a.*` for a family of types, but names are exact here: `*` alone is one that no event has.
        let exact = |word: &String| if word.ends_with(".*") { "*".to_owned() } else { word.clone() };
        Filter::new(self.types.iter().map(exact).collect(), Priorities::ALL, Vec::new())
    }

    /// Where to listen. A room inside another brings nothing new, but is listed: a socket gets each event once.
    pub fn targets(&self) -> Vec<Target> {
        let pattern = |text: &str| Pattern::parse(text).ok().map(Target::Pattern);
        if self.rooms.is_empty() {
            return pattern("*").into_iter().collect();
        }
        let both =
            |room: &String| [Channel::parse(room).ok().map(Target::Channel), pattern(&format!("{room}.**"))];
        self.rooms.iter().flat_map(both).flatten().collect()
    }
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// [`Interest::filter`] is another.
    pub filter: bool,
    /// [`Interest::targets`] are others.
    pub targets: bool,
}

fn apply<'w>(set: &mut BTreeSet<String>, words: impl Iterator<Item = &'w String>, adds: bool) -> bool {
    let mut changed = false;
    for word in words {
        changed |= match adds {
            true => set.len() < WORDS_MAX && set.insert(word.clone()),
            false => set.remove(word),
        };
    }
    changed
}

/// Appends an event as `{"type","data","timestamp"}`, in a frame.
pub fn render(event: &Event, channel: &Channel, _: Position, out: &mut Vec<u8>) -> Option<u32> {
    write_text_frame(0, out, |out| write_envelope(event, channel, out));
    None
}

/// The payload of that frame. An event without a type goes by its channel's name, as a broker's events go by their
/// routing key.
pub(super) fn write_envelope(event: &Event, channel: &Channel, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":");
    write_string(event.kind().unwrap_or(channel.as_str()), out);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(event.text().as_bytes());
    out.extend_from_slice(b",\"timestamp\":");
    write_string(&zulu(event.at_ms()), out);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Facts;
    use serde_json::{Value, json};

    fn change(adds: bool, types: &[&str], rooms: &[&str]) -> Change {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Change { adds, types: owned(types), rooms: owned(rooms) }
    }

    fn event(kind: &str) -> Event {
        let text = format!(r#"{{"type":"{kind}"}}"#);
        Event::new(&text, &Facts::read(&text).unwrap(), None, 0)
    }

    #[test]
    fn a_text_ping_is_the_one_thing_that_is_answered() {
        assert!(matches!(read("ping"), Command::Answer(answer) if answer == "pong"));
        let many = format!(r#"{{"action":"subscribe","event_types":{}1}}"#, "[".repeat(10_000));
        for text in [
            "",
            "pong",
            "[1]",
            "{}",
            r#"{"type":"ping"}"#,
            r#"{"action":"dance","event_types":["a"]}"#,
            r#"{"action":7}"#,
            r#"{"action":"subscribe","event_types":"a"}"#,
            r#"{"action":"subscribe","event_types":["a",1]}"#,
            &many,
        ] {
            assert!(matches!(read(text), Command::Ignore), "{text}");
        }
    }

    #[test]
    fn subscribe_and_unsubscribe_change_the_set() {
        let read = |text| match read(text) {
            Command::Change(change) => change,
            other => panic!("{other:?}"),
        };
        let text = r#"{"action":"subscribe","event_types":["optimization.new_best","task.failed"]}"#;
        assert_eq!(read(text), change(true, &["optimization.new_best", "task.failed"], &[]));
        let text = r#"{"action":"unsubscribe","event_types":null,"rooms":["a.b"]}"#;
        assert_eq!(read(text), change(false, &[], &["a.b"]));
        assert_eq!(read(r#"{"action":"subscribe"}"#), change(true, &[], &[]));
    }

    #[test]
    fn an_empty_set_is_everything_again() {
        let mut interest = Interest::default();
        assert_eq!((interest.filter(), interest.targets()[0].as_str()), (None, "*"));
        let changed = interest.apply(&change(true, &["a", "b"], &[]));
        assert_eq!(changed, Changed { filter: true, targets: false });
        let filter = interest.filter().unwrap();
        assert!(filter.passes(&event("a")) && !filter.passes(&event("c")));
        assert!(!interest.apply(&change(true, &["a"], &[])).filter);
        interest.apply(&change(false, &["a", "b", "never"], &[]));
        assert_eq!(interest, Interest::default());
    }

    #[test]
    fn types_are_exact_even_when_they_look_like_a_family() {
        let mut interest = Interest::default();
        interest.apply(&change(true, &["task.*"], &[]));
        assert!(!interest.filter().unwrap().passes(&event("task.failed")));
    }

    #[test]
    fn a_room_is_a_channel_and_all_below_it() {
        assert_eq!(Interest::in_rooms("lab,lab two"), None, "and not everything");
        let interest = Interest::in_rooms("lab,,").unwrap();
        let targets = interest.targets();
        assert_eq!(targets.iter().map(Target::as_str).collect::<Vec<_>>(), ["lab", "lab.**"]);
        assert!(matches!(&targets[1], Target::Pattern(pattern) if pattern.matches("lab.a.b")));
    }

    #[test]
    fn words_without_end_are_passed_over() {
        let mut interest = Interest::default();
        let types: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        interest.apply(&Change { adds: true, types, rooms: Vec::new() });
        assert_eq!(interest.types.len(), WORDS_MAX);
    }

    #[test]
    fn the_envelope_has_three_fields_and_the_event_as_it_was() {
        let (channel, position) = (Channel::parse("agent.status").unwrap(), Position { epoch: 1, offset: 2 });
        for (text, kind) in [(r#"{"type":"a\"b", "n":1.0}"#, "a\"b"), (r#"{"x":1}"#, "agent.status")] {
            let event = Event::new(text, &Facts::read(text).unwrap(), None, 1_795_271_775_123);
            let mut out = Vec::new();
            assert_eq!(render(&event, &channel, position, &mut out), None);
            assert!(std::str::from_utf8(&out[2..]).unwrap().contains(text));
            let shown: Value = serde_json::from_slice(&out[2..]).unwrap();
            let data: Value = serde_json::from_str(text).unwrap();
            assert_eq!(shown, json!({"type":kind,"data":data,"timestamp":"2026-11-21T14:36:15.123Z"}));
        }
    }
}
