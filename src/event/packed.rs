//! Small events as plain bytes: what a history keeps of most. Many of them stand one behind the other in one piece of
//! memory, and letting go of one looks at nothing that the core has not seen for long; of an event by itself it has to
//! fetch the count, the fields and what the allocator wrote around them.

use super::Event;
use super::object::{About, Part};
use std::sync::OnceLock;
use triomphe::ThinArc;

/// A larger frame is kept where it is: it would cost more to copy than is saved.
const FRAME_BYTES_MAX: usize = 1024;

/// What is kept of an event beside its frame and its time.
pub type Marks = [u8; 9];

impl Event {
    /// An event of which there is nothing but its text, if it is small: what it takes to make it again, and its frame.
    #[inline]
    pub fn pack(&self) -> Option<(Marks, &[u8])> {
        let (about, frame) = (self.about(), self.frame());
        if frame.len() > FRAME_BYTES_MAX || about.extras.is_some() || about.late.get().is_some() {
            return None;
        }
        let [[a, b], [c, d]] = about.kind.to_bytes();
        let [[e, f], [g, h]] = about.source.to_bytes();
        Some(([about.header_bytes, a, b, c, d, e, f, g, h], frame))
    }

    /// The event again. `marks` and `frame` are those of [`Event::pack`].
    pub fn unpack([header_bytes, a, b, c, d, e, f, g, h]: Marks, frame: &[u8], at_ms: u64) -> Event {
        let about = About {
            header_bytes,
            priority: super::Priority::NORMAL,
            kind: Part::from_bytes([[a, b], [c, d]]),
            source: Part::from_bytes([[e, f], [g, h]]),
            at_ms,
            extras: None,
            late: OnceLock::new(),
        };
        Event(ThinArc::from_header_and_slice(about, frame))
    }
}

impl Part {
    /// In a text of less than 64 KiB. What is copied never comes here.
    fn to_bytes(self) -> [[u8; 2]; 2] {
        [self.at, self.len].map(|number| (number.min(u16::MAX.into()) as u16).to_ne_bytes())
    }

    fn from_bytes(bytes: [[u8; 2]; 2]) -> Part {
        match bytes.map(u16::from_ne_bytes) {
            [u16::MAX, _] => Part::NONE,
            [at, len] => Part { at: at.into(), len: len.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Extras, Facts, Priority};
    use super::*;

    fn event(text: &str, extras: Option<Box<Extras>>) -> Event {
        Event::new(text, &Facts::read(text).unwrap(), extras, 7)
    }

    #[test]
    fn a_small_event_comes_back_as_it_was() {
        for text in [
            r#"{"x":1}"#.to_owned(),
            r#"{"type":"a.b","metadata":{"source":"s"}}"#.to_owned(),
            format!(r#"{{"data":"{}","source":"later"}}"#, "x".repeat(900)),
        ] {
            let event = event(&text, None);
            let (marks, frame) = event.pack().expect("it is small and has nothing else");
            let again = Event::unpack(marks, frame, event.at_ms());
            assert_eq!((again.text(), again.frame(), again.at_ms()), (&*text, event.frame(), 7));
            assert_eq!((again.kind(), again.source()), (event.kind(), event.source()));
            assert_eq!(again.priority(), Priority::NORMAL);
        }
    }

    #[test]
    fn what_has_more_than_its_text_is_kept_as_it_is() {
        assert!(event(&format!(r#"{{"data":"{}"}}"#, "x".repeat(1024)), None).pack().is_none(), "large");
        assert!(event(r#"{"type":"\u0061"}"#, None).pack().is_none(), "with a copy of its type");
        assert!(event("{\"x\":1}", Some(Box::default())).pack().is_none(), "with options");
        let keyed = event(r#"{"key":"k"}"#, None);
        assert_eq!(keyed.key(), Some("k"));
        assert!(keyed.pack().is_none(), "read further");
    }
}
