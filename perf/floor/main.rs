//! `floor send | join`: the barest server that does the job, to say what the kernel's part of the cost is. Publish over
//! HTTP, answer 200, fan out to WebSocket subscribers; one thread, one epoll set, no queues, no checks, no limits.
//!
//! `send` writes one frame per `send` as soon as a publish is answered. `join` gathers up to 16 frames of a channel and
//! writes them at once; it waits a millisecond for more before it writes fewer, so it is a floor for saturated runs only.
//! A full socket blocks the whole server until it drains. Nothing here is meant to be served to anyone.

use std::collections::HashMap;
use std::io::Result;
use std::net::{Ipv4Addr, TcpListener};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, listen, recv, send};

/// Frames that `join` gathers before it writes.
const JOINED_FRAMES: usize = 16;
/// How long `join` waits for more frames.
const JOIN_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
/// One read; a request head and a 16 KiB body many times over.
const SCRATCH_BYTES: usize = 256 << 10;
/// Tag of the listener in the epoll set; connections have their index.
const LISTENER: u64 = u64::MAX;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n{\"status\":\"published\"}";

/// A channel's subscribers and the frames gathered for them.
#[derive(Default)]
struct Channel {
    subscribers: Vec<usize>,
    gathered: Vec<u8>,
    frames: usize,
}

struct Connection {
    socket: OwnedFd,
    partial: Vec<u8>,
}

struct Floor {
    join: bool,
    set: OwnedFd,
    connections: Vec<Option<Connection>>,
    names: HashMap<Vec<u8>, usize>,
    channels: Vec<Channel>,
    dirty: Vec<usize>,
}

fn main() -> Result<()> {
    let join = match std::env::args().nth(1).as_deref() {
        Some("send") => false,
        Some("join") => true,
        _ => return Err(std::io::Error::other("usage: floor send | join")),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    println!("Floor listens on http://{}", listener.local_addr()?);
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&set, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut floor =
        Floor { join, set, connections: vec![], names: HashMap::new(), channels: vec![], dirty: vec![] };
    floor.serve(&listener)
}

impl Floor {
    fn serve(&mut self, listener: &TcpListener) -> Result<()> {
        let mut scratch = vec![0; SCRATCH_BYTES];
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(512);
        loop {
            ready.clear();
            let wait = (!self.dirty.is_empty()).then_some(&JOIN_WAIT);
            epoll::wait(&self.set, spare_capacity(&mut ready), wait)?;
            for event in &ready {
                match event.data.u64() {
                    LISTENER => self.accept(listener)?,
                    index => self.read(index as usize, &mut scratch)?,
                }
            }
            if ready.is_empty() {
                for channel in std::mem::take(&mut self.dirty) {
                    self.write_gathered(channel)?;
                }
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        while let Ok(socket) = accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            set_tcp_nodelay(&socket, true)?;
            let tag = epoll::EventData::new_u64(self.connections.len() as u64);
            epoll::add(&self.set, &socket, tag, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
            self.connections.push(Some(Connection { socket, partial: Vec::new() }));
        }
        Ok(())
    }

    /// Edge-triggered: a short read means that the socket is empty.
    fn read(&mut self, index: usize, scratch: &mut [u8]) -> Result<()> {
        loop {
            let Some(connection) = &mut self.connections[index] else { return Ok(()) };
            let kept = connection.partial.len();
            scratch[..kept].copy_from_slice(&connection.partial);
            connection.partial.clear();
            let read = match recv(&connection.socket, &mut scratch[kept..], RecvFlags::empty()) {
                Err(Errno::AGAIN) => 0,
                Ok((0, _)) | Err(_) => return self.close(index),
                Ok((read, _)) => read,
            };
            let end = kept + read;
            let used = self.requests(index, &scratch[..end])?;
            if let Some(connection) = &mut self.connections[index] {
                connection.partial.extend_from_slice(&scratch[used..end]);
            }
            if read == 0 || end < scratch.len() {
                return Ok(());
            }
        }
    }

    fn close(&mut self, index: usize) -> Result<()> {
        self.connections[index] = None;
        self.channels.iter_mut().for_each(|c| c.subscribers.retain(|s| *s != index));
        Ok(())
    }

    /// Serves every whole request in `bytes`, answers them with one write, fans out; returns the bytes used.
    fn requests(&mut self, index: usize, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        let mut publishes: Vec<(usize, &[u8])> = Vec::new();
        let mut answers = Vec::new();
        while let Some((head, body, length)) = first_request(&bytes[at..]) {
            at += length;
            if let Some(name) = between(head, b"POST /publish/") {
                answers.extend_from_slice(ANSWER);
                publishes.push((self.channel(name), body));
            } else if let Some(name) = between(head, b"GET /ws/") {
                let channel = self.channel(name);
                self.channels[channel].subscribers.push(index);
                answers.extend_from_slice(upgrade(head).as_bytes());
            }
        }
        if !answers.is_empty() {
            self.write(index, &answers)?;
        }
        for (channel, body) in publishes {
            self.fan_out(channel, body)?;
        }
        Ok(at)
    }

    fn channel(&mut self, name: &[u8]) -> usize {
        if let Some(channel) = self.names.get(name) {
            return *channel;
        }
        self.names.insert(name.to_vec(), self.channels.len());
        self.channels.push(Channel::default());
        self.channels.len() - 1
    }

    fn fan_out(&mut self, index: usize, body: &[u8]) -> Result<()> {
        let channel = &mut self.channels[index];
        append_frame(&mut channel.gathered, body);
        channel.frames += 1;
        if !self.join || channel.frames == JOINED_FRAMES {
            return self.write_gathered(index);
        }
        if channel.frames == 1 {
            self.dirty.push(index);
        }
        Ok(())
    }

    fn write_gathered(&mut self, index: usize) -> Result<()> {
        let gathered = std::mem::take(&mut self.channels[index].gathered);
        self.channels[index].frames = 0;
        self.dirty.retain(|dirty| *dirty != index);
        for i in 0..self.channels[index].subscribers.len() {
            self.write(self.channels[index].subscribers[i], &gathered)?;
        }
        self.channels[index].gathered = gathered;
        self.channels[index].gathered.clear();
        Ok(())
    }

    /// Writes all of `bytes`, waiting as long as the peer's buffers are full.
    fn write(&self, index: usize, mut bytes: &[u8]) -> Result<()> {
        let Some(connection) = &self.connections[index] else { return Ok(()) };
        while !bytes.is_empty() {
            match send(&connection.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::from_borrowed_fd(connection.socket.as_fd(), PollFlags::OUT)], None)?;
                }
                Err(_) => break, // the read side will see the close
            }
        }
        Ok(())
    }
}

/// Head, body and whole length of the first request, once it is complete.
fn first_request(bytes: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let head = head_end(bytes)?;
    let length = match field(&bytes[..head], b"\r\nContent-Length: ") {
        Some(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        None => 0,
    };
    Some((&bytes[..head], bytes.get(head..head + length)?, head + length))
}

/// Where the head ends: after its empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    match httparse::Request::new(&mut headers).parse(bytes) {
        Ok(httparse::Status::Complete(end)) => Some(end),
        _ => None,
    }
}

fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = head.windows(name.len()).position(|w| w == name)? + name.len();
    let end = head[at..].iter().position(|b| *b == b'\r')?;
    Some(&head[at..at + end])
}

/// The rest of the target after `start`, for requests that begin so.
fn between<'a>(head: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let rest = head.strip_prefix(start)?;
    Some(&rest[..rest.iter().position(|b| *b == b' ')?])
}

fn upgrade(head: &[u8]) -> String {
    let key = field(head, b"\r\nSec-WebSocket-Key: ").unwrap_or_default();
    let accept = tungstenite::handshake::derive_accept_key(key);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// RFC 6455 section 5.2: a final text frame without a mask.
fn append_frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x81);
    match payload.len() {
        short @ 0..=125 => out.push(short as u8),
        middle @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
