//! What a channel's owner keeps of its past, in memory: the newest events, bounded by count and age per channel and by
//! bytes over all cores. Small events are kept as bytes, others as shared handles with their renderings; whoever catches
//! up shares one handle with all others, so nothing is encoded twice. Channels with nothing kept cost one word each.
//!
//! * `ring`: one channel's events; `ages`: which channel has the oldest; `keeping`: what goes in, and what goes when
//! * `resolve`: what a position or a time means for a channel; `reading`: pages for whoever asks

mod ages;
mod keeping;
mod leaving;
mod reading;
mod resolve;
mod ring;

pub(super) use ages::Ages;
use leaving::Leaving;
pub use reading::{Page, PageWish};
pub use resolve::{From, Recovery};
pub(super) use ring::Ring;

use crate::metrics::Counters;

/// How much of a channel's past is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Events; 0: none.
    pub size: u32,
    /// For how long, in microseconds; 0: no limit.
    pub ttl_us: u64,
    /// On disk too.
    pub durable: bool,
}

/// What is kept by one shard, and how it is going.
#[derive(Default)]
pub(super) struct Kept {
    pub ages: Ages,
    /// Events that made way for others in this turn.
    pub leaving: Leaving,
    /// Over all channels.
    pub events: u64,
    pub bytes: u64,
    /// An event that is larger is not kept.
    pub bytes_max: u64,
    /// What happened before this moment may be forgotten without a trace, in Unix milliseconds: the start of the server
    /// or the last time that a channel was forgotten.
    pub floor_ms: u64,
}

/// Why events went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// The channel has as many as it may.
    Size,
    /// Too old.
    Age,
    /// All channels together have too many bytes.
    Budget,
}

impl Gone {
    pub fn count(self, events: u64, counters: &mut Counters) {
        match self {
            Gone::Size => counters.history_outgrown += events,
            Gone::Age => counters.history_expired += events,
            Gone::Budget => counters.history_evicted += events,
        }
    }
}
