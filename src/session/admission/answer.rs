//! The answer to a publish (contract 3.1): written in two parts, since the second waits for the channel's owner.

use crate::event::{Facts, Position, unix_ms_of, write_decimal};
use crate::session::dialect::text::write_nullable;
#[cfg(doc)]
use crate::stdx::clock::TimeText;
use crate::stdx::clock::rfc3339_ms;
use std::borrow::Cow;

/// The first part of the answer, which is known before the event is numbered. `now` is the time, as [`TimeText`] writes it.
pub fn write_answer_head(channel: &str, facts: &Facts<'_>, now: &[u8; 24], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"status\":\"published\",\"channel\":\"");
    out.extend_from_slice(channel.as_bytes());
    out.extend_from_slice(b"\",\"event_type\":");
    match &facts.kind.0 {
        // Taken from the event as it stands there: without anything that needs an escape.
        Some(Cow::Borrowed(kind)) => {
            debug_assert!(!kind.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\'), "{kind}");
            out.push(b'"');
            out.extend_from_slice(kind.as_bytes());
            out.push(b'"');
        }
        kind => write_nullable(kind.as_deref(), out),
    }
    out.extend_from_slice(b",\"timestamp\":\"");
    match own_time(facts) {
        Some(own) => {
            let mut stamp = [0; 24];
            rfc3339_ms(own, &mut stamp);
            out.extend_from_slice(&stamp);
        }
        None => out.extend_from_slice(now),
    }
    out.push(b'"');
}

/// The time that an event itself says, in Unix milliseconds.
#[inline]
pub fn own_time(facts: &Facts<'_>) -> Option<u64> {
    facts.timestamp.0.as_deref().and_then(unix_ms_of)
}

/// Puts another time, in Unix milliseconds, in place of the one with which a first part ends.
pub fn retime_answer_head(head: &mut [u8], unix_ms: u64) {
    if let Some((b'"', rest)) = head.split_last_mut()
        && let Some(stamp) = rest.last_chunk_mut()
    {
        rfc3339_ms(unix_ms, stamp);
    }
}

/// The rest of the answer.
/// `stored` says where the event is, if its channel is durable.
pub fn write_answer_tail(position: Position, reached: u32, stored: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"clients_reached\":");
    write_decimal(reached.into(), out);
    out.extend_from_slice(b",\"id\":\"");
    position.write(out);
    out.push(b'"');
    if let Some(stored) = stored {
        out.extend_from_slice(b",\"stored\":\"");
        out.extend_from_slice(stored.as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}
