//! One WebSocket subscriber: the client's side of the handshake, and a parser of the server's frames.

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout, set_tcp_nodelay};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// Longest wait for a server to accept a socket or to answer a handshake.
const HANDSHAKE_SECONDS_MAX: u64 = 10;

/// The key of RFC 6455 section 1.3 and its answer; a load tool needs no randomness.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame from the server, without the bytes of its header.
pub enum Frame<'a> {
    /// A whole text message.
    Text(&'a [u8]),
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

/// Connects and asks for the upgrade without waiting for the answer.
pub fn begin(port: u16, path: &str) -> Result<OwnedFd> {
    let socket = dial(port)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    send(&socket, request.as_bytes(), SendFlags::NOSIGNAL)?;
    Ok(socket)
}

/// Waits for the answer to [`begin`] and checks it; bytes after its head are kept as the first frames.
pub fn finish(socket: OwnedFd) -> Result<Subscriber> {
    let mut answer = Vec::with_capacity(512);
    let end = loop {
        let mut chunk = [0; 1024];
        let (read, _) = recv(&socket, &mut chunk[..], RecvFlags::empty())?;
        answer.extend_from_slice(&chunk[..read]);
        match answer.windows(4).position(|w| w == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None if read == 0 => return Err(refused(&answer)),
            None => {}
        }
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    if !head.starts_with("HTTP/1.1 101") || !head.contains(ACCEPT) {
        return Err(refused(&answer));
    }
    Ok(Subscriber { socket, partial: answer.split_off(end), open: true })
}

fn refused(answer: &[u8]) -> Error {
    Error::new(
        ErrorKind::ConnectionRefused,
        format!("upgrade refused: {:?}", String::from_utf8_lossy(answer)),
    )
}

/// The first frame in `bytes` and its whole length; `None` while it is incomplete.
/// RFC 6455 section 5.2; frames from a server carry no mask.
pub fn first_frame(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (head, length) = match *bytes.get(1)? & 0x7f {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, short as usize),
    };
    let end = head + length;
    let payload = bytes.get(head..end)?;
    let frame = match bytes[0] {
        0x81 => Frame::Text(payload),
        0x89 => Frame::Ping(payload),
        0x88 => Frame::Close,
        _ => Frame::Other,
    };
    Some((frame, end))
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
