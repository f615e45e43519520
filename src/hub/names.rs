//! How a channel is found by its name: a table of hashes, and the name itself in the channel's row, which is what is looked
//! for. A publish looks up one, and each line that the look touches comes from far.

use crate::event::Channel;
use crate::stdx::index::Index;
use std::hash::BuildHasher;

/// Slots by name.
#[derive(Default)]
pub(super) struct ByName {
    index: Index,
    hasher: foldhash::quality::RandomState,
}

impl ByName {
    #[inline]
    fn hash(&self, name: &[u8]) -> u32 {
        (self.hasher.hash_one(name) >> 32) as u32
    }

    /// The slot of which `is` says that it has this name.
    pub fn find(&self, name: &str, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.index.find(self.hash(name.as_bytes()), is)
    }

    /// The slot that most likely has this name, without a look at what is in it.
    pub fn likely(&self, name: &[u8]) -> Option<u32> {
        self.index.find(self.hash(name), |_| true)
    }

    /// Adds a name that is not there.
    pub fn insert(&mut self, name: &str, slot: u32) {
        self.index.insert(self.hash(name.as_bytes()), slot);
    }

    /// Takes a name out.
    pub fn remove(&mut self, name: &str, slot: u32) {
        self.index.remove(self.hash(name.as_bytes()), slot);
    }
}

/// A channel's name, if it is short, where it is compared: the shared one lies elsewhere.
pub(super) struct Name {
    len: u8,
    bytes: [u8; SHORT_BYTES],
}

/// With the length three words. Names of users, rooms and orders are seldom longer.
const SHORT_BYTES: usize = 23;

impl Name {
    pub fn new(channel: &Channel) -> Name {
        let name = channel.as_str().as_bytes();
        let mut bytes = [0; SHORT_BYTES];
        if let Some(short) = bytes.get_mut(..name.len()) {
            short.copy_from_slice(name);
        }
        let len = u8::try_from(name.len()).expect("valid names have a hundred bytes at most");
        Name { len, bytes }
    }

    pub fn len(&self) -> u8 {
        self.len
    }

    /// Whether it is this one; `channel` is where it was taken from.
    #[inline]
    pub fn is(&self, name: &str, channel: &Channel) -> bool {
        match self.bytes.get(..self.len.into()) {
            Some(short) => short == name.as_bytes(),
            None => channel.as_str() == name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_itself_and_no_other_however_long() {
        for len in [1, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 100] {
            let text = "x".repeat(len);
            let channel = Channel::parse(&text).unwrap();
            let name = Name::new(&channel);
            assert!(name.is(&text, &channel));
            for other in [&text[1..], &format!("{text}x"), &format!("{}y", &text[1..]), &format!("{text}\0")]
            {
                assert!(!name.is(other, &channel), "{len} {other:?}");
            }
        }
    }
}
