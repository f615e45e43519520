//! The edge: turns shards, and nothing else. Each shard is one thread with a glommio executor; its main task owns an
//! epoll set (`readiness`) and runs the loop of `turn`, which hands what is ready to a [`core::Core`]. It sleeps in
//! that set, or, while glommio tasks run beside it (`guests`), in glommio's own ring (`ring`); a `watchdog` thread ends the
//! sleeps that glommio should not have begun, and `preflight` looks at the machine first. This room decides nothing about channels or protocols, and glommio is named
//! only here, in `ring` and `executor`.
pub mod core;
pub mod driver;
pub mod edge;
pub mod executor;
pub mod guests;
pub mod listener;
pub mod log;
pub mod placement;
pub mod preflight;
pub mod readiness;
mod ring;
pub mod shard;
mod timer;
pub mod tls;
mod turn;
pub mod watchdog;
