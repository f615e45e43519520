//! Spare parts that know nothing of events: the clock, generation-checked slots, sets of them and a table of what
//! is where, records in a ring, a timer wheel, freed memory at hand.
//! Every shard owns its own; nothing here is shared between threads, waits, or calls the rest of Courier.
pub mod blocks;
pub mod clock;
pub mod index;
pub mod ranges;
pub mod records;
pub mod slab;
pub mod slots;
pub mod wheel;
