//! Request heads: `head` reads the request line and the fields up to the blank line, without copying.
//!
//! `httparse` does the scanning. Where it is more lenient than RFC 9112 (a bare LF as line end, any number of
//! empty lines first) this file looks again. A connection calls `head` from the start of the request each time
//! bytes arrive, which `HEAD_BYTES_MAX` bounds.
use super::Refusal;
use super::fields::Fields;
use super::malformed::{BARE_LF, MALFORMED_LINE, bare_lf, refusal};
use super::method::Method;
use super::seen::Seen;
use super::target::Target;
use httparse::{Request, Status};
use std::mem::MaybeUninit;

/// Bytes of a head with its blank line and any empty lines before it. Larger ones are answered 431: ample for
/// browsers with cookies and tokens, and small enough to hold one per connection that is mid-request.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Fields of a head. More are answered 431; browsers send about 20.
pub const FIELDS_MAX: usize = 100;

/// Empty lines before a request line that are skipped. RFC 9112 2.2 asks for at least one, which old clients
/// send after a body.
pub const EMPTY_LINES_MAX: usize = 4;

/// How the end of a request body is found (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// No body.
    #[default]
    None,
    /// `Content-Length`, bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
}

/// A request head. Borrows the bytes it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head<'b> {
    /// The method; never CONNECT, which is refused.
    pub method: Method,
    /// Raw path, still percent-encoded. Starts with `/`, or is `*` for `OPTIONS *`.
    pub path: &'b str,
    /// Raw query without the `?`; empty when there is none.
    pub query: &'b str,
    /// The request is HTTP/1.`minor`: 0 or 1.
    pub minor: u8,
    /// Bytes of the head, from the start of what was given to after its blank line.
    pub len: usize,
    /// How long the body is.
    pub framing: Framing,
    /// The connection may serve another request after this one (RFC 9112 9.3).
    pub keep_alive: bool,
    /// The client waits for `CONTINUE` before it sends the body (RFC 9110 10.1.1).
    pub expect_continue: bool,
    /// Present when the client asks to speak WebSocket: `Connection: upgrade` with `Upgrade: websocket`.
    pub upgrade: Option<Upgrade<'b>>,
    /// Some field of a WebSocket handshake was seen, so a plain GET here was meant as one.
    pub upgrade_requested: bool,
    /// `Host`, or the authority of an absolute-form target, which wins (RFC 9112 3.2.2).
    pub host: Option<&'b str>,
    /// `Origin`
    pub origin: Option<&'b str>,
    /// `Accept`, its first line.
    pub accept: Option<&'b str>,
    /// `Content-Type`
    pub content_type: Option<&'b str>,
    /// `X-Service-Name`
    pub service_name: Option<&'b str>,
    /// `Authorization`
    pub authorization: Option<&'b str>,
    /// `Access-Control-Request-Method`
    pub request_method: Option<&'b str>,
    /// `Idempotency-Key`, as it came: a string in quotes or bare words.
    pub idempotency_key: Option<&'b str>,
    /// There is a `ce-specversion`: a CloudEvent in binary mode, its attributes are fields `ce-…`.
    pub is_cloud_event: bool,
    /// There is a `traceparent`.
    pub(super) is_traced: bool,
    /// The field lines and the blank line, as they came.
    pub(super) lines: &'b [u8],
}

/// The fields of a WebSocket handshake (RFC 6455 4.1), unchecked; see `websocket::handshake::check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Upgrade<'b> {
    /// `Sec-WebSocket-Key`
    pub key: Option<&'b str>,
    /// `Sec-WebSocket-Version`
    pub version: Option<&'b str>,
    /// `Sec-WebSocket-Protocol`, its first line: what the client offers, comma separated.
    pub protocols: Option<&'b str>,
    /// `Sec-WebSocket-Extensions`, its first line.
    pub extensions: Option<&'b str>,
}

/// Reads the head at the start of `bytes`. `None` when its blank line has not come yet: call again with the same
/// bytes and more behind them. The answer does not depend on where the bytes were cut.
///
/// # Errors
/// 400 for what breaks RFC 9112, 417 for an unknown expectation, 431 beyond `HEAD_BYTES_MAX` or `FIELDS_MAX`, 501
/// for an unknown transfer coding, 505 for a version other than 1.0 and 1.1.
pub fn head<'b>(bytes: &'b [u8]) -> Result<Option<Head<'b>>, Refusal> {
    let mut head = Head::default();
    Ok(head.read(bytes)?.then_some(head))
}

impl<'b> Head<'b> {
    /// As [`head`], but where the head is to stand: it is large, and moves of it would cost as much as a fifth of reading
    /// it. Answers whether it is whole; if it is not, what stood there before does.
    ///
    /// # Errors
    /// As [`head`].
    pub fn read(&mut self, bytes: &'b [u8]) -> Result<bool, Refusal> {
        let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let start = skip_empty_lines(window)?;
        let text = &window[start..];
        let mut storage = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut request = Request::new(&mut []);
        match request.parse_with_uninit_headers(text, &mut storage) {
            Ok(Status::Complete(len)) => {
                refuse_bare_lf_at_line_ends(&text[..len], &request)?;
                read(&request, start, &text[..len], self)?;
                Ok(true)
            }
            Ok(Status::Partial) => incomplete(window, text),
            Err(error) => refusal(error, text).map_or_else(|| incomplete(window, text), Err),
        }
    }

    /// As [`Head::read`] on a connection on which `seen` came before. Answers whether it has come again; if it has not,
    /// nothing is said of these bytes.
    pub fn read_again(&mut self, bytes: &'b [u8], seen: &'b Seen) -> bool {
        seen.read(bytes, self)
    }
}

/// Bytes of the empty lines at the start.
fn skip_empty_lines(window: &[u8]) -> Result<usize, Refusal> {
    let mut start = 0;
    while window[start..].starts_with(b"\r\n") {
        start += 2;
        if start > 2 * EMPTY_LINES_MAX {
            return Err(Refusal::bad("Too many empty lines before the request line"));
        }
    }
    if window[start..].first() == Some(&b'\n') {
        return Err(BARE_LF);
    }
    Ok(start)
}

/// `httparse` takes LF for CRLF. Each field name starts behind a line end, so it is enough to look there.
fn refuse_bare_lf_at_line_ends(head: &[u8], request: &Request) -> Result<(), Refusal> {
    let ends_well = |at: usize| head[..at].ends_with(b"\r\n");
    for field in request.headers.iter() {
        if !ends_well(offset(head, field.name.as_bytes())) {
            return Err(BARE_LF);
        }
    }
    if head.ends_with(b"\r\n\r\n") { Ok(()) } else { Err(BARE_LF) }
}

/// Where `part` stands in `whole`, of which it is a part.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

#[cold]
fn incomplete(window: &[u8], text: &[u8]) -> Result<bool, Refusal> {
    if bare_lf(text).is_some() {
        Err(BARE_LF)
    } else if window.len() == HEAD_BYTES_MAX {
        Err(Refusal { status: 431, error: "Head too large", message: "The request head exceeds 16 KiB" })
    } else {
        Ok(false)
    }
}

/// The meaning of a head whose grammar `httparse` has seen to.
fn read<'b>(
    request: &Request<'_, 'b>,
    start: usize,
    text: &'b [u8],
    into: &mut Head<'b>,
) -> Result<(), Refusal> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(MALFORMED_LINE);
    };
    let target = Target::read(method, target)?;
    let mut fields = Fields::of(text);
    for field in request.headers.iter() {
        fields.take(field.name, field.value)?;
    }
    let host = target.authority.or(fields.host);
    if fields.host.is_none() && minor == 1 {
        return Err(Refusal::bad("An HTTP/1.1 request needs a Host field"));
    }
    let framing = fields.framing(minor)?;
    let first_line = request.headers.first().map_or(text.len(), |field| offset(text, field.name.as_bytes()));
    *into = Head {
        method: Method::from_token(method),
        path: target.path,
        query: target.query,
        minor,
        len: start + text.len(),
        framing,
        keep_alive: !fields.close && (minor == 1 || fields.keep_alive),
        expect_continue: fields.expect_continue
            && minor == 1
            && !matches!(framing, Framing::None | Framing::Length(0)),
        upgrade: (fields.connection_upgrade && fields.upgrade_websocket).then_some(fields.upgrade),
        upgrade_requested: fields.upgrade_requested,
        host,
        origin: fields.origin,
        accept: fields.accept,
        content_type: fields.content_type,
        service_name: fields.service_name,
        authorization: fields.authorization,
        request_method: fields.request_method,
        idempotency_key: fields.idempotency_key,
        is_cloud_event: fields.is_cloud_event,
        is_traced: fields.is_traced,
        lines: &text[first_line..],
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &[u8]) -> u16 {
        head(text).expect_err("should be refused").status
    }

    #[test]
    fn a_publish_is_read_and_the_rest_of_the_bytes_left_alone() {
        let text = b"POST /publish/a%2Eb?x=1 HTTP/1.1\r\nhost: a:1\r\nContent-Type: application/json\r\n\
            X-Service-Name: forge \r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\n{}GET /";
        let head = head(text).unwrap().unwrap();
        assert_eq!(
            (head.method, head.path, head.query, head.minor),
            (Method::Post, "/publish/a%2Eb", "x=1", 1)
        );
        assert_eq!((&text[head.len..], head.framing), (&b"{}GET /"[..], Framing::Length(2)));
        assert_eq!((head.host, head.service_name), (Some("a:1"), Some("forge")));
        assert_eq!((head.content_type, head.authorization), (Some("application/json"), Some("Bearer t")));
        assert!(
            head.keep_alive && head.upgrade.is_none() && !head.upgrade_requested && !head.expect_continue
        );
    }

    #[test]
    fn the_answer_does_not_depend_on_where_the_bytes_were_cut() {
        for text in [
            &b"\r\nGET http://h/p?q HTTP/1.1\r\nHost: a\r\nA:\r\n\r\nrest"[..],
            b"GET / HTTP/2.0\r\nHost: a\n\r\n",
            b"GET / HTTP/2\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\n\r\n",
            b"GET / HTTP/1.1\r\n\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let in_pieces = (0..=text.len()).map(|cut| head(&text[..cut])).find(|answer| *answer != Ok(None));
            assert_eq!(in_pieces.unwrap(), head(text), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn whatever_breaks_the_line_grammar_is_refused() {
        for text in [
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX:\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\n",
            b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n\r\n\r\n\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
            b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\n: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            b"GET /\r\n\r\n",
            b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / http/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/x.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
        ] {
            assert_eq!(status(text), 400, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn other_versions_are_told_apart_from_nonsense() {
        for version in ["0.9", "1.2", "2.0", "3.0"] {
            assert_eq!(status(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes()), 505);
        }
        assert_eq!(status(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
        assert_eq!(head(b"GET / HTTP/2"), Ok(None));
    }

    #[test]
    fn size_and_number_of_fields_are_bounded_to_the_byte() {
        let sized = |bytes: usize| {
            let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n";
            frame.replace("X: ", &format!("X: {}", "x".repeat(bytes - frame.len())))
        };
        let largest = sized(HEAD_BYTES_MAX);
        assert_eq!(head(largest.as_bytes()).unwrap().unwrap().len, HEAD_BYTES_MAX);
        assert_eq!(head(&largest.as_bytes()[..HEAD_BYTES_MAX - 1]), Ok(None));
        assert_eq!(status(sized(HEAD_BYTES_MAX + 1).as_bytes()), 431);
        assert_eq!(status(&largest.replace("\r\n\r\n", "xxxx").into_bytes()), 431);
        let numbered =
            |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1));
        assert!(head(numbered(FIELDS_MAX).as_bytes()).unwrap().is_some());
        assert_eq!(status(numbered(FIELDS_MAX + 1).as_bytes()), 431);
    }

    #[test]
    fn few_empty_lines_first_are_skipped_and_counted() {
        let text = b"\r\n\r\n\r\n\r\nGET / HTTP/1.0\r\n\r\n";
        assert_eq!(head(text).unwrap().unwrap().len, text.len());
        assert_eq!(head(b"\r\n\r"), Ok(None));
    }
}
