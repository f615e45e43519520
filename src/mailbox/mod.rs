//! What crosses threads, and the only home of atomics: bounded lanes between shards ([`lanes`]), the doorbell that wakes
//! a parked one ([`doorbell`]), what the watchdog sees and uses ([`pulse`], [`wakers`]), limits counted over all cores
//! ([`census`]) and flags that all shards read ([`signal`]). It knows nothing of what it carries.
//!
//! The files without a descriptor take their atomics from [`sync`]. `tests/loom` compiles the same files next to a
//! `sync` of loom's types, and to one with weakened orderings, which must fail.
pub mod budget;
pub mod census;
pub mod counters;
pub mod doorbell;
pub mod drain;
pub mod lanes;
pub mod latch;
pub mod load;
pub mod notice;
pub mod pulse;
pub mod signal;
mod sync;
pub mod tally;
pub mod users;
pub mod wakers;
