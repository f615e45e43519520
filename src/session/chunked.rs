//! A request whose body comes in chunks (RFC 9112 7.1): decoded as it arrives, and kept until it is whole.

use super::admission;
use super::refusal::Refusal;
use crate::wire::http::{Body, Framing};

/// A request that is taken apart as it arrives.
#[derive(Debug)]
pub struct ChunkedRequest {
    /// The bytes of its head.
    pub head: Vec<u8>,
    /// The body, decoded.
    pub body: Vec<u8>,
    rest: Body,
}

impl ChunkedRequest {
    /// With this head, and nothing of its body yet.
    pub(super) fn of(head: &[u8]) -> ChunkedRequest {
        ChunkedRequest { head: head.to_vec(), body: Vec::new(), rest: Body::new(Framing::Chunked) }
    }

    /// Takes in what came, as long as the body stays within `bytes_max`; answers how many bytes were taken, and whether the
    /// request is whole.
    ///
    /// # Errors
    /// 413 for too large a body, 400 for what is not in chunks.
    pub(super) fn feed(&mut self, bytes: &[u8], bytes_max: usize) -> Result<(usize, bool), Refusal> {
        self.rest.feed(bytes, &mut self.body, bytes_max).map_err(|refusal| match refusal.status {
            413 => admission::too_large("event", bytes_max as u64 + 1, bytes_max).closing(),
            _ => refusal.into(),
        })
    }
}
