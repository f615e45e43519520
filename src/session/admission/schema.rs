//! An event against the schemas of its type (contract 13), and the words when it does not fit.

use crate::event::Facts;
use crate::schema::{Faults, Place, Policy, Verdict};
use crate::session::Refusal;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::fmt::Write;

/// The error word of an event that does not fit its schema, or whose type must have one and has none.
pub const MISFIT: &str = "Event validation failed";

/// Checks an event. Answers where a timestamp is to be put if it has none and a schema fits.
///
/// # Errors
/// 400 that names every field at fault.
pub fn check(
    policy: &Policy,
    channel: &str,
    text: &str,
    facts: &Facts<'_>,
    cloud: bool,
) -> Result<Option<Place>, Refusal> {
    match policy.check(channel, text, facts) {
        Verdict::Unchecked => Ok(None),
        Verdict::Fits { stamp } => Ok(stamp),
        Verdict::UnknownType(supported) => Err(unknown(&supported, facts)),
        Verdict::Misfit(faults) => match cloud.then(|| nested(text)).flatten() {
            // Its attributes are what the nested form has in `metadata`.
            Some(nested) => match policy.check(channel, &nested, facts) {
                Verdict::Misfit(faults) => Err(misfit(&faults, facts)),
                _ => Ok(None),
            },
            None => Err(misfit(&faults, facts)),
        },
    }
}

/// A CloudEvent in the nested form.
#[cold]
#[inline(never)]
fn nested(text: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Cloud<'e> {
        #[serde(borrow, rename = "type")]
        kind: &'e RawValue,
        #[serde(borrow)]
        source: &'e RawValue,
        #[serde(borrow)]
        data: Option<&'e RawValue>,
    }
    let cloud: Cloud<'_> = serde_json::from_str(text).ok()?;
    let mut nested = format!("{{\"type\":{},\"metadata\":{{\"source\":{}}}", cloud.kind, cloud.source);
    if let Some(data) = cloud.data {
        let _ = write!(nested, ",\"data\":{data}");
    }
    nested.push('}');
    Some(nested)
}

#[cold]
fn misfit(faults: &Faults, facts: &Facts<'_>) -> Refusal {
    let list: Vec<Value> =
        faults.list.iter().map(|fault| json!({ "field": fault.field, "message": fault.message })).collect();
    let words: Vec<String> = faults.list.iter().take(WORDS_MAX).map(|fault| fault.to_string()).collect();
    let more = faults.total.saturating_sub(words.len());
    let mut message = words.join("; ");
    if more > 0 {
        let _ = write!(message, "; and {more} more");
    }
    let mut refusal = refusal(message, facts).fact("validation_errors", list);
    if faults.total > faults.list.len() {
        refusal = refusal.fact("validation_errors_total", faults.total);
    }
    refusal
}

/// Faults that the sentence names; the list has them all.
const WORDS_MAX: usize = 20;

#[cold]
fn unknown(supported: &str, facts: &Facts<'_>) -> Refusal {
    let kind = facts.kind.0.as_deref().map(cut_kind).unwrap_or_default();
    refusal(format!("Unknown event type: {kind}. Supported types: {supported}"), facts)
        .at("/type", "has no schema, and this channel takes only types that have one")
}

fn refusal(message: String, facts: &Facts<'_>) -> Refusal {
    Refusal::new(400, MISFIT, message).fact("event_type", facts.kind.0.as_deref().map(cut_kind))
}

/// An event's type, short enough to be told.
fn cut_kind(kind: &str) -> &str {
    kind.char_indices().nth(KIND_CHARS_TOLD).map_or(kind, |(at, _)| &kind[..at])
}

/// Of a type that somebody made up.
const KIND_CHARS_TOLD: usize = 100;

#[cfg(test)]
mod tests {
    use super::super::{Limits, Said, admit};
    use super::*;
    use crate::event::Event;
    use crate::schema::Mode;
    use crate::session::{Options, Stamp};
    use crate::stdx::clock::Now;
    use std::sync::Arc;

    const LIMITS: Limits =
        Limits { event_bytes_max: 1 << 20, payload_bytes_max: 1 << 20, metadata_bytes_max: 1 << 20 };
    const NOW: Now = Now { steady_us: 0, unix_ms: 1_795_271_775_123 };

    fn options(mode: Mode, stamp: Stamp) -> Options {
        let policy = Policy { mode, channels: Vec::new(), schemas: crate::schema::tests_support::shipped() };
        Options { stamp, schemas: Some(Arc::new(policy)), ..crate::session::tests_support::options() }
    }

    fn published(options: &Options, body: &str) -> Result<Event, Refusal> {
        let said = Said { channel: Some("c"), body: body.as_bytes(), ..Said::default() };
        admit(&said, &mut Facts::default(), &LIMITS, options, NOW).map(|admitted| admitted.event)
    }

    fn progress(value: &str) -> String {
        format!(
            r#"{{"type":"backtest.progress","source":"s","backtest_id":"b","job_id":"j","user_id":"u",
                 "progress":{value},"stage":"x","message":"m"}}"#
        )
    }

    #[test]
    fn what_does_not_fit_is_refused_with_each_field() {
        let options = options(Mode::Known, Stamp::Validated);
        let refusal = published(&options, &progress("1.5").replace("\"u\"", "7")).unwrap_err();
        assert_eq!((refusal.status, refusal.error), (400, MISFIT));
        assert_eq!(refusal.facts["event_type"], "backtest.progress");
        let errors = refusal.facts["validation_errors"].as_array().unwrap();
        let fields: Vec<&str> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(fields, ["/user_id", "/progress"]);
        assert_eq!(refusal.message, "/user_id must be a string; /progress must be at most 1");
    }

    #[test]
    fn what_is_refused_is_handed_on_as_it_came_where_it_is_to_be_kept() {
        let off = options(Mode::Known, Stamp::Validated);
        assert!(published(&off, &progress("1.5")).unwrap_err().misfit.is_none());
        let kept = Options { keep_refused: true, ..off };
        let misfit = published(&kept, &progress("1.5")).unwrap_err().misfit.unwrap();
        assert_eq!((misfit.channel.as_str(), misfit.event.text()), ("c", &*progress("1.5")));
        assert_eq!(misfit.event.kind(), Some("backtest.progress"));
        assert!(published(&kept, "{}").unwrap_err().misfit.is_none(), "that is no event");
        assert!(published(&kept, &progress("0.5")).is_ok());
    }

    #[test]
    fn a_checked_event_gets_the_timestamp_that_it_lacks_where_its_form_has_it() {
        let options = options(Mode::Known, Stamp::Validated);
        let flat = published(&options, &progress("0.5")).unwrap();
        assert!(
            flat.text().starts_with(r#"{"timestamp":"2026-11-21T14:36:15.123Z","type":"#),
            "{}",
            flat.text()
        );
        let nested = r#"{"type":"prophet.error","metadata": { "source":"s"},"data":{"conversation_id":"c","error_code":"e","message":"m"}}"#;
        let text = published(&options, nested).unwrap();
        assert!(
            text.text().contains(r#""metadata": {"timestamp":"2026-11-21T14:36:15.123Z", "source":"s"}"#)
        );
        for as_it_came in
            [r#"{"type":"mine","n":1}"#, r#"{"n":1}"#, r#"{"type":"task.running","job_id":"j"}"#]
        {
            assert_eq!(published(&options, as_it_came).unwrap().text(), as_it_came);
        }
        let never = self::options(Mode::Known, Stamp::Never);
        assert_eq!(published(&never, nested).unwrap().text(), nested);
    }

    #[test]
    fn an_unknown_type_is_refused_only_where_modes_are_strict() {
        let strict = options(Mode::Strict, Stamp::Validated);
        let refusal = published(&strict, r#"{"type":"mine"}"#).unwrap_err();
        assert_eq!((refusal.status, refusal.error), (400, MISFIT));
        assert!(refusal.message.starts_with("Unknown event type: mine. Supported types: agent.completed, "));
        assert!(refusal.message.len() < 2_500);
        assert!(published(&strict, r#"{"event":"subscription.created"}"#).is_ok());
        assert!(published(&strict, r#"{"type":null,"n":1}"#).is_ok());
        let refusal = published(&strict, r#"{"type":5}"#).unwrap_err();
        assert_eq!(refusal.facts["validation_errors"][0]["field"], "/type");
    }

    #[test]
    fn a_cloud_event_is_checked_by_its_data() {
        let options = options(Mode::Known, Stamp::Validated);
        let cloud = |progress: &str| {
            let body = format!(
                r#"{{"specversion":"1.0","id":"1","source":"s","type":"forge.job.progress",
                     "data":{{"job_id":"j","user_id":"u","progress":{progress},"stage":"x","message":"m"}}}}"#
            );
            let said = Said { channel: Some("c"), body: body.as_bytes(), ..Said::default() };
            crate::session::cloudevents::admit(&said, &mut Facts::default(), &LIMITS, &options, NOW)
                .map(|_| ())
        };
        assert!(cloud("0.5").is_ok());
        let refusal = cloud("2").unwrap_err();
        assert_eq!(refusal.facts["validation_errors"][0]["field"], "/data/progress");
    }
}
