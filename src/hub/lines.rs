//! Several events in one message, each on a line of its own: an option of the dialect `freqsearch` (contract 6), whose
//! clients split at newlines. Used where a turn or a queue is about to be sent; in JSON, a newline stands nowhere but
//! between events.

use super::outbox::Outbox;
use super::parcel::{Carried, Parcel};
use crate::event::{Channel, Event, Facts, Form};
use std::ops::Deref;
use std::rc::Rc;

/// The first byte of a text frame that is whole and not compressed (RFC 6455 5.2).
const TEXT: u8 = 0x81;

/// A turn as a single parcel, if its events may be joined and there are several.
pub(super) fn joined_turn(turn: &[Carried]) -> Option<Carried> {
    let parcels: Vec<&Parcel> = turn.iter().map(Deref::deref).collect();
    join(&parcels).map(|parcel| Carried::new(parcel, None))
}

impl Outbox {
    /// Puts what waits into one message, if it is nothing but events in these forms that may be joined.
    pub(super) fn join_lines(&mut self, forms: &[Form]) {
        let from = usize::from(self.sent > 0);
        let waiting = self.items.iter().skip(from).map(|item| item.parcel());
        let Some(waiting) = waiting.collect::<Option<Vec<_>>>() else { return };
        let parcels: Vec<&Parcel> = waiting.iter().map(|(parcel, _)| &***parcel).collect();
        if !parcels.iter().all(|parcel| forms.contains(&parcel.form())) {
            return;
        }
        let Some(joined) = join(&parcels) else { return };
        let tag = waiting[0].1;
        while self.items.len() > from {
            self.take(self.items.len() - 1);
        }
        self.append(&Rc::new(joined), tag);
    }
}

/// They share a fate from here on, so none may be urgent, expire, or be dropped by another rule than the first.
fn join(parcels: &[&Parcel]) -> Option<Parcel> {
    let [first, _, ..] = parcels else { return None };
    let alike =
        |parcel: &&Parcel| parcel.is_plain() && parcel.slow() == first.slow() && parcel.bytes()[0] == TEXT;
    if !parcels.iter().all(alike) {
        return None;
    }
    let lines: Vec<&str> = parcels.iter().map(|parcel| text(parcel.bytes())).collect();
    let event = Event::new(&lines.join("\n"), &Facts::default(), None, first.event().at_ms());
    let channel = first.channel().cloned().unwrap_or_else(|| Channel::parse("none").expect("letters"));
    let last = parcels[parcels.len() - 1];
    Some(Parcel::new(event, Form::RAW, last.position(), first.slow(), &channel))
}

/// The payload of a frame of the server's, which is not masked.
fn text(frame: &[u8]) -> &str {
    let header = match frame[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    std::str::from_utf8(&frame[header..]).expect("events are text")
}

#[cfg(test)]
mod tests {
    use super::super::Bounds;
    use super::super::slow::{RouterQueue, Slow};
    use super::*;
    use crate::event::{Extras, Position, Priority, Renderer};

    const LINES: Form = Form(1);
    const BOUNDS: Bounds = Bounds {
        events_max: 9,
        bytes_max: 9_999,
        control_bytes_max: 99,
        router: RouterQueue { max: 1, multi: false },
    };

    fn render(event: &Event, _: &Channel, _: Position, out: &mut Vec<u8>) -> Option<u32> {
        out.extend_from_slice(event.frame());
        None
    }

    static TABLE: [Renderer; 2] = [render, render];

    fn parcel(text: &str, priority: u64) -> Rc<Parcel> {
        let extras = Extras { priority: Priority::new(priority).unwrap(), ..Extras::default() };
        let event = Event::new(text, &Facts::default(), Some(Box::new(extras)), 0);
        let (channel, position) = (Channel::parse("a").unwrap(), Position { epoch: 1, offset: 1 });
        event.rendered(LINES, &channel, position, &TABLE);
        Rc::new(Parcel::new(event, LINES, position, Slow::Disconnect, &channel))
    }

    #[test]
    fn several_events_are_one_message_and_one_stays_as_it_is() {
        let (a, b, long) = (parcel("{1}", 5), parcel("{2}", 5), parcel(&"x".repeat(300), 5));
        assert_eq!(join(&[&a, &b]).unwrap().bytes(), b"\x81\x07{1}\n{2}");
        assert_eq!(text(join(&[&long, &a]).unwrap().bytes()), format!("{}\n{{1}}", "x".repeat(300)));
        assert!(join(&[&a]).is_none() && join(&[]).is_none());
    }

    #[test]
    fn what_may_not_share_a_fate_is_not_joined() {
        assert!(join(&[&parcel("{1}", 5), &parcel("{2}", 6)]).is_none());
    }

    /// It would go with the others for the next event of the first one's key.
    #[test]
    fn several_in_one_message_have_no_key() {
        let keyed = |key: &str| parcel(&format!(r#"{{"key":"{key}"}}"#), 5);
        let (a, b) = (keyed("a"), keyed("b"));
        assert_eq!(a.event().key(), Some("a"));
        assert_eq!(join(&[&a, &b]).unwrap().event().key(), None);
    }

    #[test]
    fn a_queue_of_nothing_but_events_leaves_as_one_message() {
        let mut outbox = Outbox::default();
        for text in ["{1}", "{2}", "{3}"] {
            outbox.push(&parcel(text, 5), 7, None, &BOUNDS).unwrap();
        }
        outbox.mark_sent(2);
        outbox.join_lines(&[LINES]);
        assert_eq!((outbox.events(), outbox.event_bytes()), (2, 5 + 9));
        outbox.push_control(b"!", &BOUNDS).unwrap();
        outbox.push(&parcel("{4}", 5), 7, None, &BOUNDS).unwrap();
        outbox.join_lines(&[LINES]);
        assert_eq!(outbox.events(), 3, "an answer stays where it is");
    }
}
