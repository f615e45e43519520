//! UUIDs in text form (RFC 9562): drawn for clients and subscriptions, and made from a channel and a position where
//! the same event must get the same id for every reader. A text is as long as a [`Label`].

use crate::event::{Channel, LABEL_BYTES, Label, Position};

/// Where its hyphens stand.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Whether a text is a UUID of any version, in small or capital digits.
pub fn is_uuid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match HYPHENS.contains(&at) {
        true => byte == b'-',
        false => byte.is_ascii_hexdigit(),
    };
    text.len() == LABEL_BYTES && text.bytes().enumerate().all(fits)
}

/// A random UUID (version 4, RFC 9562 5.4) from a source of random bits.
pub fn random_uuid(draw: &mut dyn FnMut() -> u64) -> Label {
    let (high, low) = (u128::from(draw()), u128::from(draw()));
    write(high << 64 | low, 4)
}

/// The UUID of an event that came without one (version 8, RFC 9562 5.8): the epoch, the low 48 bits of the offset and
/// 42 bits of the channel's hash. The same on every core and every machine.
pub fn event_uuid(channel: &Channel, position: Position) -> Label {
    let hash = u128::from(fnv1a(channel.as_str().as_bytes()));
    let epoch = u128::from(position.epoch);
    let offset = u128::from(position.offset & 0xffff_ffff_ffff);
    // The version and the variant overwrite bits 76..80 and 62..64: nothing is put there.
    let (top, middle, bottom) = (hash & 0xffff, hash >> 16 & 0xfff, hash >> 28 & 0x3fff);
    write(epoch << 96 | top << 80 | middle << 64 | bottom << 48 | offset, 8)
}

/// The text of a UUID as `String`.
pub fn uuid_text(uuid: &Label) -> &str {
    std::str::from_utf8(uuid).expect("hex digits and hyphens")
}

/// FNV-1a, 64 bits: the same in every process, unlike the seeded hash that spreads channels over cores.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Puts version and variant (RFC 9562 4.1, 4.2) into the bits and writes them.
fn write(bits: u128, version: u128) -> Label {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | version << 76 | 0x2 << 62;
    let mut out = [b'-'; LABEL_BYTES];
    let mut shift = 128;
    for (at, digit) in out.iter_mut().enumerate() {
        if !HYPHENS.contains(&at) {
            shift -= 4;
            *digit = HEX[(bits >> shift) as usize & 0xf];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_ones_are_of_version_4() {
        let mut bits = 0u64;
        let mut draw = || {
            bits = !bits;
            bits
        };
        assert_eq!(uuid_text(&random_uuid(&mut draw)), "ffffffff-ffff-4fff-8000-000000000000");
    }

    #[test]
    fn an_events_uuid_is_stable_and_differs_by_channel_epoch_and_offset() {
        let uuid = |channel: &str, epoch, offset| {
            event_uuid(&Channel::parse(channel).unwrap(), Position { epoch, offset })
        };
        let first = uuid("a", 0xab, 7);
        assert_eq!(first, uuid("a", 0xab, 7));
        assert!(is_uuid(uuid_text(&first)));
        assert!(uuid_text(&first).starts_with("000000ab-") && uuid_text(&first).ends_with("000000000007"));
        for other in [uuid("b", 0xab, 7), uuid("a", 0xac, 7), uuid("a", 0xab, 8)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn only_the_text_form_counts() {
        assert!(is_uuid("01234567-89ab-CDEF-0123-456789abcdef"));
        for text in ["", "0123456789abcdef0123456789abcdef0123", "01234567-89ab-cdef-0123-456789abcdeg", "ä"]
        {
            assert!(!is_uuid(text));
        }
    }
}
