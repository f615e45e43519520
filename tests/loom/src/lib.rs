//! The files of `src/mailbox` that are made of atomics, compiled twice from the same source: `real` with loom's types,
//! `weak` with orderings taken away. What must hold holds for the first and is seen to break for the second.
#![allow(clippy::duplicate_mod, reason = "twice on purpose")]
pub mod real;
pub mod weak;
