//! What a `courier.v1` client says and hears, as bytes: the upgrade, a masked command, frames, and the few members of a
//! message that the storm checks.
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_tcp_nodelay};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::Result;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// The key of RFC 6455 section 1.3; a tool needs no randomness here.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Ends a head.
pub const HEAD_END: &[u8] = b"\r\n\r\n";

/// A message from the server. Members that a kind does not have stay empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message<'a> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    pub id: Option<&'a str>,
    pub position: Option<&'a str>,
    pub recovered: Option<bool>,
    #[serde(borrow)]
    pub event: Option<&'a RawValue>,
}

/// `<epoch>-<offset>` (contract, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub epoch: u32,
    pub offset: u64,
}

impl Position {
    pub fn parse(text: &str) -> Option<Position> {
        let (epoch, offset) = text.split_once('-')?;
        Some(Position { epoch: u32::from_str_radix(epoch, 16).ok()?, offset: offset.parse().ok()? })
    }
}

/// Begins a connection to 127.0.0.1 without waiting; closing it resets it, which no client announces either.
pub fn dial(port: u16) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    set_socket_linger(&socket, Some(Duration::ZERO))?;
    set_tcp_nodelay(&socket, true)?;
    match connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// The request that opens a socket without a channel.
pub fn upgrade() -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: courier.v1\r\n\r\n"
    )
}

/// The command that subscribes to channel number `channel`, from behind `after` if it is given.
pub fn subscribe(channel: usize, after: Option<Position>) -> Vec<u8> {
    let after = after.map_or(String::new(), |p| format!(",\"after\":\"{:08x}-{}\"", p.epoch, p.offset));
    let text = format!("{{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"{}\"{after}}}", name(channel));
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a command is short");
    // The mask of zeros leaves the payload as it is.
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// The name of channel number `channel`.
pub fn name(channel: usize) -> String {
    format!("storm.{channel}")
}

/// First byte of a whole text message, and of a close.
pub const TEXT: u8 = 0x81;
pub const CLOSE: u8 = 0x88;
