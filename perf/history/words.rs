//! A publish and its answer in the words of Courier and of Redis.
use std::io::{Error, ErrorKind, Result};

use crate::{To, event};

/// Headers that an answer may have; more is an error of the server.
const HEADERS_MAX: usize = 32;
/// What Courier says of an event that power loss does not take back (contract 11).
const ON_DISK: &[u8] = b"\"stored\":\"disk\"";

/// A publish to one channel, complete but for the stamp of its event.
pub struct Request {
    pub bytes: Vec<u8>,
    /// Where the event begins.
    pub event_at: usize,
}

impl Request {
    /// The publish of an event of `size` bytes to channel number `channel`.
    pub fn new(to: To, channel: usize, size: usize) -> Request {
        let (name, event) = (format!("load.{channel}"), event::template(channel as u32, size));
        let (head, tail) = match to {
            To::Courier => (
                format!(
                    "POST /publish/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
                ),
                "",
            ),
            To::Redis => (
                format!("*5\r\n$4\r\nXADD\r\n${}\r\n{name}\r\n$1\r\n*\r\n$1\r\ne\r\n${size}\r\n", name.len()),
                "\r\n",
            ),
        };
        Request { event_at: head.len(), bytes: [head.as_bytes(), &event, tail.as_bytes()].concat() }
    }
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub taken: bool,
    pub on_disk: bool,
}

/// The answer that is all of `bytes`; nothing while it is incomplete. There is one publish at a time on a connection.
pub fn answer(to: To, bytes: &[u8]) -> Result<Option<Answer>> {
    match to {
        To::Courier => of_courier(bytes),
        To::Redis => Ok(of_redis(bytes)),
    }
}

fn of_courier(bytes: &[u8]) -> Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer.parse(bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
    let httparse::Status::Complete(head) = parsed else { return Ok(None) };
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    let body = &bytes[head..];
    if body.len() < length.unwrap_or(0) {
        return Ok(None);
    }
    let on_disk = body.windows(ON_DISK.len()).any(|words| words == ON_DISK);
    Ok(Some(Answer { taken: answer.code == Some(200), on_disk }))
}

/// `$15\r\n1700000000000-0\r\n`, or `-ERR …\r\n`.
fn of_redis(bytes: &[u8]) -> Option<Answer> {
    let line = bytes.windows(2).position(|end| end == b"\r\n")?;
    if bytes[0] != b'$' {
        return Some(Answer { taken: false, on_disk: false });
    }
    let length: usize = std::str::from_utf8(&bytes[1..line]).ok()?.parse().ok()?;
    (bytes.len() >= line + 2 + length + 2).then_some(Answer { taken: true, on_disk: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_and_say_what_became_of_the_event() {
        let body = "{\"status\":\"published\",\"stored\":\"disk\"}";
        let courier = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let refused = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}".to_owned();
        let taken = |on_disk| Answer { taken: true, on_disk };
        let no = Answer { taken: false, on_disk: false };
        for (to, text, wanted) in [
            (To::Courier, courier, taken(true)),
            (To::Courier, refused, no),
            (To::Redis, "$3\r\n1-0\r\n".to_owned(), taken(false)),
            (To::Redis, "-ERR no\r\n".to_owned(), no),
        ] {
            let bytes = text.as_bytes();
            assert!((0..bytes.len()).all(|cut| answer(to, &bytes[..cut]).unwrap().is_none()), "{text}");
            assert_eq!(answer(to, bytes).unwrap(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn the_same_event_stands_in_both_requests() {
        for to in [To::Courier, To::Redis] {
            let request = Request::new(to, 7, 200);
            let event = &request.bytes[request.event_at..request.event_at + 200];
            assert_eq!(event::read(event, 200).map(|stamp| stamp.channel), Some(7));
        }
    }
}
