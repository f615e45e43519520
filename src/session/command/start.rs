//! From when on a client wants a channel's events, in a message: `since` or `after` (contract 11).

use super::fields::{Fault, Fields};
use crate::event::unix_ms_since;
use crate::session::query::{Start, position};

/// Reads the two fields, of which one may be given.
///
/// # Errors
/// [`Fault`] that names the field.
pub fn read_start(fields: &Fields<'_>) -> Result<Start, Fault> {
    start(fields.string("since")?.as_deref(), fields.string("after")?.as_deref())
}

/// [`read_start`] from the two fields' texts.
///
/// # Errors
/// [`Fault`] that names the field.
pub fn start(since: Option<&str>, after: Option<&str>) -> Result<Start, Fault> {
    let fault = |words: &str| Fault(words.to_owned());
    match (since, after) {
        (None, None) => Ok(Start::Live),
        (Some(time), None) => {
            unix_ms_since(time).map(Start::Since).ok_or_else(|| fault("since must be an RFC 3339 time"))
        }
        (None, Some(text)) => {
            position(text).map(Start::After).ok_or_else(|| fault("after must be a position"))
        }
        (Some(_), Some(_)) => Err(fault("since and after exclude each other")),
    }
}
