//! The codecs: HTTP/1 heads, bodies and answers, WebSocket handshakes and frames, server-sent events.
//!
//! Pure functions over byte slices, called by the connection, which owns the buffers and the socket. Nothing in
//! this room knows the time, a socket or another room, and nothing here panics on what a peer sent.
pub mod http;
pub mod sse;
pub mod websocket;
