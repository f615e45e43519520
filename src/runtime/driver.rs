//! The seam between a shard and its sockets: epoll and plain calls today, a ring or a simulation another time.
//! Readiness comes in from outside (`ready` of the shard); a refused send is reported again without being asked.

use crate::auth::Certified;
use crate::event::Channel;
use crate::hub::{LogFound, LogRead, LogWrite, Logged, Sent};
use crate::metrics::Certificates;
use std::io::IoSlice;
use std::sync::Arc;

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at least one. Fewer than there was room for: nothing is left, unless the peer has closed.
    Bytes(usize),
    /// So many bytes, perhaps none, and there may be more, which no readiness will tell of.
    More(usize),
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

    /// Whether what was sent is on its way; if not, it goes on as the socket becomes writable. Half-closing must wait.
    fn is_flushed(&self, _socket: &Self::Socket) -> bool {
        true
    }
    /// Whether some of what was not on its way yet has gone out since this was asked last.
    fn has_moved(&self, _socket: &Self::Socket) -> bool {
        false
    }
    /// Whether the peer is still to agree with the socket itself on how to speak: so far it has asked for nothing.
    fn is_greeting(&self, _socket: &Self::Socket) -> bool {
        false
    }
    /// Whether what is said is encrypted.
    fn is_encrypted(&self, _socket: &Self::Socket) -> bool {
        false
    }
    /// Whom the peer's certificate names, if it has shown one: it is verified.
    fn certified(&self, _socket: &Self::Socket) -> Option<Arc<Certified>> {
        None
    }
    /// What TLS listeners serve, if there are some.
    fn certificates(&self) -> Option<Certificates> {
        None
    }

    /// Takes events for the log, all of them, at the end of a turn that has some.
    fn log(&mut self, _writes: &mut Vec<LogWrite>) {}
    /// Looks for events in the log; [`Driver::log_found`] has them later.
    fn read_log(&mut self, _read: LogRead) {}
    /// How writes ended, if some did since the last look. Who has news wakes the shard.
    fn logged(&mut self) -> Option<Logged> {
        None
    }
    /// What the log found, if it found something since the last look.
    fn log_found(&mut self) -> Option<LogFound> {
        None
    }
    /// A channel whose log begins later now, and at which number.
    fn log_trimmed(&mut self) -> Option<(Channel, u64)> {
        None
    }
    /// Whether everything that was handed over is where it belongs: a stop waits for that.
    fn log_is_idle(&self) -> bool {
        true
    }
}
