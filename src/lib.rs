//! Courier: a real-time event hub. Backends publish JSON events with an HTTP POST; browsers and services receive
//! them, by channel, over WebSocket, within a millisecond, on whichever core they are connected to.
//!
//! # The way of an event
//!
//! ```text
//! publisher ── HTTP ──▶ shard A: connection ─▶ request ─▶ admission ─▶ frame, encoded once
//!                                                            │
//!                              mailbox, one message per shard and turn
//!                                                            ▼
//!                       shard O owns the channel: numbers the event, asks each shard with subscribers
//!                            │                                                        │
//!                            ▼                                                        ▼
//!                       its own subscribers                                  shard B: its subscribers
//!                       joined per turn, one send each                       joined per turn, one send each
//! ```
//!
//! Each core runs one shard: one glommio executor, one epoll set, its own listener, connections, channels and timer
//! wheel. Nothing is shared but what `mailbox` holds. A shard works in turns: read what is ready and answer the
//! publishers, sixteen reads at a time, send what the turn gathered, then sleep. The publisher is answered when the event
//! stands in the queue of every subscriber on every core, which is what `clients_reached` counts and what makes a graceful
//! stop lossless.
//!
//! # The floors
//!
//! Imports go down only, and rooms on one floor do not import each other; `tests/tidy.rs` holds the tree to it.
//!
//! | floor | rooms | |
//! | --- | --- | --- |
//! | 7 | [`cli`] | words typed by a person; one file per subcommand |
//! | 6 | [`server`] | assembly: from settings to running shards, stop and reload |
//! | 5 | [`config`] | file, environment, flags; all mistakes at once |
//! | 4 | [`runtime`] | the edge: glommio, epoll, listeners, the turn, one shard's connections |
//! | | [`bridge`] | foreign systems, on threads of their own |
//! | 3 | [`session`], [`hub`], [`admin`] | state machines: input and now go in, effects come out |
//! | 2 | [`auth`] | judgements: who may do what |
//! | | [`log`] | durable channels on a disk: format, recovery, retention |
//! | | [`schema`] | what an event of a known type looks like: JSON Schemas, compiled once |
//! | | [`rate`] | how much one peer may do in a while: sliding windows |
//! | 1 | [`event`], [`metrics`] | nouns |
//! | 0 | [`wire`], [`mailbox`], [`stdx`] | bytes, threads, spare parts |
//!
//! `bridge/` on floor 4 comes with its feature.
//!
//! # What must hold
//!
//! * Per channel every subscriber on every core sees the owner's order, each event exactly once, from the moment its
//!   subscription was answered until it leaves or is cut off.
//! * No subscriber, however slow, delays another; no shard ever waits for another. What does not fit is refused before
//!   it is numbered, or cut off, and counted. Who resumes gets what the owner keeps, in order, before what is live.
//! * `hub`, `session` and `runtime::shard` know no clock, no socket and no executor: `tests/simulation` runs them from a
//!   seed under virtual time.

pub mod admin;
pub mod auth;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod event;
pub mod hub;
pub mod log;
pub mod mailbox;
pub mod metrics;
pub mod rate;
pub mod runtime;
pub mod schema;
pub mod server;
pub mod session;
pub mod stdx;
pub mod wire;
