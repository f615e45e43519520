//! Where bytes leave the hub: the runtime's sockets, or a simulation's.

use std::io::IoSlice;

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// So many bytes were taken; fewer than offered (0 included) means that the socket takes no more now and
    /// that its writability will be reported.
    Bytes(usize),
    /// The peer is gone.
    Gone,
}

/// Sends without ever blocking.
pub trait Outlet {
    /// Offers `bytes` to the socket of `member`.
    fn send(&mut self, member: u32, bytes: &[u8]) -> Sent;
    /// Offers several pieces in one call.
    fn send_all(&mut self, member: u32, slices: &[IoSlice<'_>]) -> Sent;
    /// Looks at what a send to `member` begins with, so that it is at hand by then. Answers whether there is something.
    fn look(&self, _member: u32) -> bool {
        false
    }
}
