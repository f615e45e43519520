//! WebSocket as a server speaks it (RFC 6455): the upgrade, frames both ways, closing; compression (RFC 7692) for those who
//! ask for it.
pub mod close;
pub mod deflate;
pub mod frame;
pub mod handshake;
mod utf8;
