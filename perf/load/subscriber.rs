//! One subscriber: the client's side of the handshake, what is said after it, and a parser of the server's frames.

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout, set_tcp_nodelay};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

use crate::dialect::{SUBSCRIBED, Wish};
use crate::frame;

/// Handshakes under way at a time: fills a server's accept loop, stays below any backlog.
pub const HANDSHAKES_MAX: usize = 128;
/// Longest wait for a server to accept a socket or to answer a handshake.
const HANDSHAKE_SECONDS_MAX: u64 = 10;

/// The key of RFC 6455 section 1.3 and its answer; a load tool needs no randomness.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What a client offers to get compressed messages.
pub const COMPRESSION: &str = "permessage-deflate";
const SUBPROTOCOL: &str = "courier.v1";

/// Payload whose length stands in the second byte of a frame.
const SHORT_BYTES_MAX: u8 = 125;

/// A frame from the server, without the bytes of its header.
pub enum Frame<'a> {
    /// A whole text message.
    Text(&'a [u8]),
    /// A whole text message, compressed (RFC 7692 section 6).
    Compressed(&'a [u8]),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered with its payload.
    Ping(&'a [u8]),
    /// The server closes.
    Close,
    /// Anything else.
    Other,
}

/// A subscriber's socket and the bytes of a frame that has not come whole.
pub struct Subscriber {
    /// The socket; used without blocking once the handshake is done.
    pub socket: OwnedFd,
    /// Start of a frame whose rest is still to come.
    pub partial: Vec<u8>,
    /// False once the server has closed.
    pub open: bool,
}

/// Opens a socket to 127.0.0.1 that resets on close, so that no port stays in TIME_WAIT after a run.
pub fn dial(port: u16) -> Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let patience = Some(Duration::from_secs(HANDSHAKE_SECONDS_MAX));
    set_socket_timeout(&socket, Timeout::Recv, patience)?;
    set_socket_linger(&socket, Some(Duration::ZERO))?;
    set_tcp_nodelay(&socket, true)?;
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    Ok(socket)
}

/// Opens a subscriber for each wish, all of them at a time: at most [`HANDSHAKES_MAX`].
pub fn open_all(port: u16, wishes: &[Wish]) -> Result<Vec<Subscriber>> {
    let begun = wishes.iter().map(|wish| begin(port, wish)).collect::<Result<Vec<_>>>()?;
    let finished = begun.into_iter().zip(wishes).map(|(socket, wish)| finish(socket, wish));
    let mut subscribers = finished.collect::<Result<Vec<_>>>()?;
    subscribers.iter().zip(wishes).try_for_each(|(subscriber, wish)| command(subscriber, wish))?;
    subscribers.iter_mut().zip(wishes).try_for_each(|(subscriber, wish)| commanded(subscriber, wish))?;
    Ok(subscribers)
}

/// Connects and asks for what `wish` says without waiting for the answer.
fn begin(port: u16, wish: &Wish) -> Result<OwnedFd> {
    let socket = dial(port)?;
    let upgrade = format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );
    let upgrade = if wish.socket { upgrade.as_str() } else { "" };
    let Wish { path, fields, .. } = wish;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{upgrade}{fields}\r\n");
    send(&socket, request.as_bytes(), SendFlags::NOSIGNAL)?;
    Ok(socket)
}

/// Waits for the answer to [`begin`] and checks it; bytes after its head are kept as the first frames.
fn finish(socket: OwnedFd, wish: &Wish) -> Result<Subscriber> {
    let mut answer = Vec::with_capacity(512);
    let end = receive_until(&socket, &mut answer, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let accepted = match wish.socket {
        true => head.starts_with("HTTP/1.1 101") && head.contains(ACCEPT),
        false => head.starts_with("HTTP/1.1 200"),
    };
    // Names of our own spelling: only Courier is asked for more than an upgrade.
    let granted = |name: &str| !wish.fields.contains(name) || head.contains(name);
    if !accepted || !granted(COMPRESSION) || !granted(SUBPROTOCOL) {
        return Err(refused(&answer));
    }
    Ok(Subscriber { socket, partial: answer.split_off(end), open: true })
}

/// Says what the wish has to say on an open socket, without waiting for the answer.
fn command(subscriber: &Subscriber, wish: &Wish) -> Result<()> {
    let Some(command) = &wish.command else { return Ok(()) };
    let length = u8::try_from(command.len()).ok().filter(|length| *length <= SHORT_BYTES_MAX);
    let length = length.expect("a command names one channel of this tool's own");
    // The mask of zeros leaves the payload as it is.
    let head = [0x81, 0x80 | length, 0, 0, 0, 0];
    say(&subscriber.socket, &[&head, command.as_bytes()].concat())
}

/// Waits for the answer to [`command`], so that nothing is published before the subscription stands.
fn commanded(subscriber: &mut Subscriber, wish: &Wish) -> Result<()> {
    if wish.command.is_some() {
        receive_until(&subscriber.socket, &mut subscriber.partial, SUBSCRIBED)?;
    }
    Ok(())
}

/// Reads until `bytes` hold `mark`; answers where it ends.
fn receive_until(socket: &OwnedFd, bytes: &mut Vec<u8>, mark: &[u8]) -> Result<usize> {
    loop {
        if let Some(at) = bytes.windows(mark.len()).position(|window| window == mark) {
            return Ok(at + mark.len());
        }
        let mut chunk = [0; 1024];
        match recv(socket, &mut chunk[..], RecvFlags::empty())? {
            (0, _) => return Err(refused(bytes)),
            (read, _) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn refused(answer: &[u8]) -> Error {
    Error::new(
        ErrorKind::ConnectionRefused,
        format!("subscribing was refused: {:?}", String::from_utf8_lossy(answer)),
    )
}

/// The first frame in `bytes` and its whole length; `None` while it is incomplete.
pub fn first_frame(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (first, payload, end) = frame::first_frame(bytes)?;
    let frame = match first {
        0x81 => Frame::Text(payload),
        0xc1 => Frame::Compressed(payload),
        0x82 => Frame::Binary(payload),
        0x89 => Frame::Ping(payload),
        0x88 => Frame::Close,
        _ => Frame::Other,
    };
    Some((frame, end))
}

/// Sends all of `bytes`; for the few that follow a handshake.
pub fn say(socket: &OwnedFd, bytes: &[u8]) -> Result<()> {
    match send(socket, bytes, SendFlags::NOSIGNAL)? {
        sent if sent == bytes.len() => Ok(()),
        _ => Err(Error::new(ErrorKind::WriteZero, "no room for a few bytes after the handshake")),
    }
}

/// Answers a ping; the mask of zeros leaves the payload as it is.
pub fn pong(socket: &OwnedFd, payload: &[u8]) {
    let mut frame = vec![0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    // A pong that finds no room is left out: the next ping will be answered.
    let _ = send(socket, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_three_length_forms_are_found_and_incomplete_ones_wait() {
        for (head, length) in [
            (vec![0x81, 125], 125),
            (vec![0x81, 126, 1, 0], 256),
            (vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536),
        ] {
            let mut bytes = head.clone();
            bytes.resize(head.len() + length, b'x');
            let (frame, whole) = first_frame(&bytes).expect("the frame is complete");
            assert_eq!(whole, bytes.len());
            assert!(matches!(frame, Frame::Text(text) if text.len() == length));
            assert!((0..bytes.len()).all(|cut| first_frame(&bytes[..cut]).is_none()));
        }
    }
}
