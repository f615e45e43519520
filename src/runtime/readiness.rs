//! The epoll set of one shard: which descriptors have changed. Connections are added once, edge-triggered for reading
//! and writing at the same time, so that arming writability for a blocked connection costs no call later. Looking never
//! blocks; to wait, a shard parks until the set itself is readable, inside glommio's ring.
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::runtime::core::Ready;
use crate::runtime::ring;

/// Tokens from here up belong to the runtime: listeners, the doorbell, the timer.
pub const TOKENS_OF_RUNTIME: u64 = u64::MAX - 1023;

/// Events that one look can bring: 12 KiB of buffer; what does not fit stays in the set for the next turn.
const EVENTS_MAX: usize = 1024;

const WITHOUT_WAITING: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// One shard's set. Dropping it forgets all members, but does not close them.
#[derive(Debug)]
pub struct Readiness {
    epoll: OwnedFd,
}

/// The events of one look, reused by every turn.
pub struct Events(Vec<Event>);

impl Default for Events {
    fn default() -> Events {
        Events(Vec::with_capacity(EVENTS_MAX))
    }
}

impl Events {
    /// How many descriptors have changed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The token and the change at `index`.
    #[must_use]
    pub fn at(&self, index: usize) -> (u64, Ready) {
        let Event { flags, data } = self.0[index];
        let hangup = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        (
            data.u64(),
            Ready::new(hangup || flags.contains(EventFlags::IN), flags.contains(EventFlags::OUT), hangup),
        )
    }
}

impl Readiness {
    /// An empty set.
    ///
    /// # Errors
    /// No descriptors or memory left.
    pub fn new() -> io::Result<Readiness> {
        Ok(Readiness { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Adds a connection. It is reported once now, with what it is ready for, and then once per change: bytes or a hangup
    /// arrived, or room to write came back after a write was refused (a socket that is merely writable wakes nobody:
    /// the kernel tells of room only after `SOCK_NOSPACE` was set by a refused write).
    ///
    /// # Errors
    /// The kernel's limit of watched descriptors (`fs.epoll.max_user_watches`) or its memory is used up.
    pub fn add(&self, fd: &impl AsFd, token: u64) -> io::Result<()> {
        self.join(fd, token, EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET)
    }

    /// Adds an eventfd or a timerfd: reported once per write or expiry, and never needs to be read.
    pub(crate) fn add_wake(&self, fd: &impl AsFd, token: u64) -> io::Result<()> {
        self.join(fd, token, EventFlags::IN | EventFlags::ET)
    }

    /// Adds a listener: reported as long as somebody waits in its queue.
    pub(crate) fn add_level(&self, fd: &impl AsFd, token: u64) -> io::Result<()> {
        self.join(fd, token, EventFlags::IN)
    }

    /// Stops or resumes reports of what [`Readiness::add_level`] added.
    pub(crate) fn listen(&self, fd: &impl AsFd, token: u64, on: bool) -> io::Result<()> {
        let flags = if on { EventFlags::IN } else { EventFlags::empty() };
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    /// Takes a descriptor out. Closing the last copy of a descriptor does this by itself.
    ///
    /// # Errors
    /// It was not in the set.
    pub fn remove(&self, fd: &impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Fills `events` with what has changed since the last look. Never waits.
    ///
    /// # Errors
    /// None in practice: the set is open and the buffer is ours.
    pub fn look(&self, events: &mut Events) -> io::Result<()> {
        self.fill(events, Some(&WITHOUT_WAITING))
    }

    /// As [`Readiness::look`], but blocks the thread until something has changed.
    pub(crate) fn wait(&self, events: &mut Events) -> io::Result<()> {
        self.fill(events, None)
    }

    fn fill(&self, events: &mut Events, limit: Option<&Timespec>) -> io::Result<()> {
        events.0.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events.0), limit) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits in glommio's ring until something has changed, or for a moment. Only on a shard's thread.
    pub async fn park(&self) {
        ring::until_readable(self.epoll.as_fd()).await;
    }

    /// A second handle to the same set, for the watchdog to look at.
    pub(crate) fn handle(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    fn join(&self, fd: &impl AsFd, token: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    const TOKEN: u64 = 7;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (far, _) = listener.accept().expect("somebody has connected");
        near.set_nonblocking(true).expect("a socket");
        (near, far)
    }

    fn readable_within_ms(set: &Readiness, ms: i64) -> bool {
        let limit = Timespec { tv_sec: 0, tv_nsec: ms * 1_000_000 };
        poll(&mut [PollFd::new(&set.epoll, PollFlags::IN)], Some(&limit)).expect("the set is open") > 0
    }

    fn next(set: &Readiness, events: &mut Events) -> Option<Ready> {
        assert!(readable_within_ms(set, 900), "the set never became readable");
        set.look(events).expect("the set is open");
        (!events.is_empty()).then(|| events.at(0).1)
    }

    #[test]
    fn an_idle_writable_socket_is_reported_once_and_then_wakes_nobody() {
        let (near, mut far) = connected();
        let (set, mut events) = (Readiness::new().expect("descriptors are left"), Events::default());
        set.add(&near, TOKEN).expect("it is open");
        assert!(next(&set, &mut events).expect("added while writable").writable());
        assert!(!readable_within_ms(&set, 50), "writable alone must not wake");
        far.write_all(b"x").expect("the peer reads");
        assert!(next(&set, &mut events).expect("bytes arrived").readable());
        (&near).write_all(b"answer").expect("there is room");
        far.read_exact(&mut [0; 6]).expect("the answer comes");
        assert!(!readable_within_ms(&set, 50), "an acknowledged write must not wake");
    }

    #[test]
    fn room_after_a_refused_write_is_reported_without_arming() {
        let (mut near, mut far) = connected();
        let (set, mut events) = (Readiness::new().expect("descriptors are left"), Events::default());
        set.add(&near, TOKEN).expect("it is open");
        set.look(&mut events).expect("the set is open");
        let chunk = [0_u8; 65_536];
        let mut sent = 0;
        while let Ok(n) = near.write(&chunk) {
            sent += n;
        }
        assert!(!readable_within_ms(&set, 20), "a full socket is not ready");
        let mut buffer = vec![0; sent];
        far.read_exact(&mut buffer).expect("all that was sent arrives");
        assert!(next(&set, &mut events).expect("room came back").writable());
    }

    #[test]
    fn a_half_close_is_reported_as_readable_hangup() {
        let (near, far) = connected();
        let (set, mut events) = (Readiness::new().expect("descriptors are left"), Events::default());
        set.add(&near, TOKEN).expect("it is open");
        set.look(&mut events).expect("the set is open");
        far.shutdown(std::net::Shutdown::Write).expect("it is open");
        let ready = next(&set, &mut events).expect("the peer has half-closed");
        assert!(ready.readable() && ready.hangup());
    }
}
