//! Slots of a slab by what is in them: a table of hashes and slots alone, eight to a cache line, so that a look touches one
//! line of it and then what it finds. The caller hashes, and compares what is in the slot.
//!
//! Places are taken one behind the other from where the hash points (linear probing); what is taken out is closed up, so
//! there are no marks of what was. At most half of the places are taken.

/// In `slot`: the place is free.
const NONE: u32 = u32::MAX;
/// Places of the smallest table; a power of two, as all.
const PLACES_MIN: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    slot: u32,
}

const FREE: Place = Place { hash: 0, slot: NONE };

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    places: Vec<Place>,
    len: usize,
}

impl Index {
    /// The slot with this hash of which `is` says that it is the one.
    #[inline]
    pub fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = hash as usize;
        // An empty table has no place, a full one does not exist.
        while let Some(place) = self.places.get(at & self.places.len().wrapping_sub(1)) {
            if place.slot == NONE {
                return None;
            }
            if place.hash == hash && is(place.slot) {
                return Some(place.slot);
            }
            at += 1;
        }
        None
    }

    /// Adds a slot that is not there.
    pub fn insert(&mut self, hash: u32, slot: u32) {
        debug_assert!(slot != NONE, "slabs have no such slot");
        if (self.len + 1) * 2 > self.places.len() {
            let more = (self.places.len() * 2).max(PLACES_MIN);
            let before = std::mem::replace(&mut self.places, vec![FREE; more]);
            before.into_iter().filter(|place| place.slot != NONE).for_each(|place| self.put(place));
        }
        self.len += 1;
        self.put(Place { hash, slot });
    }

    fn put(&mut self, place: Place) {
        let mask = self.places.len() - 1;
        let mut at = place.hash as usize & mask;
        while self.places[at].slot != NONE {
            at = (at + 1) & mask;
        }
        self.places[at] = place;
    }

    /// Takes a slot out, if it is there.
    pub fn remove(&mut self, hash: u32, slot: u32) {
        if self.find(hash, |found| found == slot).is_none() {
            return;
        }
        let mask = self.places.len() - 1;
        let mut hole = hash as usize & mask;
        while self.places[hole].slot != slot {
            hole = (hole + 1) & mask;
        }
        // Whoever stands behind the hole and would be looked for from before it moves into it.
        let mut at = (hole + 1) & mask;
        while self.places[at].slot != NONE {
            let way = at.wrapping_sub(self.places[at].hash as usize) & mask;
            if way >= at.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = (at + 1) & mask;
        }
        self.places[hole] = FREE;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Few hashes for many slots, near the end of the table too, against a plain map.
    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let (mut index, mut plain) = (Index::default(), BTreeMap::new());
        assert_eq!(index.find(7, |_| true), None);
        let mut dice = 1u32;
        for step in 0..20_000u32 {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (slot, grows) = (dice >> 8 & 0x3ff, step % 4_000 < 2_500);
            match plain.get(&slot).copied() {
                None if grows => {
                    let hash = [u32::MAX, u32::MAX - 1, 0, 3, dice][slot as usize % 5];
                    index.insert(hash, slot);
                    plain.insert(slot, hash);
                }
                Some(hash) if !grows => {
                    index.remove(hash, slot);
                    index.remove(hash, slot);
                    plain.remove(&slot);
                }
                _ => {}
            }
            if step % 97 == 0 {
                for slot in 0..0x400 {
                    let hash = plain.get(&slot).copied();
                    assert_eq!(index.find(hash.unwrap_or(3), |found| found == slot), hash.map(|_| slot));
                }
            }
        }
        assert_eq!(index.len, plain.len());
        assert!(index.places.len() <= 4 * 0x400);
    }
}
