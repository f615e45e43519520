//! Events as compressed frames (RFC 7692) for those who agreed to them. No frame refers to an earlier one, so one serves
//! all. A frame below the threshold is the plain one, which such clients take as well.

use super::{freqsearch, v1};
use crate::event::{Channel, Event, Position};
use crate::wire::websocket::deflate::Deflater;
use crate::wire::websocket::frame::{Opcode, write_frame};
use std::cell::RefCell;

/// Payloads of fewer bytes are not worth it, where the settings do not say otherwise (contract 17).
pub const THRESHOLD_BYTES: usize = 1024;

/// What each shard's thread keeps, because a renderer is a plain function.
struct Shard {
    deflater: Option<Deflater>,
    threshold_bytes: usize,
}

thread_local! {
    static SHARD: RefCell<Shard> = const { RefCell::new(Shard { deflater: None, threshold_bytes: THRESHOLD_BYTES }) };
}

/// Sets the threshold of this shard's thread, at its start and when settings are read again.
pub fn compress_from(bytes: usize) {
    SHARD.with_borrow_mut(|shard| shard.threshold_bytes = bytes);
}

/// [`Form::RAW`](crate::event::Form::RAW), compressed.
pub(super) fn render_raw(event: &Event, _: &Channel, _: Position, out: &mut Vec<u8>) -> Option<u32> {
    write(event.text(), out)
}

/// [`super::forms::V1`], compressed.
pub(super) fn render_v1(
    event: &Event,
    channel: &Channel,
    position: Position,
    out: &mut Vec<u8>,
) -> Option<u32> {
    let text = |out: &mut Vec<u8>| out.extend_from_slice(event.text().as_bytes());
    write_made(event, out, |payload| v1::write_envelope(channel, position, payload, text))
}

/// [`super::forms::FREQSEARCH`], compressed.
pub(super) fn render_freqsearch(
    event: &Event,
    channel: &Channel,
    _: Position,
    out: &mut Vec<u8>,
) -> Option<u32> {
    write_made(event, out, |payload| freqsearch::write_envelope(event, channel, payload))
}

fn write_made(event: &Event, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) -> Option<u32> {
    let mut payload = Vec::with_capacity(event.text().len() + 256);
    body(&mut payload);
    write(std::str::from_utf8(&payload).expect("JSON made of JSON"), out)
}

fn write(payload: &str, out: &mut Vec<u8>) -> Option<u32> {
    SHARD.with_borrow_mut(|shard| match payload.len() < shard.threshold_bytes {
        true => write_frame(Opcode::Text, payload.as_bytes(), out),
        false => shard.deflater.get_or_insert_default().compress(payload, out),
    });
    None
}
