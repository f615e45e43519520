//! A message under way: what kind it is, which its first frame tells, and its fragments so far.
use super::header::Header;
use super::{Message, Violation};
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// What a data message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
    CompressedText,
    CompressedBinary,
}

impl Kind {
    /// Of the message that a frame of data begins.
    pub fn of(header: &Header) -> Kind {
        match (header.is_compressed, header.opcode == OpCode::Data(Data::Text)) {
            (false, true) => Kind::Text,
            (false, false) => Kind::Binary,
            (true, true) => Kind::CompressedText,
            (true, false) => Kind::CompressedBinary,
        }
    }

    /// A whole message of this kind.
    pub fn message(self, bytes: &[u8]) -> Result<Message<'_>, Violation> {
        Ok(match self {
            Kind::Text => Message::Text(valid_text(bytes)?),
            Kind::Binary => Message::Binary(bytes),
            Kind::CompressedText => Message::CompressedText(bytes),
            Kind::CompressedBinary => Message::CompressedBinary(bytes),
        })
    }
}

pub(super) fn valid_text(bytes: &[u8]) -> Result<&str, Violation> {
    str::from_utf8(bytes).map_err(|_| Violation::INVALID_UTF8)
}

#[derive(Debug)]
pub(super) struct Assembly {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    pub is_finished: bool,
}

impl Assembly {
    /// Begun by a frame with this header.
    pub fn begin(header: &Header) -> Box<Assembly> {
        Box::new(Assembly { kind: Kind::of(header), bytes: Vec::new(), is_finished: false })
    }

    /// Adds a fragment. Answers the message if that was its last one.
    pub fn add(&mut self, payload: &[u8], is_final: bool) -> Result<Option<Message<'_>>, Violation> {
        self.bytes.extend_from_slice(payload);
        self.is_finished = is_final;
        if is_final { self.kind.message(&self.bytes).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Decoder, Step};
    use super::*;

    const MAX: usize = 1000;

    /// What a decoder says to frames that are masked with zeros.
    fn decoded(mut decoder: Decoder, frames: &[(u8, &[u8])]) -> Result<Vec<String>, u16> {
        let mut messages = Vec::new();
        for (first, payload) in frames {
            let mut bytes = [&[*first, 0x80 | payload.len() as u8, 0, 0, 0, 0], *payload].concat();
            match decoder.next(&mut bytes, MAX).map_err(|violation| violation.code)? {
                Step::Frame { message, .. } => messages.extend(message.map(|message| format!("{message:?}"))),
                Step::Partial { .. } => panic!("a whole frame is partial"),
            }
        }
        Ok(messages)
    }

    #[test]
    fn compressed_messages_are_told_from_others_whole_and_in_fragments() {
        let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        let frames: [(u8, &[u8]); 9] = [
            (0xc1, hello),
            (0x81, b"plain"),
            (0x41, &hello[..3]),
            (0x89, b"p"),
            (0x80, &hello[3..]),
            (0xc2, b"\xff"),
            (0x42, b"\xff"),
            (0x00, b""),
            (0x80, b"\xfe"),
        ];
        let said = |message: Message| format!("{message:?}");
        let expected = [
            said(Message::CompressedText(hello)),
            "Text(\"plain\")".into(),
            "Ping([112])".into(),
            said(Message::CompressedText(hello)),
            said(Message::CompressedBinary(b"\xff")),
            said(Message::CompressedBinary(b"\xff\xfe")),
        ];
        assert_eq!(decoded(Decoder::with_compression(), &frames).unwrap(), expected);
    }

    #[test]
    fn the_mark_of_compression_stands_on_the_first_frame_of_data_only() {
        for frames in [
            &[(0x41, &b"a"[..]), (0xc0, b"b")][..],
            &[(0x01, b"a"), (0xc0, b"b")],
            &[(0x41, b"a"), (0x40, b"b")],
            &[(0xc0, b"a")],
            &[(0xc8, b"")],
            &[(0xc9, b"")],
            &[(0xca, b"")],
            &[(0xa1, b"a")],
            &[(0x91, b"a")],
            &[(0xf1, b"a")],
        ] {
            assert_eq!(decoded(Decoder::with_compression(), frames), Err(1002), "{frames:x?}");
        }
    }

    #[test]
    fn without_negotiation_the_mark_is_refused() {
        for first in [0xc1, 0xc2, 0x41, 0x42] {
            assert_eq!(decoded(Decoder::new(), &[(first, b"a")]), Err(1002), "{first:x}");
        }
    }
}
