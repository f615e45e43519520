//! The fields of a head that this server reads, gathered one by one; `head` asks for the sum. Other fields are
//! passed over.
//!
//! A field that may stand once and stands twice is refused, also when both say the same: a proxy in front may have
//! believed the other one.
use super::Refusal;
use super::head::{Framing, Upgrade};
use super::target::authority_is_valid;

#[derive(Default)]
pub(super) struct Fields<'b> {
    pub host: Option<&'b str>,
    pub origin: Option<&'b str>,
    pub accept: Option<&'b str>,
    pub content_type: Option<&'b str>,
    pub service_name: Option<&'b str>,
    pub authorization: Option<&'b str>,
    pub request_method: Option<&'b str>,
    pub idempotency_key: Option<&'b str>,
    pub is_traced: bool,
    pub is_cloud_event: bool,
    pub close: bool,
    pub keep_alive: bool,
    pub connection_upgrade: bool,
    pub upgrade_websocket: bool,
    pub upgrade_requested: bool,
    pub upgrade: Upgrade<'b>,
    pub expect_continue: bool,
    content_length: Option<u64>,
    transfer_encoding: Option<&'b str>,
    /// All of the head, if it is text throughout: judging it once saves 126 instructions of a publish.
    head: Option<&'b str>,
}

impl<'b> Fields<'b> {
    /// No field yet, of a head with these bytes.
    pub fn of(head: &'b [u8]) -> Fields<'b> {
        Fields { head: simdutf8::basic::from_utf8(head).ok(), ..Fields::default() }
    }

    /// Takes in one field line. The length picks the candidates, so that most fields cost one comparison, and the usual
    /// spelling is compared first, which costs a load or two.
    pub fn take(&mut self, name: &str, value: &'b [u8]) -> Result<(), Refusal> {
        let is = |known: &str| name == known || name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("Host") => self.take_host(value),
            6 if is("Accept") => first(&mut self.accept, text_in(self.head, value)?),
            6 if is("Origin") => once(&mut self.origin, text_in(self.head, value)?),
            6 if is("Expect") => self.take_expect(value),
            7 if is("Upgrade") => self.take_upgrade(value),
            10 if is("Connection") => self.take_connection(value),
            11 if is("traceparent") => {
                self.is_traced = true;
                Ok(())
            }
            12 if is("Content-Type") => once(&mut self.content_type, text_in(self.head, value)?),
            13 if is("Authorization") => once(&mut self.authorization, text_in(self.head, value)?),
            14 if is("Content-Length") => self.take_content_length(value),
            14 if is("X-Service-Name") => once(&mut self.service_name, text_in(self.head, value)?),
            14 if is("ce-specversion") => {
                self.is_cloud_event = true;
                Ok(())
            }
            15 if is("Idempotency-Key") => once(&mut self.idempotency_key, text_in(self.head, value)?),
            17 if is("Transfer-Encoding") => once(&mut self.transfer_encoding, text_in(self.head, value)?),
            17 if is("Sec-WebSocket-Key") => {
                self.upgrade_requested = true;
                once(&mut self.upgrade.key, text_in(self.head, value)?)
            }
            21 if is("Sec-WebSocket-Version") => {
                self.upgrade_requested = true;
                once(&mut self.upgrade.version, text_in(self.head, value)?)
            }
            22 if is("Sec-WebSocket-Protocol") => {
                first(&mut self.upgrade.protocols, text_in(self.head, value)?)
            }
            24 if is("Sec-WebSocket-Extensions") => {
                first(&mut self.upgrade.extensions, text_in(self.head, value)?)
            }
            29 if is("Access-Control-Request-Method") => {
                once(&mut self.request_method, text_in(self.head, value)?)
            }
            _ => Ok(()),
        }
    }

    fn take_host(&mut self, value: &'b [u8]) -> Result<(), Refusal> {
        once(&mut self.host, text_in(self.head, value)?)?;
        match self.host {
            Some(host) if host.is_empty() || authority_is_valid(host) => Ok(()),
            _ => Err(Refusal::bad("The Host field is not a host and port")),
        }
    }

    fn take_expect(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            let message = "The only expectation that this server meets is 100-continue";
            return Err(Refusal { status: 417, error: "Expectation failed", message });
        }
        self.expect_continue = true;
        Ok(())
    }

    fn take_upgrade(&mut self, value: &[u8]) -> Result<(), Refusal> {
        self.upgrade_requested = true;
        self.upgrade_websocket |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"websocket"));
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for token in tokens(value) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.connection_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
        }
        Ok(())
    }

    /// Digits only: RFC 9110 8.6 knows no sign, and a list of equal values is refused rather than mended.
    fn take_content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.content_length.is_some() {
            return Err(REPEATED);
        }
        let digit = |sum: u64, byte: &u8| match byte {
            b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
            _ => None,
        };
        self.content_length = value.iter().try_fold(0, digit).filter(|_| !value.is_empty());
        self.content_length.map(|_| ()).ok_or(Refusal::bad("Content-Length is not a number of bytes"))
    }

    /// How long the body is (RFC 9112 6.3, requests).
    pub fn framing(&self, minor: u8) -> Result<Framing, Refusal> {
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(Framing::None),
            (None, Some(length)) => Ok(Framing::Length(length)),
            (Some(_), Some(_)) => {
                Err(Refusal::bad("Content-Length and Transfer-Encoding exclude each other"))
            }
            (Some(_), None) if minor == 0 => Err(Refusal::bad("HTTP/1.0 has no Transfer-Encoding")),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            (Some(codings), None) => Err(refuse_codings(codings)),
        }
    }
}

/// 501 only where the end of the body would be known, had we the coding: `chunked` last and nowhere else.
fn refuse_codings(codings: &str) -> Refusal {
    let chunked = |token: &[u8]| token.eq_ignore_ascii_case(b"chunked");
    let mut before = tokens(codings.as_bytes());
    let last = before.next_back().unwrap_or_default();
    if chunked(last) && !before.any(chunked) {
        let message = "The only transfer coding that this server knows is chunked";
        return Refusal { status: 501, error: "Not implemented", message };
    }
    Refusal::bad("Transfer-Encoding does not end with a single chunked")
}

const REPEATED: Refusal = Refusal::bad("A field that may stand once is repeated");

fn once<'b>(slot: &mut Option<&'b str>, value: &'b str) -> Result<(), Refusal> {
    if slot.is_some() { Err(REPEATED) } else { first(slot, value) }
}

/// For list fields, which may be split over lines: joining them would copy, and clients here send one line.
fn first<'b>(slot: &mut Option<&'b str>, value: &'b str) -> Result<(), Refusal> {
    slot.get_or_insert(value);
    Ok(())
}

/// A value as text. Other fields of the head may be none.
fn text_in<'b>(head: Option<&'b str>, value: &'b [u8]) -> Result<&'b str, Refusal> {
    let part = |head: &'b str| {
        let start = value.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
        head.get(start..start.wrapping_add(value.len()))
    };
    let judged_alone = || str::from_utf8(value).map_err(|_| Refusal::bad("A field value is not UTF-8"));
    head.and_then(part).map_or_else(judged_alone, Ok)
}

/// The elements of a list field (RFC 9110 5.6.1).
fn tokens(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::super::{Head, head};
    use super::*;

    fn with(fields: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")
    }

    fn status_of(text: &str) -> u16 {
        head(text.as_bytes())
            .map_or_else(|refusal| refusal.status, |head| if head.is_some() { 200 } else { 100 })
    }

    #[track_caller]
    fn read(text: &str) -> Head<'_> {
        head(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_body_has_one_unmistakable_length() {
        for (fields, status) in [
            ("Content-Length: 0", 200),
            ("Content-Length: 18446744073709551615", 200),
            ("Content-Length: 18446744073709551616", 400),
            ("Content-Length: 5\r\nContent-Length: 6", 400),
            ("Content-Length: 5\r\ncontent-length: 5", 400),
            ("Content-Length: 5, 5", 400),
            ("Content-Length: +5", 400),
            ("Content-Length: -5", 400),
            ("Content-Length: 5 5", 400),
            ("Content-Length: 0x5", 400),
            ("Content-Length:", 400),
            ("Content-Length: \u{661}", 400),
            ("Transfer-Encoding: chunked", 200),
            ("Transfer-Encoding: CHUNKED", 200),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: chunked, chunked", 400),
            ("Transfer-Encoding: chunked, gzip", 400),
            ("Transfer-Encoding: identity", 400),
            ("Transfer-Encoding: xchunked", 400),
            ("Transfer-Encoding: \"chunked\"", 400),
            ("Transfer-Encoding:", 400),
            ("Transfer-Encoding: gzip, chunked", 501),
        ] {
            assert_eq!(status_of(&with(fields)), status, "{fields}");
        }
        assert_eq!(read(&with("Content-Length: 007")).framing, Framing::Length(7));
        assert_eq!(read(&with("X: y")).framing, Framing::None);
        assert_eq!(read(&with("Transfer-Encoding: chunked")).framing, Framing::Chunked);
        assert_eq!(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    }

    #[test]
    fn an_http_1_1_request_names_one_valid_host() {
        for (fields, status) in [
            ("", 400),
            ("Host: a\r\nHost: a\r\n", 400),
            ("Host: a b\r\n", 400),
            ("Host: a/b\r\n", 400),
            ("Host: user@a\r\n", 400),
            ("Host: a:b\r\n", 400),
            ("Host: :80\r\n", 400),
            ("Host: [::1\r\n", 400),
            ("Host: [::1]x\r\n", 400),
            ("Host: \u{fc}\r\n", 400),
            ("Host:\r\n", 200),
            ("Host: a:80\r\n", 200),
            ("Host: 127.0.0.1:\r\n", 200),
            ("HOST: [::1]:80\r\n", 200),
        ] {
            assert_eq!(status_of(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), status, "{fields}");
        }
        assert_eq!(read("GET / HTTP/1.0\r\n\r\n").host, None);
    }

    #[test]
    fn a_connection_is_kept_by_version_and_wish() {
        let keeps = |minor: u8, fields: &str| {
            read(&format!("GET / HTTP/1.{minor}\r\nHost: a\r\n{fields}\r\n")).keep_alive
        };
        assert!(keeps(1, ""));
        assert!(!keeps(1, "Connection: x , Close\r\n"));
        assert!(!keeps(1, "Connection: keep-alive\r\nConnection: close\r\n"));
        assert!(!keeps(0, ""));
        assert!(keeps(0, "Connection: Keep-Alive\r\n"));
        assert!(!keeps(0, "Connection: keep-alive, close\r\n"));
    }

    #[test]
    fn only_the_one_known_expectation_is_met_and_only_for_a_body() {
        assert_eq!(status_of(&with("Expect: 200-ok")), 417);
        assert!(read(&with("Expect: 100-Continue\r\nContent-Length: 1")).expect_continue);
        assert!(!read(&with("Expect: 100-continue\r\nContent-Length: 0")).expect_continue);
        assert!(
            !read("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").expect_continue
        );
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_anything_of_it_is_noticed() {
        let text =
            with("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Protocol: a, b");
        assert_eq!(read(&text).upgrade.unwrap().protocols, Some("a, b"));
        for fields in ["Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"] {
            let text = with(fields);
            assert!(read(&text).upgrade.is_none() && read(&text).upgrade_requested, "{fields}");
        }
        let text = with("Connection: upgrade\r\nUpgrade: h2c");
        assert!(read(&text).upgrade.is_none());
    }

    #[test]
    fn fields_that_decide_who_someone_is_are_not_repeated() {
        for field in [
            "Authorization",
            "Idempotency-Key",
            "Origin",
            "X-Service-Name",
            "Content-Type",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
        ] {
            assert_eq!(status_of(&with(&format!("{field}: a\r\n{field}: a"))), 400, "{field}");
        }
        assert_eq!(read(&with("Accept: a\r\nAccept: b")).accept, Some("a"));
    }
}
