//! Compressed messages (RFC 7692): what sockets offer and what may be agreed on, and both ways of a message. Each message
//! stands by itself, so that nothing is kept here from one to the next. Nothing is shared with `src/wire`.

use crate::client::{Client, Scene};
use crate::dice::Dice;
use crate::frames::{self, Frame, TEXT};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use std::borrow::Cow;

/// Says in a frame's first byte that its message is compressed.
pub const ZIPPED: u8 = 0x40;
/// Longer than any message of a run.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// An event with so much padding shrinks, whoever compresses it.
const SHRINKS_FROM: usize = 100;
/// What is left out at the end of a message (7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Offers, and the largest window that each lets the server have where it is sound. The server has one of 12 bits.
const OFFERS: [(&str, Option<u8>); 7] = [
    ("permessage-deflate", Some(15)),
    ("permessage-deflate; client_max_window_bits", Some(15)),
    ("permessage-deflate; server_max_window_bits=12; client_max_window_bits=9", Some(12)),
    ("permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=14", Some(14)),
    ("permessage-deflate; server_max_window_bits=8", None),
    ("permessage-deflate; mystery", None),
    ("x-other; a=\"permessage-deflate\"", None),
];

/// What a socket offers, as a field of its request's head.
pub fn field(offer: usize) -> String {
    format!("Sec-WebSocket-Extensions: {}\r\n", OFFERS[offer].0)
}

pub fn some_offer(dice: &mut Dice) -> usize {
    if dice.chance(60) { dice.below(4) } else { dice.below(OFFERS.len()) }
}

impl Client {
    /// Its socket is open; this is agreed on.
    pub fn agree(&mut self, agreed: Option<&str>, scene: &Scene<'_>) {
        let wanted = self.offer.and_then(|offer| OFFERS[offer].1);
        let is_on = scene.features.zip_bytes_min.is_some() && self.tongue != crate::client::Tongue::Router;
        assert_eq!(
            agreed.is_some(),
            wanted.is_some() && is_on,
            "client {}: {agreed:?} is agreed on",
            self.id
        );
        let (Some(agreed), Some(window_max)) = (agreed, wanted) else { return };
        let mut parts = agreed.split(';').map(str::trim);
        assert_eq!(parts.next(), Some("permessage-deflate"));
        let parts: Vec<&str> = parts.collect();
        for fresh in ["server_no_context_takeover", "client_no_context_takeover"] {
            assert!(parts.contains(&fresh), "client {}: {fresh} is not agreed on", self.id);
        }
        let window = parts.iter().find_map(|part| part.strip_prefix("server_max_window_bits="));
        let bits = window.map_or(15, |bits| bits.parse().expect("a number"));
        assert!(bits <= window_max, "client {}: a window of {bits} bits, at most {window_max}", self.id);
        self.zips = true;
    }

    /// What a frame says. Only texts may be compressed, only where that was agreed on and when they are long enough.
    pub fn unzipped<'f>(&mut self, frame: &Frame<'f>, scene: &Scene<'_>) -> Cow<'f, [u8]> {
        self.came_zipped = frame.zipped;
        if !frame.zipped {
            return frame.payload.into();
        }
        let Frame { opcode, .. } = *frame;
        assert!(self.zips && opcode == TEXT, "client {}: a compressed frame, opcode {opcode}", self.id);
        let text = inflated(frame.payload);
        let wanted = scene.features.zip_bytes_min.is_some_and(|min| text.len() >= min);
        assert!(wanted, "client {}: {} bytes are compressed", self.id, text.len());
        assert!(frame.payload.len() < text.len(), "client {}: compressed, and no shorter", self.id);
        text.into()
    }

    /// An event whose text would shrink came compressed where that was agreed on.
    pub fn assert_zipped(&self, n: usize, scene: &Scene<'_>) {
        let padding = scene.model.events[n].padding;
        let text_min = scene.features.zip_bytes_min.unwrap_or(0).max(SHRINKS_FROM);
        assert!(
            self.came_zipped || !self.zips || padding < text_min,
            "client {}: event {n} with {padding} bytes of padding came as it is",
            self.id
        );
    }

    /// A message, in one frame or several, compressed now and then where that was agreed on.
    pub fn message(&self, text: &[u8], dice: &mut Dice) -> Vec<u8> {
        match self.zips && dice.chance(50) {
            true => frames::client_message(ZIPPED | TEXT, &deflated(text, dice), dice),
            false => frames::client_message(TEXT, text, dice),
        }
    }
}

fn inflated(payload: &[u8]) -> Vec<u8> {
    let (mut state, mut text) = (Decompress::new(false), Vec::with_capacity(MESSAGE_BYTES_MAX));
    let whole = [payload, &TAIL].concat();
    state.decompress_vec(&whole, &mut text, FlushDecompress::Sync).expect("a compressed message");
    assert_eq!(state.total_in(), whole.len() as u64, "a message is longer than any");
    text
}

/// By itself, at any level.
fn deflated(text: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut state = Compress::new(Compression::new(dice.range(0, 9) as u32), false);
    let mut payload = Vec::with_capacity(text.len() + 200);
    state.compress_vec(text, &mut payload, FlushCompress::Sync).expect("into memory");
    assert_eq!(state.total_in(), text.len() as u64, "all of it");
    payload.strip_suffix(&TAIL).expect("a flush ends with this").to_vec()
}
