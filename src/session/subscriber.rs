//! A connection while it speaks WebSocket: takes frames apart, answers what can be answered here, and says what
//! the hub has to be asked for. It holds no buffer while messages arrive whole.

use super::command::{self, Command};
use super::dialect::courier;
use super::{Heartbeat, Options, Reason};
use crate::wire::websocket::close::{valid_code, write_close};
use crate::wire::websocket::frame::{Decoder, HEADER_BYTES_MAX, Message, Opcode, Step, write_frame};

/// Messages of conformance suites may be so long (contract 2, `/echo`).
pub const ECHO_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The words spoken on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Contract 4.
    Courier,
    /// Says back what it hears.
    Echo,
}

/// What to do about a message; the answer, if there is one, is in the buffer that was passed.
#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    /// A ping or a pong; send the answer, if any.
    Control,
    /// Send the answer, if any.
    Answer,
    /// Subscribe.
    Subscribe(String),
    /// Unsubscribe.
    Unsubscribe(String),
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

/// One WebSocket connection.
pub struct Subscriber {
    decoder: Decoder,
    dialect: Dialect,
    heard: bool,
    silent: u8,
}

/// A protocol ping goes out at the first heartbeat without a word since the last; the peer is given up two heartbeats
/// after that (contract 4), at the third in all.
const SILENT_MAX: u8 = 3;

/// What a heartbeat asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Beat {
    /// Send what is in the buffer.
    Send,
    /// Nobody is there.
    Lost,
}

impl Subscriber {
    /// A socket that was just opened.
    pub fn new(dialect: Dialect) -> Subscriber {
        Subscriber { decoder: Decoder::new(), dialect, heard: true, silent: 0 }
    }

    /// The words spoken.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn message_bytes_max(&self, options: &Options) -> usize {
        match self.dialect {
            Dialect::Courier => options.message_bytes_max,
            Dialect::Echo => ECHO_BYTES_MAX,
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

    /// Looks at the next frame. Answers are appended to `out`, as frames.
    pub fn hear(&mut self, bytes: &mut [u8], options: &Options, out: &mut Vec<u8>) -> Heard {
        self.heard = true;
        let max = self.message_bytes_max(options);
        let dialect = self.dialect;
        match self.decoder.next(bytes, max) {
            Err(violation) => Heard::Broken(Reason::of_violation(violation.code)),
            Ok(Step::Partial { needed }) => Heard::Partial(needed),
            Ok(Step::Frame { consumed, message }) => {
                Heard::Frame(consumed, message.map(|message| act(message, dialect, out)))
            }
        }
    }

    /// A heartbeat is due. What to send is appended to `out`.
    pub fn beat(&mut self, options: &Options, out: &mut Vec<u8>) -> Beat {
        self.silent = if self.heard { 0 } else { self.silent + 1 };
        self.heard = false;
        if self.silent >= SILENT_MAX {
            return Beat::Lost;
        }
        if self.dialect == Dialect::Courier {
            if matches!(options.heartbeat, Heartbeat::Json | Heartbeat::Both) {
                write_frame(Opcode::Text, courier::PING.as_bytes(), out);
            }
            if matches!(options.heartbeat, Heartbeat::Text | Heartbeat::Both) {
                write_frame(Opcode::Text, b"ping", out);
            }
        }
        if self.silent > 0 {
            write_frame(Opcode::Ping, b"", out);
        }
        Beat::Send
    }
}

fn act(message: Message<'_>, dialect: Dialect, out: &mut Vec<u8>) -> Act {
    match message {
        Message::Ping(payload) => {
            write_frame(Opcode::Pong, payload, out);
            return Act::Control;
        }
        Message::Pong(_) => return Act::Control,
        Message::Close(said) => {
            answer_close(said, out);
            return Act::PeerClosed;
        }
        Message::Text(text) if dialect == Dialect::Echo => write_frame(Opcode::Text, text.as_bytes(), out),
        Message::Binary(bytes) if dialect == Dialect::Echo => write_frame(Opcode::Binary, bytes, out),
        Message::Binary(_) => return Act::Close(Reason::TextOnly),
        Message::Text(text) => return courier_act(text, out),
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

fn courier_act(text: &str, out: &mut Vec<u8>) -> Act {
    let size = text.len();
    let mut spent = text.as_bytes().to_vec();
    let answer = match command::read(&mut spent) {
        Command::TextPing => "pong".to_owned(),
        Command::Ping => courier::PONG.to_owned(),
        Command::Pong => return Act::Answer,
        Command::Subscribe(channel) => return Act::Subscribe(channel.to_owned()),
        Command::Unsubscribe(channel) => return Act::Unsubscribe(channel.to_owned()),
        Command::Other(kind) => courier::ack(kind, size),
        Command::Invalid(fault) => courier::invalid(&fault),
    };
    out.reserve(HEADER_BYTES_MAX + answer.len());
    write_frame(Opcode::Text, answer.as_bytes(), out);
    Act::Answer
}
