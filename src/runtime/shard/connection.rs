//! What a shard keeps of one connection: as little as it can, since most are idle.

use crate::session::publisher::Publisher;
use crate::session::subscriber::Subscriber;
use std::net::IpAddr;

/// One connection.
pub struct Connection<S> {
    pub(super) socket: S,
    pub(super) peer: IpAddr,
    pub(super) protocol: Protocol,
}

pub(super) enum Protocol {
    /// Speaks HTTP.
    Http(Box<Publisher>),
    /// Has asked for a socket; the owner of its channel is asked.
    Opening(Box<Opening>),
    /// Speaks WebSocket.
    Socket(Open),
    /// Has been sent all that it will be; what it says is not heard any more.
    Ending(End),
}

impl Protocol {
    /// Whether what the peer says is to wait in the socket, because what it said before is not done; if so that is
    /// noted, since no further readiness will tell of those bytes.
    pub fn leave_unread(&mut self) -> bool {
        let (waits, unread) = match self {
            Protocol::Http(publisher) => (publisher.is_paused(), &mut publisher.unread),
            Protocol::Opening(opening) => (true, &mut opening.unread),
            Protocol::Socket(open) => (open.joining, &mut open.unread),
            Protocol::Ending(_) => return false,
        };
        *unread |= waits;
        waits
    }

    /// Whether the census counts this connection.
    pub fn is_counted(&self) -> bool {
        match self {
            Protocol::Http(_) => false,
            Protocol::Opening(_) | Protocol::Socket(_) => true,
            Protocol::Ending(end) => end.socket,
        }
    }
}

/// An upgrade that waits for its channel.
pub(super) struct Opening {
    /// The 101 answer.
    pub handshake: Vec<u8>,
    pub subscriber: Subscriber,
    /// What the peer said already, though it should wait; at most the rest of one read.
    pub kept: Vec<u8>,
    /// The socket holds more of it.
    pub unread: bool,
}

/// A WebSocket connection.
pub(super) struct Open {
    pub subscriber: Subscriber,
    /// The bytes of a frame that has not arrived whole; none while idle.
    pub kept: Option<Box<Kept>>,
    /// A stop has set the moment at which this one is closed.
    pub leaving: bool,
    /// An owner has been asked to let this one in; what the peer says meanwhile waits, so that answers keep order.
    pub joining: bool,
    /// The socket holds bytes that wait for the same.
    pub unread: bool,
}

/// The start of a frame.
pub(super) struct Kept {
    pub bytes: Vec<u8>,
    /// Looking again is useless before so many bytes are there.
    pub needed: usize,
}

/// What still counts of a connection that ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// It counts as a socket until it is gone.
    pub socket: bool,
    /// Nothing more is sent.
    pub half_closed: bool,
}

impl<S> Connection<S> {
    /// A connection that has said nothing yet.
    pub fn new(socket: S, peer: IpAddr, now_us: u64) -> Connection<S> {
        Connection { socket, peer, protocol: Protocol::Http(Box::new(Publisher::new(now_us))) }
    }
}
