//! A shard at the edge of the process: its connections are file descriptors in an epoll set, its sends are system
//! calls. Joins [`Shard`], which knows neither, to the turn.

use super::core::{Core, Next, Ready};
use super::driver::{Driver, Received};
use super::log::LogEnd;
use super::readiness::Readiness;
use super::shard::{Rest, Shard};
use super::tls::{TlsEnd, TlsSocket};
use crate::auth::Certified;
use crate::event::Channel;
use crate::hub::{LogFound, LogOutcome, LogRead, LogWrite, Logged, Sent};
use crate::mailbox::drain::Stage;
use crate::metrics::Certificates;
use crate::stdx::clock::{Clock, Now};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, recv, send, shutdown};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A connection. One that is not encrypted is its descriptor and nothing else.
pub enum Socket {
    /// As the kernel gives it.
    Plain(OwnedFd),
    /// With a session that encrypts.
    Tls(Box<TlsSocket>),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Plain(fd) => fd.as_fd(),
            Socket::Tls(socket) => socket.as_fd(),
        }
    }
}

/// Sockets of the kernel, and the log of durable channels and TLS where there is one.
#[derive(Default)]
pub struct Net {
    log: Option<LogEnd>,
    tls: Option<Box<TlsEnd>>,
    /// The last write that came where there is no log (a reload made a channel durable): it is not stored.
    unlogged: Option<u64>,
}

impl Net {
    /// With a log, and with TLS.
    pub fn new(log: Option<LogEnd>, tls: Option<TlsEnd>) -> Net {
        Net { log, tls: tls.map(Box::new), unlogged: None }
    }

    fn has_news(&self) -> bool {
        self.unlogged.is_some()
            || self.log.as_ref().is_some_and(LogEnd::has_news)
            || self.tls.as_ref().is_some_and(|tls| tls.has_news())
    }

    /// Only connections that came through it are encrypted.
    fn tls(&mut self) -> &mut TlsEnd {
        self.tls.as_mut().expect("it made the socket")
    }
}

impl Driver for Net {
    type Socket = Socket;

    fn receive(&mut self, socket: &Socket, into: &mut [u8]) -> Received {
        let socket = match socket {
            Socket::Plain(fd) => fd,
            Socket::Tls(socket) => return self.tls().receive(socket, into),
        };
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

    fn send(&mut self, socket: &Socket, bytes: &[u8]) -> Sent {
        let socket = match socket {
            Socket::Plain(fd) => fd,
            Socket::Tls(socket) => return self.tls().send(socket, bytes),
        };
        loop {
            match send(socket, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => continue,
                other => return sent(other),
            }
        }
    }

    fn send_all(&mut self, socket: &Socket, slices: &[IoSlice<'_>]) -> Sent {
        if let [one] = slices {
            return self.send(socket, one);
        }
        let socket = match socket {
            Socket::Plain(fd) => fd,
            Socket::Tls(socket) => return self.tls().send_all(socket, slices),
        };
        loop {
            match rustix::io::writev(socket, slices) {
                Err(Errno::INTR) => continue,
                other => return sent(other),
            }
        }
    }

    fn half_close(&mut self, socket: &Socket) {
        match socket {
            // A peer that is gone already needs no telling.
            Socket::Plain(fd) => drop(shutdown(fd, Shutdown::Write)),
            Socket::Tls(socket) => socket.half_close(),
        }
    }

    fn is_flushed(&self, socket: &Socket) -> bool {
        match socket {
            Socket::Plain(_) => true,
            Socket::Tls(socket) => socket.is_flushed(),
        }
    }

    fn has_moved(&self, socket: &Socket) -> bool {
        match socket {
            Socket::Plain(_) => false,
            Socket::Tls(socket) => socket.has_moved(),
        }
    }

    fn is_greeting(&self, socket: &Socket) -> bool {
        match socket {
            Socket::Plain(_) => false,
            Socket::Tls(socket) => socket.is_greeting(),
        }
    }

    fn is_encrypted(&self, socket: &Socket) -> bool {
        matches!(socket, Socket::Tls(_))
    }

    fn certified(&self, socket: &Socket) -> Option<Arc<Certified>> {
        match socket {
            Socket::Plain(_) => None,
            Socket::Tls(socket) => socket.certified(),
        }
    }

    fn certificates(&self) -> Option<Certificates> {
        self.tls.as_ref().map(|tls| tls.certificates())
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

/// Steps of handshakes that a turn goes on with; each sends, and may read and answer a request.
const GREETED_PER_TURN: usize = 16;

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

impl Edge {
    /// Goes on with those whose handshake has come further, and with those who wait for their step. Answers whether
    /// there were some.
    fn greet(&mut self, set: &Readiness, now: Now) -> bool {
        let mut greeted = false;
        for _ in 0..GREETED_PER_TURN {
            let Some(ended) = self.net.tls().ended() else { break };
            greeted = true;
            let token = ended.token();
            if let Some(Socket::Tls(socket)) = self.shard.socket(token) {
                self.net.tls().resume(socket, ended);
                self.read_on(set, token, now);
            }
        }
        while let Some(token) = self.net.tls().next_waiting() {
            if let Some(Socket::Tls(socket)) = self.shard.socket(token) {
                self.net.tls().begin(socket);
            }
        }
        greeted
    }

    /// Readiness that came meanwhile was passed over, a hangup perhaps among it.
    fn read_on(&mut self, set: &Readiness, token: u64, now: Now) {
        let what = Ready::new(true, false, true);
        let read = || self.shard.ready(&mut self.net, token, what, now);
        if catch_unwind(AssertUnwindSafe(read)).is_err() {
            self.panicked(set, token);
        }
    }
}

impl Core for Edge {
    fn begin_turn(&mut self, now: Now) {
        self.shard.begin_turn(now);
    }

    fn accepted(&mut self, set: &Readiness, socket: OwnedFd, peer: SocketAddr, door: usize, now: Now) {
        let number = u8::try_from(door).expect("the settings allow fewer listeners");
        let socket = match &self.net.tls {
            Some(tls) => tls.enter(door, socket).map_or_else(Socket::Plain, Socket::Tls),
            None => Socket::Plain(socket),
        };
        let Some(token) = self.shard.accepted(socket, peer.ip(), number, now) else { return };
        let socket = self.shard.socket(token);
        let watched = socket.is_some_and(|socket| set.add(socket, token).is_ok());
        if !watched {
            return self.shard.turn_back(token, now);
        }
        if let Some(Socket::Tls(socket)) = socket {
            socket.name(token);
            self.shard.await_greeting(token, now);
        }
    }

    fn ready(&mut self, _set: &Readiness, token: u64, what: Ready, now: Now) {
        if self.net.tls.is_some()
            && what.writable()
            && let Some(Socket::Tls(socket)) = self.shard.socket(token)
        {
            // What is encrypted goes before what is not, though nobody may have more to send.
            socket.flush();
        }
        self.shard.ready(&mut self.net, token, what, now);
    }

    fn mail(&mut self, set: &Readiness, now: Now) -> bool {
        let greeted = self.net.tls.is_some() && self.greet(set, now);
        self.shard.mail(&mut self.net, now) | greeted
    }

    fn end_turn(&mut self, _set: &Readiness, now: Now) -> Next {
        if let Some(tls) = &self.net.tls {
            self.shard.tell_tls(tls.sockets(), |counters| tls.count(counters));
        }
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
