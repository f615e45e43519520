//! Server-sent events (WHATWG HTML 9.2): the head of the answer, and what is written behind it.
//!
//! The stream has no length and no chunks: it ends with the connection. So what is written for one client serves all,
//! on HTTP/1.0 and 1.1.

/// Head of the answer up to its `Date`. nginx passes each event on at once.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    X-Accel-Buffering: no\r\nConnection: close\r\n";

/// Bytes that `write_event` adds to the id, the type and data of one line, at most.
pub const EVENT_OVERHEAD_BYTES: usize = b"id: \nevent: \ndata: \n\n".len();

/// Appends the head of the answer. `date` as `imf_fixdate` writes it, left out when empty; `fields` are further ones,
/// such as those of CORS, and must not hold CR or LF.
pub fn write_head(date: &str, fields: &[(&str, &str)], out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD);
    let date = Some(("Date", date)).filter(|_| !date.is_empty());
    for (name, value) in date.iter().chain(fields) {
        debug_assert!(!value.contains(['\r', '\n']), "a field value that would split the answer");
        for part in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends an event. The client joins the lines of `data` by LF, whatever ended them here. What would end the line
/// of `id` or `event_type` early is dropped from them, and an empty type is none: the client says `message`.
pub fn write_event(id: &str, event_type: Option<&str>, data: &str, out: &mut Vec<u8>) {
    out.reserve(EVENT_OVERHEAD_BYTES + id.len() + event_type.map_or(0, str::len) + data.len());
    write_line(b"id: ", id, out);
    if let Some(event_type) = event_type.filter(|event_type| !event_type.is_empty()) {
        write_line(b"event: ", event_type, out);
    }
    write_data(data.as_bytes(), out);
    out.push(b'\n');
}

/// Appends a comment, which clients pass over. It keeps a quiet connection alive.
pub fn write_comment(text: &str, out: &mut Vec<u8>) {
    write_line(b": ", text, out);
    out.push(b'\n');
}

/// Appends how many milliseconds the client waits before it connects again.
pub fn write_retry(milliseconds: u32, out: &mut Vec<u8>) {
    write_line(b"retry: ", &milliseconds.to_string(), out);
    out.push(b'\n');
}

/// A client ignores an id with NUL, so that is dropped as well.
fn write_line(name: &[u8], value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    if value.bytes().any(|byte| byte <= b'\r') {
        out.extend(value.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | b'\0')));
    } else {
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'\n');
}

/// One `data` line per line. Events are nearly always one, which two quick searches tell.
fn write_data(mut data: &[u8], out: &mut Vec<u8>) {
    while data.contains(&b'\n') || data.contains(&b'\r') {
        let end = data.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(data.len());
        write_data_line(&data[..end], out);
        let break_bytes = if data[end..].starts_with(b"\r\n") { 2 } else { 1 };
        data = &data[end + break_bytes..];
    }
    write_data_line(data, out);
}

fn write_data_line(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(line);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Client {
        last_id: String,
        retry: Option<u32>,
        /// Type and data.
        events: Vec<(String, String)>,
    }

    /// The algorithm of WHATWG HTML 9.2.6, step by step.
    fn read(stream: &[u8]) -> Client {
        let text = String::from_utf8(stream.to_vec()).unwrap().replace("\r\n", "\n").replace('\r', "\n");
        let (mut client, mut data, mut event_type) = (Client::default(), String::new(), String::new());
        let lines = text.strip_suffix('\n').expect("a stream ends with a line").split('\n');
        for line in lines {
            if line.is_empty() {
                if let Some(data) = data.strip_suffix('\n') {
                    let kind = if event_type.is_empty() { "message" } else { &event_type };
                    client.events.push((kind.to_owned(), data.to_owned()));
                }
                data.clear();
                event_type.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => event_type = value.to_owned(),
                "data" => data.extend([value, "\n"]),
                "id" if !value.contains('\0') => client.last_id = value.to_owned(),
                "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                    client.retry = value.parse().ok()
                }
                _ => {}
            }
        }
        client
    }

    fn event(event_type: Option<&str>, data: &str) -> Client {
        let mut out = Vec::new();
        write_event("0a1b2c3d-7", event_type, data, &mut out);
        read(&out)
    }

    #[test]
    fn an_event_is_written_to_the_byte() {
        let mut out = Vec::new();
        write_event("0a1b2c3d-7", Some("order.new"), r#"{"type":"order.new"}"#, &mut out);
        assert_eq!(out, b"id: 0a1b2c3d-7\nevent: order.new\ndata: {\"type\":\"order.new\"}\n\n");
        out.clear();
        write_event("0a1b2c3d-8", None, "{}", &mut out);
        assert_eq!(out, b"id: 0a1b2c3d-8\ndata: {}\n\n");
    }

    #[test]
    fn what_is_written_comes_back_from_a_client() {
        for (data, received) in [
            ("", ""),
            ("{}", "{}"),
            (" a", " a"),
            (":", ":"),
            ("a\nb", "a\nb"),
            ("a\r\nb", "a\nb"),
            ("a\rb\n\rc", "a\nb\n\nc"),
            ("\r\n", "\n"),
            ("a\n", "a\n"),
            ("\u{feff}\0id: x", "\u{feff}\0id: x"),
        ] {
            let client = event(Some("t"), data);
            assert_eq!(client.events, [("t".to_owned(), received.to_owned())], "{data:?}");
            assert_eq!(client.last_id, "0a1b2c3d-7");
        }
    }

    #[test]
    fn a_type_cannot_break_out_of_its_line() {
        for (event_type, received) in [
            (Some(" a b"), " a b"),
            (Some("a\ndata: forged\r\n\r\nid: 9"), "adata: forgedid: 9"),
            (Some("\n"), "message"),
            (Some(""), "message"),
            (None, "message"),
        ] {
            let client = event(event_type, "{}");
            assert_eq!(client.events, [(received.to_owned(), "{}".to_owned())], "{event_type:?}");
            assert_eq!(client.last_id, "0a1b2c3d-7");
        }
    }

    #[test]
    fn comments_and_retry_are_no_events() {
        let mut out = Vec::new();
        write_retry(3000, &mut out);
        write_comment("", &mut out);
        write_comment("quiet\ndata: forged", &mut out);
        assert_eq!(out, b"retry: 3000\n\n: \n\n: quietdata: forged\n\n");
        assert_eq!(read(&out), Client { retry: Some(3000), ..Client::default() });
    }

    #[test]
    fn the_answer_has_no_length_and_is_not_kept_back() {
        let mut out = Vec::new();
        write_head("D", &[("Access-Control-Allow-Origin", "*")], &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             X-Accel-Buffering: no\r\nConnection: close\r\nDate: D\r\nAccess-Control-Allow-Origin: *\r\n\r\n"
        );
    }
}
