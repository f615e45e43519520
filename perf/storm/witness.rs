//! The threads beside the crowd: clients that are never cut and book how late each event is, and the publisher.
use std::io::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::Arguments;
use crate::client::{Client, Faults, State};
use crate::event;
use crate::process::now_ns;
use crate::wire;

/// One read of a witness.
const SCRATCH_BYTES: usize = 256 << 10;
/// Looks this often whether it is over.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Patience with a socket.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
const READY_MAX: usize = 256;

/// What the witnesses saw.
pub struct Watched {
    /// When each event was sent, and how much later a witness had it, in nanoseconds.
    pub late: Vec<(u64, u64)>,
    pub faults: Faults,
    /// Events seen, by channel of one witness each.
    pub seen: Vec<(usize, u64)>,
}

/// Opens the witnesses, spread over the channels, and subscribes them.
pub fn open(arguments: &Arguments, port: u16) -> Result<Vec<Client>> {
    let mut witnesses: Vec<Client> =
        (0..arguments.witnesses).map(|i| Client::new(i % arguments.channels, arguments.size)).collect();
    let mut faults = Faults::default();
    let mut scratch = vec![0; SCRATCH_BYTES];
    for witness in &mut witnesses {
        witness.dial(port, now_ns())?;
        while witness.state != State::Live {
            let asked = if witness.state == State::Connecting { PollFlags::OUT } else { PollFlags::IN };
            let socket = witness.socket.as_ref().expect("it was dialled");
            if poll(&mut [PollFd::new(socket, asked)], Some(&PATIENCE))? == 0 {
                return Err(Error::other("a witness gets no answer"));
            }
            witness.writable()?;
            witness.readable(&mut scratch, now_ns(), &mut faults)?;
        }
    }
    Ok(witnesses)
}

/// Reads until it is over. A witness that is closed is a fault and ends the storm.
pub fn watch(mut witnesses: Vec<Client>, stop: &AtomicBool) -> Result<Watched> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, witness) in witnesses.iter().enumerate() {
        let socket = witness.socket.as_ref().expect("it is open");
        epoll::add(&set, socket, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
    }
    let (mut late, mut faults) = (Vec::new(), Faults::default());
    let mut scratch = vec![0; SCRATCH_BYTES];
    while !stop.load(Ordering::Relaxed) {
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(READY_MAX);
        epoll::wait(&set, spare_capacity(&mut ready), Some(&LOOK))?;
        for event in &ready {
            let witness = &mut witnesses[event.data.u64() as usize];
            witness.readable(&mut scratch, now_ns(), &mut faults)?;
            let now = now_ns();
            late.extend(witness.sent_ns.drain(..).map(|sent_ns| (sent_ns, now.saturating_sub(sent_ns))));
        }
    }
    let seen = witnesses.iter().map(|witness| (witness.channel, witness.seen())).collect();
    Ok(Watched { late, faults, seen })
}

/// What was published.
pub struct Published {
    pub per_channel: Vec<u64>,
    /// Answers other than 200.
    pub refused: usize,
}

/// Publishes at an even rate, one channel after the other, until it is quiet; then waits for the answers.
pub fn publish(arguments: &Arguments, port: u16, quiet: &AtomicBool) -> Result<Published> {
    let socket = wire::dial(port)?;
    poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&PATIENCE))?;
    let mut requests: Vec<(Vec<u8>, usize)> =
        (0..arguments.channels).map(|c| request(c, arguments.size)).collect();
    let mut per_channel = vec![0; arguments.channels];
    let (mut answers, mut sent) = (Vec::new(), 0);
    let (began_ns, every_ns) = (now_ns(), 1_000_000_000 / arguments.rate);
    while !quiet.load(Ordering::Relaxed) {
        wait_until(began_ns + sent as u64 * every_ns);
        let channel = sent % arguments.channels;
        let (bytes, body_at) = &mut requests[channel];
        event::write(&mut bytes[*body_at..], 0, per_channel[channel] as u32, now_ns());
        if send(&socket, bytes, SendFlags::NOSIGNAL)? != bytes.len() {
            return Err(Error::other("the server does not take publishes"));
        }
        per_channel[channel] += 1;
        sent += 1;
        receive(&socket, &mut answers)?;
    }
    let count =
        |answers: &[u8], what: &[u8]| answers.windows(what.len()).filter(|window| *window == what).count();
    while count(&answers, b"HTTP/1.1 ") < sent {
        if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&PATIENCE))? == 0 {
            return Err(Error::other("publishes stay without an answer"));
        }
        receive(&socket, &mut answers)?;
    }
    Ok(Published { per_channel, refused: sent - count(&answers, b"HTTP/1.1 200") })
}

/// A publish to a channel, and where its event begins.
fn request(channel: usize, size: usize) -> (Vec<u8>, usize) {
    let name = wire::name(channel);
    let head = format!("POST /publish/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n");
    ([head.as_bytes(), &event::template(channel as u32, size)].concat(), head.len())
}

fn receive(socket: &rustix::fd::OwnedFd, answers: &mut Vec<u8>) -> Result<()> {
    let mut scratch = [0; 16 << 10];
    loop {
        match recv(socket, &mut scratch[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Error::other("the server closed the publisher")),
            Ok((read, _)) => answers.extend_from_slice(&scratch[..read]),
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn wait_until(due_ns: u64) {
    let wait_ns = due_ns.saturating_sub(now_ns());
    if wait_ns > 0 {
        let wait =
            Timespec { tv_sec: (wait_ns / 1_000_000_000) as i64, tv_nsec: (wait_ns % 1_000_000_000) as i64 };
        let _ = rustix::thread::nanosleep(&wait);
    }
}
