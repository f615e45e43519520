//! What a text in the settings may be: names, patterns, addresses, origins. Each check answers what it must be;
//! the rules in `settings.rs` name them.
use crate::auth::Rule;
use crate::event::{CHANNEL_BYTES_MAX, Channel};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Longest free word in bytes; it is shown in /health and in metrics.
const WORD_BYTES_MAX: usize = 64;
/// Longest issuer, audience or key name in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Longest reason of a close frame in bytes: 125 of a control frame less 2 of the code (RFC 6455 section 5.5).
const CLOSE_REASON_BYTES_MAX: usize = 123;

type Checked = Result<(), &'static str>;

fn must(holds: bool, what: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(what) }
}

fn is_channel_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

/// An IP address or localhost. Names are not looked up: what they mean may change under a running server.
pub(super) fn listen_address(text: &str) -> Checked {
    must(
        text == "localhost" || address(text).is_some(),
        "an IP address such as 127.0.0.1 or ::1, or localhost",
    )
}

/// The IP address in a host text, with or without the brackets that URLs need.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.map_or_else(|| text.parse().ok(), |v6| v6.parse().ok().map(IpAddr::V6))
}

/// The address and port in a text such as 127.0.0.1:9090, [::1]:9090 or localhost:9090.
pub(super) fn endpoint(text: &str) -> Option<SocketAddr> {
    let port = text.strip_prefix("localhost:");
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match port {
        Some(port) if digits(port) => Some((Ipv4Addr::LOCALHOST, port.parse().ok()?).into()),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// The path of a file, or nothing.
pub(super) fn file_or_none(text: &str) -> Checked {
    must(!text.contains('\0'), "the path of a file")
}

/// A channel name (contract 1).
pub(super) fn channel_name(text: &str) -> Checked {
    must(Channel::check(text).is_ok(), "1 to 100 letters, digits, dots, hyphens, colons or underscores")
}

/// A channel pattern (contract 1).
pub(super) fn channel_pattern(text: &str) -> Checked {
    let mut segments = text.split('.').rev();
    let last = segments.next().unwrap_or_default();
    let plain = |segment: &str| segment == "*" || segment.bytes().all(is_channel_byte);
    must(
        (1..=CHANNEL_BYTES_MAX).contains(&text.len()) && (last == "**" || plain(last)) && segments.all(plain),
        "a channel name in which whole segments may be * and the last may be **",
    )
}

/// A folder's path.
pub(super) fn folder(text: &str) -> Checked {
    if text.trim().is_empty() || text.contains('\0') { Err("the path of a folder") } else { Ok(()) }
}

/// A file's path, or nothing.
pub(super) fn optional_file(text: &str) -> Checked {
    must(!text.contains('\0'), "the path of a file")
}

/// What a token's claim must be equal to.
pub(super) fn free_text(text: &str) -> Checked {
    must(text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control), "at most 256 bytes on one line")
}

/// The path of a file, or a URL that nobody between can change.
pub(super) fn key_set(text: &str) -> Checked {
    let loopback = |rest: &str| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        matches!(name, "localhost" | "127.0.0.1" | "[::1]")
    };
    let good = match text.split_once("://") {
        None => !text.contains('\0'),
        Some(("https", rest)) => !rest.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()),
        Some(("http", rest)) => loopback(rest) && text.bytes().all(|byte| byte.is_ascii_graphic()),
        Some(_) => false,
    };
    must(good, "the path of a file or a URL that begins with https:// (http:// only on loopback)")
}

/// A channel pattern with claims.
pub(super) fn rule_pattern(text: &str) -> Checked {
    must(
        Rule::parse(text).is_ok(),
        "a channel pattern in which whole segments may be {claim}, such as user.{user_id}.**",
    )
}

/// A folder's path, or nothing.
pub(super) fn folder_or_none(text: &str) -> Checked {
    if text.is_empty() { Ok(()) } else { folder(text) }
}

/// The name of a cookie, or nothing.
pub(super) fn cookie_name(text: &str) -> Checked {
    let is_token =
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    must(is_token && text.len() <= WORD_BYTES_MAX, "at most 64 letters, digits, hyphens, dots or underscores")
}

/// A word that may stand in a label.
pub(super) fn word(text: &str) -> Checked {
    let known = text.bytes().all(is_channel_byte);
    must(
        known && (1..=WORD_BYTES_MAX).contains(&text.len()),
        "1 to 64 letters, digits, dots, hyphens, colons or underscores",
    )
}

/// The text of a close frame.
pub(super) fn close_reason(text: &str) -> Checked {
    let plain = !text.chars().any(char::is_control);
    must(
        plain && text.len() <= CLOSE_REASON_BYTES_MAX,
        "at most 123 bytes on one line, the room in a close frame",
    )
}

/// An origin as browsers send it (RFC 6454 section 7), one whose host begins with `*.`, or `*` for any.
pub(super) fn origin(text: &str) -> Checked {
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        let scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let host_byte =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b',' | b'*');
        let host = host.strip_prefix("*.").unwrap_or(host);
        let filled = !scheme.is_empty() && !host.is_empty();
        filled && scheme.bytes().all(scheme_byte) && host.bytes().all(host_byte)
    });
    must(
        is_origin || text == "*" || text == "null",
        "an origin such as https://example.com (no path) or https://*.example.com, or *",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(check: fn(&str) -> Checked, good: &[&str], bad: &[&str]) {
        good.iter().for_each(|text| assert!(check(text).is_ok(), "{text}"));
        bad.iter().for_each(|text| assert!(check(text).is_err(), "{text}"));
    }

    #[test]
    fn names_and_patterns_follow_the_contract() {
        let long = "a".repeat(CHANNEL_BYTES_MAX);
        let longer = "a".repeat(CHANNEL_BYTES_MAX + 1);
        holds(channel_name, &["a", "user.1:B_-", &long], &["", "a b", "a/b", "é", "*", &longer]);
        let good = ["*", "**", "user.*", "*.failed", "a.*.b", "a.**", "a", &long];
        holds(channel_pattern, &good, &["", "a*", "**.a", "a.**.b", "***", "a b", &longer]);
        holds(word, &["test", "eu-1.prod"], &["", "two words", &longer]);
    }

    #[test]
    fn addresses_are_numbers_or_localhost() {
        holds(
            listen_address,
            &["127.0.0.1", "::", "[::1]", "localhost", "0.0.0.0"],
            &["", "example.com", "[127.0.0.1]"],
        );
        holds(listen_address, &[], &["127.0.0.1:80", "1.2.3", "[::1", "*", "localhost:1"]);
    }

    #[test]
    fn endpoints_are_an_address_and_a_port() {
        let good = [
            ("127.0.0.1:9090", "127.0.0.1:9090"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:65535", "[::1]:65535"),
            ("0.0.0.0:1", "0.0.0.0:1"),
        ];
        for (text, address) in good {
            assert_eq!(endpoint(text), address.parse().ok(), "{text}");
        }
        for text in
            ["", "9090", ":9090", "127.0.0.1", "127.0.0.1:", "::1:9090", "localhost:+1", "a.example:1"]
        {
            assert_eq!(endpoint(text), None, "{text}");
        }
        assert_eq!([endpoint("127.0.0.1:65536"), endpoint("localhost:65536")], [None, None]);
    }

    #[test]
    fn origins_are_what_browsers_send() {
        let good = [
            "https://a.example",
            "http://localhost:3000",
            "http://[::1]:3000",
            "app+x://y",
            "null",
            "*",
            "https://*.a.example:8443",
        ];
        holds(
            origin,
            &good,
            &[
                "",
                "a.example",
                "https://",
                "://a",
                "https://a/",
                "https://a/b",
                "https://a b",
                "**",
                "https://*",
                "https://*.",
                "https://a.*.b",
            ],
        );
    }

    #[test]
    fn close_reason_fits_a_control_frame() {
        let (fits, too_long) = ("é".repeat(61), "é".repeat(62));
        holds(close_reason, &["", "Back soon", &fits], &[&too_long, "two\nlines", "\u{7f}"]);
    }
}
