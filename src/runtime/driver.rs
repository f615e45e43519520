//! The seam between a shard and its sockets: epoll and plain calls today, a ring or a simulation another time.
//! Readiness comes in from outside (`ready` of the shard); a refused send is reported again without being asked.

use crate::hub::Sent;
use std::io::IoSlice;

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing now.
    Empty,
    /// The peer sends no more, or is gone.
    End,
}

/// Does with sockets what a shard wants. No call waits.
pub trait Driver {
    /// A connection. Dropping it closes it.
    type Socket;

    /// Reads into `into`.
    fn receive(&mut self, socket: &Self::Socket, into: &mut [u8]) -> Received;
    /// Sends from one buffer.
    fn send(&mut self, socket: &Self::Socket, bytes: &[u8]) -> Sent;
    /// Sends from several.
    fn send_all(&mut self, socket: &Self::Socket, slices: &[IoSlice<'_>]) -> Sent;
    /// Says that nothing more will be sent; the peer may still send.
    fn half_close(&mut self, socket: &Self::Socket);
}
