//! The `traceparent` that a publish carries along.

/// W3C Trace Context 3.2.2: `version-trace-parent-flags` in lower-case hex digits; a later version may add to it. One
/// that is malformed is passed over, as the recommendation asks.
pub fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        parts.next().filter(|part| part.len() == length && part.bytes().all(lower_hex))
    };
    let (version, trace, parent, flags) = (hex(2), hex(32), hex(16), hex(2));
    let given = |id: Option<&str>| id.is_some_and(|id| id.bytes().any(|b| b != b'0'));
    let whole = version != Some("00") || text.len() == TRACEPARENT_BYTES;
    let known = version.is_some_and(|version| version != "ff");
    known && given(trace) && given(parent) && flags.is_some() && whole && text.len() <= 2 * TRACEPARENT_BYTES
}

/// The length of a `traceparent` of version 00; a later one may be longer, which is kept up to twice as many bytes.
const TRACEPARENT_BYTES: usize = 55;
