//! The nouns of the hub: what a channel is called, what an event is, how urgent, where it stands in its channel, who
//! wants it. Each is valid once it exists, so nobody behind this room checks again.

mod cause;
mod channel;
mod connection;

mod extras;
mod facts;
mod filter;
mod form;
mod key;
mod object;
mod packed;
mod pattern;
mod plain;
mod position;
mod priority;
mod reach;

mod text;
mod timestamp;
mod walk;

pub use cause::Cause;
pub use channel::{BadChannel, CHANNEL_BYTES_MAX, Channel, DEAD_LETTERS};
pub use connection::ConnectionId;
pub use extras::{Deaths, Extras};
pub use facts::{BadEvent, DEPTH_MAX, Facts, syntax_words, too_deep};
pub use filter::{Filter, Priorities};
pub use form::{Attempt, FORMS_MAX, Form, Heading, LABEL_BYTES, Label, Rendered, Renderer, Renderers};
pub use object::Event;
pub use packed::Marks;
pub use pattern::{BadPattern, PATTERN_BYTES_MAX, Pattern, matches};
pub(crate) use plain::is_plain;
pub(crate) use position::write_decimal;
pub use position::{POSITION_BYTES_MAX, Position};
pub use priority::{PRIORITY_NAMES, Priority};
pub use reach::{Extent, Reach};
pub use text::Text;
pub use timestamp::{unix_ms_of, unix_ms_since};
pub use walk::{Stray, Walk, Word};
