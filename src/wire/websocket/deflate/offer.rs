//! Which of a client's offers of permessage-deflate is accepted (RFC 7692 7.1), and the words that say so.
use super::WINDOW_BITS;

/// An offer that was accepted: both sides start each message afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The client named the largest window it takes, and is told the one that is used.
    names_window: bool,
}

impl Accepted {
    /// `Sec-WebSocket-Extensions` of the 101 answer.
    pub fn header(self) -> &'static str {
        const _: () = assert!(WINDOW_BITS == 12, "the answer names another window");
        if self.names_window {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12"
        } else {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        }
    }
}

/// Accepts the first sound offer in a request's `Sec-WebSocket-Extensions`. `None` when there is none: the connection
/// goes on without compression.
///
/// An offer with an unknown, repeated or malformed parameter is declined (RFC 7692 7.1), as is one with a smaller
/// window than the server compresses with.
pub fn negotiate(extensions: Option<&str>) -> Option<Accepted> {
    pieces(extensions?, b',').find_map(accept)
}

fn accept(offer: &str) -> Option<Accepted> {
    let mut parameters = pieces(offer, b';');
    if parameters.next() != Some("permessage-deflate") {
        return None;
    }
    let (mut server_window, mut client_window) = (None, None);
    let (mut server_fresh, mut client_fresh) = (None, None);
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim_ascii_end(), Some(value.trim_ascii_start())),
            None => (parameter, None),
        };
        let repeated = match (name, value) {
            ("server_max_window_bits", Some(value)) => server_window.replace(window_bits(value)?),
            ("client_max_window_bits", Some(value)) => client_window.replace(window_bits(value)?),
            ("client_max_window_bits", None) => client_window.replace(WINDOW_BITS_MAX),
            ("server_no_context_takeover", None) => server_fresh.replace(0),
            ("client_no_context_takeover", None) => client_fresh.replace(0),
            _ => return None,
        };
        if repeated.is_some() {
            return None;
        }
    }
    let fits = server_window.is_none_or(|bits| bits >= WINDOW_BITS);
    fits.then_some(Accepted { names_window: server_window.is_some() })
}

const WINDOW_BITS_MAX: u8 = 15;

/// 8 to 15 without leading zeros (RFC 7692 7.1.2), perhaps in quotes.
fn window_bits(value: &str) -> Option<u8> {
    let quoted = value.strip_prefix('"').map(|rest| rest.strip_suffix('"'));
    let digits = quoted.unwrap_or(Some(value))?;
    match digits.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The trimmed pieces between separators that stand outside quotes (RFC 6455 9.1).
fn pieces(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = end_outside_quotes(text, separator);
        rest = text.get(end + 1..);
        Some(text[..end].trim_ascii())
    })
}

fn end_outside_quotes(text: &str, separator: u8) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let ends = |byte: u8| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return byte == separator && !quoted,
        }
        false
    };
    text.bytes().position(ends).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    const WITH_WINDOW: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12";

    fn answer(extensions: &str) -> Option<&'static str> {
        negotiate(Some(extensions)).map(Accepted::header)
    }

    #[test]
    fn the_offers_of_common_clients_are_accepted() {
        for (extensions, expected) in [
            ("permessage-deflate", PLAIN),
            // ws for Node, Chromium, Firefox
            ("permessage-deflate; client_max_window_bits", PLAIN),
            // websockets for Python
            ("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12", WITH_WINDOW),
            (
                "permessage-deflate;server_max_window_bits=\"15\" ; client_max_window_bits = \"8\"",
                WITH_WINDOW,
            ),
            ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", PLAIN),
        ] {
            assert_eq!(answer(extensions), Some(expected), "{extensions}");
        }
    }

    #[test]
    fn the_first_sound_offer_of_several_is_taken() {
        for (extensions, expected) in [
            ("permessage-deflate; server_max_window_bits=10, permessage-deflate", PLAIN),
            ("x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=13", WITH_WINDOW),
            ("foo; bar=\"a, permessage-deflate\", , permessage-deflate; client_max_window_bits", PLAIN),
            ("foo; bar=\"\\\", x\", permessage-deflate", PLAIN),
            (
                "permessage-deflate; x, permessage-deflate; server_max_window_bits=14, permessage-deflate",
                WITH_WINDOW,
            ),
        ] {
            assert_eq!(answer(extensions), Some(expected), "{extensions}");
        }
    }

    #[test]
    fn an_unsound_offer_is_declined() {
        assert_eq!(negotiate(None), None);
        for extensions in [
            "",
            "deflate",
            "Permessage-Deflate",
            "permessage-deflatex",
            "permessage-deflate=1",
            "foo; bar=\"permessage-deflate\"",
            "foo; bar=\"x, permessage-deflate",
        ] {
            assert_eq!(answer(extensions), None, "{extensions}");
        }
        for parameters in [
            "",
            "x",
            "x=1",
            "server_no_context_takeover=",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "client_no_context_takeover; client_no_context_takeover",
            "server_no_context_takeover; server_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=7",
            "server_max_window_bits=11",
            "server_max_window_bits=16",
            "server_max_window_bits=012",
            "server_max_window_bits=+12",
            "server_max_window_bits=1 2",
            "server_max_window_bits=\"12",
            "server_max_window_bits=12\"",
            "server_max_window_bits=\"\"",
            "server_max_window_bits=12; server_max_window_bits=12",
            "client_max_window_bits=",
            "client_max_window_bits=7",
            "client_max_window_bits=08",
            "client_max_window_bits; client_max_window_bits=12",
            "Client_max_window_bits",
        ] {
            assert_eq!(answer(&format!("permessage-deflate; {parameters}")), None, "{parameters}");
        }
    }
}
