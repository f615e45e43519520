//! The event that the load tool sends: a JSON object in which everything to be checked stands at a fixed place.
//!
//! ```text
//! {"type":"load","channel":"aaaaaaab","from":"aaaaaaaa","seq":"aaaaaaac","at":"aaaaaaaabcdefghp","pad":"..."}
//! ```
//! Numbers are written with the letters a to p, one per nibble, most significant first: reading eight of them takes a
//! few instructions, so that the tool stays cheaper than the servers that it measures. The pad shrinks about fourfold, as
//! JSON does.

/// How every event begins; no envelope does.
pub const HEAD: &[u8] = b"{\"type\":\"load\",\"channel\":\"";
const CHANNEL_AT: usize = HEAD.len();
const FROM_AT: usize = CHANNEL_AT + 8 + b"\",\"from\":\"".len();
const SEQ_AT: usize = FROM_AT + 8 + b"\",\"seq\":\"".len();
const TIME_AT: usize = SEQ_AT + 8 + b"\",\"at\":\"".len();
const PAD_AT: usize = TIME_AT + 16 + b"\",\"pad\":\"".len();

/// Smallest event in bytes: all fields with an empty pad.
pub const SIZE_MIN: usize = PAD_AT + 2;

/// The pad is this word with four letters behind it that are different each time.
const PAD_WORD: &[u8] = b"order.filled ";
/// A step that walks through all 32-bit numbers in no visible order (the golden ratio of 2^32).
const PAD_STEP: u32 = 0x9e37_79b9;

/// What an event says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Channel number.
    pub channel: u32,
    /// Number of the publisher connection.
    pub from: u32,
    /// Counts from 0 per publisher and channel.
    pub seq: u32,
    /// Monotonic time in nanoseconds at which the publish was sent, or was due.
    pub at_ns: u64,
}

/// An event of `size` bytes for `channel`, with zeros where [`write`] puts the stamp.
pub fn template(channel: u32, size: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(size);
    text.extend_from_slice(HEAD);
    text.extend_from_slice(&letters(channel));
    for (name, width) in [("from", 8), ("seq", 8), ("at", 16)] {
        text.extend_from_slice(format!("\",\"{name}\":\"").as_bytes());
        text.resize(text.len() + width, b'a');
    }
    text.extend_from_slice(b"\",\"pad\":\"");
    let words = (channel..).flat_map(|number| {
        let odd = letters(number.wrapping_mul(PAD_STEP));
        PAD_WORD.iter().copied().chain([odd[0], odd[1], odd[2], odd[3]])
    });
    text.extend(words.take(size - SIZE_MIN));
    text.extend_from_slice(b"\"}");
    text
}

/// Writes publisher, sequence number and time into an event made by [`template`].
pub fn write(event: &mut [u8], from: u32, seq: u32, at_ns: u64) {
    event[FROM_AT..FROM_AT + 8].copy_from_slice(&letters(from));
    event[SEQ_AT..SEQ_AT + 8].copy_from_slice(&letters(seq));
    event[TIME_AT..TIME_AT + 8].copy_from_slice(&letters((at_ns >> 32) as u32));
    event[TIME_AT + 8..TIME_AT + 16].copy_from_slice(&letters(at_ns as u32));
}

/// Reads the stamp; `None` for anything that is not a whole event of `size` bytes.
pub fn read(text: &[u8], size: usize) -> Option<Stamp> {
    if text.len() != size || !text.starts_with(HEAD) || !text.ends_with(b"\"}") {
        return None;
    }
    Some(Stamp {
        channel: number(text, CHANNEL_AT),
        from: number(text, FROM_AT),
        seq: number(text, SEQ_AT),
        at_ns: u64::from(number(text, TIME_AT)) << 32 | u64::from(number(text, TIME_AT + 8)),
    })
}

/// Eight letters for 32 bits.
fn letters(value: u32) -> [u8; 8] {
    std::array::from_fn(|i| b'a' + (value >> (28 - 4 * i) & 15) as u8)
}

/// The 32 bits behind the eight letters at `at`, two nibbles joined at a time.
fn number(text: &[u8], at: usize) -> u32 {
    let eight: [u8; 8] = text[at..at + 8].try_into().expect("the slice has eight bytes");
    let mut x = u64::from_be_bytes(eight).wrapping_sub(0x6161_6161_6161_6161);
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_is_read_as_written() {
        let mut event = template(0x1234_5678, 128);
        write(&mut event, 63, u32::MAX, 0x0123_4567_89ab_cdef);
        let stamp = Stamp { channel: 0x1234_5678, from: 63, seq: u32::MAX, at_ns: 0x0123_4567_89ab_cdef };
        assert_eq!(read(&event, 128), Some(stamp));
        assert_eq!(read(&event[1..], 127), None);
    }

    #[test]
    fn template_is_json_of_the_asked_size() {
        for size in [SIZE_MIN, 128, 16_384] {
            let event = template(7, size);
            assert_eq!(event.len(), size);
            serde_json::from_slice::<serde_json::Value>(&event).expect("the template is JSON");
        }
    }
}
