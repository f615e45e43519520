//! Listening sockets: one per shard on the same port (SO_REUSEPORT), so that the kernel spreads connections over shards.
//! Bound by the starting thread, before any shard runs; afterwards each belongs to one turn, which accepts in batches and
//! survives running out of descriptors.
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, Type};

use crate::runtime::readiness::Readiness;
use crate::stdx::clock::Now;

/// Connections that wait for `accept`; the kernel lowers it to `net.core.somaxconn` (4096 by default since Linux 5.4).
const BACKLOG: i32 = 4096;

/// Connections taken in one turn, so that a storm of newcomers cannot hold up those who are in.
const ACCEPTS_PER_TURN: usize = 128;

/// How long a listener rests when no descriptor is left: ten refusals a second instead of a spinning core.
const REST_US: u64 = 100_000;

/// After a kill the kernel may hold the port for up to 0.6 s.
const BIND_TRIES: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// One shard's end of a port.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    address: SocketAddr,
}

/// Why a port cannot be served, with the mend.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = (self.address, self.address.port());
        match self.cause.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "port {port} on {} is taken by another process: stop it (find it with `ss -ltnp 'sport = :{port}'`) \
                 or choose another port",
                address.ip()
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "no permission to listen on {address}: choose a port of 1024 or more, or allow it with \
                 `sysctl net.ipv4.ip_unprivileged_port_start={port}`"
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "this machine has no address {}: choose one that `ip address` lists", address.ip())
            }
            _ => write!(f, "cannot listen on {address}: {}", self.cause),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Binds `shards` listeners to one address. Port 0 lets the kernel choose once, and all share its choice. Blocks for up to
/// a second while the port is taken.
///
/// # Errors
/// The port is served by another process (also by one of the same user that would let us share it), needs a permission,
/// or the address is not of this machine.
pub fn bind(address: SocketAddr, shards: usize) -> Result<Vec<Listener>, BindError> {
    let failed = |cause| BindError { address, cause };
    if address.port() != 0 {
        prove_free(address).map_err(failed)?;
    }
    let first = Listener::bind(address).map_err(failed)?;
    let chosen = first.address;
    let rest = (1..shards).map(|_| Listener::bind(chosen).map_err(failed));
    std::iter::once(Ok(first)).chain(rest).collect()
}

/// SO_REUSEPORT would silently share the port with another process of the same user; a socket without it cannot.
fn prove_free(address: SocketAddr) -> io::Result<()> {
    let mut tries = 1;
    loop {
        let probe = socket(address).and_then(|probe| probe.bind(&address.into()));
        match probe {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < BIND_TRIES => {
                tries += 1;
                thread::park_timeout(BIND_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

impl Listener {
    fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?; // inherited by what it accepts
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let bound = socket.local_addr()?.as_socket();
        let address = bound.ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Listener { socket: socket.into(), address })
    }

    /// Where it listens, with the port that the kernel chose if it was 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A listener in a shard's set.
#[derive(Debug)]
pub(crate) struct Door {
    listener: Listener,
    token: u64,
    open: bool,
    rest_until_us: Option<u64>,
    /// Closed at need, to have one descriptor with which to turn a newcomer away.
    reserve: Option<OwnedFd>,
    turned_away: u64,
}

impl Door {
    pub(crate) fn new(listener: Listener, set: &Readiness, token: u64) -> io::Result<Door> {
        set.add_level(&listener, token)?;
        let reserve = Some(spare_descriptor()?);
        Ok(Door { listener, token, open: true, rest_until_us: None, reserve, turned_away: 0 })
    }

    /// Takes up to 128 newcomers. When no descriptor is left it turns one away and rests.
    pub(crate) fn accept(&mut self, set: &Readiness, now: Now, mut enter: impl FnMut(OwnedFd, SocketAddr)) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        for _ in 0..ACCEPTS_PER_TURN {
            match acceptfrom_with(&self.listener, flags) {
                Ok((socket, peer)) => {
                    // A TCP socket's peer has an IP address; one that is already gone may have none.
                    if let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                        enter(socket, peer);
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    return self.rest(set, now, error);
                }
                // Errors of one newcomer that is already gone (accept(2), "Error handling").
                Err(_) => {}
            }
        }
    }

    fn rest(&mut self, set: &Readiness, now: Now, cause: Errno) {
        if self.reserve.take().is_some() && acceptfrom_with(&self.listener, SocketFlags::CLOEXEC).is_ok() {
            self.turned_away += 1;
        }
        self.reserve = spare_descriptor().ok();
        self.rest_until_us = Some(now.steady_us + REST_US);
        self.listen(set);
        tracing::warn!(address = %self.listener.address, turned_away = self.turned_away, %cause,
            "out of descriptors or memory: not accepting for 100 ms (raise the limit with `ulimit -n`)");
    }

    /// Opens or shuts the door, and ends a rest that is over. Answers when to be called again at the latest, in
    /// microseconds of [`Now::steady_us`].
    pub(crate) fn attend(&mut self, set: &Readiness, now: Now, accepting: bool) -> Option<u64> {
        let rested = self.rest_until_us.is_some_and(|until| until <= now.steady_us);
        if rested {
            self.rest_until_us = None;
            self.reserve = self.reserve.take().or_else(|| spare_descriptor().ok());
        }
        if rested || accepting != self.open {
            self.open = accepting;
            self.listen(set);
        }
        self.rest_until_us
    }

    fn listen(&self, set: &Readiness) {
        let on = self.open && self.rest_until_us.is_none();
        if let Err(error) = set.listen(&self.listener, self.token, on) {
            tracing::error!(address = %self.listener.address, %error, "a listener left its set");
        }
    }
}

fn spare_descriptor() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn all_shards_share_the_port_that_the_kernel_chose() {
        let listeners = bind(loopback(), 3).expect("loopback has a free port");
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.address().port()).collect();
        assert_ne!(ports[0], 0);
        assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }

    #[test]
    fn a_port_that_another_server_would_share_is_refused_with_the_mend() {
        let theirs = bind(loopback(), 1).expect("loopback has a free port");
        let error = bind(theirs[0].address(), 1).expect_err("it is served");
        let text = error.to_string();
        assert!(text.contains("taken by another process") && text.contains("ss -ltnp"), "{text}");
    }

    #[test]
    fn a_port_that_comes_free_within_a_second_is_taken() {
        let theirs = bind(loopback(), 1).expect("loopback has a free port");
        let address = theirs[0].address();
        let closer = thread::spawn(move || {
            thread::park_timeout(Duration::from_millis(100));
            drop(theirs);
        });
        assert_eq!(bind(address, 1).expect("it came free")[0].address(), address);
        closer.join().expect("it only waits");
    }

    #[test]
    fn newcomers_come_nonblocking_without_delay_and_closed_on_exec() {
        let listener = bind(loopback(), 1).expect("loopback has a free port").remove(0);
        let address = listener.address();
        let set = Readiness::new().expect("descriptors are left");
        let mut door = Door::new(listener, &set, 1).expect("it is open");
        let near = TcpStream::connect(address).expect("it listens");
        let mut seen = Vec::new();
        door.accept(&set, Now::default(), |socket, peer| seen.push((socket, peer)));
        let (socket, peer) = seen.pop().expect("one has connected");
        assert_eq!(peer, near.local_addr().expect("connected"));
        assert!(rustix::net::sockopt::tcp_nodelay(&socket).expect("a TCP socket"));
        assert!(rustix::io::fcntl_getfd(&socket).expect("open").contains(rustix::io::FdFlags::CLOEXEC));
        assert!(rustix::fs::fcntl_getfl(&socket).expect("open").contains(OFlags::NONBLOCK));
    }

    #[test]
    fn a_shut_door_keeps_its_queue_and_opens_again() {
        let listener = bind(loopback(), 1).expect("loopback has a free port").remove(0);
        let address = listener.address();
        let (set, mut events) =
            (Readiness::new().expect("descriptors"), crate::runtime::readiness::Events::default());
        let mut door = Door::new(listener, &set, 1).expect("it is open");
        door.attend(&set, Now::default(), false);
        let _near = TcpStream::connect(address).expect("the kernel completes it");
        set.look(&mut events).expect("the set is open");
        assert!(events.is_empty(), "a shut door wakes nobody");
        door.attend(&set, Now::default(), true);
        set.look(&mut events).expect("the set is open");
        assert_eq!(events.at(0).0, 1);
    }

    #[test]
    fn a_rest_ends_after_100_ms_and_listening_resumes() {
        let listener = bind(loopback(), 1).expect("loopback has a free port").remove(0);
        let address = listener.address();
        let (set, mut events) =
            (Readiness::new().expect("descriptors"), crate::runtime::readiness::Events::default());
        let mut door = Door::new(listener, &set, 1).expect("it is open");
        let _first = TcpStream::connect(address).expect("the kernel completes it");
        let _second = TcpStream::connect(address).expect("the kernel completes it");
        door.rest(&set, Now::default(), Errno::MFILE);
        assert_eq!(door.turned_away, 1);
        set.look(&mut events).expect("the set is open");
        assert!(events.is_empty(), "a resting door does not spin");
        assert_eq!(door.attend(&set, Now::default(), true), Some(REST_US));
        assert_eq!(door.attend(&set, Now { steady_us: REST_US, unix_ms: 0 }, true), None);
        set.look(&mut events).expect("the set is open");
        assert_eq!(events.at(0).0, 1);
    }
}
