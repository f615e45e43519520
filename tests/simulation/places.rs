//! Where a request brings what it shows (contract 12): in a field of its own, in a cookie among others, in the query, or in
//! two of them at once, which must say the same.

use crate::frames::with_field;

/// The cookie that may bring a token.
pub const COOKIE: &str = "session";

/// A request that shows this, in one of the ways by number.
pub fn showing(request: &[u8], text: &str, way: usize) -> Vec<u8> {
    let bearer = format!("Authorization: Bearer {text}\r\n");
    let cookie = format!("Cookie: theme=dark; {COOKIE}={text}; other=\"{COOKIE}=no\"\r\n");
    match way % 5 {
        0 => with_field(request, &cookie),
        1 => with_query(request, text),
        2 => with_query(&with_field(request, &cookie), text),
        _ => with_field(request, &bearer),
    }
}

/// The same with a word more in the query of its first line.
fn with_query(request: &[u8], text: &str) -> Vec<u8> {
    const VERSION: &[u8] = b" HTTP/1.1\r\n";
    let Some(end) = request.windows(VERSION.len()).position(|bytes| bytes == VERSION) else {
        return request.to_vec();
    };
    let (target, rest) = request.split_at(end);
    let mark = if target.contains(&b'?') { "&" } else { "?" };
    [target, format!("{mark}token={text}").as_bytes(), rest].concat()
}
