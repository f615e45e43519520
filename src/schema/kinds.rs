//! What is known by event type. Nearly every event of a server without schemas of its own is of a type that none of the
//! shipped ones describes, and pays for no more than a look at its length and its ends.

use std::collections::HashMap;

/// Values by event type.
pub(super) struct Kinds<T> {
    by_name: HashMap<Box<str>, T, foldhash::quality::RandomState>,
    /// A bit for each mark of a type that is there.
    marks: [u64; MARKS / 64],
}

/// 128 bytes. With the shipped types one in seventeen others is looked up in vain.
const MARKS: usize = 1024;

impl<T> Kinds<T> {
    /// What is known of a type.
    #[inline]
    pub fn get(&self, kind: &str) -> Option<&T> {
        let mark = mark(kind);
        if self.marks[mark / 64] >> (mark % 64) & 1 == 0 { None } else { self.by_name.get(kind) }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.by_name.iter().map(|(kind, value)| (&**kind, value))
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }
}

impl<T> FromIterator<(String, T)> for Kinds<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(kinds: I) -> Kinds<T> {
        let by_name: HashMap<Box<str>, T, _> =
            kinds.into_iter().map(|(kind, value)| (kind.into(), value)).collect();
        let mut marks = [0; MARKS / 64];
        for mark in by_name.keys().map(|kind| mark(kind)) {
            marks[mark / 64] |= 1 << (mark % 64);
        }
        Kinds { by_name, marks }
    }
}

/// Of its length, its first byte and its last one.
#[inline]
fn mark(kind: &str) -> usize {
    let bytes = kind.as_bytes();
    let end = |byte: Option<&u8>| u32::from(byte.copied().unwrap_or_default());
    let ends = bytes.len() as u32 ^ end(bytes.first()) << 8 ^ end(bytes.last()) << 16;
    (ends.wrapping_mul(SPREAD) >> (u32::BITS - MARKS.ilog2())) as usize
}

/// 2^32 divided by the golden ratio, as an odd number (Knuth, The Art of Computer Programming 3, 6.4).
const SPREAD: u32 = 0x9e37_79b1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::SHIPPED;

    #[test]
    fn every_type_that_is_there_is_found_and_no_other() {
        let words =
            ["", "a", "ab", "order.created", "order.filled", "\u{e9}", "a long type with blanks in it"];
        for there in 0..1_u32 << words.len() {
            let is_there = |place: &usize| there >> place & 1 == 1;
            let kinds: Kinds<usize> =
                (0..words.len()).filter(is_there).map(|place| (words[place].to_owned(), place)).collect();
            for (place, word) in words.iter().enumerate() {
                assert_eq!(kinds.get(word).copied(), Some(place).filter(is_there), "{word} of {there:b}");
            }
            assert_eq!((kinds.len(), kinds.iter().count()), (there.count_ones() as usize, kinds.len()));
        }
    }

    #[test]
    fn few_other_types_are_looked_up() {
        let kinds: Kinds<()> = SHIPPED.iter().map(|(kind, _)| ((*kind).to_owned(), ())).collect();
        let marked = kinds.marks.iter().map(|marks| marks.count_ones()).sum::<u32>();
        assert!(marked > 20, "the shipped types share marks: {marked}");
        let others = (0..26 * 26 * 16_u32).map(|n| {
            let letter = |n: u32| char::from(b'a' + (n % 26) as u8);
            format!("{}{}{}", letter(n), "x".repeat((n / 676) as usize), letter(n / 26))
        });
        let (mut looked_up, mut all) = (0, 0);
        for other in others {
            let mark = mark(&other);
            looked_up += u32::from(kinds.marks[mark / 64] >> (mark % 64) & 1 == 1);
            all += 1;
        }
        assert!(looked_up * 12 < all, "{looked_up} of {all}");
    }
}
