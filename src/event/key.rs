//! The field by which events replace each other, read for who conflates them.

use super::walk::Walk;

/// `key` at the top of an event, when it is a string. Of a repeated one the last counts, as in every browser. Several
/// events in one text have none: no later event replaces them all.
pub(super) fn key_of(text: &str) -> Option<Box<str>> {
    let (mut walk, mut found) = (Walk::new(text), None);
    let mut more = walk.enter().ok()?;
    while more {
        if &*walk.key().ok()? == b"key" {
            found = walk.string_value().ok()?;
        } else {
            walk.pass().ok()?;
        }
        more = walk.more().ok()?;
    }
    walk.end().ok()?;
    found?.of(text).map(Into::into)
}
