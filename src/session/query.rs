//! What a subscriber's query asks for (contract 2, 7, 9): which channels, which of their events, from when on, in
//! which format. Read once, when a stream or a socket is opened; the caller turns a refusal into a close on a socket.

use super::Refusal;
use crate::event::{Channel, Filter, Position, Priorities, Priority, unix_ms_since};
use crate::wire::http::query;
use serde_json::{Value, json};

/// The wishes of one subscriber.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `channel`, each once, in the order given.
    pub channels: Vec<Channel>,
    /// `types`, `priorities` and `sources`, if there is a condition among them.
    pub filter: Option<Filter>,
    /// `since`, `after`, `last_event_id`.
    pub from: Start,
    /// Of a stream of several channels, in their order: behind which event each begins, where that is known. Empty
    /// unless the last id seen, or `after`, names several.
    pub places: Vec<Option<Position>>,
    /// `format`.
    pub format: Format,
}

/// From when on events are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// From now on.
    #[default]
    Live,
    /// Those that are kept and not older, in Unix milliseconds.
    Since(u64),
    /// Those that come behind this one.
    After(Position),
}

/// How events are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As they were published.
    #[default]
    Raw,
    /// Each as a CloudEvent.
    CloudEvents,
}

impl Format {
    /// What an `Accept` field asks for.
    pub fn of_accept(accept: Option<&str>) -> Format {
        let wanted = accept.is_some_and(|accept| accept.contains("application/cloudevents+json"));
        if wanted { Format::CloudEvents } else { Format::Raw }
    }
}

/// Reads a query. `last_event_id` is the header field of that name, which a browser sends when it comes back, so that
/// it goes before what the page's address says; then come `last_event_id`, `after` and `since`. Other parameters
/// are not looked at.
///
/// # Errors
/// 400 that names every parameter at fault.
pub fn read(raw: &str, last_event_id: Option<&str>, channels_max: usize) -> Result<Wanted, Refusal> {
    let mut reader = Reader::default();
    for (name, value) in query(raw) {
        reader.take(&name, &value);
    }
    if let Some(id) = last_event_id {
        reader.take("last_event_id", id);
    }
    if reader.channels.len() > channels_max {
        reader.fault("channel", format!("at most {channels_max} channels"));
    }
    if !reader.faults.is_empty() {
        return Err(refusal(&reader.faults));
    }
    Ok(Wanted {
        channels: reader.channels,
        filter: Filter::new(reader.types, Priorities::only(reader.priorities), reader.sources),
        places: reader.places,
        from: match (reader.last_seen.or(reader.after), reader.since_ms) {
            (Some(position), _) => Start::After(position),
            (None, Some(ms)) => Start::Since(ms),
            (None, None) => Start::Live,
        },
        format: reader.format,
    })
}

#[derive(Default)]
struct Reader {
    channels: Vec<Channel>,
    types: Vec<String>,
    priorities: Vec<Priority>,
    sources: Vec<String>,
    last_seen: Option<Position>,
    after: Option<Position>,
    since_ms: Option<u64>,
    /// Of several channels; the last parameter that has some counts.
    places: Vec<Option<Position>>,
    format: Format,
    faults: Vec<(&'static str, String)>,
}

impl Reader {
    fn fault(&mut self, name: &'static str, why: impl Into<String>) {
        self.faults.push((name, why.into()));
    }

    fn take(&mut self, name: &str, value: &str) {
        match name {
            "channel" => self.take_channel(value),
            "types" => words(value).for_each(|word| self.take_type(word)),
            "priorities" => words(value).for_each(|word| match Priority::word(word) {
                Some(priority) => self.priorities.push(priority),
                None => self.fault("priorities", format!("'{}' is no priority", cut(word))),
            }),
            "sources" => self.sources.extend(words(value).map(str::to_owned)),
            "format" => match value {
                "raw" => self.format = Format::Raw,
                "cloudevents" => self.format = Format::CloudEvents,
                _ => self.fault("format", "must be raw or cloudevents"),
            },
            // A page that has seen nothing yet may say so with nothing.
            "last_event_id" if value.is_empty() => {}
            "since" => match time(value) {
                Some(ms) => self.since_ms = Some(ms),
                None => self.fault("since", "must be an RFC 3339 time"),
            },
            "after" | "last_event_id" => self.take_place(name, value),
            _ => {}
        }
    }

    fn take_place(&mut self, name: &str, value: &str) {
        let is_after = name == "after";
        if value.contains(',') {
            // What was seen last goes before what the address says.
            match places(value) {
                Some(_) if is_after && (self.last_seen.is_some() || !self.places.is_empty()) => {}
                Some(places) => (self.places, self.last_seen) = (places, None),
                None => self.fault(if is_after { "after" } else { "last_event_id" }, NO_POSITION),
            }
            return;
        }
        match position(value) {
            Some(position) if is_after => self.after = Some(position),
            Some(position) => (self.last_seen, self.places) = (Some(position), Vec::new()),
            None => self.fault(if is_after { "after" } else { "last_event_id" }, NO_POSITION),
        }
    }

    fn take_channel(&mut self, name: &str) {
        match Channel::parse(name) {
            Ok(channel) if self.channels.contains(&channel) => {}
            Ok(channel) => self.channels.push(channel),
            Err(why) => self.fault("channel", why.to_string()),
        }
    }

    fn take_type(&mut self, word: &str) {
        if !is_type_filter(word) {
            return self.fault("types", format!("'{}': a star may only follow the last dot", cut(word)));
        }
        self.types.push(word.to_owned());
    }
}

/// Whether a type may be asked for so: exact, or with a star behind its last dot.
pub(super) fn is_type_filter(word: &str) -> bool {
    !word.strip_suffix(".*").unwrap_or(word).contains('*')
}

const NO_POSITION: &str = "must be a position: 8 hex digits, a hyphen, a number";

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// Enough of a word to find it again.
fn cut(word: &str) -> String {
    word.chars().take(40).collect()
}

/// A plus sign that was not escaped arrives as a space; only the zone of a time has one.
pub(super) fn time(text: &str) -> Option<u64> {
    let mended = || text.rsplit_once(' ').and_then(|(time, zone)| unix_ms_since(&format!("{time}+{zone}")));
    unix_ms_since(text).or_else(mended)
}

/// Reads the places in several channels, between commas; one may be left out.
fn places(text: &str) -> Option<Vec<Option<Position>>> {
    let place = |part: &str| if part.is_empty() { Some(None) } else { position(part).map(Some) };
    text.split(',').map(place).collect()
}

/// Channel names in a report, unless `?limit=` asks for fewer (contract 16).
const REPORT_NAMES_MAX: usize = 1000;

/// How many channel names a report is to have at most.
///
/// # Errors
/// 400 when that is no number of names.
pub fn names_asked(raw: &str) -> Result<usize, Refusal> {
    let Some((_, text)) = query(raw).find(|(name, _)| name == "limit") else { return Ok(REPORT_NAMES_MAX) };
    match text.parse::<usize>() {
        Ok(n @ 1..=REPORT_NAMES_MAX) => Ok(n),
        _ => Err(Refusal::new(400, "Invalid query", format!("limit must be 1 to {REPORT_NAMES_MAX}"))
            .at("/limit", "must be 1 to 1000")),
    }
}

/// Reads the text form of a position.
pub fn position(text: &str) -> Option<Position> {
    Position::parse(text)
}

pub(super) fn refusal(faults: &[(&'static str, String)]) -> Refusal {
    let words: Vec<String> = faults.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    let list: Vec<Value> =
        faults.iter().map(|(name, why)| json!({ "field": format!("/{name}"), "message": why })).collect();
    Refusal::new(400, "Invalid query", words.join("; ")).fact("validation_errors", list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(number: u64) -> Priority {
        Priority::new(number).unwrap()
    }

    fn fields(raw: &str) -> Vec<String> {
        let refusal = read(raw, None, 2).unwrap_err();
        assert_eq!((refusal.status, refusal.error), (400, "Invalid query"));
        let list = refusal.facts["validation_errors"].as_array().unwrap();
        list.iter().map(|fault| fault["field"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn nothing_asked_is_everything_from_now_on() {
        assert_eq!(read("", None, 0).unwrap(), Wanted::default());
        assert_eq!(
            read("token=x&limit=5&types=&sources=,&last_event_id=", None, 0).unwrap(),
            Wanted::default()
        );
    }

    #[test]
    fn lists_are_comma_separated_and_repeated() {
        let wanted = read(
            "types=a,b.*&types=c%2Ca&priorities=high,9&sources=s%20t&channel=x&channel=y&channel=x",
            None,
            2,
        )
        .unwrap();
        let types = ["a", "b.*", "c"].map(str::to_owned).to_vec();
        let priorities = Priorities::only([priority(7), priority(9)]);
        assert_eq!(wanted.filter, Filter::new(types, priorities, vec!["s t".to_owned()]));
        assert_eq!(wanted.channels.iter().map(Channel::as_str).collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn what_a_browser_saw_last_goes_before_what_the_address_says() {
        let seen = |offset| Start::After(Position { epoch: 0xab, offset });
        let all = "since=2026-11-21T14:36:15Z&after=000000ab-1&last_event_id=000000ab-2";
        assert_eq!(read(all, Some("000000ab-3"), 0).unwrap().from, seen(3));
        assert_eq!(read(all, None, 0).unwrap().from, seen(2));
        assert_eq!(read(all, Some(""), 0).unwrap().from, seen(2));
        assert_eq!(read(&all[..44], None, 0).unwrap().from, seen(1));
        assert_eq!(read(&all[..26], None, 0).unwrap().from, Start::Since(1_795_271_775_000));
    }

    #[test]
    fn a_stream_of_several_channels_has_a_place_in_each() {
        let at = |offset| Some(Position { epoch: 0xab, offset });
        let header = Some("000000ab-1,,000000ab-3");
        let wanted = read("since=1970-01-01T00:00:01Z&after=000000ab-9,000000ab-9", header, 0).unwrap();
        assert_eq!(wanted.places, [at(1), None, at(3)]);
        assert_eq!(read("after=000000ab-9,000000ab-8", None, 0).unwrap().places, [at(9), at(8)]);
        assert_eq!(read("after=000000ab-9,000000ab-8", Some("000000ab-7"), 0).unwrap().places, []);
        assert!(read("", Some("1,2,3"), 0).is_err() && read("after=000000ab-1,x", None, 0).is_err());
    }

    #[test]
    fn a_time_may_have_a_zone_that_was_not_escaped() {
        let since = |raw: &str| read(raw, None, 0).unwrap().from;
        assert_eq!(since("since=2026-11-21T16:36:15+02:00"), Start::Since(1_795_271_775_000));
        assert_eq!(since("since=2026-11-21T16:36:15%2B02:00"), Start::Since(1_795_271_775_000));
    }

    #[test]
    fn every_parameter_at_fault_is_named() {
        assert_eq!(
            fields("types=*&priorities=0,urgent&since=soon&after=1&format=xml&channel=a%20b"),
            ["/types", "/priorities", "/priorities", "/since", "/after", "/format", "/channel"]
        );
        assert_eq!(fields("channel=a&channel=b&channel=c"), ["/channel"]);
        for bad in ["0000000g-1", "000000AB-1", "000000ab-", "000000ab-+1", "000000ab-99999999999999999999"] {
            assert_eq!(position(bad), None, "{bad}");
        }
        assert!(read("", Some("x"), 0).is_err());
    }

    #[test]
    fn the_format_is_asked_for_by_name_or_by_media_type() {
        assert_eq!(read("format=cloudevents", None, 0).unwrap().format, Format::CloudEvents);
        assert_eq!(Format::of_accept(Some("text/html, application/cloudevents+json")), Format::CloudEvents);
        assert_eq!(Format::of_accept(Some("*/*")), Format::Raw);
    }
}
