//! The nouns of the hub: what a channel is called, where an event stands in it, and the bytes that every
//! subscriber is sent. Each is valid once it exists, so nobody behind this room checks again.

mod channel;
mod facts;
mod frame;
mod position;
mod timestamp;

pub use channel::{BadChannel, CHANNEL_BYTES_MAX, Channel};
pub use facts::{BadEvent, DEPTH_MAX, Facts, Text, too_deep};
pub use frame::Frame;
pub(crate) use position::write_decimal;
pub use position::{POSITION_BYTES_MAX, Position};
pub use timestamp::unix_ms_of;
