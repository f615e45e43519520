//! Frames of a server as its clients meet them, for all tools of `perf/` that read some.

/// The first frame in `bytes`, as first byte and payload, and its whole length; `None` while it is incomplete. RFC 6455
/// section 5.2; frames from a server carry no mask.
pub fn first_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (head, length) = match *bytes.get(1)? & 0x7f {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, short as usize),
    };
    Some((bytes[0], bytes.get(head..head + length)?, head + length))
}
