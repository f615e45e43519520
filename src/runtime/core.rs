//! The seam between the turn and what a shard does. The turn calls a [`Core`] with what is ready and the time; the core
//! reads, answers and flushes by itself, with ordinary nonblocking calls, and never waits. Free of glommio types, so
//! that the same core runs under the simulation and under another driver.
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::runtime::readiness::Readiness;
use crate::stdx::clock::Now;

/// What one shard does with what its turn finds.
pub trait Core {
    /// Before anything of a turn.
    fn begin_turn(&mut self, now: Now) {
        let _ = now;
    }

    /// A connection was accepted: nonblocking, close-on-exec, TCP_NODELAY. The core adds it to the set itself, with a
    /// token below [`crate::runtime::readiness::TOKENS_OF_RUNTIME`]. `door` is the number of the listener that it came
    /// through, in the order of the shard's plan.
    fn accepted(&mut self, set: &Readiness, socket: OwnedFd, peer: SocketAddr, door: usize, now: Now);

    /// The descriptor that was added under `token` has changed. A token may be one that was removed earlier in the
    /// same turn; the generation in it tells. Answers may go out between two readies.
    fn ready(&mut self, set: &Readiness, token: u64, what: Ready, now: Now);

    /// Looks into all mail lanes, once per turn; answers whether something was there.
    fn mail(&mut self, set: &Readiness, now: Now) -> bool;

    /// After the readies of this turn: write the last answers, flush, send mail, expire timers.
    fn end_turn(&mut self, set: &Readiness, now: Now) -> Next;

    /// The last look before a park, after the doorbell was armed: a lane is not empty.
    fn mail_waiting(&self) -> bool;

    /// `ready` panicked for this token. The core says so, closes that connection (1011 on a socket) and forgets it.
    fn panicked(&mut self, set: &Readiness, token: u64);
}

/// What changed at a descriptor, as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready(u8);

impl Ready {
    const READABLE: u8 = 1;
    const WRITABLE: u8 = 2;
    const HANGUP: u8 = 4;

    /// The three as bits.
    #[must_use]
    pub fn new(readable: bool, writable: bool, hangup: bool) -> Ready {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        Ready(bit(readable, Ready::READABLE) | bit(writable, Ready::WRITABLE) | bit(hangup, Ready::HANGUP))
    }

    /// Read until short. Also set on hangup and on errors, because reading is how they are learnt.
    #[must_use]
    pub fn readable(self) -> bool {
        self.0 & Ready::READABLE != 0
    }

    /// There is room to write. Set beside `readable` on every event of a writable socket; worth acting on only for a
    /// connection that was blocked.
    #[must_use]
    pub fn writable(self) -> bool {
        self.0 & Ready::WRITABLE != 0
    }

    /// The peer has closed its side, or the descriptor failed: a short read does not mean drained, read to the end.
    #[must_use]
    pub fn hangup(self) -> bool {
        self.0 & Ready::HANGUP != 0
    }
}

/// What the turn does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Turn again at this time at the latest, in microseconds of [`Now::steady_us`].
    pub deadline_us: Option<u64>,
    /// Work is left: do not park.
    pub again: bool,
    /// Leave the loop; the executor ends and the core is dropped on its thread.
    pub done: bool,
    /// Take new connections. While false the listeners keep their queue and nobody looks into it.
    pub accepting: bool,
}

impl Next {
    /// Nothing to do until something happens.
    pub const IDLE: Next = Next { deadline_us: None, again: false, done: false, accepting: true };
}
