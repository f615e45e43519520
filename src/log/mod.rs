//! The durable log: events of durable channels in an append-only sequence of segment files, one for the whole server,
//! whichever shard owns a channel and however many there are. Opened once at start, then told by one thread to append,
//! commit, read back and remove; what it asks of the disk is [`Disk`], so that `tests/crash` can lie to it. Knows no
//! thread, no clock and no operating system.
//!
//! # The files
//!
//! A segment is named by its number, `0000000001.courierlog` and so on. It is written by one run of the server and never
//! again. Numbers are little-endian. Version 1:
//!
//! ```text
//! header, twice: at 0 and at 2048          record, at 4096 and then one behind the other at multiples of 8
//!  0  8 magic ff "COURLOG"                  0  4 magic ff "Cr" 01
//!  8  4 CRC-32C of bytes 12..64             4  4 CRC-32C of the segment's id (8), the record's place in the
//! 12  2 version                                  file (8), and bytes 8..length
//! 14  2 flags: 1 held, 2 spoiled            8  4 length, without the zeros that fill it up to a multiple of 8
//! 16  4 number of the segment              12  1 kind: 1 event, 2 sealed, 3 stopped
//! 20  4 continues from this segment        13  1 bytes of the channel's name
//! 24  8 id, random                         14  1 priority, 1 to 10
//! 32  8 made at, Unix ms                   15  1 flags: 1 an event object of the router dialect
//! 40 24 zero                               16  4 epoch
//!                                          20  4 up to where the file was synced before, in units of 8 bytes
//! between and behind: zero                 24  8 offset
//!                                          32  8 taken at, Unix ms
//!                                          40  8 expires at, Unix ms; 0: never
//!                                          48  4 bytes of the details
//!                                          52  4 zero
//!                                          56    the channel's name, the details, the text
//! ```
//!
//! A detail is a tag (1 target, 2 correlation id, 3 traceparent), a length of four bytes, and UTF-8. The kinds sealed and
//! stopped end at 56. Behind the last record there are zeros, because syncing what replaces zeros is twice as fast as
//! syncing a file that grows.
//!
//! # What is found after a crash
//!
//! Every record that checks counts, wherever it stands: the checksum covers its place, and its magic begins with a byte
//! that no text contains. What does not check is a hole. If a later record says that the file was synced beyond it, it is
//! damage; else it is what was being written, and nobody was told that it is stored.
//!
//! Numbering goes on after a run that wrote "stopped", or that was *held*: nobody saw an event before it was synced. If
//! anything else may have been seen (`interval`, `never`, a write that failed: *spoiled*, a hole), channels go on with
//! another epoch, so that no position ever names two events. *Continues from* carries that on: channels whose last record
//! is in an older segment do not go on with their epoch, even if every run since then has stopped well.

mod check;
mod disk;
mod events;
mod format;
mod header;
mod index;
mod reading;
mod recovery;
mod retention;
mod scan;
mod segment;
mod store;
#[cfg(test)]
mod tests;

pub use check::{Report, check, each};
pub use disk::Disk;
pub use format::{Details, Entry};
pub use header::VERSION;
pub use index::Epoch;
pub use reading::{From, Wanted};
pub use recovery::{Findings, Hole, OpenError, open};
pub use store::{Draw, Known, Log, Options, RUNS_MAX};
