//! Where the plain part of a JSON string ends.

/// Bytes of a string that mean themselves, looked at eight at a time: the sign bit of a byte is set where it is below
/// 0x20, a quote or a backslash. A borrow can set it falsely only above one that is set rightly, and only the lowest
/// counts.
#[inline(always)]
pub fn plain_bytes(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const SIGNS: u64 = u64::from_ne_bytes([0x80; 8]);
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut rest = text;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*eight);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let special = control | zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c));
        let found = special & SIGNS;
        if found != 0 {
            return text.len() - rest.len() + found.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    let plain = |byte: &&u8| **byte >= 0x20 && !matches!(byte, b'"' | b'\\');
    text.len() - rest.len() + rest.iter().take_while(plain).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_judged_alone() {
        for before in 0..18 {
            for byte in 0..=0xffu8 {
                let mut text = [b'a'; 24];
                text[before] = byte;
                let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(plain_bytes(&text), if special { before } else { 24 }, "{byte} at {before}");
                assert_eq!(plain_bytes(&text[..=before]), if special { before } else { before + 1 });
            }
        }
    }

    #[test]
    fn the_first_of_several_counts() {
        for first in 0..16 {
            for second in first + 1..17 {
                for (a, b) in [(b'"', 0x1f), (0, b'"'), (b'\\', b'\\' + 1), (b'"', b'"' + 1)] {
                    let mut text = [b'~'; 17];
                    (text[first], text[second]) = (a, b);
                    assert_eq!(plain_bytes(&text), first);
                }
            }
        }
    }
}
