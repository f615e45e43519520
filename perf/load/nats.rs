//! NATS' own protocol, as far as a publisher and a subscriber need it: text lines inside binary WebSocket messages.
//! `verbose` is off, so that publishes are not answered: what has been delivered counts as answered.

/// Says who we are; the server wants it first. Goes before [`subscribe`] or the first [`publish`].
pub fn connect() -> Vec<u8> {
    masked_frame(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1}\r\n")
}

/// Subscribes to one subject.
pub fn subscribe(subject: &str) -> Vec<u8> {
    masked_frame(format!("SUB {subject} 1\r\n").as_bytes())
}

/// A publish of `event` to `subject`, and where the event stands in it.
pub fn publish(subject: &str, event: &[u8]) -> (Vec<u8>, usize) {
    let mut text = format!("PUB {subject} {}\r\n", event.len()).into_bytes();
    let from_end = event.len() + 2;
    text.extend_from_slice(event);
    text.extend_from_slice(b"\r\n");
    let frame = masked_frame(&text);
    let at = frame.len() - from_end;
    (frame, at)
}

/// RFC 6455 section 5.2: a binary frame of a client; the mask of zeros leaves the payload as it is.
fn masked_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        middle => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(middle).expect("events are below 64 KiB").to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Largest event whose publish fits one frame with a 16-bit length.
pub const EVENT_BYTES_MAX: usize = 65_000;

/// The first operation in `bytes`: its event if it is a `MSG`, and its whole length. `None` when nothing whole is left:
/// the server puts whole operations into a WebSocket message.
pub fn first_operation(bytes: &[u8]) -> Option<(Option<&[u8]>, usize)> {
    let line = bytes.iter().position(|byte| *byte == b'\n')? + 1;
    if !bytes.starts_with(b"MSG ") {
        return Some((None, line));
    }
    let digits = bytes[..line - 2].rsplit(|byte| *byte == b' ').next()?;
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let event = bytes.get(line..line + length)?;
    Some((Some(event), line + length + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_apart_and_events_found() {
        let text = b"INFO {}\r\nMSG load.7 1 3\r\nabc\r\nPING\r\n";
        assert_eq!(first_operation(text), Some((None, 9)));
        assert_eq!(first_operation(&text[9..]), Some((Some(&b"abc"[..]), 21)));
        assert_eq!(first_operation(&text[30..]), Some((None, 6)));
        assert_eq!(first_operation(&text[36..]), None);
    }

    #[test]
    fn event_stands_where_publish_says() {
        for length in [3, 200, 16_384] {
            let event = vec![b'x'; length];
            let (frame, at) = publish("load.0", &event);
            assert_eq!(frame[at..at + length], event[..]);
            assert_eq!(frame[at + length..], *b"\r\n");
        }
    }
}
