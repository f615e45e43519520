//! WebSocket as a server speaks it (RFC 6455), without extensions: the upgrade, frames both ways, closing.
pub mod close;
pub mod frame;
pub mod handshake;
mod utf8;
