//! Where the plain parts of JSON strings end: which bytes of a text are a quote, a backslash or a control byte, as one
//! bit each, of 64 bytes at a time. A block is looked at when the first string in it is, so that a text of many
//! short strings costs little more than its bytes, and nothing is looked at ahead of what is read.

use wide::u8x16;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// What was seen of the block looked at last.
#[derive(Clone, Copy, Default)]
pub struct Marks {
    /// Where the block starts in the text.
    start: usize,
    /// One bit per byte from there on, set where it is special.
    special: u64,
}

impl Marks {
    /// The place of the first special byte from `at` on, or where the text ends. `at` never goes back.
    #[inline(always)]
    pub fn next(&mut self, text: &[u8], at: usize) -> usize {
        let offset = at.wrapping_sub(self.start);
        if offset < BLOCK {
            let found = self.special >> offset;
            if found != 0 {
                return at + found.trailing_zeros() as usize;
            }
        }
        *self = Marks::look(text, at);
        match self.special {
            0 => text.len(),
            special => self.start + special.trailing_zeros() as usize,
        }
    }

    /// Looks at the bytes from `at` on until one is special.
    #[inline(never)]
    fn look(text: &[u8], at: usize) -> Marks {
        let mut start = at;
        while let Some(block) = text.get(start..).and_then(<[u8]>::first_chunk) {
            let special = special_of(block);
            if special != 0 {
                return Marks { start, special };
            }
            start += BLOCK;
        }
        Marks::look_at_end(text, start)
    }

    /// The last block of a text reaches back to what was seen already; a short text is filled up with spaces.
    #[inline(never)]
    fn look_at_end(text: &[u8], start: usize) -> Marks {
        let rest = text.get(start..).unwrap_or_default();
        let special = match text.last_chunk() {
            Some(block) => special_of(block).checked_shr((BLOCK - rest.len()) as u32).unwrap_or(0),
            None => special_of(&filled_up(rest)),
        };
        Marks { start: text.len() - rest.len(), special }
    }
}

#[inline]
fn filled_up(short: &[u8]) -> [u8; BLOCK] {
    let mut block = [b' '; BLOCK];
    block[..short.len()].copy_from_slice(short);
    block
}

/// Whether a JSON string may hold the text as it is.
#[inline]
pub fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| !is_special(byte))
}

#[inline(always)]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\')
}

/// A bit per byte, the first lowest.
#[inline(always)]
fn special_of(block: &[u8; BLOCK]) -> u64 {
    let mut special = 0;
    for (place, sixteen) in block.as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::new(*sixteen);
        let is = |byte: u8| bytes.simd_eq(u8x16::splat(byte));
        let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        let found = (control | is(b'"') | is(b'\\')).to_bitmask();
        special |= u64::from(found) << (16 * place);
    }
    special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow_next(text: &[u8], at: usize) -> usize {
        let rest = text.get(at..).unwrap_or_default();
        at.min(text.len()) + rest.iter().take_while(|byte| !is_special(**byte)).count()
    }

    fn drawing(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        }
    }

    #[test]
    fn every_byte_at_every_place_is_judged_alone() {
        for place in 0..BLOCK {
            for byte in 0..=0xff {
                for around in [b'a', b'"', 0, 0xff, 0x21, 0x1f] {
                    let mut block = [around; BLOCK];
                    block[place] = byte;
                    let bits = block.iter().rev().fold(0, |bits, b| bits << 1 | u64::from(is_special(*b)));
                    assert_eq!(special_of(&block), bits, "{byte} at {place} among {around}");
                }
            }
        }
    }

    #[test]
    fn the_next_is_found_from_every_place_in_a_text_of_any_length() {
        for len in 0..200 {
            for special in (0..len).map(Some).chain([None]) {
                let mut text = vec![b'a'; len];
                if let Some(at) = special {
                    text[at] = b"\"\\\0\n"[at % 4];
                }
                for at in 0..=len {
                    assert_eq!(
                        Marks::default().next(&text, at),
                        slow_next(&text, at),
                        "{len} {special:?} {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn going_on_finds_each_in_turn_however_far_the_steps_are() {
        let mut draw = drawing(1);
        for _ in 0..3_000 {
            let rarity = 1 + draw(100);
            let text: Vec<u8> = (0..draw(400))
                .map(|_| if draw(rarity) == 0 { b"\"\\\x1f"[draw(3)] } else { 0x21 + 2 * draw(20) as u8 })
                .collect();
            let (mut marks, mut at) = (Marks::default(), 0);
            while at < text.len() {
                let next = marks.next(&text, at);
                assert_eq!(next, slow_next(&text, at), "{text:?} from {at}");
                at = next + 1 + if draw(4) == 0 { draw(150) } else { draw(3) };
            }
            let behind = marks.next(&text, at);
            assert!(text.get(behind).is_none(), "there is nothing behind the end");
        }
    }
}
