//! What is asked of dead letters over HTTP (`/dead-letters`), and how the answers look.

use super::admission::{Admitted, Draft, Limits, bad_event};
use super::history::{PAGE_DEFAULT, PAGE_MAX};
use super::query::{position, refusal, time};
use super::{Options, Refusal, cloudevents};
use crate::event::{Cause, Channel, Event, Extras, Facts, Position};
use crate::stdx::clock::Now;
use crate::wire::http::query;
use serde_json::{Value, json};

/// Which letters, and how many of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterQuery {
    /// This one.
    pub id: Option<Position>,
    /// Of events of this channel.
    pub channel: Option<Channel>,
    /// For this reason.
    pub cause: Option<Cause>,
    /// That died before this time, in Unix milliseconds.
    pub before_ms: Option<u64>,
    /// Behind this one, in a list.
    pub after: Option<Position>,
    /// At most so many, in a list.
    pub limit: u32,
    /// All, said in so many words.
    all: bool,
}

impl LetterQuery {
    fn is_filtered(&self) -> bool {
        self.id.is_some() || self.channel.is_some() || self.cause.is_some() || self.before_ms.is_some()
    }
}

type Faults = Vec<(&'static str, String)>;

/// Reads the query of a list; parameters that are unknown are not looked at.
///
/// # Errors
/// 400 that names every parameter at fault.
pub fn read_list(raw: &str) -> Result<LetterQuery, Refusal> {
    let mut wanted = LetterQuery { limit: PAGE_DEFAULT, ..LetterQuery::default() };
    let mut faults = Faults::new();
    for (name, value) in query(raw) {
        match &*name {
            "after" => match position(&value) {
                Some(after) => wanted.after = Some(after),
                None => faults.push(("after", NO_ID.to_owned())),
            },
            "limit" => match value.parse() {
                Ok(limit @ 1..=PAGE_MAX) if !value.starts_with('+') => wanted.limit = limit,
                _ => faults.push(("limit", format!("must be 1 to {PAGE_MAX}"))),
            },
            _ => drop(filter(&mut wanted, &name, &value, &mut faults)),
        }
    }
    if faults.is_empty() { Ok(wanted) } else { Err(refusal(&faults)) }
}

/// Reads the query of a purge or a retry. A slip of the pen must not mean all of them: an unknown parameter is refused,
/// and who means all says so.
///
/// # Errors
/// 400 that names every parameter at fault.
pub fn read_change(raw: &str) -> Result<LetterQuery, Refusal> {
    let (mut wanted, mut faults) = (LetterQuery::default(), Faults::new());
    for (name, value) in query(raw) {
        match (&*name, &*value) {
            // Who asks, which was looked at before.
            ("token", _) => {}
            ("all", "true") => wanted.all = true,
            ("all", _) => faults.push(("all", "must be true".to_owned())),
            _ if filter(&mut wanted, &name, &value, &mut faults) => {}
            _ => faults.push(("", format!("{:?} is unknown", name.chars().take(40).collect::<String>()))),
        }
    }
    if faults.is_empty() && wanted.all == wanted.is_filtered() {
        faults.push(("all", "name id, channel, reason or before, or else say all=true".to_owned()));
    }
    if faults.is_empty() { Ok(wanted) } else { Err(refusal(&faults)) }
}

const NO_ID: &str = "must be the id of a letter: 8 hex digits, a hyphen, a number";

/// Takes a parameter that says which letters; answers whether it is one.
fn filter(wanted: &mut LetterQuery, name: &str, value: &str, faults: &mut Faults) -> bool {
    match name {
        "id" => match position(value) {
            Some(id) => wanted.id = Some(id),
            None => faults.push(("id", NO_ID.to_owned())),
        },
        "channel" => match Channel::parse(value) {
            Ok(channel) => wanted.channel = Some(channel),
            Err(why) => faults.push(("channel", why.to_string())),
        },
        "reason" => match Cause::parse(value) {
            Some(cause) => wanted.cause = Some(cause),
            None => {
                faults.push(("reason", format!("must be {}", Cause::ALL.map(Cause::word).join(", "))));
            }
        },
        "before" => match time(value) {
            Some(unix_ms) => wanted.before_ms = Some(unix_ms),
            None => faults.push(("before", "must be an RFC 3339 time".to_owned())),
        },
        _ => return false,
    }
    true
}

/// Checks a letter's event as it was when it was published: what has the attributes of a CloudEvent is one.
///
/// # Errors
/// 400 or 413 as a [`Refusal`]: it would be refused now.
pub fn admit<'f, 'l: 'f>(
    (channel, text): (&'l str, &'l str),
    facts: &'f mut Facts<'l>,
    extras: Extras,
    limits: &Limits,
    options: &Options,
    now: Now,
) -> Result<Admitted<'f>, Refusal> {
    facts.fill(text).map_err(bad_event)?;
    let cloud = cloudevents::recognise(text, facts);
    let draft = Draft { channel: channel.into(), text, facts, extras: Some(Box::new(extras)), cloud };
    draft.pass(None, limits, options, now)
}

/// There is no letter of this id.
pub fn not_found() -> Refusal {
    Refusal::new(404, "Not Found", "There is no such dead letter")
}

/// A page of letters: each is what was told of it, with its id in front.
pub fn write_page<'e>(total: usize, letters: impl Iterator<Item = (Position, &'e Event)>) -> Vec<u8> {
    let mut out = format!("{{\"total\":{total},\"letters\":[").into_bytes();
    for (at, (id, told)) in letters.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"id\":\"");
        id.write(&mut out);
        out.extend_from_slice(b"\",");
        out.extend_from_slice(&told.payload()[1..]);
    }
    out.extend_from_slice(b"]}");
    out
}

/// The answer to a purge.
pub fn purged(count: usize) -> Vec<u8> {
    json!({ "purged": count }).to_string().into_bytes()
}

/// What became of one letter that was published again: its new position and whom it reached, or why it was refused.
pub type Outcome<'r> = Result<(Position, u32), (&'static str, &'r str)>;

/// The answer to a retry; `left` says how many more there are for which the filter holds.
pub fn retried<'r>(
    outcomes: impl Iterator<Item = (Position, &'r Channel, Outcome<'r>)>,
    left: usize,
) -> Vec<u8> {
    let (mut done, mut failed, mut letters) = (0, 0, Vec::<Value>::new());
    for (id, channel, outcome) in outcomes {
        letters.push(match outcome {
            Ok((position, reached)) => {
                done += 1;
                json!({ "id": id.to_string(), "channel": channel.as_str(), "status": "published",
                        "position": position.to_string(), "clients_reached": reached })
            }
            Err((error, message)) => {
                failed += 1;
                json!({ "id": id.to_string(), "channel": channel.as_str(), "status": "error",
                        "error": error, "message": message })
            }
        });
    }
    let body = json!({ "retried": done, "failed": failed, "left": left, "letters": letters });
    body.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(refusal: Refusal) -> Vec<String> {
        assert_eq!(refusal.status, 400);
        let list = refusal.facts["validation_errors"].as_array().unwrap();
        list.iter().map(|fault| fault["field"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_list_says_which_and_names_every_fault() {
        let plain = LetterQuery { limit: PAGE_DEFAULT, ..LetterQuery::default() };
        assert_eq!(read_list("token=x").unwrap(), plain);
        let all = read_list(
            "id=000000ab-7&channel=a.b&reason=expired&before=1970-01-01T00:00:01Z&after=000000ab-1&limit=1000",
        );
        let at = |offset| Some(Position { epoch: 0xab, offset });
        let wanted = LetterQuery {
            id: at(7),
            channel: Channel::parse("a.b").ok(),
            cause: Some(Cause::Expired),
            before_ms: Some(1000),
            after: at(1),
            limit: 1000,
            all: false,
        };
        assert_eq!(all.unwrap(), wanted);
        let bad = read_list("id=x&channel=a%20b&reason=boredom&before=now&after=5&limit=1001").unwrap_err();
        assert_eq!(faults(bad), ["/id", "/channel", "/reason", "/before", "/after", "/limit"]);
        for limit in ["0", "%2B5", "-1", "", "1.0"] {
            assert_eq!(faults(read_list(&format!("limit={limit}")).unwrap_err()), ["/limit"], "{limit}");
        }
    }

    #[test]
    fn nobody_purges_all_by_a_slip_of_the_pen() {
        assert!(read_change("all=true").is_ok() && read_change("channel=a&reason=sink").is_ok());
        for (raw, field) in [
            ("", "/all"),
            ("chanel=a", "/"),
            ("all=yes", "/all"),
            ("all=true&channel=a", "/all"),
            ("limit=5&all=true", "/"),
            ("channel=", "/channel"),
        ] {
            assert_eq!(faults(read_change(raw).unwrap_err()), [field], "{raw}");
        }
    }

    #[test]
    fn a_letter_is_what_was_told_with_its_id_in_front() {
        let told = Event::new(r#"{"type":"dead_letter","event":{"x":1.0}}"#, &Default::default(), None, 0);
        let id = Position { epoch: 0xab, offset: 7 };
        let page = write_page(9, [(id, &told), (id, &told)].into_iter());
        let letter = r#"{"id":"000000ab-7","type":"dead_letter","event":{"x":1.0}}"#;
        let expected = format!(r#"{{"total":9,"letters":[{letter},{letter}]}}"#);
        assert_eq!(String::from_utf8(page).unwrap(), expected);
        assert_eq!(write_page(0, std::iter::empty()), br#"{"total":0,"letters":[]}"#);
    }
}
