//! A shard at the edge of the process: its connections are file descriptors in an epoll set, its sends are system
//! calls. Joins [`Shard`], which knows neither, to the turn.

use super::core::{Core, Next, Ready};
use super::driver::{Driver, Received};
use super::readiness::Readiness;
use super::shard::{Rest, Shard};
use crate::hub::Sent;
use crate::mailbox::drain::Stage;
use crate::stdx::clock::{Clock, Now};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, recv, send, shutdown};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Sockets of the kernel.
pub struct Net;

impl Driver for Net {
    type Socket = OwnedFd;

    fn receive(&mut self, socket: &OwnedFd, into: &mut [u8]) -> Received {
        loop {
            return match recv(socket, &mut *into, rustix::net::RecvFlags::empty()) {
                Ok((0, _)) => Received::End,
                Ok((n, _)) => Received::Bytes(n),
                Err(Errno::AGAIN) => Received::Empty,
                Err(Errno::INTR) => continue,
                Err(_) => Received::End,
            };
        }
    }

    fn send(&mut self, socket: &OwnedFd, bytes: &[u8]) -> Sent {
        loop {
            match send(socket, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => continue,
                other => return sent(other),
            }
        }
    }

    fn send_all(&mut self, socket: &OwnedFd, slices: &[IoSlice<'_>]) -> Sent {
        if let [one] = slices {
            return self.send(socket, one);
        }
        loop {
            match rustix::io::writev(socket, slices) {
                Err(Errno::INTR) => continue,
                other => return sent(other),
            }
        }
    }

    fn half_close(&mut self, socket: &OwnedFd) {
        // A peer that is gone already needs no telling.
        let _ = shutdown(socket, Shutdown::Write);
    }
}

fn sent(outcome: Result<usize, Errno>) -> Sent {
    match outcome {
        Ok(n) => Sent::Bytes(n),
        // Out of memory for a moment looks like a full socket: the kernel reports room when it has some.
        Err(Errno::AGAIN | Errno::NOBUFS) => Sent::Bytes(0),
        Err(_) => Sent::Gone,
    }
}

/// A shard in its turn.
pub struct Edge {
    shard: Shard<Net>,
    clock: Clock,
}

impl Edge {
    /// Joins a shard to the turn; the clock is asked only where the turn does not say the time.
    pub fn new(shard: Shard<Net>, clock: Clock) -> Edge {
        Edge { shard, clock }
    }
}

impl Core for Edge {
    fn accepted(&mut self, set: &Readiness, socket: OwnedFd, peer: SocketAddr, door: usize, now: Now) {
        let door = u8::try_from(door).expect("the settings allow fewer listeners");
        let Some(token) = self.shard.accepted(socket, peer.ip(), door, now) else { return };
        let watched = self.shard.socket(token).is_some_and(|socket| set.add(socket, token).is_ok());
        if !watched {
            self.shard.turn_back(token, now);
        }
    }

    fn ready(&mut self, _set: &Readiness, token: u64, what: Ready, now: Now) {
        self.shard.ready(&mut Net, token, what, now);
    }

    fn mail(&mut self, _set: &Readiness, now: Now) -> bool {
        self.shard.mail(&mut Net, now)
    }

    fn end_turn(&mut self, _set: &Readiness, now: Now) -> Next {
        let Rest { deadline_us, again, done } = self.shard.end_turn(&mut Net, now);
        let accepting = self.shard.stage() < Stage::Done;
        Next { deadline_us, again, done, accepting }
    }

    fn mail_waiting(&self) -> bool {
        self.shard.mail_waiting()
    }

    fn panicked(&mut self, _set: &Readiness, token: u64) {
        let now = self.clock.now();
        self.shard.panicked(token, now);
    }
}
