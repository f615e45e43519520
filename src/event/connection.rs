//! What one connection is called outside its shard: `conn_` and twelve hex digits, in which the shard, the place in
//! its table and how often that place changed hands are found again.

use crate::stdx::slab::Key;
use std::fmt;

/// Names one connection of the whole server. The generation is cut to 16 bits: a name is mistaken for another's only
/// when 65,536 connections have had the same place since.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The connection's shard.
    pub shard: u8,
    /// Its place there, below 2^24.
    slot: u32,
    generation: u16,
}

const SLOT_BITS: u32 = 24;

impl ConnectionId {
    /// The name of the connection at `key` of a shard.
    pub fn new(shard: usize, key: Key) -> ConnectionId {
        debug_assert!(shard < 256 && key.slot < 1 << SLOT_BITS, "more connections than names");
        ConnectionId { shard: shard as u8, slot: key.slot, generation: key.generation as u16 }
    }

    /// The place in the shard's table.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// Whether it names the connection at `key` of its shard.
    pub fn is(self, key: Key) -> bool {
        self.slot == key.slot && self.generation == key.generation as u16
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<ConnectionId> {
        let digits = text.strip_prefix("conn_").filter(|digits| digits.len() == 12)?;
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let word = u64::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(lower))?;
        let slot = (word >> 16) as u32 & ((1 << SLOT_BITS) - 1);
        Some(ConnectionId { shard: (word >> (16 + SLOT_BITS)) as u8, slot, generation: word as u16 })
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn_{:02x}{:06x}{:04x}", self.shard, self.slot, self.generation)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_comes_back() {
        let key = Key { slot: 0xabcdef, generation: 0x1_0002 };
        let id = ConnectionId::new(255, key);
        assert_eq!(id.to_string(), "conn_ffabcdef0002");
        assert_eq!(ConnectionId::parse(&id.to_string()), Some(id));
        assert!(id.is(key) && !id.is(Key { slot: 1, ..key }) && !id.is(Key { generation: 3, ..key }));
        for bad in
            ["", "conn_", "conn_ffabcdef000", "conn_ffabcdef00020", "conn_FFabcdef0002", "conn_+fabcdef0002"]
        {
            assert_eq!(ConnectionId::parse(bad), None, "{bad}");
        }
    }
}
