//! Request targets (RFC 9112 3.2) and what is inside them: percent-encoding and queries.
//!
//! Only what could be read in two ways is refused here. Characters that a strict URI forbids but clients send
//! (`|`, `{`, `"`) pass: they make an invalid channel name, which a socket must hear as a close code and not as 400.
use super::Refusal;
use std::borrow::Cow;
use wide::u8x16;

#[derive(Debug)]
pub(super) struct Target<'b> {
    pub path: &'b str,
    pub query: &'b str,
    /// Of an absolute-form target.
    pub authority: Option<&'b str>,
}

impl<'b> Target<'b> {
    pub fn read(method: &str, raw: &'b str) -> Result<Target<'b>, Refusal> {
        let (end, path_bytes) = extent(raw.as_bytes());
        if end < raw.len() {
            return Err(Refusal::bad("The target holds a character that must be percent-encoded"));
        }
        match (method, raw) {
            ("CONNECT", _) => Err(Refusal::bad("This server is not a proxy")),
            ("OPTIONS", "*") => Ok(Target { path: "*", query: "", authority: None }),
            _ if raw.starts_with('/') => Ok(Target::split(raw, path_bytes, None)),
            _ => Target::absolute(method, raw),
        }
    }

    fn split(raw: &'b str, path_bytes: usize, authority: Option<&'b str>) -> Target<'b> {
        let query = raw.get(path_bytes + 1..).unwrap_or_default();
        Target { path: &raw[..path_bytes], query, authority }
    }

    /// `http://host:port/path?query`, which a server must accept (RFC 9112 3.2.2).
    #[cold]
    fn absolute(method: &str, raw: &'b str) -> Result<Target<'b>, Refusal> {
        const NEITHER: Refusal = Refusal::bad("The target is neither a path nor an http URI");
        let (scheme, rest) = raw.split_once("://").ok_or(NEITHER)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(NEITHER);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !authority_is_valid(authority) {
            return Err(Refusal::bad("The target's authority is not a host and port"));
        }
        let mut target = Target::split(path, extent(path.as_bytes()).1, Some(authority));
        if target.path.is_empty() {
            target.path = if method == "OPTIONS" && target.query.is_empty() { "*" } else { "/" };
        }
        Ok(target)
    }
}

/// How many of the bytes may stand in a target, and how many of these come before the first `?`.
pub(super) fn extent(bytes: &[u8]) -> (usize, usize) {
    let path_bytes = path_bytes(bytes);
    let rest = &bytes[path_bytes..];
    if rest.first() != Some(&b'?') {
        return (path_bytes, path_bytes);
    }
    let end = rest.iter().position(|byte| !byte.is_ascii_graphic() || *byte == b'#');
    (path_bytes + end.unwrap_or(rest.len()), path_bytes)
}

/// How many bytes come before the first that is not visible or ends a path.
fn path_bytes(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks::<16>();
    for (at, block) in blocks.iter().enumerate() {
        let ends = ends_of_path(*block);
        if ends != 0 {
            return 16 * at + ends.trailing_zeros() as usize;
        }
    }
    let end = rest.iter().position(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#'));
    16 * blocks.len() + end.unwrap_or(rest.len())
}

/// A bit per byte, the first lowest: set for what is not visible, `?` and `#`.
fn ends_of_path(block: [u8; 16]) -> u32 {
    let bytes = u8x16::new(block);
    let each = u8x16::splat;
    let invisible = bytes.simd_lt(each(b'!')) | bytes.simd_gt(each(b'~'));
    (invisible | bytes.simd_eq(each(b'?')) | bytes.simd_eq(each(b'#'))).to_bitmask()
}

/// `host[:port]` with a host that isn't empty (RFC 3986 3.2.2), without user information.
pub(super) fn authority_is_valid(authority: &str) -> bool {
    let (host_is_valid, port) = match authority.strip_prefix('[') {
        Some(literal) => {
            let (address, port) = literal.split_once(']').unwrap_or(("", "-"));
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_~".contains(&byte);
            (!address.is_empty() && address.bytes().all(allowed), port)
        }
        None => {
            let end = authority.bytes().position(|byte| byte == b':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            (!host.is_empty() && host.bytes().all(|byte| IN_HOST[usize::from(byte)]), port)
        }
    };
    let port_is_valid =
        port.strip_prefix(':').is_none_or(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    host_is_valid && port_is_valid && (port.is_empty() || port.starts_with(':'))
}

/// The bytes of a host (RFC 3986 3.2.2): unreserved and sub-delims, and the sign of an escape.
const IN_HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    loop {
        let punctuation =
            matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&'..=b',' | b';' | b'=');
        table[byte as usize] = byte.is_ascii_alphanumeric() || punctuation;
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// Percent-decodes exactly once (RFC 3986 2.1). What needs no decoding is returned as it is and `scratch` stays
/// untouched. `None` when an escape is malformed or cut short, or the result is not UTF-8.
pub fn percent_decode<'s>(raw: &'s str, scratch: &'s mut Vec<u8>) -> Option<&'s str> {
    if !raw.contains('%') {
        return Some(raw);
    }
    scratch.clear();
    let mut rest = raw.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        if byte == b'%' {
            scratch.push(escaped(behind)?);
            rest = &behind[2..];
        } else {
            scratch.push(byte);
            rest = behind;
        }
    }
    str::from_utf8(scratch).ok()
}

/// The names and values of a query in their order, as browsers write them: `+` is a space. What cannot be decoded
/// stays as it came (a bad escape) or is replaced (bytes that are not UTF-8).
pub fn query<'q>(raw: &'q str) -> impl Iterator<Item = (Cow<'q, str>, Cow<'q, str>)> {
    raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decode(name), form_decode(value))
    })
}

fn form_decode(raw: &str) -> Cow<'_, str> {
    if !raw.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(raw);
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, escaped(behind)) {
            (b'%', Some(decoded)) => {
                bytes.push(decoded);
                rest = &behind[2..];
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    Cow::Owned(
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into()),
    )
}

/// The byte that the two hex digits behind a `%` stand for.
fn escaped(behind: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_reduced_to_path_and_query() {
        for (method, raw, path, query, authority) in [
            ("GET", "/a/../%2e?b?c", "/a/../%2e", "b?c", None),
            ("GET", "//x", "//x", "", None),
            ("GET", "/?", "/", "", None),
            ("OPTIONS", "*", "*", "", None),
            ("OPTIONS", "http://h", "*", "", Some("h")),
            ("GET", "http://h", "/", "", Some("h")),
            ("GET", "HTTPS://h:1/a?b", "/a", "b", Some("h:1")),
            ("GET", "http://[::1]:1?b", "/", "b", Some("[::1]:1")),
        ] {
            let target = Target::read(method, raw).unwrap();
            assert_eq!((target.path, target.query, target.authority), (path, query, authority), "{raw}");
        }
    }

    #[test]
    fn other_targets_are_refused() {
        for (method, raw) in [
            ("CONNECT", "h:80"),
            ("CONNECT", "/"),
            ("GET", "h:80"),
            ("GET", "*"),
            ("GET", "a"),
            ("GET", "ftp://h/"),
            ("GET", "http:///a"),
            ("GET", "http://u@h/"),
            ("GET", "http://h:x/"),
            ("GET", "/a#b"),
            ("GET", "/\u{fc}"),
            ("GET", "/a\x7f"),
        ] {
            assert_eq!(Target::read(method, raw).unwrap_err().status, 400, "{method} {raw}");
        }
    }

    #[test]
    fn every_byte_ends_a_target_or_its_path_as_it_should_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..40 {
                for filler in [b'!', b'~', b'/', b'a'] {
                    let mut text = [filler; 40];
                    text[at] = byte;
                    let in_target = byte.is_ascii_graphic() && byte != b'#';
                    let end = if in_target { 40 } else { at };
                    let path_bytes = if byte == b'?' { at } else { end };
                    assert_eq!(extent(&text), (end, path_bytes), "{byte} at {at} among {filler}");
                }
            }
        }
        assert_eq!(extent(b"/a?b?c#"), (6, 2));
        assert_eq!(extent(b""), (0, 0));
    }

    #[test]
    fn escapes_are_decoded_exactly_once() {
        for (raw, decoded) in [
            ("", Some("")),
            ("a.b", Some("a.b")),
            ("a%2eb%2Fc", Some("a.b/c")),
            ("%252e", Some("%2e")),
            ("%00", Some("\0")),
            ("%C3%BC", Some("\u{fc}")),
            ("%", None),
            ("a%2", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
            ("%ed%a0%80", None),
        ] {
            assert_eq!(percent_decode(raw, &mut vec![b'?']), decoded, "{raw}");
        }
    }

    #[test]
    fn queries_are_read_as_browsers_write_them() {
        let pairs =
            |raw| query(raw).map(|(name, value)| format!("{name}|{value}")).collect::<Vec<_>>().join(" ");
        assert_eq!(
            pairs("types=a%2Cb&since=2026-01-01T00%3A00%3A00%2b00:00"),
            "types|a,b since|2026-01-01T00:00:00+00:00"
        );
        assert_eq!(pairs("&a&&=b&c=d=e&"), "a| |b c|d=e");
        assert_eq!(pairs("a=b+c&d=%&e=%zz%4&f=%ff"), "a|b c d|% e|%zz%4 f|\u{fffd}");
        assert!(matches!(query("a=b").next(), Some((Cow::Borrowed("a"), Cow::Borrowed("b")))));
    }
}
