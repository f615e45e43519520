//! A channel's name, `[A-Za-z0-9._:-]{1,100}` (contract 1), and the shard that owns it.

use foldhash::quality::SeedableRandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// The longest channel name, in bytes: short enough to log, to label a metric and to fit a request line.
pub const CHANNEL_BYTES_MAX: usize = 100;

/// The channel on which the server tells of dead letters. It is heard by its name alone and nobody else publishes to it.
pub const DEAD_LETTERS: &str = "courier.dead";

/// Seeded once per process, so that nobody outside can aim many channels at one core.
static OWNERS: OnceLock<SeedableRandomState> = OnceLock::new();

/// A valid channel name, cheap to clone and to hand to another core.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

/// Why a name is not a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadChannel {
    /// No bytes at all.
    Empty,
    /// More than [`CHANNEL_BYTES_MAX`] bytes.
    TooLong,
    /// A byte outside the grammar.
    Character,
}

impl fmt::Display for BadChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadChannel::Empty => "Channel name cannot be empty",
            BadChannel::TooLong => "Channel name too long (max 100 characters)",
            BadChannel::Character => {
                "Channel name must contain only letters, digits, dots, underscores, colons and hyphens"
            }
        })
    }
}

/// Looked up, since a name is checked with every publish, and four at a time: 97 instructions for a name of 15 bytes, where
/// comparisons one by one take 10 a byte.
const ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let known = byte as u8;
        allowed[byte] = known.is_ascii_alphanumeric() || matches!(known, b'.' | b'_' | b':' | b'-');
        byte += 1;
    }
    allowed
};

impl Channel {
    /// Takes a name that has been percent-decoded already.
    ///
    /// # Errors
    /// [`BadChannel`] when the name is outside the grammar.
    pub fn parse(name: &str) -> Result<Channel, BadChannel> {
        Channel::check(name)?;
        Ok(Channel(name.into()))
    }

    /// [`Channel::parse`] without keeping the name.
    ///
    /// # Errors
    /// As [`Channel::parse`].
    pub fn check(name: &str) -> Result<(), BadChannel> {
        if name.is_empty() {
            return Err(BadChannel::Empty);
        }
        if name.len() > CHANNEL_BYTES_MAX {
            return Err(BadChannel::TooLong);
        }
        let (fours, rest) = name.as_bytes().as_chunks::<4>();
        let sound = |bytes: &[u8]| bytes.iter().fold(true, |sound, byte| sound & ALLOWED[usize::from(*byte)]);
        if fours.iter().all(|four| sound(four)) && sound(rest) { Ok(()) } else { Err(BadChannel::Character) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shard, of `shards`, that numbers this channel's events.
    pub fn owner(name: &str, shards: usize) -> usize {
        if shards == 1 {
            return 0;
        }
        let hash = OWNERS.get_or_init(SeedableRandomState::random).hash_one(name);
        (((hash >> 32) * shards as u64) >> 32) as usize
    }

    /// From now on owners are the same in every process: for simulations, of which a seed decides all. Answers false when
    /// somebody has asked for an owner already.
    pub fn fix_owners() -> bool {
        OWNERS.set(SeedableRandomState::fixed()).is_ok()
    }
}

impl std::borrow::Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Hash for Channel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (*self.0).hash(state);
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_that_of_the_contract() {
        for good in ["a", "user.user_123", "a:b-c.D", &"x".repeat(100)] {
            assert_eq!(Channel::parse(good).map(|c| c.as_str().to_owned()), Ok(good.to_owned()));
        }
        assert_eq!(Channel::check(""), Err(BadChannel::Empty));
        assert_eq!(Channel::check(&"x".repeat(101)), Err(BadChannel::TooLong));
        for bad in ["a b", "a/b", "ä", "a\0", "a*", "a%20"] {
            assert_eq!(Channel::check(bad), Err(BadChannel::Character), "{bad:?}");
        }
    }

    #[test]
    fn owners_are_spread_over_the_shards() {
        let mut counts = [0usize; 4];
        for i in 0..4000 {
            counts[Channel::owner(&format!("user.{i}"), 4)] += 1;
        }
        assert!(counts.iter().all(|n| (800..1200).contains(n)), "{counts:?}");
    }
}
