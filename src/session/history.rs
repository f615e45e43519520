//! Pages of stored events (contract 2): what `GET /history/{channel}` asks for, and how a page looks, there and in
//! dialect `courier.v1`.

use super::Refusal;
use super::query::{Start, position, refusal, time};
use crate::event::{Channel, Event, Facts, Position, unix_ms_of};
use crate::stdx::clock::rfc3339_ms;
use crate::wire::http::query;

/// Stored events in one answer, when nobody says how many (contract 2).
pub const PAGE_DEFAULT: u32 = 100;
/// The most that may be asked for.
pub const PAGE_MAX: u32 = 1000;

/// Which stored events are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// From where on; [`Start::Live`] is the oldest kept.
    pub from: Start,
    /// At most so many, 1..=[`PAGE_MAX`].
    pub limit: u32,
    /// The newest of them, and those first.
    pub newest_first: bool,
}

/// Reads a query. `after` goes before `since`; other parameters are not looked at.
///
/// # Errors
/// 400 that names every parameter at fault.
pub fn read(raw: &str) -> Result<PageQuery, Refusal> {
    let mut wanted = PageQuery { from: Start::Live, limit: PAGE_DEFAULT, newest_first: false };
    let mut faults: Vec<(&'static str, String)> = Vec::new();
    let mut fault = |name: &'static str, why: &str| faults.push((name, why.to_owned()));
    for (name, value) in query(raw) {
        match &*name {
            "after" => match position(&value) {
                Some(position) => wanted.from = Start::After(position),
                None => fault("after", "must be a position: 8 hex digits, a hyphen, a number"),
            },
            "since" => match (time(&value), wanted.from) {
                (Some(_), Start::After(_)) => {}
                (Some(unix_ms), _) => wanted.from = Start::Since(unix_ms),
                (None, _) => fault("since", "must be an RFC 3339 time"),
            },
            "limit" => match limit(&value) {
                Some(limit) => wanted.limit = limit,
                None => fault("limit", "must be 1 to 1000"),
            },
            "order" => match &*value {
                "oldest" => wanted.newest_first = false,
                "newest" => wanted.newest_first = true,
                _ => fault("order", "must be oldest or newest"),
            },
            _ => {}
        }
    }
    if faults.is_empty() { Ok(wanted) } else { Err(refusal(&faults)) }
}

fn limit(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|limit| digits && (1..=PAGE_MAX).contains(limit))
}

/// Where a page's channel stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'p> {
    /// Its name.
    pub channel: &'p Channel,
    /// Its numbering; `None`: there is no such channel.
    pub epoch: Option<u32>,
    /// The first and the last stored event.
    pub kept: Option<(Position, Position)>,
}

/// Appends `{channel, epoch, first, last, events: [{id, timestamp, event}]}`; events are verbatim.
pub fn write_page<'e>(
    standing: &Standing<'_>,
    events: impl Iterator<Item = (Position, &'e Event)>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    write_page_fields(standing, events, out);
    out.push(b'}');
}

/// [`write_page`] without the braces around.
pub fn write_page_fields<'e>(
    standing: &Standing<'_>,
    events: impl Iterator<Item = (Position, &'e Event)>,
    out: &mut Vec<u8>,
) {
    let Standing { channel, epoch, kept } = standing;
    let text = |word: Option<String>| word.map_or_else(|| "null".to_owned(), |word| format!("\"{word}\""));
    let head = format!(
        "\"channel\":\"{channel}\",\"epoch\":{},\"first\":{},\"last\":{},\"events\":[",
        text(epoch.map(|epoch| format!("{epoch:08x}"))),
        text(kept.map(|(first, _)| first.to_string())),
        text(kept.map(|(_, last)| last.to_string())),
    );
    out.extend_from_slice(head.as_bytes());
    let mut is_first = true;
    for (position, event) in events {
        if !std::mem::replace(&mut is_first, false) {
            out.push(b',');
        }
        write_stored(position, event, out);
    }
    out.push(b']');
}

fn write_stored(position: Position, event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"");
    position.write(out);
    out.extend_from_slice(b"\",\"timestamp\":\"");
    // As the answer to its publish said (contract 3.1).
    let own = Facts::read(event.text()).ok().and_then(|facts| unix_ms_of(facts.timestamp.0.as_deref()?));
    let mut stamp = [0; 24];
    rfc3339_ms(own.unwrap_or(event.at_ms()), &mut stamp);
    out.extend_from_slice(&stamp);
    out.extend_from_slice(b"\",\"event\":");
    out.extend_from_slice(event.payload());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_query_says_which_and_names_every_fault() {
        let plain = PageQuery { from: Start::Live, limit: 100, newest_first: false };
        assert_eq!(read("token=x").unwrap(), plain);
        let all = read("since=1970-01-01T00:00:01Z&limit=1000&order=newest").unwrap();
        assert_eq!(all, PageQuery { from: Start::Since(1000), limit: 1000, newest_first: true });
        let place = Start::After(Position { epoch: 0xab, offset: 7 });
        for raw in
            ["after=000000ab-7&since=1970-01-01T00:00:01Z", "since=1970-01-01T00:00:01Z&after=000000ab-7"]
        {
            assert_eq!(read(raw).unwrap().from, place);
        }
        let refusal = read("since=&after=5&limit=%2B5&order=").unwrap_err();
        let fields: Vec<&str> = refusal.facts["validation_errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["field"].as_str().unwrap())
            .collect();
        assert_eq!((refusal.status, fields), (400, vec!["/since", "/after", "/limit", "/order"]));
        for bad in ["0", "1001", "", "-1", "1.5", "99999999999", " 5", "0x10"] {
            assert_eq!(limit(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_page_shows_events_as_they_were() {
        let channel = Channel::parse("a").unwrap();
        let text = r#"{ "x":1.0, "timestamp":"2026-11-21T16:36:15.9+02:00" }"#;
        let event = Event::new(text, &Facts::default(), None, 5);
        let at = |offset| Position { epoch: 0xab, offset };
        let standing = Standing { channel: &channel, epoch: Some(0xab), kept: Some((at(3), at(9))) };
        let mut out = Vec::new();
        write_page(&standing, [(at(4), &event), (at(5), &event)].into_iter(), &mut out);
        let page: Value = serde_json::from_slice(&out).unwrap();
        let stored = |id: &str| json!({"id":id,"timestamp":"2026-11-21T14:36:15.900Z","event":serde_json::from_str::<Value>(text).unwrap()});
        assert_eq!(
            page,
            json!({"channel":"a","epoch":"000000ab","first":"000000ab-3","last":"000000ab-9",
                   "events":[stored("000000ab-4"),stored("000000ab-5")]})
        );
        assert!(String::from_utf8(out.clone()).unwrap().contains(text));
        out.clear();
        write_page(&Standing { channel: &channel, epoch: None, kept: None }, std::iter::empty(), &mut out);
        assert_eq!(out, br#"{"channel":"a","epoch":null,"first":null,"last":null,"events":[]}"#);
    }
}
