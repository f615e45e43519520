//! From a publish request's body to an event that may go out, and the answer to it (contract 3.1, 3.3, 3.4).
//! What is checked here is never checked again.

mod answer;
mod checks;
mod envelope;
mod faults;
mod schema;
mod stamp;
mod trace;

pub use answer::{own_time, retime_answer_head, write_answer_head, write_answer_tail};
pub use envelope::{KEY_CHARS_MAX, idempotency_key};
pub use faults::too_large;
pub(super) use faults::{bad_event, field_faults, invalid_json};
pub use schema::MISFIT;

use super::Options;
use super::refusal::Refusal;
use crate::event::{BadEvent, Event, Extras, Facts};
use crate::stdx::clock::Now;
use checks::{check_sizes, check_source};
use envelope::Opened;
use stamp::stamped;
use std::borrow::Cow;
use trace::is_traceparent;

/// One publish, as it was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'b> {
    /// The channel of the path, decoded; `None`: the body names it.
    pub channel: Option<&'b str>,
    /// The body, or one item of a batch.
    pub body: &'b [u8],
    /// `X-Service-Name`
    pub service: Option<&'b str>,
    /// `Idempotency-Key`, checked; for an item of a batch its own.
    pub key: Option<&'b str>,
    /// `traceparent`
    pub traceparent: Option<&'b str>,
}

/// An event on its way: valid, within the limits, from whom it says.
#[derive(Debug)]
pub struct Admitted<'b> {
    /// Where to.
    pub channel: Cow<'b, str>,
    /// What subscribers get, with what its publisher said about it.
    pub event: Event,
    /// What was read of it.
    pub facts: &'b Facts<'b>,
}

/// Checks a publish. What is read of the event is put into `facts`, where it stays.
///
/// # Errors
/// 400 or 413 as a [`Refusal`] that names every field at fault.
pub fn admit<'f, 'b: 'f>(
    said: &Said<'b>,
    facts: &'f mut Facts<'b>,
    limits: &Limits,
    options: &Options,
    now: Now,
) -> Result<Admitted<'f>, Refusal> {
    let text = text(said.body)?;
    let Opened { channel, event, extras } = match said.channel {
        Some(channel) => {
            facts.fill(text).map_err(bad_event)?;
            Opened { channel: Cow::Borrowed(channel), event: text, extras: None }
        }
        None => envelope::open(text, facts, now)?,
    };
    if facts.is_empty() {
        return Err(bad_event(BadEvent::Empty));
    }
    let extras = with_fields(extras, said.key, said.traceparent);
    let draft = Draft { channel, text: event, facts, extras, cloud: false };
    draft.pass(said.service, limits, options, now)
}

/// Checks an event that a dialect has made, and so knows to be well-formed but for its sizes.
///
/// # Errors
/// 400 or 413 as a [`Refusal`].
pub fn admit_made<'f, 'b: 'f>(
    (channel, text): (&'b str, &'b str),
    facts: &'f mut Facts<'b>,
    extras: &Extras,
    limits: &Limits,
    options: &Options,
    now: Now,
) -> Result<Admitted<'f>, Refusal> {
    facts.fill(text).map_err(bad_event)?;
    let extras = Some(Box::new(extras.clone()));
    let draft = Draft { channel: Cow::Borrowed(channel), text, facts, extras, cloud: false };
    draft.pass(None, limits, options, now)
}

/// A body as text.
///
/// # Errors
/// 400 with the place where it stops being UTF-8.
pub(super) fn text(body: &[u8]) -> Result<&str, Refusal> {
    simdutf8::compat::from_utf8(body).map_err(|e| {
        let at = e.valid_up_to();
        Refusal::new(400, "Invalid JSON", format!("The body is not UTF-8: byte {at} cannot stand there"))
    })
}

/// Adds what header fields say of an event. A key in the body names one event and goes before that of the request.
#[inline]
pub(super) fn with_fields(
    extras: Option<Box<Extras>>,
    key: Option<&str>,
    traceparent: Option<&str>,
) -> Option<Box<Extras>> {
    if key.is_none() && traceparent.is_none() { extras } else { add_fields(extras, key, traceparent) }
}

#[inline(never)]
fn add_fields(
    extras: Option<Box<Extras>>,
    key: Option<&str>,
    traceparent: Option<&str>,
) -> Option<Box<Extras>> {
    let traceparent = traceparent.filter(|text| is_traceparent(text));
    if key.is_none() && traceparent.is_none() {
        return extras;
    }
    let mut extras = extras.unwrap_or_default();
    if extras.id.is_none() {
        extras.id = key.map(Into::into);
    }
    extras.traceparent = traceparent.map(Into::into);
    Some(extras)
}

/// The sizes of contract 14, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a whole event.
    pub event_bytes_max: usize,
    /// Of its `data`.
    pub payload_bytes_max: usize,
    /// Of its `metadata`.
    pub metadata_bytes_max: usize,
}

/// An event that was read, before it is let in.
pub(super) struct Draft<'b> {
    pub channel: Cow<'b, str>,
    pub text: &'b str,
    pub facts: &'b Facts<'b>,
    pub extras: Option<Box<Extras>>,
    /// It is a CloudEvent.
    pub cloud: bool,
}

impl<'b> Draft<'b> {
    /// Lets the event in.
    ///
    /// # Errors
    /// 413 for its size, 400 for its source, or because it does not fit its schema.
    #[inline(always)] // moving a draft costs as much as half of what is looked at here
    pub fn pass(
        self,
        service: Option<&str>,
        limits: &Limits,
        options: &Options,
        now: Now,
    ) -> Result<Admitted<'b>, Refusal> {
        let Draft { channel, text, facts, mut extras, cloud } = self;
        check_sizes(text, facts, limits)?;
        check_source(facts, service)?;
        if let Some(extras) = &mut extras {
            extras.keep = extras.expires_us.is_some() && (extras.keep || options.keep_expired);
        }
        let place = match &options.schemas {
            Some(policy) => match schema::check(policy, &channel, text, facts, cloud) {
                Err(refusal) if options.keep_refused => {
                    let event = Event::new(text, facts, extras, now.unix_ms);
                    return Err(refusal.keeping(&channel, event));
                }
                checked => checked?,
            },
            None => None,
        };
        let text = stamped(text, facts, place, options.stamp, now);
        let event = Event::new(&text, facts, extras, now.unix_ms);
        Ok(Admitted { channel, event, facts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;
    use crate::session::Stamp;
    use crate::stdx::clock::TimeText;
    use serde_json::{Value, json};

    const LIMITS: Limits = Limits { event_bytes_max: 1000, payload_bytes_max: 100, metadata_bytes_max: 50 };
    const NOW: Now = Now { steady_us: 0, unix_ms: 1_795_271_775_123 };

    fn options(stamp: Stamp) -> Options {
        Options { stamp, ..crate::session::tests_support::options() }
    }

    fn said<'b>(channel: Option<&'b str>, body: &'b [u8]) -> Said<'b> {
        Said { channel, body, ..Said::default() }
    }

    fn refused(channel: Option<&str>, body: &str, service: Option<&str>) -> Refusal {
        let said = Said { channel, body: body.as_bytes(), service, ..Said::default() };
        admit(&said, &mut Facts::default(), &LIMITS, &options(Stamp::Validated), NOW).unwrap_err()
    }

    #[test]
    fn both_forms_give_the_event_verbatim() {
        let event = r#"{ "b" : 1.0e0, "a":"\u00e9", "a":2 }"#;
        let options = options(Stamp::Validated);
        let whole = format!("{{\"data\": {event} ,\"channel\":\"\\u0063\"}}");
        let mut facts = Facts::default();
        let admitted = admit(&said(None, whole.as_bytes()), &mut facts, &LIMITS, &options, NOW).unwrap();
        assert_eq!((&*admitted.channel, admitted.event.text()), ("c", event));
        let mut facts = Facts::default();
        let said = said(Some("c"), event.as_bytes());
        let admitted = admit(&said, &mut facts, &LIMITS, &options, NOW).unwrap();
        assert_eq!(admitted.event.text(), event);
    }

    #[test]
    fn every_fault_is_named() {
        for (body, error, fields) in [
            ("{}", "Invalid request", "/channel /data"),
            (r#"{"channel":1,"data":[]}"#, "Invalid request", "/channel /data"),
            (r#"{"channel":"a b","data":{"x":1}}"#, "Invalid channel name", "/channel"),
            (r#"{"channel":"a","data":{}}"#, "Invalid message data", "/data"),
            (r#"{"channel":"a","data":{"x":1},"priority":11,"ttl":-1}"#, "Invalid request", "/priority /ttl"),
            (r#"["a",{"x":1}]"#, "Invalid request", ""),
            (r#"{"channel":"a","data":{"x":}}"#, "Invalid JSON", "none"),
            (r#"{"channel":"a","channel":"b","data":{"x":1}}"#, "Invalid request", "/channel"),
        ] {
            let refusal = refused(None, body, None);
            let fields_found: Vec<&str> = match refusal.facts.get("validation_errors") {
                Some(list) => list.as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect(),
                None => vec!["none"],
            };
            assert_eq!((refusal.status, refusal.error), (400, error), "{body}");
            assert_eq!(fields_found.join(" "), fields, "{body}");
        }
    }

    #[test]
    fn sizes_and_source_are_checked() {
        let long = "x".repeat(120);
        let refusal = refused(Some("c"), &format!(r#"{{"type":"t","data":"{long}"}}"#), None);
        assert_eq!((refusal.status, &refusal.facts["component"]), (413, &json!("payload")));
        let refusal = refused(Some("c"), &format!(r#"{{"metadata":{{"a":"{long}"}}}}"#), None);
        assert_eq!((refusal.status, &refusal.facts["component"]), (413, &json!("metadata")));
        let refusal = refused(Some("c"), r#"{"type":"t","metadata":{"source":"a"}}"#, Some("b"));
        assert_eq!(refusal.error, "Event source mismatch");
        assert_eq!(refusal.facts["event_type"], "t");
        // One true source once hid a false one from the check, and not from those who read the other form.
        let refusal = refused(Some("c"), r#"{"source":"b","metadata":{"source":"a"}}"#, Some("b"));
        assert_eq!(refusal.message, "Event source 'a' does not match X-Service-Name header 'b'");
    }

    #[test]
    fn the_answer_is_json_with_the_events_own_time_in_utc() {
        let event = r#"{"type":"a\"b","timestamp":"2026-11-21T16:36:15.9+02:00"}"#;
        let (said, mut facts) = (said(Some("c"), event.as_bytes()), Facts::default());
        let admitted = admit(&said, &mut facts, &LIMITS, &options(Stamp::Validated), NOW).unwrap();
        let mut out = Vec::new();
        write_answer_head(&admitted.channel, admitted.facts, TimeText::default().at(NOW.unix_ms), &mut out);
        write_answer_tail(Position { epoch: 0xab, offset: 7 }, 3, None, &mut out);
        let answer: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            answer,
            json!({"status":"published","channel":"c","event_type":"a\"b","clients_reached":3,
                   "timestamp":"2026-11-21T14:36:15.900Z","id":"000000ab-7"})
        );
    }

    #[test]
    fn another_time_takes_the_place_of_the_first() {
        let (mut head, mut wanted) = (Vec::new(), Vec::new());
        let facts = Facts::read(r#"{"type":"a"}"#).unwrap();
        write_answer_head("c", &facts, TimeText::default().at(NOW.unix_ms), &mut head);
        retime_answer_head(&mut head, NOW.unix_ms + 86_400_001);
        write_answer_head("c", &facts, TimeText::default().at(NOW.unix_ms + 86_400_001), &mut wanted);
        assert_eq!(head, wanted);
    }

    #[test]
    fn header_fields_go_with_the_event_and_an_id_in_the_body_before_them() {
        const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let fields = Said { key: Some("k"), traceparent: Some(TRACE), ..said(None, b"") };
        let options = options(Stamp::Validated);
        let admitted = |body: &[u8]| {
            let said = Said { body, ..fields };
            admit(&said, &mut Facts::default(), &LIMITS, &options, NOW).unwrap().event
        };
        let event = admitted(br#"{"channel":"a","data":{"x":1}}"#);
        let extras = event.extras().unwrap();
        assert_eq!((extras.id.as_deref(), extras.traceparent.as_deref()), (Some("k"), Some(TRACE)));
        let event = admitted(br#"{"channel":"a","data":{"x":1},"id":"own"}"#);
        assert_eq!(event.extras().unwrap().id.as_deref(), Some("own"));
    }

    #[test]
    fn a_malformed_traceparent_is_passed_over() {
        let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (text, good) in [
            (format!("00-{trace}-{parent}-00"), true),
            (format!("cc-{trace}-{parent}-01-what-else"), true),
            (format!("00-{trace}-{parent}-01-more"), false),
            (format!("ff-{trace}-{parent}-01"), false),
            (format!("00-{}-{parent}-01", "0".repeat(32)), false),
            (format!("00-{trace}-{}-01", "0".repeat(16)), false),
            (format!("00-{}-{parent}-01", trace.to_uppercase()), false),
            (format!("00-{trace}-{parent}"), false),
            (String::new(), false),
        ] {
            assert_eq!(is_traceparent(&text), good, "{text}");
            let extras = with_fields(None, None, Some(&text));
            assert_eq!(extras.is_some(), good, "{text}");
        }
    }
}
