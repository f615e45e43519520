//! An event: one JSON object, immutable once it exists, encoded once as a WebSocket text frame and shared by every
//! subscriber on every core (frames from a server are not masked, so one encoding serves all; RFC 6455 5.1). Made at
//! admission; other forms of it are rendered when the first subscriber wants one.

use super::form::{FORMS_MAX, Form, Rendered, Renderers};
use super::key::key_of;
use super::{Channel, Extras, Facts, Position, Priority, Text};
use crate::wire::websocket::frame::HEADER_BYTES_MAX;
use std::borrow::Cow;
use std::sync::OnceLock;
use triomphe::{Arc, ThinArc};

/// An event, cheap to clone and to hand to another core.
/// The frame stands in the same piece of memory as what is known about it: one allocation, and for an event of usual
/// size four cache lines in all.
#[derive(Clone)]
pub struct Event(pub(super) ThinArc<About, u8>);

pub(super) struct About {
    /// Of the frame; behind them comes the text.
    pub header_bytes: u8,
    pub priority: Priority,
    pub kind: Part,
    pub source: Part,
    pub at_ms: u64,
    pub extras: Option<Box<Extras>>,
    pub late: OnceLock<Box<Late>>,
}

/// What most events never need.
#[derive(Default)]
pub(super) struct Late {
    rendered: [OnceLock<Rendered>; FORMS_MAX],
    key: OnceLock<Option<Box<str>>>,
    kind: Option<Box<str>>,
    source: Option<Box<str>>,
}

impl Late {
    #[cold]
    fn with_copies(facts: &Facts<'_>) -> Box<Late> {
        let copy = |value: &Text<'_>| value.0.as_deref().map(Box::from);
        Box::new(Late { kind: copy(&facts.kind), source: copy(&facts.source), ..Late::default() })
    }
}

/// Where a string of the event stands in its text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub at: u32,
    pub len: u32,
}

impl Part {
    /// There is no such string.
    pub const NONE: Part = Part { at: u32::MAX, len: 0 };
    /// It is escaped in the text, or not in this text: a copy is kept.
    const COPIED: Part = Part { at: u32::MAX, len: 1 };

    fn of(value: &Option<Cow<'_, str>>, text: &str) -> Part {
        match value {
            None => Part::NONE,
            Some(Cow::Owned(_)) => Part::COPIED,
            Some(Cow::Borrowed(value)) => {
                // Borrowed from this text, which its address tells, or from the one that this was made from.
                let at = (value.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
                let within = at <= text.len() && value.len() <= text.len() - at;
                if within { Part { at: at as u32, len: value.len() as u32 } } else { Part::COPIED }
            }
        }
    }

    fn read<'e>(self, text: &'e [u8], copy: impl FnOnce() -> Option<&'e str>) -> Option<&'e str> {
        match self {
            Part::NONE => None,
            Part::COPIED => copy(),
            Part { at, len } => std::str::from_utf8(&text[at as usize..(at + len) as usize]).ok(),
        }
    }
}

impl Event {
    /// Takes a text that was checked, and what was read of it (of the text that it was made from, if it was stamped).
    /// `at_ms` is the server's time, in Unix milliseconds.
    pub fn new(text: &str, facts: &Facts<'_>, extras: Option<Box<Extras>>, at_ms: u64) -> Event {
        let (kind, source) = (Part::of(&facts.kind.0, text), Part::of(&facts.source.0, text));
        let late = match kind == Part::COPIED || source == Part::COPIED {
            true => OnceLock::from(Late::with_copies(facts)),
            false => OnceLock::new(),
        };
        let payload = text.as_bytes();
        let (header, header_bytes) = header(payload.len());
        let about = About {
            header_bytes,
            priority: extras.as_ref().map_or(Priority::NORMAL, |extras| extras.priority),
            kind,
            source,
            at_ms,
            extras,
            late,
        };
        let len = usize::from(header_bytes) + payload.len();
        if len <= SMALL_BYTES {
            return Event::put_together::<SMALL_BYTES>(about, header, payload);
        }
        if len <= ON_STACK_BYTES {
            return Event::put_together::<ON_STACK_BYTES>(about, header, payload);
        }
        let frame = [&header[..header_bytes.into()], payload].concat();
        Event(ThinArc::from_header_and_slice(about, &frame))
    }

    /// By way of the stack: the memory where an event stays is only filled from one piece.
    #[inline]
    fn put_together<const BYTES: usize>(
        about: About,
        header: [u8; HEADER_BYTES_MAX],
        payload: &[u8],
    ) -> Event {
        let mut frame = [0; BYTES];
        let before = usize::from(about.header_bytes);
        let len = before + payload.len();
        frame[..HEADER_BYTES_MAX].copy_from_slice(&header);
        frame[before..len].copy_from_slice(payload);
        Event(ThinArc::from_header_and_slice(about, &frame[..len]))
    }

    /// The text, byte for byte as it was published.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.payload()).expect("it was made from a text")
    }

    /// [`Event::text`] as bytes, for which nothing needs to be looked at.
    pub fn payload(&self) -> &[u8] {
        &self.0.slice[self.about().header_bytes.into()..]
    }

    /// The text as one unfragmented frame: [`Form::RAW`].
    pub fn frame(&self) -> &[u8] {
        &self.0.slice
    }

    /// `type`, when it is a string.
    pub fn kind(&self) -> Option<&str> {
        self.about().kind.read(self.payload(), || self.about().late.get()?.kind.as_deref())
    }

    /// `source`, flat or nested, when it is a string.
    pub fn source(&self) -> Option<&str> {
        self.about().source.read(self.payload(), || self.about().late.get()?.source.as_deref())
    }

    /// How urgent.
    pub fn priority(&self) -> Priority {
        self.about().priority
    }

    /// Puts the event at [`Priority::NORMAL`], whatever its publisher said.
    ///
    /// # Panics
    /// If somebody else has it already.
    pub fn make_normal(&mut self) {
        self.0.with_arc_mut(|whole| {
            let whole = Arc::get_mut(whole).expect("its publisher has not given it to anybody yet");
            let about = whole.header_mut();
            about.priority = Priority::NORMAL;
            if let Some(extras) = &mut about.extras {
                extras.priority = Priority::NORMAL;
            }
        });
    }

    /// When the server took it, in Unix milliseconds.
    pub fn at_ms(&self) -> u64 {
        self.about().at_ms
    }

    /// The memory that it takes, about, in bytes: the text, the renderings that are made already, and what is around
    /// them.
    pub fn footprint(&self) -> usize {
        let rendered = |late: &Late| -> usize {
            let made = late.rendered.iter().filter_map(|form| form.get());
            made.map(|rendered| rendered.bytes.len()).sum::<usize>() + std::mem::size_of::<Late>()
        };
        self.0.slice.len() + FOOTPRINT_MORE_BYTES + self.about().late.get().map_or(0, |late| rendered(late))
    }

    /// What else the publisher said.
    pub fn extras(&self) -> Option<&Extras> {
        self.about().extras.as_deref()
    }

    /// Whether nobody is to get it any more.
    pub fn is_expired(&self, now_us: u64) -> bool {
        self.extras().and_then(|extras| extras.expires_us).is_some_and(|expires_us| expires_us <= now_us)
    }

    /// The field `key` at the top, when it is a string: of events of one channel with the same key only the latest
    /// counts. Read when it is first asked for.
    pub fn key(&self) -> Option<&str> {
        self.late().key.get_or_init(|| key_of(self.text())).as_deref()
    }

    /// The event in a form, which is made when it is first asked for, by whichever core that is. The channel and the
    /// position are the event's own, so every caller gives the same.
    ///
    /// # Panics
    /// If `form` is [`Form::RAW`] or not in the table.
    pub fn rendered(&self, form: Form, channel: &Channel, position: Position, table: Renderers) -> &Rendered {
        self.late().rendered[usize::from(form.0)].get_or_init(|| {
            let mut bytes = Vec::with_capacity(self.frame().len() + RENDERED_MORE_BYTES);
            let splice_at = table[usize::from(form.0)](self, channel, position, &mut bytes);
            Rendered { bytes: bytes.into_boxed_slice(), splice_at }
        })
    }

    /// The event in a form that it was rendered in already.
    pub fn rendering(&self, form: Form) -> Option<&Rendered> {
        self.about().late.get()?.rendered[usize::from(form.0)].get()
    }

    #[inline]
    pub(super) fn about(&self) -> &About {
        &self.0.header.header
    }

    fn late(&self) -> &Late {
        self.about().late.get_or_init(Box::default)
    }
}

/// What an event takes beside its text: its fields, counts, the allocator's rounding and its place in a history.
const FOOTPRINT_MORE_BYTES: usize = 128;

/// What an envelope adds to an event, about: a guess for the first allocation.
const RENDERED_MORE_BYTES: usize = 256;

/// A frame up to so many bytes is put together on the stack, a larger one in memory of its own first.
const ON_STACK_BYTES: usize = 512;

/// So much stack is cleared in 12 instructions, which takes 50 for all of it.
const SMALL_BYTES: usize = 192;

/// The header of an unmasked text frame, and how long it is (RFC 6455 5.2). By hand, because it is written once per
/// publish: the general way to write one costs 53 instructions of the 250 that making an event takes.
#[inline]
fn header(payload_bytes: usize) -> ([u8; HEADER_BYTES_MAX], u8) {
    let mut header = [0; HEADER_BYTES_MAX];
    header[0] = 0x81;
    match payload_bytes {
        len @ 0..=125 => {
            header[1] = len as u8;
            (header, 2)
        }
        len @ 126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            (header, 4)
        }
        len => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            (header, 10)
        }
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::websocket::frame::{Opcode, write_frame};

    fn event(text: &str) -> Event {
        Event::new(text, &Facts::read(text).unwrap(), None, 7)
    }

    #[test]
    fn the_text_comes_back_for_every_length_form_and_the_frame_is_written_in_one_piece() {
        for len in [1, 100, 125, 126, 186, 187, 506, 507, 65_535, 65_536, 1 << 20] {
            let text = format!("\"{}\"", "x".repeat(len));
            let event = Event::new(&text, &Facts::default(), None, 0);
            assert_eq!(event.text(), text);
            let mut frame = Vec::new();
            write_frame(Opcode::Text, text.as_bytes(), &mut frame);
            assert_eq!(event.frame(), frame);
        }
    }

    #[test]
    fn strings_are_found_whether_plain_or_escaped_or_of_another_text() {
        let plain = event(r#"{"type":"a.b","metadata":{"source":"s"}}"#);
        assert_eq!((plain.kind(), plain.source()), (Some("a.b"), Some("s")));
        assert!(plain.about().kind == Part { at: 9, len: 3 });
        let escaped = event(r#"{"type":"a\u0062","source":1}"#);
        assert_eq!((escaped.kind(), escaped.source()), (Some("ab"), None));
        let facts = Facts::read(r#"{"type":"t"}"#).unwrap();
        let stamped = Event::new(r#"{"timestamp":"T","type":"t"}"#, &facts, None, 0);
        assert_eq!((stamped.kind(), stamped.at_ms()), (Some("t"), 0));
    }

    #[test]
    fn a_key_is_the_string_at_the_top() {
        for (text, key) in [
            (r#"{"key":"k"}"#, Some("k")),
            (r#"{"data":{"key":"k"}}"#, None),
            (r#"{"key":{"key":"k"}}"#, None),
            (r#"{"key":"\u006b"}"#, Some("k")),
            (r#"{"key":"a","key":"b"}"#, Some("b")),
            (r#"{"key":"a","key":1}"#, None),
            (r#"{"k\ud800":1,"key":"b"}"#, Some("b")),
        ] {
            assert_eq!(event(text).key(), key, "{text}");
        }
    }

    #[test]
    fn a_form_is_rendered_once() {
        fn render(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) -> Option<u32> {
            out.extend_from_slice(format!("{channel} {position} {}", event.text()).as_bytes());
            Some(3)
        }
        let event = event(r#"{"x":1}"#);
        let (channel, position) = (Channel::parse("c").unwrap(), Position { epoch: 1, offset: 2 });
        assert!(event.rendering(Form(1)).is_none());
        let first: *const Rendered = event.rendered(Form(1), &channel, position, &[render, render]);
        let again = event.clone();
        let again = again.rendered(Form(1), &channel, position, &[]);
        assert!(std::ptr::eq(first, again));
        assert_eq!(&*again.bytes, b"c 00000001-2 {\"x\":1}");
        assert_eq!(again.wire_bytes(), again.bytes.len() + 36);
    }
}
