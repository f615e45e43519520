//! HTTP/1.0 and 1.1 as a server speaks it (RFC 9110, RFC 9112): `head` and `Body` read a request, `Seen` knows a
//! head again, `Response` and `Letterhead` write the answer, `percent_decode` and `query` read a target.
//!
//! Two parsers that read the same bytes differently let one request hide inside another (request smuggling), so
//! whatever breaks the grammar is refused rather than guessed at. After a refusal the bytes that follow have no
//! known meaning: the caller answers it and closes.
mod body;
mod fields;
mod head;
mod letterhead;
mod lines;
mod malformed;
mod method;
mod response;
mod seen;
mod target;

pub use body::{Body, EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX};
pub use head::{EMPTY_LINES_MAX, FIELDS_MAX, Framing, HEAD_BYTES_MAX, Head, Upgrade, head};
pub use letterhead::Letterhead;
pub use method::Method;
pub use response::{CONTINUE, Response, imf_fixdate, reason};
pub use seen::{SEEN_BYTES_MAX, Seen};
pub use target::{percent_decode, query};

/// Why a request is not served. Answer with `status`, then close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status, 400 to 505.
    pub status: u16,
    /// What went wrong in two or three words, the same for every refusal of its kind.
    pub error: &'static str,
    /// The rule that was broken, for the person who debugs the client.
    pub message: &'static str,
}

impl Refusal {
    /// A message that breaks RFC 9112 or RFC 6455.
    pub(crate) const fn bad(message: &'static str) -> Refusal {
        Refusal { status: 400, error: "Bad request", message }
    }
}
