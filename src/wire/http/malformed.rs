//! Why a head that `httparse` stumbled over is refused. Off the path of sound requests.
//!
//! A head is refused for its first mistake, whether that came alone or with more bytes behind it.
use super::Refusal;
use super::head::FIELDS_MAX;
use httparse::{Error, Request};
use std::mem::MaybeUninit;

pub(super) const BARE_LF: Refusal = Refusal::bad("A line ends with LF instead of CRLF");

/// Where the first LF without CR stands, in a head that is not known to be whole and well.
pub(super) fn bare_lf(text: &[u8]) -> Option<usize> {
    (0..text.len()).find(|&at| text[at] == b'\n' && !text[..at].ends_with(b"\r"))
}

/// Why a head with this `error` is refused; `None` when the next bytes decide. If the lines before a bare LF have a
/// mistake of their own, that came first.
#[cold]
pub(super) fn refusal(error: Error, text: &[u8]) -> Option<Refusal> {
    let Some(at) = bare_lf(text) else {
        return refusal_of(error, text);
    };
    let mut storage = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let before = Request::new(&mut []).parse_with_uninit_headers(&text[..at], &mut storage);
    Some(before.err().and_then(|error| refusal_of(error, &text[..at])).unwrap_or(BARE_LF))
}

fn refusal_of(error: Error, text: &[u8]) -> Option<Refusal> {
    Some(match error {
        Error::TooManyHeaders => {
            Refusal { status: 431, error: "Head too large", message: "The request head has over 100 fields" }
        }
        Error::Version => return refusal_of_version(text),
        Error::HeaderName => Refusal::bad("A field name holds a character that is not allowed"),
        Error::HeaderValue => Refusal::bad("A field value holds a control character"),
        _ => MALFORMED_LINE,
    })
}

pub(super) const MALFORMED_LINE: Refusal = Refusal::bad("The request line is malformed");

/// Another version is 505, nonsense in its place 400. `httparse` refuses `HTTP/2` before it has seen whether `.0`
/// follows, which makes the difference.
fn refusal_of_version(text: &[u8]) -> Option<Refusal> {
    const FORM: &[u8; 8] = b"HTTP/d.d";
    let version = text.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    let fits = |(byte, form): (&u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == form };
    if !version.iter().zip(FORM).all(fits) {
        return Some(MALFORMED_LINE);
    }
    let message = "This server speaks HTTP/1.1 and HTTP/1.0";
    let unsupported = Refusal { status: 505, error: "HTTP version not supported", message };
    (version.len() >= FORM.len()).then_some(unsupported)
}
