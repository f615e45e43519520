//! A set of slots of a slab, one bit each: a hundred thousand take 12 KiB. To note a slot, and to ask for one, costs a
//! nanosecond; to note all of them costs what writing these bytes does.

/// Slots, each once.
#[derive(Debug, Default)]
pub struct Slots {
    words: Vec<u64>,
    len: usize,
    /// No word before this one has a slot.
    first: usize,
}

const BITS: u32 = u64::BITS;

impl Slots {
    /// Notes a slot.
    pub fn insert(&mut self, slot: u32) {
        let (word, bit) = place(slot);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.len += usize::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
        self.first = self.first.min(word);
    }

    /// Notes all slots below this one.
    pub fn insert_below(&mut self, slots: u32) {
        let (word, bit) = place(slots);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[..word].fill(u64::MAX);
        self.words[word] |= bit - 1;
        self.len = self.words.iter().map(|word| word.count_ones() as usize).sum();
        self.first = 0;
    }

    /// Whether a slot is noted.
    #[must_use]
    pub fn contains(&self, slot: u32) -> bool {
        let (word, bit) = place(slot);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Takes a slot out. Answers whether it was there.
    pub fn remove(&mut self, slot: u32) -> bool {
        let was_there = self.contains(slot);
        if was_there {
            let (word, bit) = place(slot);
            self.words[word] &= !bit;
            self.len -= 1;
        }
        was_there
    }

    /// Takes out the first.
    pub fn pop(&mut self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        while self.words[self.first] == 0 {
            self.first += 1;
        }
        let slot = self.first as u32 * BITS + self.words[self.first].trailing_zeros();
        self.remove(slot);
        Some(slot)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn place(slot: u32) -> (usize, u64) {
    ((slot / BITS) as usize, 1 << (slot % BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_does_what_a_set_of_numbers_does() {
        let (mut slots, mut naive, mut state) = (Slots::default(), BTreeSet::new(), 1_u64);
        for step in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let slot = (state >> 33) as u32 % 300;
            match step % 5 {
                0 | 1 => {
                    slots.insert(slot);
                    naive.insert(slot);
                }
                2 => assert_eq!(slots.remove(slot), naive.remove(&slot)),
                3 => assert_eq!(slots.pop(), naive.pop_first()),
                _ if state.is_multiple_of(61) => {
                    slots.insert_below(slot);
                    naive.extend(0..slot);
                }
                _ => assert_eq!(slots.contains(slot), naive.contains(&slot)),
            }
            assert_eq!((slots.len(), slots.is_empty()), (naive.len(), naive.is_empty()));
        }
    }
}
