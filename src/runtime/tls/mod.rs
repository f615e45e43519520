//! TLS at the edge (rustls on ring): what was one descriptor becomes a session that encrypts and decrypts, and the shard
//! above notices nothing but its name. Called by [`super::edge`]; decides nothing about who may do what.
//!
//! * `files`: certificate, key and authority from their files, checked; `certificate`: the dates and names in one
//! * `keeper`: one thread that takes new files when they change; what is bad changes nothing
//! * `handshakes`: threads below the shards in rank that do the expensive part, so that no turn waits for a signature
//! * `records`: bytes to records and back; `session`: one connection; `end`: a shard's buffers, shared by all of its sessions, and its way to the handshakes
//!
//! An idle session holds its keys and no buffer: ciphertext is received into, and encrypted in, buffers of the shard. Kept
//! per session is only what is not whole yet (one record at most) and what the kernel did not take.
//!
//! A handshake is done by the threads from the first whole record to the last, a step at a time; between the steps the
//! session is with the shard, which reads. While a step is under way the shard does not touch it.
mod certificate;
mod end;
mod files;
mod handshakes;
mod keeper;
mod records;
mod session;
#[cfg(test)]
mod tests;

pub use end::{Setup, TlsEnd};
pub use files::{Files, Mistake, Part, look, mistakes};
pub use keeper::{Keeper, start};
pub use session::TlsSocket;

/// A TLS session of the server's side. It neither reads nor writes by itself.
type Conn = rustls::server::UnbufferedServerConnection;
