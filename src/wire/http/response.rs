//! Answers: a `Response` is written into the connection's send buffer. The usual one to a publish begins with a `Letterhead`.

/// Asks the client for the body that it holds back (RFC 9110 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// An answer to be written. Field values must not hold CR or LF.
#[derive(Debug, Clone, Copy)]
pub struct Response<'r> {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, if there is a body.
    pub content_type: Option<&'r str>,
    /// Further fields.
    pub fields: &'r [(&'r str, &'r str)],
    /// The body; its length is told always, except where RFC 9110 8.6 forbids it (1xx, 204) and for 304.
    pub body: &'r [u8],
    /// The connection is closed after this answer.
    pub close: bool,
    /// HTTP/1.`minor` of the request: 1.0 must be told that the connection stays open.
    pub minor: u8,
    /// The request was HEAD: the body's length is told, the body not sent.
    pub head_only: bool,
    /// `Date` as `imf_fixdate` writes it; left out when empty.
    pub date: &'r str,
}

impl Response<'_> {
    /// Appends the whole answer. Each line begins with the end of the line before, so that constant pieces join.
    pub fn write(&self, out: &mut Vec<u8>) {
        let without_body = matches!(self.status, 100..=199 | 204 | 304);
        self.write_status_line(out);
        if !self.date.is_empty() {
            write_value(b"\r\nDate: ", self.date, out);
        }
        if let Some(content_type) = self.content_type {
            write_value(b"\r\nContent-Type: ", content_type, out);
        }
        for (name, value) in self.fields {
            write_value(b"\r\n", name, out);
            write_value(b": ", value, out);
        }
        if !without_body {
            out.extend_from_slice(b"\r\nContent-Length: ");
            write_decimal(self.body.len(), out);
        }
        if self.close {
            out.extend_from_slice(b"\r\nConnection: close");
        } else if self.minor == 0 {
            out.extend_from_slice(b"\r\nConnection: keep-alive");
        }
        out.extend_from_slice(b"\r\n\r\n");
        if !without_body && !self.head_only {
            out.extend_from_slice(self.body);
        }
    }

    fn write_status_line(&self, out: &mut Vec<u8>) {
        if self.status == 200 {
            out.extend_from_slice(b"HTTP/1.1 200 OK");
            return;
        }
        out.extend_from_slice(b"HTTP/1.1 ");
        write_decimal(usize::from(self.status), out);
        write_value(b" ", reason(self.status), out);
    }
}

fn write_value(before: &[u8], value: &str, out: &mut Vec<u8>) {
    debug_assert!(!value.contains(['\r', '\n']), "a field value that would split the answer");
    out.extend_from_slice(before);
    out.extend_from_slice(value.as_bytes());
}

fn write_decimal(number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The reason phrase of a status (RFC 9110 15); `Unknown` for one that this server does not use.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}

const SECONDS_PER_DAY: u64 = 86_400;

/// Days of the Gregorian calendar's cycle.
const DAYS_PER_400_YEARS: u64 = 146_097;

/// The last second of the year 9999, beyond which the format has no room.
const UNIX_SECONDS_MAX: u64 = 253_402_300_799;

/// Writes a date such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 5.6.7).
pub fn imf_fixdate(unix_seconds: u64, out: &mut [u8; 29]) {
    const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let unix_seconds = unix_seconds.min(UNIX_SECONDS_MAX);
    let (days, seconds) = (unix_seconds / SECONDS_PER_DAY, unix_seconds % SECONDS_PER_DAY);
    let (year, month, day) = civil(days);
    out.copy_from_slice(b"Thu, 00 Jan 0000 00:00:00 GMT");
    out[..3].copy_from_slice(WEEKDAYS[(days % 7) as usize]);
    out[8..11].copy_from_slice(MONTHS[month as usize - 1]);
    let two_digits = [
        (5, day),
        (12, year / 100),
        (14, year),
        (17, seconds / 3600),
        (20, seconds / 60 % 60),
        (23, seconds % 60),
    ];
    for (at, number) in two_digits {
        let digit = |number: u64| b'0' + (number % 10) as u8;
        out[at..at + 2].copy_from_slice(&[digit(number / 10), digit(number)]);
    }
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01. The year is taken to begin in March, so
/// that the leap day comes last and a month's first day is linear in its number.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_FROM_MARCH_0000_TO_1970: u64 = 719_468;
    let days = days + DAYS_FROM_MARCH_0000_TO_1970;
    let (cycle, day_of_cycle) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    let leap_days = day_of_cycle / 1_460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Response = Response {
        status: 200,
        content_type: Some("application/json"),
        fields: &[],
        body: b"{}",
        close: false,
        minor: 1,
        head_only: false,
        date: "",
    };

    fn text(response: Response) -> String {
        let mut out = b"before ".to_vec();
        response.write(&mut out);
        String::from_utf8(out.split_off(7)).unwrap()
    }

    #[test]
    fn answers_are_written_to_the_byte() {
        let plain = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(text(PLAIN), plain);
        assert_eq!(text(Response { head_only: true, ..PLAIN }), plain.trim_end_matches("{}"));
        assert_eq!(
            text(Response { minor: 0, ..PLAIN }),
            plain.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n")
        );
        let refused = Response {
            status: 503,
            fields: &[("Retry-After", "1"), ("X", "")],
            close: true,
            date: "D",
            content_type: None,
            body: b"",
            ..PLAIN
        };
        assert_eq!(
            text(refused),
            "HTTP/1.1 503 Service Unavailable\r\nDate: D\r\nRetry-After: 1\r\nX: \r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
    }

    #[test]
    fn statuses_without_a_body_have_no_length() {
        for status in [101, 204, 304] {
            let text = text(Response { status, content_type: None, ..PLAIN });
            assert_eq!(text, format!("HTTP/1.1 {status} {}\r\n\r\n", reason(status)));
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let mut out = [0; 29];
            imf_fixdate(unix_seconds, &mut out);
            assert_eq!(str::from_utf8(&out).unwrap(), date);
        }
    }

    #[test]
    fn the_calendar_agrees_with_counting_day_by_day() {
        let leap =
            |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..=UNIX_SECONDS_MAX / SECONDS_PER_DAY {
            assert_eq!(civil(days), (year, month, day));
            let february = if leap(year) { 29 } else { 28 };
            day += 1;
            if day > [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1] {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
