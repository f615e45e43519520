//! One publisher connection: pipelined HTTP/1.1 publishes on a socket that stays open.

use std::io::{Error, ErrorKind, Result};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::{event, nats};

/// Headers that an answer may have; more is an error of the server.
const ANSWER_HEADERS_MAX: usize = 32;

/// A request for one channel, complete but for the stamp of its event.
pub struct Request {
    bytes: Vec<u8>,
    body_at: usize,
}

impl Request {
    /// The publish over HTTP of an event of `size` bytes to `channel` at `path`, with further header `fields`.
    pub fn http(path: &str, fields: &str, channel: u32, size: usize) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{fields}Content-Length: {size}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        let body_at = bytes.len();
        bytes.extend_from_slice(&event::template(channel, size));
        Self { bytes, body_at }
    }

    /// The publish of an event of `size` bytes to `channel` in NATS' own protocol.
    pub fn nats(subject: &str, channel: u32, size: usize) -> Self {
        let (bytes, body_at) = nats::publish(subject, &event::template(channel, size));
        Self { bytes, body_at }
    }
}

/// A publisher's socket, what is still to be written to it, and what its answers said.
pub struct Publisher {
    /// The socket, used without blocking.
    pub socket: OwnedFd,
    /// Publishes without an answer.
    pub in_flight: usize,
    /// Deliveries of its publishes, for servers that do not answer.
    pub deliveries: u64,
    /// Channel of the next publish.
    pub channel: usize,
    /// Next sequence number by channel.
    pub seq: Vec<u32>,
    unsent: Vec<u8>,
    partial: Vec<u8>,
}

impl Publisher {
    /// A publisher that starts at `channel`, so that several do not walk in step.
    pub fn new(socket: OwnedFd, channel: usize, channels: usize) -> Self {
        Self {
            socket,
            in_flight: 0,
            deliveries: 0,
            channel,
            seq: vec![0; channels],
            unsent: vec![],
            partial: vec![],
        }
    }

    /// Queues the next publish of publisher `from`; [`Self::flush`] sends it. Returns its channel.
    pub fn queue(&mut self, from: usize, requests: &[Request], at_ns: u64) -> usize {
        let channel = self.channel;
        self.channel = (channel + 1) % requests.len();
        let request = &requests[channel];
        let body = self.unsent.len() + request.body_at;
        self.unsent.extend_from_slice(&request.bytes);
        event::write(&mut self.unsent[body..], from as u32, self.seq[channel], at_ns);
        self.seq[channel] += 1;
        self.in_flight += 1;
        channel
    }

    /// Sends what is queued, as far as the socket takes it.
    pub fn flush(&mut self) -> Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        match send(&self.socket, &self.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Throws away what came (a server that speaks NATS answers nothing); fails if the server has closed.
    pub fn ignore(&mut self, scratch: &mut [u8]) -> Result<()> {
        loop {
            match recv(&self.socket, &mut *scratch, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Error::new(ErrorKind::UnexpectedEof, "server closed a publisher")),
                Ok(_) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads answers until the socket is empty; returns how many came and how many of them refused.
    pub fn answers(&mut self, scratch: &mut [u8]) -> Result<(usize, usize)> {
        let (mut count, mut refused) = (0, 0);
        loop {
            let kept = self.partial.len();
            scratch[..kept].copy_from_slice(&self.partial);
            let read = match recv(&self.socket, &mut scratch[kept..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Error::new(ErrorKind::UnexpectedEof, "server closed a publisher")),
                Ok((read, _)) => read,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            };
            let (mut at, end) = (0, kept + read);
            while let Some((accepted, length)) = first_answer(&scratch[at..end])? {
                at += length;
                count += 1;
                refused += usize::from(!accepted);
            }
            self.partial.clear();
            self.partial.extend_from_slice(&scratch[at..end]);
            if end < scratch.len() {
                break;
            }
        }
        self.in_flight -= count;
        Ok((count, refused))
    }
}

/// Whether the first answer in `bytes` accepts the publish, and its whole length; `None` while incomplete.
fn first_answer(bytes: &[u8]) -> Result<Option<(bool, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; ANSWER_HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let head = match answer.parse(bytes).map_err(|e| Error::new(ErrorKind::InvalidData, e))? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let length = answer.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|h| std::str::from_utf8(h.value).ok()?.trim().parse().ok()).unwrap_or(0);
    let whole = head + length;
    Ok((whole <= bytes.len()).then_some((matches!(answer.code, Some(200..=299)), whole)))
}
