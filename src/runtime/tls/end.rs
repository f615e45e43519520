//! A shard's end of TLS: the buffers that all of its sessions share, and its way to the threads that do handshakes. Nothing
//! here waits.
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::handshakes::{Done, Job, Threads, UNDER_WAY_MAX, Verdict};
use super::keeper::Certificates;
use super::records::{Decrypted, End, PLAINTEXT_BYTES_MAX, decrypt};
use super::session::{Flushed, HANDSHAKE_BYTES_MAX, Ledger, Session, State, TlsSocket, receive};
use crate::hub::Sent;
use crate::mailbox::doorbell::Doorbell;
use crate::metrics::{self, Counters};
use crate::runtime::driver::Received;

/// Plaintext that is encrypted for one send: a turn of a subscriber rarely has more, and a peer that reads nothing
/// then costs so much of memory that is its alone. Eight full records.
const CHUNK_BYTES: usize = 128 * 1024;

/// As above while all peers together owe too much.
const CHUNK_BYTES_SCARCE: usize = 4 * 1024;

/// Ciphertext that the kernel did not take, over all sessions of the shard, from which on there is little per session.
const OWED_BYTES_MAX: usize = 64 << 20;

/// Ciphertext of one read: so much less than the scratch of the shard, into which it is decrypted, that the record has room
/// which the last step of a handshake has decrypted already.
const READ_BYTES: usize = 64 * 1024 - PLAINTEXT_BYTES_MAX;

/// A read of a handshake: a flight of a client is rarely more than 2 KiB.
const GREETING_BYTES: usize = 16 * 1024;

/// Ciphertext that is no whole record yet, over all sessions of the shard: 4,096 of the longest. Beyond it who keeps some
/// is closed.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Sessions that may wait for a step: at 5,000 a second they would wait beyond the limit of time.
const WAITING_MAX: usize = 65_536;

/// Ciphertext that one session may owe before it is not read any more: what was encrypted at once, and answers to
/// what the peer asks of the session itself, which no peer in its senses lets pile up.
const OWED_BY_ONE_MAX: usize = 2 * CHUNK_BYTES;

/// What who speaks HTTP to a TLS port is told, as it is said there.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 92\r\n\
Connection: close\r\n\r\n{\"detail\":{\"error\":\"Bad request\",\"message\":\"This port speaks TLS: use https:// or wss://\"}}\n";

/// One per shard.
pub struct TlsEnd {
    /// By the number of the listener: whether it is encrypted.
    doors: Vec<bool>,
    certificates: Arc<Certificates>,
    threads: Threads,
    tell: Sender<Done>,
    done: Receiver<Done>,
    doorbell: Arc<Doorbell>,
    under_way: usize,
    /// Sessions with a whole record, beyond those whose step is under way: each once.
    waiting: VecDeque<u64>,
    ledger: Rc<Ledger>,
    /// Received ciphertext.
    cipher: Vec<u8>,
    /// Pieces of plaintext that go into one send.
    gathered: Vec<u8>,
    /// Ciphertext to be sent.
    out: Vec<u8>,
}

/// What a shard's end is made from, on another thread.
pub struct Setup {
    pub(super) threads: Threads,
    pub(super) certificates: Arc<Certificates>,
    pub(super) doors: Vec<bool>,
    pub(super) doorbell: Arc<Doorbell>,
}

impl TlsEnd {
    /// On the shard's own thread.
    #[must_use]
    pub fn new(setup: Setup) -> TlsEnd {
        let Setup { threads, certificates, doors, doorbell } = setup;
        let (tell, done) = bounded(UNDER_WAY_MAX);
        TlsEnd {
            doors,
            certificates,
            threads,
            tell,
            done,
            doorbell,
            under_way: 0,
            waiting: VecDeque::new(),
            ledger: Rc::default(),
            cipher: vec![0; READ_BYTES],
            gathered: Vec::new(),
            out: Vec::new(),
        }
    }

    /// A connection that came through listener `door`, if that is encrypted; else it comes back.
    pub fn enter(&self, door: usize, fd: OwnedFd) -> Result<Box<TlsSocket>, OwnedFd> {
        match self.doors.get(door) {
            Some(true) => Ok(Box::new(TlsSocket::new(fd, &self.ledger))),
            _ => Err(fd),
        }
    }

    /// What is served now.
    #[must_use]
    pub fn certificates(&self) -> metrics::Certificates {
        self.certificates.state()
    }

    /// Connections that are encrypted.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.ledger.sockets.get()
    }

    /// Says what was counted.
    pub fn count(&self, counters: &mut Counters) {
        counters.tls_handshakes = self.ledger.handshakes.get();
        counters.tls_resumed = self.ledger.resumed.get();
        counters.tls_failed = self.ledger.failed.get();
    }

    /// Whether a step has ended, or may begin: the last look before a sleep.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.done.is_empty()
    }

    /// Whether a step is under way.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// A step that has ended: whose, and what came of it.
    pub(in crate::runtime) fn ended(&mut self) -> Option<Ended> {
        let done = self.done.try_recv().ok()?;
        self.under_way -= 1;
        Some(Ended(done))
    }

    /// Who has waited the longest, if a step may begin.
    pub fn next_waiting(&mut self) -> Option<u64> {
        if self.under_way == UNDER_WAY_MAX { None } else { self.waiting.pop_front() }
    }

    /// Begins the step that a session has waited for. Whoever was served since is passed over.
    pub fn begin(&mut self, socket: &TlsSocket) {
        let session = &mut *socket.session.borrow_mut();
        if let State::Greeting { queued, .. } = &mut session.state {
            *queued = false;
            self.submit(socket, session);
        }
    }

    /// Gives a session what came of its step. Reading goes on with it.
    pub(in crate::runtime) fn resume(&mut self, socket: &TlsSocket, ended: Ended) {
        let Ended(Done { conn, incoming, outgoing, verdict, .. }) = ended;
        let session = &mut *socket.session.borrow_mut();
        session.take_back(incoming);
        match (verdict, conn) {
            (Verdict::Continues, conn @ Some(_)) => session.state = State::Greeting { conn, queued: false },
            (Verdict::Open { resumed, certified }, Some(conn)) => {
                if let Some(certified) = &certified {
                    tracing::debug!(names = ?certified.names, "a client has shown its certificate");
                }
                session.opened(resumed);
                session.state = State::Open { conn, certified: certified.map(Arc::new) };
            }
            (Verdict::Failed, _) | (_, None) => return session.fail(&socket.fd, &outgoing),
        }
        session.send(&socket.fd, &outgoing);
    }

    /// Reads and decrypts into `into`.
    pub fn receive(&mut self, socket: &TlsSocket, into: &mut [u8]) -> Received {
        let session = &mut *socket.session.borrow_mut();
        match &session.state {
            State::Open { .. } => self.read(socket, session, into),
            State::Greeting { queued: false, .. } => self.greet(socket, session),
            State::Greeting { .. } | State::Away => Received::Empty,
            State::Failed => match receive(&socket.fd, &mut self.cipher) {
                None => Received::End,
                // Read all the same: closing with unread bytes would take away the alert that says why.
                Some(0) => Received::Empty,
                Some(_) => Received::More(0),
            },
        }
    }

    /// Reads records of a handshake, and lets a step be done when one is whole.
    fn greet(&mut self, socket: &TlsSocket, session: &mut Session) -> Received {
        while !session.has_record() {
            match receive(&socket.fd, &mut self.cipher[..GREETING_BYTES]) {
                None => return Received::End,
                Some(0) => return Received::Empty,
                Some(n) => session.keep_more(&self.cipher[..n]),
            }
            if session.is_plain_http() {
                session.fail(&socket.fd, PLAIN_HTTP);
                return Received::Empty;
            }
        }
        // A step left so much because the message that it begins never ends; or too many others keep as much.
        if session.kept().len() > HANDSHAKE_BYTES_MAX || self.ledger.kept_bytes.get() > KEPT_BYTES_MAX {
            session.fail(&socket.fd, &[]);
            return Received::End;
        }
        self.submit(socket, session);
        Received::Empty
    }

    fn submit(&mut self, socket: &TlsSocket, session: &mut Session) {
        let State::Greeting { conn, queued } = &mut session.state else { return };
        if self.under_way == UNDER_WAY_MAX {
            if self.waiting.len() == WAITING_MAX {
                return session.fail(&socket.fd, &[]);
            }
            *queued = true;
            return self.waiting.push_back(socket.token.get());
        }
        let conn = conn.take();
        session.mark_whole();
        let incoming = session.take_kept();
        let job = Job {
            token: socket.token.get(),
            conn,
            incoming,
            done: self.tell.clone(),
            doorbell: Arc::clone(&self.doorbell),
        };
        session.state = State::Away;
        self.under_way += 1;
        self.threads.give(job);
    }

    fn read(&mut self, socket: &TlsSocket, session: &mut Session, into: &mut [u8]) -> Received {
        let crowded = self.ledger.kept_bytes.get() > KEPT_BYTES_MAX && !session.kept().is_empty();
        let spent = crowded || session.owed_bytes() > OWED_BY_ONE_MAX;
        if spent || session.peer_closed {
            spent.then(|| session.gone());
            return Received::End;
        }
        // What is decrypted is shorter than what was encrypted, so all of it has room.
        let room = into.len().saturating_sub(PLAINTEXT_BYTES_MAX).min(self.cipher.len());
        loop {
            let kept = session.kept().len();
            self.cipher[..kept].copy_from_slice(session.kept());
            let received = receive(&socket.fd, &mut self.cipher[kept..room]);
            let total = kept + received.unwrap_or(0);
            // Should this panic, the session is gone: nothing more may be said in one that is not as it should be.
            let State::Open { mut conn, certified } = std::mem::replace(&mut session.state, State::Away)
            else {
                return Received::End;
            };
            let decrypted = decrypt(&mut conn, &mut self.cipher[..total], into);
            session.state = State::Open { conn, certified };
            let Decrypted { bytes, taken, answer, end } = decrypted;
            session.keep(self.cipher[taken..total].to_vec());
            match end {
                End::Failed => session.fail(&socket.fd, &answer),
                End::Closed => session.peer_closed = true,
                End::Open => {}
            }
            if end != End::Failed && !answer.is_empty() {
                session.send(&socket.fd, &answer);
            }
            let ended = received.is_none() || end != End::Open;
            // As with any socket a short read means that nothing is left.
            let dry = total < room;
            return match bytes {
                0 if ended => Received::End,
                // A record that is not whole yet: only another look tells whether the rest is to come, or the end has.
                0 if received == Some(0) => Received::Empty,
                0 => continue,
                _ if ended || !dry => Received::More(bytes),
                _ => Received::Bytes(bytes),
            };
        }
    }

    /// Encrypts and sends; answers how much of the plaintext was taken. What of it the kernel did not take is owed, and
    /// goes first.
    pub fn send(&mut self, socket: &TlsSocket, bytes: &[u8]) -> Sent {
        let session = &mut *socket.session.borrow_mut();
        push(&self.ledger, &mut self.out, socket, session, bytes)
    }

    /// As [`TlsEnd::send`], from several pieces, joined so that they share records.
    pub fn send_all(&mut self, socket: &TlsSocket, slices: &[IoSlice<'_>]) -> Sent {
        let session = &mut *socket.session.borrow_mut();
        let (mut gathered, mut taken, mut at) = (std::mem::take(&mut self.gathered), 0, 0);
        let sent = loop {
            gathered.clear();
            while let Some(slice) = slices.get(at)
                && (gathered.is_empty() || gathered.len() + slice.len() <= CHUNK_BYTES)
            {
                gathered.extend_from_slice(slice);
                at += 1;
            }
            match push(&self.ledger, &mut self.out, socket, session, &gathered) {
                Sent::Gone => break Sent::Gone,
                Sent::Bytes(n) => taken += n,
            }
            if at == slices.len() || session.owed_bytes() > 0 {
                break Sent::Bytes(taken);
            }
        };
        if gathered.capacity() <= 2 * CHUNK_BYTES {
            self.gathered = gathered;
        }
        sent
    }
}

/// What has ended, for the one that it is of.
pub(in crate::runtime) struct Ended(Done);

impl Ended {
    pub fn token(&self) -> u64 {
        self.0.token
    }
}

fn push(ledger: &Ledger, out: &mut Vec<u8>, socket: &TlsSocket, session: &mut Session, bytes: &[u8]) -> Sent {
    match session.flush(&socket.fd) {
        Flushed::All => {}
        Flushed::Blocked => return Sent::Bytes(0),
        Flushed::Gone => return Sent::Gone,
    }
    let scarce = ledger.owed_bytes.get() > OWED_BYTES_MAX;
    let mut taken = 0;
    for chunk in bytes.chunks(if scarce { CHUNK_BYTES_SCARCE } else { CHUNK_BYTES }) {
        let Some(written) = session.encrypt(chunk, out) else { return Sent::Gone };
        taken += chunk.len();
        match session.send(&socket.fd, &out[..written]) {
            Flushed::All => {}
            Flushed::Blocked => break,
            Flushed::Gone => return Sent::Gone,
        }
    }
    Sent::Bytes(taken)
}
