//! Client frames: a `Decoder` per connection reads the frame at the start of the received bytes, unmasks it in place
//! and puts fragmented messages together.
//!
//! A frame is left in the caller's buffer until it is whole. Only how far the text of an unfinished frame has been
//! checked is kept between calls, so that bad UTF-8 is refused without waiting for the frame's end.
use super::super::close::read_close;
use super::super::utf8::Utf8;
use super::assembly::{Assembly, Kind, valid_text};
use super::header::{Header, unmask};
use super::{Message, RSV1, Step, Violation};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Bytes of an unfinished frame's text that are unmasked at a time to be checked.
const LOOKAHEAD_BYTES: usize = 512;

/// Reads one client's frames.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The fragmented message under way, or the last one until the next call.
    assembly: Option<Box<Assembly>>,
    /// Payload bytes of the unfinished text frame that `utf8` has seen.
    checked_bytes: usize,
    /// The text of the message under way.
    utf8: Utf8,
    /// The reserved bits that an extension gives a meaning: `RSV1` for permessage-deflate.
    extension_bits: u8,
}

impl Decoder {
    /// A decoder for a fresh connection.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// A decoder for a fresh connection with permessage-deflate: messages may come compressed.
    pub fn with_compression() -> Decoder {
        Decoder { extension_bits: RSV1, ..Decoder::default() }
    }

    /// Whether messages may come compressed.
    pub fn takes_compressed(&self) -> bool {
        self.extension_bits & RSV1 != 0
    }

    /// Bytes that are held for a fragmented message. A finished one is released by the next call of `next`, for which
    /// an empty slice will do.
    pub fn buffered_bytes(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| assembly.bytes.len())
    }

    /// Reads the frame at the start of `bytes`, which is unmasked in place. The answer does not depend on where the
    /// bytes were cut.
    ///
    /// # Errors
    /// 1002 for what breaks RFC 6455 5, 1007 for text that is not UTF-8, 1009 as soon as a header tells that the
    /// message exceeds `message_bytes_max`. The decoder cannot be used after an error.
    pub fn next<'b>(
        &'b mut self,
        bytes: &'b mut [u8],
        message_bytes_max: usize,
    ) -> Result<Step<'b>, Violation> {
        self.assembly.take_if(|assembly| assembly.is_finished);
        let Some(header) = Header::read(bytes, self.extension_bits)? else {
            return Ok(Step::Partial { needed: Header::bytes_needed(bytes) });
        };
        self.admit(&header, message_bytes_max)?;
        let consumed = header.bytes + header.payload_bytes as usize;
        if bytes.len() < consumed {
            self.look_ahead(&header, &bytes[header.bytes..])?;
            return Ok(Step::Partial { needed: consumed });
        }
        let payload = &mut bytes[header.bytes..consumed];
        unmask(payload, header.mask);
        let message = self.message(&header, payload)?;
        Ok(Step::Frame { consumed, message })
    }

    /// Messages are not mixed (RFC 6455 5.4) and stay below the limit. Control frames may stand anywhere. The first
    /// frame of a message tells that it is compressed (RFC 7692 6.1).
    fn admit(&self, header: &Header, message_bytes_max: usize) -> Result<(), Violation> {
        let OpCode::Data(data) = header.opcode else {
            return Ok(());
        };
        let continues = data == Data::Continue;
        if continues != self.assembly.is_some() || continues && header.is_compressed {
            return Err(Violation::PROTOCOL);
        }
        let left = message_bytes_max.saturating_sub(self.buffered_bytes());
        if header.payload_bytes > left as u64 { Err(Violation::TOO_BIG) } else { Ok(()) }
    }

    /// The payload can be checked as text while it comes.
    fn is_text(&self, header: &Header) -> bool {
        match header.opcode {
            OpCode::Data(Data::Text) => !header.is_compressed,
            OpCode::Data(Data::Continue) => {
                self.assembly.as_ref().is_some_and(|assembly| assembly.kind == Kind::Text)
            }
            _ => false,
        }
    }

    /// Checks the text of an unfinished frame as far as it has come and was not checked before.
    fn look_ahead(&mut self, header: &Header, masked: &[u8]) -> Result<(), Violation> {
        if !self.is_text(header) {
            return Ok(());
        }
        let mut window = [0; LOOKAHEAD_BYTES];
        for piece in masked[self.checked_bytes..].chunks(LOOKAHEAD_BYTES) {
            let window = &mut window[..piece.len()];
            window.copy_from_slice(piece);
            let mut mask = header.mask;
            mask.rotate_left(self.checked_bytes % 4);
            unmask(window, mask);
            self.utf8.feed(window).map_err(|_| Violation::INVALID_UTF8)?;
            self.checked_bytes += piece.len();
        }
        Ok(())
    }

    /// What a whole frame with this payload completes.
    fn message<'b>(
        &'b mut self,
        header: &Header,
        payload: &'b [u8],
    ) -> Result<Option<Message<'b>>, Violation> {
        Ok(match header.opcode {
            OpCode::Control(Control::Close) => Some(Message::Close(read_close(payload)?)),
            OpCode::Control(Control::Ping) => Some(Message::Ping(payload)),
            OpCode::Control(Control::Pong) => Some(Message::Pong(payload)),
            OpCode::Data(Data::Text) if header.is_final && !header.is_compressed => {
                Some(Message::Text(self.whole_text(payload)?))
            }
            OpCode::Data(Data::Text | Data::Binary) if header.is_final => {
                Some(Kind::of(header).message(payload)?)
            }
            OpCode::Data(_) => return self.fragment(header, payload),
            OpCode::Control(Control::Reserved(_)) => return Err(Violation::PROTOCOL),
        })
    }

    /// A text message in one frame. What was looked at before is looked at once more: that is rare, and cheap.
    fn whole_text<'b>(&mut self, payload: &'b [u8]) -> Result<&'b str, Violation> {
        self.checked_bytes = 0;
        self.utf8 = Utf8::default();
        valid_text(payload)
    }

    fn fragment<'b>(&'b mut self, header: &Header, payload: &[u8]) -> Result<Option<Message<'b>>, Violation> {
        if self.is_text(header) {
            self.utf8.feed(&payload[self.checked_bytes..]).map_err(|_| Violation::INVALID_UTF8)?;
            self.checked_bytes = 0;
        }
        self.assembly.get_or_insert_with(|| Assembly::begin(header)).add(payload, header.is_final)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 70_000;
    const TEXT: u8 = 0x1;
    const BINARY: u8 = 0x2;
    const CONTINUE: u8 = 0x0;
    const FIN: u8 = 0x80;

    /// A masked frame with `first` as its first byte.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let length = payload.len();
        let mut bytes = vec![first];
        match length {
            0..126 => bytes.push(0x80 | length as u8),
            126..65536 => bytes.extend([&[0x80 | 126][..], &(length as u16).to_be_bytes()].concat()),
            _ => bytes.extend([&[0x80 | 127][..], &(length as u64).to_be_bytes()].concat()),
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// What the decoder says to bytes that arrive in pieces: its messages, then the violation and how many bytes had
    /// arrived.
    fn decode(bytes: &[u8], piece_bytes: usize, max: usize) -> (Vec<String>, Option<(u16, usize)>) {
        let (mut decoder, mut buffer, mut messages, mut arrived) =
            (Decoder::new(), Vec::new(), Vec::new(), 0);
        for piece in bytes.chunks(piece_bytes) {
            buffer.extend_from_slice(piece);
            arrived += piece.len();
            loop {
                let have = buffer.len();
                match decoder.next(&mut buffer, max) {
                    Ok(Step::Partial { needed }) => {
                        assert!(needed > have);
                        break;
                    }
                    Ok(Step::Frame { consumed, message }) => {
                        messages.extend(message.map(|message| format!("{message:?}")));
                        buffer.drain(..consumed);
                    }
                    Err(violation) => return (messages, Some((violation.code, arrived))),
                }
            }
        }
        (messages, None)
    }

    /// The same for every cut, or the assertion fails.
    #[track_caller]
    fn messages(bytes: &[u8]) -> Result<Vec<String>, u16> {
        let whole = decode(bytes, bytes.len().max(1), MAX);
        for piece_bytes in 1..bytes.len().min(300) {
            let cut = decode(bytes, piece_bytes, MAX);
            assert_eq!(
                (&cut.0, cut.1.map(|at| at.0)),
                (&whole.0, whole.1.map(|at| at.0)),
                "pieces of {piece_bytes}"
            );
        }
        whole.1.map_or(Ok(whole.0), |(code, _)| Err(code))
    }

    #[test]
    fn a_decoder_is_small() {
        assert!(size_of::<Decoder>() <= 24);
    }

    #[test]
    fn the_masked_examples_of_the_rfc_are_read() {
        assert_eq!(messages(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58").unwrap(), ["Text(\"Hello\")"]);
        assert_eq!(
            messages(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58").unwrap(),
            ["Pong([72, 101, 108, 108, 111])"]
        );
        let fragments = [frame(TEXT, b"Hel"), frame(FIN | CONTINUE, b"lo")].concat();
        assert_eq!(messages(&fragments).unwrap(), ["Text(\"Hello\")"]);
    }

    #[test]
    fn messages_of_every_length_form_arrive_whole() {
        for length in [0, 1, 7, 8, 9, 125, 126, 127, 65535, 65536] {
            let bytes =
                [frame(FIN | BINARY, &vec![0xa5; length]), frame(FIN | TEXT, &vec![b'x'; length])].concat();
            for piece_bytes in [1000, 65536, bytes.len()] {
                let (messages, violation) = decode(&bytes, piece_bytes, MAX);
                assert_eq!((messages.len(), violation), (2, None));
                assert_eq!(messages[1], format!("Text({:?})", "x".repeat(length)));
            }
        }
    }

    #[test]
    fn control_frames_stand_between_fragments() {
        let bytes = [
            frame(BINARY, b"a"),
            frame(FIN | 0x9, b"p"),
            frame(CONTINUE, b""),
            frame(FIN | 0x8, b"\x03\xe8bye"),
            frame(FIN | CONTINUE, b"b"),
            frame(FIN | TEXT, b"c"),
        ]
        .concat();
        let expected = ["Ping([112])", "Close(Some((1000, \"bye\")))", "Binary([97, 98])", "Text(\"c\")"];
        assert_eq!(messages(&bytes).unwrap(), expected);
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let mut cases =
            vec![b"\x81\x01a".to_vec(), frame(FIN | 3, b""), frame(0x9, b""), frame(FIN | TEXT | 0x40, b"a")];
        cases.extend([frame(CONTINUE, b"a"), frame(FIN | CONTINUE, b"a"), frame(FIN | 0x8, b"\x03")]);
        cases.extend(
            [TEXT, FIN | TEXT, FIN | BINARY].map(|second| [frame(TEXT, b"a"), frame(second, b"b")].concat()),
        );
        cases.push([frame(TEXT, b"a"), frame(FIN | CONTINUE, b"b"), frame(FIN | CONTINUE, b"c")].concat());
        cases.extend([0_u16, 1005, 5000].map(|code| frame(FIN | 0x8, &code.to_be_bytes())));
        for bytes in cases {
            let code = decode(&bytes, bytes.len(), MAX).1.map(|at| at.0);
            assert_eq!((messages(&bytes), code), (Err(1002), Some(1002)), "{bytes:x?}");
        }
        assert_eq!(messages(&frame(FIN | 0x8, b"\x03\xe8\xff")), Err(1007));
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_header() {
        let codes = |bytes: &[u8]| decode(bytes, 1, 10).1;
        assert_eq!(codes(&frame(FIN | BINARY, &[0; 10])), None);
        assert_eq!(codes(&frame(FIN | BINARY, &[0; 11])), Some((1009, 6)));
        assert_eq!(codes(&frame(BINARY, &[0; 11])), Some((1009, 6)));
        assert_eq!(codes(&frame(FIN | 0x9, &[0; 11])), None);
        let fragments =
            |last: usize| [frame(BINARY, &[0; 6]), frame(FIN | CONTINUE, &vec![0; last])].concat();
        assert_eq!(codes(&fragments(4)), None);
        assert_eq!(codes(&fragments(5)), Some((1009, 12 + 6)));
        assert_eq!(codes(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"), Some((1009, 14)));
    }

    /// Autobahn 6.2 to 6.4: text split anywhere, also within a character, is one text.
    #[test]
    fn text_may_be_split_within_a_character() {
        let text = "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!! \u{10ffff}\0".as_bytes();
        for cut in 0..=text.len() {
            let bytes =
                [frame(TEXT, &text[..cut]), frame(0x89, b""), frame(FIN | CONTINUE, &text[cut..])].concat();
            assert_eq!(messages(&bytes).unwrap()[1], format!("Text({:?})", str::from_utf8(text).unwrap()));
        }
        let bytes =
            text.iter().enumerate().map(|(at, byte)| frame(if at == 0 { TEXT } else { CONTINUE }, &[*byte]));
        let bytes = bytes.chain([frame(FIN | CONTINUE, b"")]).collect::<Vec<_>>().concat();
        assert_eq!(messages(&bytes).unwrap().len(), 1);
    }

    /// Autobahn 6.3 and 6.5 to 6.23: truncated, overlong, surrogate and too large.
    #[test]
    fn text_that_is_not_utf8_is_refused_in_one_frame_and_in_two() {
        for text in [
            &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"[..],
            b"\xce",
            b"\xe1\xbd",
            b"\xf0\x90\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xed\xbf\xbf",
            b"\x80",
            b"a\xff",
        ] {
            assert_eq!(messages(&frame(FIN | TEXT, text)), Err(1007), "{text:x?}");
            for cut in 0..=text.len() {
                let bytes = [frame(TEXT, &text[..cut]), frame(FIN | CONTINUE, &text[cut..])].concat();
                assert_eq!(messages(&bytes), Err(1007), "{text:x?}");
            }
        }
    }

    /// Autobahn 6.4.3 and 6.4.4 send the bad byte and wait with the rest of the frame.
    #[test]
    fn bad_text_is_refused_at_its_first_impossible_byte() {
        let text = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited";
        let first_impossible = 13;
        assert_eq!(decode(&frame(FIN | TEXT, text), 1, MAX).1, Some((1007, 6 + first_impossible)));
        let fragments = [frame(TEXT, &text[..12]), frame(FIN | CONTINUE, &text[12..])].concat();
        assert_eq!(decode(&fragments, 1, MAX).1, Some((1007, 6 + 6 + first_impossible)));
    }

    #[test]
    fn a_finished_message_is_released_by_the_next_call() {
        let mut decoder = Decoder::new();
        let mut bytes = [frame(BINARY, &[1; 30]), frame(FIN | CONTINUE, &[2; 20])].concat();
        decoder.next(&mut bytes, MAX).unwrap();
        assert_eq!(decoder.buffered_bytes(), 30);
        decoder.next(&mut bytes[36..], MAX).unwrap();
        assert_eq!(decoder.next(&mut [], MAX), Ok(Step::Partial { needed: 2 }));
        assert_eq!(decoder.buffered_bytes(), 0);
    }
}
