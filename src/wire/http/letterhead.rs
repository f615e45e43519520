//! The start of an answer to a publish, which is the same for all within a second.
use super::response::{Response, imf_fixdate};

/// What the usual answers of one second begin with, written once: 200, a date, JSON, kept alive as HTTP/1.1 is. Copying it
/// saves most of what `Response::write` costs.
#[derive(Debug)]
pub struct Letterhead {
    content_type: &'static str,
    unix_seconds: u64,
    date: String,
    /// Up to where the number of `Content-Length` goes.
    usual: Vec<u8>,
}

impl Letterhead {
    /// Of no date yet.
    pub fn undated(content_type: &'static str) -> Letterhead {
        let (date, usual) = (String::new(), Vec::new());
        let mut letterhead = Letterhead { content_type, unix_seconds: u64::MAX, date, usual };
        letterhead.write();
        letterhead
    }

    /// From now on the date is this, in seconds since 1970.
    #[inline]
    pub fn tell_time(&mut self, unix_seconds: u64) {
        if unix_seconds != self.unix_seconds {
            self.unix_seconds = unix_seconds;
            self.renew();
        }
    }

    #[cold]
    fn renew(&mut self) {
        let mut date = [0; 29];
        imf_fixdate(self.unix_seconds, &mut date);
        self.date.clear();
        self.date.extend(date.map(char::from));
        self.write();
    }

    fn write(&mut self) {
        let usual = Response {
            status: 200,
            content_type: Some(self.content_type),
            fields: &[],
            body: b"",
            close: false,
            minor: 1,
            head_only: false,
            date: &self.date,
        };
        self.usual.clear();
        usual.write(&mut self.usual);
        let end = self.usual.len() - b"0\r\n\r\n".len();
        self.usual.truncate(end);
    }

    /// `Date`, or nothing as long as none was told.
    pub fn date(&self) -> &str {
        &self.date
    }

    /// Appends the usual answer with this body.
    pub fn answer(&self, body: &[u8], out: &mut Vec<u8>) {
        const END: &[u8; 4] = b"\r\n\r\n";
        let mut digits = itoa::Buffer::new();
        let length = digits.format(body.len()).as_bytes();
        out.reserve(self.usual.len() + length.len() + END.len() + body.len());
        out.extend_from_slice(&self.usual);
        out.extend_from_slice(length);
        out.extend_from_slice(END);
        out.extend_from_slice(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_answer_is_the_one_that_is_written_out() {
        let mut letterhead = Letterhead::undated("application/json");
        for (unix_seconds, date) in [
            (None, ""),
            (Some(0), "Thu, 01 Jan 1970 00:00:00 GMT"),
            (Some(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT"),
        ] {
            if let Some(unix_seconds) = unix_seconds {
                letterhead.tell_time(unix_seconds);
            }
            assert_eq!(letterhead.date(), date);
            for body in [&b""[..], b"{}", &[b'x'; 100], &[b'y'; 12_345]] {
                let (mut usual, mut written) = (b"before".to_vec(), b"before".to_vec());
                letterhead.answer(body, &mut usual);
                let content_type = Some("application/json");
                Response {
                    status: 200,
                    content_type,
                    fields: &[],
                    body,
                    close: false,
                    minor: 1,
                    head_only: false,
                    date,
                }
                .write(&mut written);
                assert_eq!(usual, written);
            }
        }
    }
}
