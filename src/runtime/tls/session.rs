//! One TLS connection as a socket of the shard. Holds what belongs to the connection alone: its descriptor, its keys, the
//! start of a record that is not whole, and ciphertext that the kernel did not take. The buffers are the shard's
//! ([`super::end`]).
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::Conn;
use super::records::{close_notify, encrypt, record_bytes};
use crate::auth::Certified;

/// Most bytes of a handshake that wait for a step, or for the rest of a message: a chain of client certificates is a few
/// KiB. Less than a read of the shard, into whose buffer what is left of them goes.
pub(super) const HANDSHAKE_BYTES_MAX: usize = 32 * 1024;

/// What the sessions of a shard are together.
#[derive(Default)]
pub(super) struct Ledger {
    /// Connections, whatever their handshake.
    pub sockets: Cell<usize>,
    /// Handshakes that were done.
    pub handshakes: Cell<u64>,
    /// Of those, the ones that resumed a session.
    pub resumed: Cell<u64>,
    /// Handshakes that were begun and came to nothing.
    pub failed: Cell<u64>,
    /// Bytes of ciphertext that are no whole record yet, or wait for a step.
    pub kept_bytes: Cell<usize>,
    /// Bytes of ciphertext that kernels have not taken.
    pub owed_bytes: Cell<usize>,
}

/// A TLS connection. Dropping it closes it, with a word to the peer where there is room for one.
pub struct TlsSocket {
    pub(super) fd: OwnedFd,
    pub(super) token: Cell<u64>,
    pub(super) session: RefCell<Session>,
}

pub(super) struct Session {
    pub state: State,
    /// Ciphertext of records that are not whole, or that wait for a step.
    incoming: Vec<u8>,
    /// Of a handshake: bytes at its start that a step has seen, and bytes at its end that are no whole record.
    seen: usize,
    partial: usize,
    owed: Vec<u8>,
    owed_from: usize,
    moved: bool, // See [`TlsSocket::has_moved`].
    /// Nothing more will be sent once what is owed is out.
    closing: bool,
    /// The peer has said that it sends no more.
    pub peer_closed: bool,
    ledger: Rc<Ledger>,
}

pub(super) enum State {
    /// The handshake waits for the peer, or for its turn; no session before the first step.
    Greeting {
        conn: Option<Box<Conn>>,
        queued: bool,
    },
    /// A step is under way elsewhere.
    Away,
    Open {
        conn: Box<Conn>,
        certified: Option<Arc<Certified>>,
    },
    /// It came to nothing; what the peer still says is not heard.
    Failed,
}

/// How a send ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    All,
    Blocked,
    Gone,
}

impl TlsSocket {
    pub(super) fn new(fd: OwnedFd, ledger: &Rc<Ledger>) -> TlsSocket {
        ledger.sockets.set(ledger.sockets.get() + 1);
        let session = Session {
            state: State::Greeting { conn: None, queued: false },
            incoming: Vec::new(),
            seen: 0,
            partial: 0,
            owed: Vec::new(),
            owed_from: 0,
            moved: false,
            closing: false,
            peer_closed: false,
            ledger: Rc::clone(ledger),
        };
        TlsSocket { fd, token: Cell::new(0), session: RefCell::new(session) }
    }

    /// The token under which the shard knows it.
    pub fn name(&self, token: u64) {
        self.token.set(token);
    }

    /// Whom the peer's verified certificate names, if it has shown one.
    #[must_use]
    pub fn certified(&self) -> Option<Arc<Certified>> {
        match &self.session.borrow().state {
            State::Open { certified, .. } => certified.clone(),
            State::Greeting { .. } | State::Away | State::Failed => None,
        }
    }

    /// Whether the handshake is not done, or has failed.
    #[must_use]
    pub fn is_greeting(&self) -> bool {
        !matches!(self.session.borrow().state, State::Open { .. })
    }

    /// Whether the kernel has taken everything.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.session.borrow().owed.is_empty()
    }

    /// Whether the kernel has taken some of what it did not take at first, since this was asked last.
    pub fn has_moved(&self) -> bool {
        std::mem::take(&mut self.session.borrow_mut().moved)
    }

    /// Offers the kernel what it did not take. To be called when there is room again.
    pub fn flush(&self) {
        self.session.borrow_mut().flush(&self.fd); // The next read finds out a peer that is gone.
    }

    /// Tells the peer that nothing more will be sent (RFC 8446 6.1), and ends that direction.
    pub fn half_close(&self) {
        let session = &mut *self.session.borrow_mut();
        if session.closing {
            return;
        }
        let alert = session.close_notify();
        session.closing = true;
        // A peer that is gone already needs no telling.
        session.send(&self.fd, &alert);
    }
}

impl AsFd for TlsSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for TlsSocket {
    fn drop(&mut self) {
        let session = self.session.get_mut();
        let ledger = Rc::clone(&session.ledger);
        ledger.sockets.set(ledger.sockets.get() - 1);
        ledger.owed_bytes.set(ledger.owed_bytes.get() - session.owed.len());
        ledger.kept_bytes.set(ledger.kept_bytes.get() - session.incoming.len());
        match &session.state {
            // Who only looks whether the port is open has begun nothing.
            State::Greeting { conn: None, .. } if session.incoming.is_empty() => {}
            State::Greeting { .. } | State::Away | State::Failed => {
                ledger.failed.set(ledger.failed.get() + 1)
            }
            State::Open { .. } if session.closing || !session.owed.is_empty() => {}
            State::Open { .. } => {
                let alert = session.close_notify();
                let _ = send(&self.fd, &alert, SendFlags::NOSIGNAL);
            }
        }
    }
}

impl Session {
    /// Sends ciphertext behind what is owed; what the kernel does not take is owed.
    pub fn send(&mut self, fd: &OwnedFd, bytes: &[u8]) -> Flushed {
        let flushed = self.flush(fd);
        let taken = match flushed {
            Flushed::All if bytes.is_empty() => 0,
            Flushed::All => match offer(fd, bytes) {
                Some(taken) => taken,
                None => return Flushed::Gone,
            },
            Flushed::Blocked => 0,
            Flushed::Gone => return Flushed::Gone,
        };
        if taken < bytes.len() {
            self.owed.extend_from_slice(&bytes[taken..]);
            self.ledger.owed_bytes.set(self.ledger.owed_bytes.get() + bytes.len() - taken);
            return Flushed::Blocked;
        }
        self.end_if_closing(fd);
        Flushed::All
    }

    pub fn flush(&mut self, fd: &OwnedFd) -> Flushed {
        if self.owed.is_empty() {
            return Flushed::All;
        }
        // Until the kernel takes no more: only then does it tell of room.
        while self.owed_from < self.owed.len() {
            match offer(fd, &self.owed[self.owed_from..]) {
                None => return self.gone(),
                Some(0) => return Flushed::Blocked,
                Some(taken) => (self.owed_from, self.moved) = (self.owed_from + taken, true),
            }
        }
        self.drop_owed();
        self.end_if_closing(fd);
        Flushed::All
    }

    fn drop_owed(&mut self) {
        self.ledger.owed_bytes.set(self.ledger.owed_bytes.get() - self.owed.len());
        (self.owed, self.owed_from) = (Vec::new(), 0);
    }

    /// There is nobody any more, or the peer takes more than it may. What was owed may be half a record: nothing follows it.
    pub fn gone(&mut self) -> Flushed {
        self.drop_owed();
        self.closing = true;
        Flushed::Gone
    }

    fn end_if_closing(&self, fd: &OwnedFd) {
        if self.closing {
            // A peer that is gone already needs no telling.
            let _ = shutdown(fd, Shutdown::Write);
        }
    }

    /// It came to nothing: says why, and hears no more.
    pub fn fail(&mut self, fd: &OwnedFd, last_words: &[u8]) {
        self.keep(Vec::new());
        self.state = State::Failed;
        self.closing = true;
        self.send(fd, last_words);
    }

    /// The record that ends this direction; empty where the session does not stand.
    fn close_notify(&mut self) -> Vec<u8> {
        match &mut self.state {
            State::Open { conn, .. } => close_notify(conn, &mut self.incoming),
            State::Greeting { .. } | State::Away | State::Failed => Vec::new(),
        }
    }

    /// Ciphertext that the kernel did not take.
    pub fn owed_bytes(&self) -> usize {
        self.owed.len() - self.owed_from
    }

    /// Encrypts into `out`; answers how long that is, `None` when the session can encrypt no more.
    pub fn encrypt(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        match &mut self.state {
            State::Open { conn, .. } if !self.closing => encrypt(conn, &mut self.incoming, bytes, out),
            _ => None,
        }
    }

    /// Whether there is a whole record that no step has seen. What is no record is for rustls to refuse.
    pub fn has_record(&self) -> bool {
        record_bytes(&self.incoming[self.seen..]).is_some()
    }

    /// Before a step, which sees all records that are whole.
    pub fn mark_whole(&mut self) {
        let mut at = self.seen;
        while let Some(bytes) = record_bytes(&self.incoming[at..]) {
            at += bytes;
        }
        self.partial = self.incoming.len() - at;
    }

    /// After a step: what is left may begin with records of a message that is not whole, rearranged.
    pub fn take_back(&mut self, incoming: Vec<u8>) {
        self.seen = incoming.len().saturating_sub(self.partial);
        self.keep(incoming);
    }

    /// What is received and not done with.
    pub fn kept(&self) -> &[u8] {
        &self.incoming
    }

    /// Keeps these bytes and no others.
    pub fn keep(&mut self, incoming: Vec<u8>) {
        let kept_bytes = &self.ledger.kept_bytes;
        kept_bytes.set(kept_bytes.get() + incoming.len() - self.incoming.len());
        self.incoming = incoming;
    }

    /// Keeps these bytes as well.
    pub fn keep_more(&mut self, bytes: &[u8]) {
        let kept_bytes = &self.ledger.kept_bytes;
        kept_bytes.set(kept_bytes.get() + bytes.len());
        self.incoming.extend_from_slice(bytes);
    }

    /// Hands over what is kept.
    pub fn take_kept(&mut self) -> Vec<u8> {
        let kept_bytes = &self.ledger.kept_bytes;
        kept_bytes.set(kept_bytes.get() - self.incoming.len());
        std::mem::take(&mut self.incoming)
    }

    /// A peer that speaks HTTP where TLS is spoken: a method begins with a letter, a record never does.
    pub fn is_plain_http(&self) -> bool {
        matches!(self.state, State::Greeting { conn: None, .. })
            && self.incoming.first().is_some_and(u8::is_ascii_uppercase)
    }

    pub fn opened(&self, resumed: bool) {
        let (handshakes, resumptions) = (&self.ledger.handshakes, &self.ledger.resumed);
        handshakes.set(handshakes.get() + 1);
        resumptions.set(resumptions.get() + u64::from(resumed));
    }
}

/// Receives into `into`: `None` when the peer is gone or sends no more, 0 when there is nothing now.
pub(super) fn receive(fd: &OwnedFd, into: &mut [u8]) -> Option<usize> {
    loop {
        match recv(fd, &mut *into, RecvFlags::empty()) {
            Ok((0, _)) => return None,
            Ok((n, _)) => return Some(n),
            Err(Errno::AGAIN) => return Some(0),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Offers bytes to the kernel: how many it took, `None` when the peer is gone.
fn offer(fd: &OwnedFd, bytes: &[u8]) -> Option<usize> {
    loop {
        match send(fd, bytes, SendFlags::NOSIGNAL) {
            Ok(taken) => return Some(taken),
            Err(Errno::AGAIN | Errno::NOBUFS) => return Some(0),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}
