//! A shard at the edge of the process: its connections are file descriptors in an epoll set, its sends are system
//! calls. Joins [`Shard`], which knows neither, to the turn.

use super::core::{Core, Next, Ready};
use super::driver::{Driver, Received};
use super::log::LogEnd;
use super::readiness::Readiness;
use super::shard::{Rest, Shard};
use crate::event::Channel;
use crate::hub::{LogFound, LogOutcome, LogRead, LogWrite, Logged, Sent};
use crate::mailbox::drain::Stage;
use crate::stdx::clock::{Clock, Now};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, recv, send, shutdown};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Sockets of the kernel, and the log of durable channels where there is one.
#[derive(Default)]
pub struct Net {
    log: Option<LogEnd>,
    /// The last write that came where there is no log (a reload made a channel durable): it is not stored.
    unlogged: Option<u64>,
}

impl Net {
    /// With a log.
    pub fn with_log(log: Option<LogEnd>) -> Net {
        Net { log, unlogged: None }
    }

    fn has_news(&self) -> bool {
        self.unlogged.is_some() || self.log.as_ref().is_some_and(LogEnd::has_news)
    }
}

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

    fn log(&mut self, writes: &mut Vec<LogWrite>) {
        match &mut self.log {
            Some(log) => log.log(writes),
            None => self.unlogged = writes.drain(..).next_back().map(|write| write.sequence),
        }
    }

    fn read_log(&mut self, read: LogRead) {
        if let Some(log) = &mut self.log {
            log.read(read);
        }
    }

    fn logged(&mut self) -> Option<Logged> {
        match &mut self.log {
            Some(log) => log.logged(),
            None => self.unlogged.take().map(|up_to| Logged { up_to, outcome: LogOutcome::Failed }),
        }
    }

    fn log_found(&mut self) -> Option<LogFound> {
        self.log.as_mut()?.found()
    }

    fn log_trimmed(&mut self) -> Option<(Channel, u64)> {
        self.log.as_mut()?.trimmed()
    }

    fn log_is_idle(&self) -> bool {
        self.log.as_ref().is_none_or(LogEnd::is_idle)
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
    net: Net,
    clock: Clock,
}

impl Edge {
    /// Joins a shard to the turn; the clock is asked only where the turn does not say the time.
    pub fn new(shard: Shard<Net>, net: Net, clock: Clock) -> Edge {
        Edge { shard, net, clock }
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
        self.shard.ready(&mut self.net, token, what, now);
    }

    fn mail(&mut self, _set: &Readiness, now: Now) -> bool {
        self.shard.mail(&mut self.net, now)
    }

    fn end_turn(&mut self, _set: &Readiness, now: Now) -> Next {
        let Rest { deadline_us, again, done } = self.shard.end_turn(&mut self.net, now);
        let accepting = self.shard.stage() < Stage::Done;
        Next { deadline_us, again, done, accepting }
    }

    fn mail_waiting(&self) -> bool {
        self.shard.mail_waiting() || self.net.has_news()
    }

    fn panicked(&mut self, _set: &Readiness, token: u64) {
        let now = self.clock.now();
        self.shard.panicked(token, now);
    }
}
