//! A connection while it gets events: as a WebSocket in one of the dialects, or as a stream of server-sent events.
//! Takes frames apart, answers what concerns frames alone, and hands on what the client said. It holds no buffer
//! while messages arrive whole.

use super::book::Book;
use super::command::{Command, Context};
use super::dialect::freqsearch::Interest;
use super::dialect::{Dialect, forms};
use super::pass::Pass;
use super::{Options, Reason};
use crate::event::{Form, Label};
use crate::wire::websocket::close::{valid_code, write_close};
use crate::wire::websocket::deflate::Inflater;
use crate::wire::websocket::frame::{Decoder, Message, Opcode, Step, write_frame};
use std::ops::Range;

/// Messages of conformance suites may be so long (contract 2, `/echo`).
pub const ECHO_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What goes over the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// A WebSocket in this dialect.
    Socket(Dialect),
    /// Server-sent events (contract 7); nothing that the client says is heard.
    Stream,
    /// A WebSocket that says back what it hears.
    Echo,
}

/// What came of a frame; what is to be sent at once is in the buffer that was passed.
#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    /// A ping or a pong; send the answer, if any.
    Control,
    /// Send the answer, if any.
    Answer,
    /// The client's message is in the other buffer.
    Said,
    /// Close for this reason.
    Close(Reason),
    /// The peer closed; the answer is the close frame that it expects.
    PeerClosed,
}

/// What a look into the bytes gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Not a whole frame: so many bytes are needed in all.
    Partial(usize),
    /// A frame; so many bytes are taken.
    Frame(usize, Option<Act>),
    /// The peer broke the rules.
    Broken(Reason),
}

/// Buffers that the shard lends while a frame is looked at.
pub struct Lent<'l> {
    /// What is to be sent, as frames.
    pub out: &'l mut Vec<u8>,
    /// What the client said, as text.
    pub said: &'l mut Vec<u8>,
    /// For messages that were compressed.
    pub inflater: &'l mut Inflater,
}

/// One connection that gets events.
pub struct Subscriber {
    decoder: Decoder,
    pub(super) speech: Speech,
    pub(super) heard: bool,
    pub(super) silent: u8,
    /// The socket holds bytes that wait for an answer.
    pub unread: bool,
    next_tag: u32,
    /// What only some dialects need, or those who came in with a token.
    notes: Option<Box<Notes>>,
}

#[derive(Default)]
struct Notes {
    book: Book,
    client_id: Option<Label>,
    interest: Interest,
    /// The numbers of the subscriptions that serve the interest.
    interest_tags: Range<u32>,
    /// Since when messages were refused, in steady microseconds, and how many.
    refused: (u64, u32),
    pass: Option<Pass>,
    /// The user among whose connections it is counted, whoever renews its rights.
    counted_for: Option<Box<str>>,
}

impl Subscriber {
    /// A connection that was just opened.
    pub fn new(speech: Speech) -> Subscriber {
        Subscriber {
            decoder: Decoder::new(),
            speech,
            heard: true,
            silent: 0,
            unread: false,
            next_tag: 0,
            notes: None,
        }
    }

    /// One on which messages may be compressed (RFC 7692).
    pub fn zipped(speech: Speech) -> Subscriber {
        Subscriber { decoder: Decoder::with_compression(), ..Subscriber::new(speech) }
    }

    /// How events of a form are written here.
    pub fn form(&self, form: Form) -> Form {
        if self.decoder.takes_compressed() { forms::compressed(form) } else { form }
    }

    /// The dialect, if it is a socket that speaks one.
    pub fn dialect(&self) -> Option<Dialect> {
        match self.speech {
            Speech::Socket(dialect) => Some(dialect),
            Speech::Stream | Speech::Echo => None,
        }
    }

    /// What goes over the connection.
    pub fn speech(&self) -> Speech {
        self.speech
    }

    fn notes(&mut self) -> &mut Notes {
        self.notes.get_or_insert_default()
    }

    /// With what it was let in; nothing where everybody is.
    pub fn pass(&self) -> Option<&Pass> {
        self.notes.as_ref()?.pass.as_ref()
    }

    /// It is counted among the connections of this user.
    pub fn count_for(&mut self, user: Option<&str>) {
        if let Some(user) = user {
            self.notes().counted_for = Some(user.into());
        }
    }

    /// The user among whose connections it is counted.
    pub fn counted_for(&self) -> Option<&str> {
        self.notes.as_ref()?.counted_for.as_deref()
    }

    /// As [`Subscriber::pass`], to change it.
    pub fn pass_mut(&mut self) -> Option<&mut Pass> {
        self.notes.as_mut()?.pass.as_mut()
    }

    /// Lets it stay with this from now on.
    pub fn set_pass(&mut self, pass: Option<Pass>) {
        self.notes().pass = pass;
    }

    /// The subscriptions that have names.
    pub fn book(&mut self) -> &mut Book {
        &mut self.notes().book
    }

    /// Whether the dialect names its subscriptions.
    pub fn keeps_book(&self) -> bool {
        matches!(self.dialect(), Some(Dialect::V1 | Dialect::Router))
    }

    /// What a socket of dialect `freqsearch` wants.
    pub fn interest(&mut self) -> &mut Interest {
        &mut self.notes().interest
    }

    /// Takes note of the subscriptions that serve the interest now; answers which did before.
    pub fn serve_interest(&mut self, tags: Range<u32>) -> Range<u32> {
        std::mem::replace(&mut self.notes().interest_tags, tags)
    }

    /// The subscriptions that serve the interest.
    pub fn interest_tags(&mut self) -> Range<u32> {
        self.notes().interest_tags.clone()
    }

    /// Gives the client a name (dialect `router`).
    pub fn name(&mut self, client_id: Label) {
        self.notes().client_id = Some(client_id);
    }

    /// The client's name, a UUID, where it has one.
    pub fn client_id(&self) -> Option<Label> {
        self.notes.as_ref().and_then(|notes| notes.client_id)
    }

    /// One of its messages is refused; so many were in the window that began with the first of them.
    pub fn refused(&mut self, window_us: u64, now_us: u64) -> u32 {
        let (since_us, count) = &mut self.notes().refused;
        if *count == 0 || now_us.saturating_sub(*since_us) > window_us {
            (*since_us, *count) = (now_us, 0);
        }
        *count += 1;
        *count
    }

    /// Numbers for `count` subscriptions, unused on this connection.
    pub fn tags(&mut self, count: usize) -> Range<u32> {
        let first = self.next_tag;
        self.next_tag += count as u32;
        first..self.next_tag
    }

    fn message_bytes_max(&self, options: &Options) -> usize {
        match self.speech {
            Speech::Echo => ECHO_BYTES_MAX,
            Speech::Socket(dialect) => {
                dialect.manners().message_bytes_max.unwrap_or(options.message_bytes_max)
            }
            Speech::Stream => options.message_bytes_max,
        }
    }

    /// Bytes of a fragmented message that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.decoder.buffered_bytes()
    }

    /// Lets go of a fragmented message that was heard whole.
    pub fn release(&mut self) {
        // An empty look finds no frame; it only ends the borrow that the last message had.
        let _ = self.decoder.next(&mut [], 0);
    }

    /// Looks at the next frame. Answers are appended to `lent.out`, as frames.
    pub fn hear(&mut self, bytes: &mut [u8], options: &Options, lent: &mut Lent<'_>) -> Heard {
        self.heard = true;
        if self.speech == Speech::Stream {
            return Heard::Frame(bytes.len(), None);
        }
        let (max, speech) = (self.message_bytes_max(options), self.speech);
        match self.decoder.next(bytes, max) {
            Err(violation) => Heard::Broken(Reason::of_violation(violation.code)),
            Ok(Step::Partial { needed }) => Heard::Partial(needed),
            Ok(Step::Frame { consumed, message }) => {
                Heard::Frame(consumed, message.map(|message| act(message, speech, max, lent)))
            }
        }
    }

    /// What the client's message comes to.
    pub fn understand<'t>(&self, text: &'t str, context: &mut Context<'_>) -> Command<'t> {
        self.dialect().map_or(Command::Ignore, |dialect| dialect.read(text, context))
    }
}

fn act(message: Message<'_>, speech: Speech, bytes_max: usize, lent: &mut Lent<'_>) -> Act {
    match message {
        Message::Ping(payload) => {
            write_frame(Opcode::Pong, payload, lent.out);
            return Act::Control;
        }
        Message::Pong(_) => return Act::Control,
        Message::Close(said) => {
            answer_close(said, lent.out);
            return Act::PeerClosed;
        }
        Message::Text(text) if speech == Speech::Echo => write_frame(Opcode::Text, text.as_bytes(), lent.out),
        Message::Binary(bytes) if speech == Speech::Echo => write_frame(Opcode::Binary, bytes, lent.out),
        Message::Binary(_) => return Act::Close(Reason::TextOnly),
        Message::Text(text) => {
            lent.said.clear();
            lent.said.extend_from_slice(text.as_bytes());
            return Act::Said;
        }
        Message::CompressedText(payload) => return inflated(payload, true, speech, bytes_max, lent),
        Message::CompressedBinary(payload) => return inflated(payload, false, speech, bytes_max, lent),
    }
    Act::Answer
}

/// A message that was compressed, after that is undone.
fn inflated(payload: &[u8], is_text: bool, speech: Speech, bytes_max: usize, lent: &mut Lent<'_>) -> Act {
    if let Err(violation) = lent.inflater.inflate(payload, bytes_max, lent.said) {
        return Act::Close(Reason::of_violation(violation.code));
    }
    if is_text && std::str::from_utf8(lent.said).is_err() {
        return Act::Close(Reason::InvalidUtf8);
    }
    match (speech, is_text) {
        (Speech::Echo, true) => write_frame(Opcode::Text, lent.said, lent.out),
        (Speech::Echo, false) => write_frame(Opcode::Binary, lent.said, lent.out),
        (_, true) => return Act::Said,
        (_, false) => return Act::Close(Reason::TextOnly),
    }
    Act::Answer
}

/// A close is answered with the same code (RFC 6455 5.5.1).
fn answer_close(said: Option<(u16, &str)>, out: &mut Vec<u8>) {
    match said {
        Some((code, _)) if valid_code(code) => write_close(code, "", out),
        _ => write_frame(Opcode::Close, b"", out),
    }
}
