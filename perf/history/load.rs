//! The load: one thread, one epoll set, a connection for each publish in flight.
use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddrV4};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

use crate::process::{now_ns, usage};
use crate::words::{Answer, Request, answer};
use crate::{Load, event, histogram, members};

/// Larger than any answer.
const SCRATCH_BYTES: usize = 64 << 10;
/// Nobody waits longer for an answer.
const PATIENCE_NS: u64 = 20_000_000_000;

struct Connection {
    socket: OwnedFd,
    channel: usize,
    sent_ns: u64,
    partial: Vec<u8>,
}

/// What the measured part has seen.
struct Sum {
    times: Histogram<u64>,
    refused: u64,
    on_disk: u64,
}

struct Loop<'l> {
    load: &'l Load,
    connections: Vec<Connection>,
    requests: Vec<Request>,
    seq: u32,
    scratch: Vec<u8>,
}

/// Publishes for the warm-up and the measured part; answers a line of JSON.
pub fn run(load: &Load) -> Result<String> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let connections = (0..load.in_flight).map(|at| dial(load, at)).collect::<Result<Vec<_>>>()?;
    for (at, connection) in connections.iter().enumerate() {
        epoll::add(&set, &connection.socket, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
    }
    let requests = (0..load.channels).map(|channel| Request::new(load.to, channel, load.size)).collect();
    let mut all = Loop { load, connections, requests, seq: 0, scratch: vec![0; SCRATCH_BYTES] };
    let mut unmeasured = Sum { times: histogram(), refused: 0, on_disk: 0 };
    let mut sum = Sum { times: histogram(), refused: 0, on_disk: 0 };
    (0..load.in_flight).try_for_each(|at| all.publish(at))?;
    all.answer_until(&set, now_ns() + (load.warmup * 1e9) as u64, &mut unmeasured)?;
    let (began_ns, server, own) = (now_ns(), usage(&load.pid), usage(&[std::process::id()]));
    all.answer_until(&set, began_ns + (load.seconds * 1e9) as u64, &mut sum)?;
    let took_ns = (now_ns() - began_ns) as f64;
    let share = |before: u64, after: u64| (after - before) as f64 / took_ns;
    Ok(format!(
        "{{\"per_s\":{:.1},{},\"refused\":{},\"on_disk\":{},\"published\":{},\"server_share\":{:.3},\"load_share\":{:.3}}}",
        sum.times.len() as f64 * 1e9 / took_ns,
        members(&sum.times),
        sum.refused + unmeasured.refused,
        sum.on_disk,
        sum.times.len(),
        share(server.cpu_ns, usage(&load.pid).cpu_ns),
        share(own.cpu_ns, usage(&[std::process::id()]).cpu_ns),
    ))
}

fn dial(load: &Load, at: usize) -> Result<Connection> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_tcp_nodelay(&socket, true)?;
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, load.port))?;
    Ok(Connection { socket, channel: at % load.channels, sent_ns: 0, partial: Vec::new() })
}

impl Loop<'_> {
    /// Takes answers and publishes anew until this time. Spins.
    fn answer_until(&mut self, set: &OwnedFd, until_ns: u64, sum: &mut Sum) -> Result<()> {
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(self.load.in_flight);
        let mut last_ns = now_ns();
        loop {
            ready.clear();
            epoll::wait(set, spare_capacity(&mut ready), Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
            let now = now_ns();
            if now >= until_ns {
                return Ok(());
            }
            if !ready.is_empty() {
                last_ns = now;
            } else if now > last_ns + PATIENCE_NS {
                return Err(Error::new(ErrorKind::TimedOut, "publishes stay without an answer"));
            }
            ready.iter().try_for_each(|event| self.take(event.data.u64() as usize, sum))?;
        }
    }

    fn take(&mut self, at: usize, sum: &mut Sum) -> Result<()> {
        let connection = &mut self.connections[at];
        let read = match recv(&connection.socket, &mut self.scratch[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed a publisher")),
            Ok((read, _)) => read,
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let found = match connection.partial.is_empty() {
            true => answer(self.load.to, &self.scratch[..read])?,
            false => {
                connection.partial.extend_from_slice(&self.scratch[..read]);
                answer(self.load.to, &connection.partial)?
            }
        };
        let Some(Answer { taken, on_disk }) = found else {
            if connection.partial.is_empty() {
                connection.partial.extend_from_slice(&self.scratch[..read]);
            }
            return Ok(());
        };
        connection.partial.clear();
        sum.times.saturating_record(now_ns() - connection.sent_ns);
        sum.refused += u64::from(!taken);
        sum.on_disk += u64::from(on_disk);
        self.publish(at)
    }

    fn publish(&mut self, at: usize) -> Result<()> {
        let connection = &mut self.connections[at];
        let request = &mut self.requests[connection.channel];
        connection.channel = (connection.channel + 1) % self.load.channels;
        connection.sent_ns = now_ns();
        event::write(&mut request.bytes[request.event_at..], at as u32, self.seq, connection.sent_ns);
        self.seq = self.seq.wrapping_add(1);
        match send(&connection.socket, &request.bytes, SendFlags::NOSIGNAL)? {
            sent if sent == request.bytes.len() => Ok(()),
            _ => Err(Error::other("no room for one publish")),
        }
    }
}
