//! Foreign systems: each has threads of its own here, which talk to the rest by messages only, so that no shard ever waits for
//! one. `key_sets` fetches the keys of token issuers.

pub mod key_sets;
