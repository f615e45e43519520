//! Slots for connections and channels: a value is reached through a [`Key`] that stops working once the value is
//! removed, even when its slot holds another one by then. Kernel tokens and cross-core messages that arrive late
//! therefore hit nothing. Owned by one shard; freed slots are reused newest first, so that the warm ones stay warm.
//!
//! A slot costs `size_of::<T>()` and 4 to 8 bytes, empty or not: box what is large. Memory is kept for reuse.

/// No slot: ends the list of free slots. Never a real one, because `with_limit` takes at most `u32::MAX` slots.
const NONE: u32 = u32::MAX;

/// Names one value for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Place in the slab, from 0, below the slab's limit.
    pub slot: u32,
    /// How often the slot changed hands. Never 0, so that generation 0 is free for tokens that are no keys.
    pub generation: u32,
}

impl Key {
    /// As one word, for epoll tokens: the generation above, the slot below. Never less than 2^32.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The inverse of [`Key::to_u64`]. Any word is accepted: one that no slab gave out finds nothing.
    #[must_use]
    pub fn from_u64(word: u64) -> Key {
        Key { slot: word as u32, generation: (word >> 32) as u32 }
    }
}

/// Bounded slots; see the module.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// The slot freed last, or `NONE`.
    free: u32,
    len: u32,
    max: u32,
}

#[derive(Debug)]
struct Entry<T> {
    /// Of the value that is here, or of the next one.
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Empty { next_free: u32 },
    Full(T),
}

impl<T> Slab<T> {
    /// An empty slab for at most `max` values. Allocates as it fills.
    #[must_use]
    pub fn with_limit(max: u32) -> Slab<T> {
        Slab { entries: Vec::new(), free: NONE, len: 0, max }
    }

    /// Puts a value into a slot. When all are taken, gives it back.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        if self.len == self.max {
            return Err(value);
        }
        let slot = if self.free == NONE { self.append() } else { self.free };
        let entry = &mut self.entries[slot as usize];
        let Content::Empty { next_free } = entry.content else {
            unreachable!("slot {slot} is listed as free")
        };
        self.free = next_free;
        self.len += 1;
        entry.content = Content::Full(value);
        Ok(Key { slot, generation: entry.generation })
    }

    /// Only called when no slot is free, so there are `len` of them, and `len < max`.
    fn append(&mut self) -> u32 {
        let slot = self.len;
        self.entries.push(Entry { generation: 1, content: Content::Empty { next_free: NONE } });
        slot
    }

    /// The value of this key, while it lives.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        self.entries.get(key.slot as usize).filter(|entry| entry.generation == key.generation)?.value()
    }

    /// The value of this key, while it lives.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.entries
            .get_mut(key.slot as usize)
            .filter(|entry| entry.generation == key.generation)?
            .value_mut()
    }

    /// Whatever value is in the slot now: for callers that keep no slot longer than its value (the timer wheel), or that look at
    /// what they find before they take it for theirs (the hub's guesses).
    #[must_use]
    pub fn at(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot as usize)?.value()
    }

    /// Whatever value is in the slot now, with its key; see [`Slab::at`].
    #[must_use]
    pub fn entry_at(&self, slot: u32) -> Option<(Key, &T)> {
        let entry = self.entries.get(slot as usize)?;
        entry.value().map(|value| (Key { slot, generation: entry.generation }, value))
    }

    /// Whatever value is in the slot now; see [`Slab::at`].
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize)?.value_mut()
    }

    /// The key of whatever value is in the slot now.
    #[must_use]
    pub fn key_at(&self, slot: u32) -> Option<Key> {
        self.entry_at(slot).map(|(key, _)| key)
    }

    /// Takes the value out; its key is dead from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let entry = &mut self.entries[key.slot as usize];
        let content = std::mem::replace(&mut entry.content, Content::Empty { next_free: self.free });
        // After 2^32 - 1 values a slot's keys repeat: at a million connects per second into one slot, in 71 minutes;
        // what a key must outlive is one turn of a shard.
        entry.generation = entry.generation.wrapping_add(1).max(1);
        self.free = key.slot;
        self.len -= 1;
        match content {
            Content::Full(value) => Some(value),
            Content::Empty { .. } => None,
        }
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// How many slots there are, taken or free: every value's is below.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().zip(0..).filter_map(|(entry, slot)| {
            let key = Key { slot, generation: entry.generation };
            entry.value().map(|value| (key, value))
        })
    }

    /// All values in the order of their slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.entries.iter_mut().zip(0..).filter_map(|(entry, slot)| {
            let key = Key { slot, generation: entry.generation };
            entry.value_mut().map(|value| (key, value))
        })
    }
}

impl<T> Entry<T> {
    fn value(&self) -> Option<&T> {
        match &self.content {
            Content::Full(value) => Some(value),
            Content::Empty { .. } => None,
        }
    }

    fn value_mut(&mut self) -> Option<&mut T> {
        match &mut self.content {
            Content::Full(value) => Some(value),
            Content::Empty { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_dies_with_its_value_even_when_the_slot_is_reused() {
        let mut slab = Slab::with_limit(4);
        let old = slab.insert("old").expect("room");
        assert_eq!(slab.remove(old), Some("old"));
        let new = slab.insert("new").expect("room");
        assert_eq!(new.slot, old.slot);
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(
            (slab.get(new), slab.at(old.slot), slab.key_at(old.slot)),
            (Some(&"new"), Some(&"new"), Some(new))
        );
    }

    #[test]
    fn a_full_slab_gives_the_value_back_and_takes_it_after_a_removal() {
        let mut slab = Slab::with_limit(2);
        let first = slab.insert(1).expect("room");
        slab.insert(2).expect("room");
        assert_eq!(slab.insert(3), Err(3));
        slab.remove(first);
        assert!(slab.insert(3).is_ok());
        assert_eq!((slab.len(), Slab::with_limit(0).insert(1)), (2, Err(1)));
    }

    #[test]
    fn the_slot_freed_last_is_reused_first() {
        let mut slab = Slab::with_limit(8);
        let keys: Vec<Key> = (0..4).map(|value| slab.insert(value).expect("room")).collect();
        slab.remove(keys[1]);
        slab.remove(keys[3]);
        let slots: Vec<u32> = (0..3).map(|value| slab.insert(value).expect("room").slot).collect();
        assert_eq!(slots, [3, 1, 4]);
    }

    #[test]
    fn generations_wrap_without_ever_being_zero() {
        let mut slab = Slab::with_limit(1);
        slab.insert(()).expect("room");
        slab.entries[0].generation = u32::MAX;
        let last = slab.key_at(0).expect("full");
        slab.remove(last);
        assert_eq!(slab.insert(()), Ok(Key { slot: 0, generation: 1 }));
    }

    #[test]
    fn a_key_survives_the_way_through_a_word_and_no_word_panics() {
        let mut slab = Slab::with_limit(1);
        let key = slab.insert(()).expect("room");
        assert_eq!(Key::from_u64(key.to_u64()), key);
        for word in [0, 1, u64::MAX, u64::from(u32::MAX), 1 << 32 | 1, 2 << 32] {
            assert_eq!(slab.get(Key::from_u64(word)), None);
            assert_eq!(slab.remove(Key::from_u64(word)), None);
        }
        slab.remove(key);
        assert_eq!(slab.get(Key { slot: 0, generation: 2 }), None, "a key from the future");
    }

    #[test]
    fn iteration_meets_every_value_once_with_its_key() {
        let mut slab = Slab::with_limit(8);
        let keys: Vec<Key> = (0..5).map(|value| slab.insert(value).expect("room")).collect();
        slab.remove(keys[2]);
        slab.iter_mut().for_each(|(_, value)| *value *= 10);
        let seen: Vec<(Key, i32)> = slab.iter().map(|(key, value)| (key, *value)).collect();
        assert_eq!(seen, [(keys[0], 0), (keys[1], 10), (keys[3], 30), (keys[4], 40)]);
    }
}
