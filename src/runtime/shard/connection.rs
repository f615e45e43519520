//! What a shard keeps of one connection: as little as it can, since most are idle.

use super::batches::Keep;
use super::requests::LINGER_US;
use crate::event::{Channel, Form};
use crate::hub::Standing;
use crate::session::Options;
use crate::session::command::{Ref, Subscribe, Target};
use crate::session::publisher::Publisher;
use crate::session::query::Wanted;
use crate::session::subscriber::Subscriber;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

/// One connection.
pub struct Connection<S> {
    pub(super) socket: S,
    /// One of IPv4 is mapped: a byte less than the enum, and so eight.
    peer: Ipv6Addr,
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
            Protocol::Socket(open) => (open.waiting.is_some(), &mut open.subscriber.unread),
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

/// A socket or stream that waits for its channels.
pub(super) struct Opening {
    pub subscriber: Subscriber,
    /// The first thing that its path asks for.
    pub path: Option<Target>,
    /// What its query asks for.
    pub wanted: Wanted,
    pub form: Form,
    pub first: First,
    /// Of the greeting of a stream, what answers requests before it.
    pub answers_bytes: usize,
    /// What the peer said already, though it should wait; at most the rest of one read.
    pub kept: Vec<u8>,
    /// The socket holds more of it.
    pub unread: bool,
}

/// How far the joins of one wish are.
#[derive(Default)]
pub(super) struct First {
    /// Owners that have not answered.
    pub missing: usize,
    /// A channel that was full.
    pub full: Option<Box<str>>,
    /// The rights to some of it have ended meanwhile.
    pub lost: bool,
    pub standing: Option<Standing>,
}

/// A connection that gets events.
pub(super) struct Open {
    pub subscriber: Subscriber,
    /// The bytes of a frame that has not arrived whole; none while idle.
    pub kept: Option<Box<Kept>>,
    /// Others have been asked because of what the peer said; what it says meanwhile waits, so that answers keep order.
    pub waiting: Option<Box<Waiting>>,
}

impl Open {
    pub fn new(subscriber: Subscriber) -> Open {
        Open { subscriber, kept: None, waiting: None }
    }
}

/// What a socket has asked for and others must answer.
pub(super) enum Waiting {
    /// Owners are to let it in.
    Join(Join),
    /// The owner is to take an event.
    Publish(Publish),
    /// The owner is to say who hears a channel.
    Presence { reference: Ref, channel: Channel },
    /// The owner is to say what it keeps of a channel.
    History { reference: Ref, channel: Channel },
    /// All shards are to count themselves.
    Health,
}

/// A subscription that owners have not let in yet.
pub(super) struct Join {
    /// `None` when nobody is told of it.
    pub wish: Option<Box<Subscribe>>,
    pub tags: Range<u32>,
    pub first: First,
}

/// An event that was published on the socket.
pub(super) struct Publish {
    pub reference: Ref,
    /// Its id in dialect `router`.
    pub event_id: Box<str>,
    /// The answer, as far as it is known.
    pub head: Vec<u8>,
    /// If it has an idempotency key: the answer is kept then.
    pub keep: Option<Keep>,
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

impl End {
    /// How long nothing may happen before the connection goes, in microseconds: the rest of an answer over HTTP has the time
    /// of an answer.
    pub fn patience_us(&self, options: &Options) -> u64 {
        if self.socket || self.half_closed { LINGER_US } else { LINGER_US.max(options.body_us) }
    }
}

impl<S> Connection<S> {
    /// A connection that has said nothing yet.
    pub fn new(socket: S, peer: IpAddr, door: u8, now_us: u64) -> Connection<S> {
        let peer = match peer {
            IpAddr::V4(peer) => peer.to_ipv6_mapped(),
            IpAddr::V6(peer) => peer,
        };
        let mut publisher = Box::new(Publisher::new(now_us));
        publisher.door = door;
        Connection { socket, peer, protocol: Protocol::Http(publisher) }
    }

    /// Where the peer is. An IPv4 address is one, also on a listener that takes both.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer.to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_no_larger_for_a_socket_that_may_be_encrypted() {
        assert!(size_of::<Connection<Option<(Box<u8>, u32)>>>() <= 88);
    }
}
