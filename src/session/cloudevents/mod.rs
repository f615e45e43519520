//! CloudEvents 1.0 over HTTP (contract 3.5; the HTTP binding and the JSON format of the specification, 1.0.2). What
//! subscribers get of one is its JSON format: verbatim if it came so, else made of the header fields and the body.

mod binary;
mod out;

pub use binary::binary;
pub use out::write;

use super::admission::{self, Admitted, Draft, Limits, Said, bad_event, field_faults, invalid_json};
use super::{Options, Refusal};
use crate::event::{BadEvent, Facts, Text, too_deep, unix_ms_of};
use crate::stdx::clock::Now;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// How a request carries events (HTTP binding 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not as CloudEvents.
    Plain,
    /// The body is one.
    Structured,
    /// The attributes are header fields, the body is the data.
    Binary,
    /// The body is an array of them.
    Batch,
}

/// Tells how a request carries events. `specversion`: it has the field `ce-specversion`.
///
/// # Errors
/// 415 for an event format other than JSON.
pub fn mode(content_type: Option<&str>, specversion: bool) -> Result<Mode, Refusal> {
    let media = content_type.map(media_type).unwrap_or_default();
    match media.strip_prefix("application/cloudevents") {
        Some("+json") => Ok(Mode::Structured),
        Some("-batch+json") => Ok(Mode::Batch),
        Some(_) => Err(Refusal::new(
            415,
            "Unsupported Media Type",
            "CloudEvents are taken as application/cloudevents+json or application/cloudevents-batch+json",
        )),
        None if specversion => Ok(Mode::Binary),
        None => Ok(Mode::Plain),
    }
}

/// Without parameters, in lower case.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The attributes that the specification names. `null` counts as absent (JSON format 2.2).
#[derive(Deserialize)]
struct Attributes<'e> {
    #[serde(borrow, default)]
    id: Option<Text<'e>>,
    #[serde(borrow, default)]
    source: Option<Text<'e>>,
    #[serde(borrow, default)]
    specversion: Option<Text<'e>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'e>>,
    #[serde(borrow, default)]
    datacontenttype: Option<Text<'e>>,
    #[serde(borrow, default)]
    dataschema: Option<Text<'e>>,
    #[serde(borrow, default)]
    subject: Option<Text<'e>>,
    #[serde(borrow, default)]
    time: Option<Text<'e>>,
    #[serde(borrow, default)]
    traceparent: Option<Text<'e>>,
    #[serde(default)]
    data: Option<IgnoredAny>,
    #[serde(borrow, default)]
    data_base64: Option<Text<'e>>,
}

/// Checks a publish whose body is a CloudEvent in its JSON format. Its `time` is the event's own timestamp, and its
/// `traceparent` goes before the header field, which tells of the last hop only.
///
/// # Errors
/// 400 or 413 as a [`Refusal`] that names every attribute at fault.
pub fn admit<'f, 'b: 'f>(
    said: &Said<'b>,
    facts: &'f mut Facts<'b>,
    limits: &Limits,
    options: &Options,
    now: Now,
) -> Result<Admitted<'f>, Refusal> {
    let channel = said.channel.map(Cow::Borrowed).ok_or_else(no_channel)?;
    let text = admission::text(said.body)?;
    facts.fill(text).map_err(bad_event)?;
    let told = check(text)?;
    if told.time.is_some() {
        facts.timestamp = Text(told.time);
    }
    let traceparent = told.traceparent.as_deref().or(said.traceparent);
    let extras = admission::with_fields(None, said.key, traceparent);
    Draft { channel, text, facts, extras, cloud: true }.pass(said.service, limits, options, now)
}

/// No attribute names a channel, and the body is the event as it goes out.
fn no_channel() -> Refusal {
    let words = "A CloudEvent goes to /publish/{channel}: nothing in it names a channel";
    Refusal::new(400, "Invalid request", words).at("/channel", "Field required")
}

/// Whether an event that was published before is a CloudEvent; then its `time` is its timestamp.
pub(super) fn recognise<'b>(text: &'b str, facts: &mut Facts<'b>) -> bool {
    let Ok(told) = check(text) else { return false };
    if told.time.is_some() {
        facts.timestamp = Text(told.time);
    }
    true
}

/// What a CloudEvent says that other events say elsewhere.
struct Told<'e> {
    time: Option<Cow<'e, str>>,
    traceparent: Option<Cow<'e, str>>,
}

fn check(text: &str) -> Result<Told<'_>, Refusal> {
    if too_deep(text) {
        return Err(bad_event(BadEvent::TooDeep));
    }
    let found: Attributes<'_> = serde_json::from_str(text).map_err(invalid_json)?;
    let mut faults: Vec<(&str, String)> = Vec::new();
    for (pointer, value) in [
        ("/id", &found.id),
        ("/source", &found.source),
        ("/specversion", &found.specversion),
        ("/type", &found.kind),
    ] {
        if value.is_none() {
            faults.push((pointer, "Field required".to_owned()));
        }
    }
    for (pointer, value) in [
        ("/id", &found.id),
        ("/source", &found.source),
        ("/type", &found.kind),
        ("/datacontenttype", &found.datacontenttype),
        ("/dataschema", &found.dataschema),
        ("/subject", &found.subject),
    ] {
        faults.extend(string_fault(value).map(|why| (pointer, why.to_owned())));
    }
    if found.specversion.as_ref().is_some_and(|version| version.0.as_deref() != Some("1.0")) {
        faults.push(("/specversion", "must be \"1.0\"".to_owned()));
    }
    let instant = |time: &Text<'_>| time.0.as_deref().is_some_and(is_instant);
    if found.time.as_ref().is_some_and(|time| !instant(time)) {
        faults.push(("/time", "must be an RFC 3339 time".to_owned()));
    }
    match &found.data_base64 {
        Some(Text(None)) => faults.push(("/data_base64", "must be a string".to_owned())),
        Some(_) if found.data.is_some() => {
            faults.push(("/data_base64", "must not stand beside data".to_owned()));
        }
        _ => {}
    }
    if faults.is_empty() {
        let traceparent = found.traceparent.and_then(|text| text.0);
        return Ok(Told { time: found.time.and_then(|time| time.0), traceparent });
    }
    Err(field_faults("Invalid CloudEvent", &faults))
}

fn string_fault(value: &Option<Text<'_>>) -> Option<&'static str> {
    match value.as_ref()?.0.as_deref() {
        None => Some("must be a string"),
        Some("") => Some("must not be empty"),
        Some(_) => None,
    }
}

/// RFC 3339, also before 1970, where our own clock does not go.
fn is_instant(text: &str) -> bool {
    let in_range = || {
        let digits = text.get(..4).filter(|year| year.bytes().all(|b| b.is_ascii_digit()))?;
        (digits <= "1970").then(|| format!("2000{}", &text[4..]))
    };
    unix_ms_of(text).is_some() || in_range().is_some_and(|later| unix_ms_of(&later).is_some())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::session::tests_support::options;

    pub const LIMITS: Limits =
        Limits { event_bytes_max: 1000, payload_bytes_max: 500, metadata_bytes_max: 50 };
    pub const NOW: Now = Now { steady_us: 0, unix_ms: 1_795_271_775_123 };

    /// JSON format 3.2: the examples with data as bytes, as text, as an object, and as a string of JSON.
    pub const EXAMPLES: [&str; 4] = [
        r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "id" : "A234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "datacontenttype" : "application/vnd.apache.thrift.binary",
    "data_base64" : "... base64 encoded string ..."
}"#,
        r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "id" : "B234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "unsetextension": null,
    "datacontenttype" : "application/xml",
    "data" : "<much wow=\"xml\"/>"
}"#,
        r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "subject": null,
    "id" : "C234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "datacontenttype" : "application/json",
    "data" : {
        "appinfoA" : "abc",
        "appinfoB" : 123,
        "appinfoC" : true
    }
}"#,
        r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "subject": null,
    "id" : "D234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "data" : "I'm just a string"
}"#,
    ];

    pub fn admitted(text: &str) -> Result<crate::event::Event, Refusal> {
        let said = Said { channel: Some("c"), body: text.as_bytes(), ..Said::default() };
        admit(&said, &mut Facts::default(), &LIMITS, &options(), NOW).map(|admitted| admitted.event)
    }

    fn fields_at_fault(text: &str) -> Vec<String> {
        let refusal = admitted(text).unwrap_err();
        assert_eq!((refusal.status, refusal.error), (400, "Invalid CloudEvent"), "{text}");
        let list = refusal.facts["validation_errors"].as_array().unwrap();
        list.iter().map(|fault| fault["field"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_mode_is_told_by_the_media_type() {
        for (content_type, specversion, expected) in [
            (Some("application/cloudevents+json; charset=UTF-8"), true, Mode::Structured),
            (Some("Application/CloudEvents-Batch+JSON"), false, Mode::Batch),
            (Some("application/json"), true, Mode::Binary),
            (Some("application/json"), false, Mode::Plain),
            (None, true, Mode::Binary),
            (None, false, Mode::Plain),
        ] {
            assert_eq!(mode(content_type, specversion).unwrap(), expected, "{content_type:?}");
        }
        assert_eq!(mode(Some("application/cloudevents+avro"), true).unwrap_err().status, 415);
    }

    #[test]
    fn the_specifications_examples_are_delivered_verbatim() {
        for example in EXAMPLES {
            let said = Said { channel: Some("c"), body: example.as_bytes(), ..Said::default() };
            let mut facts = Facts::default();
            let admitted = admit(&said, &mut facts, &LIMITS, &options(), NOW).unwrap();
            assert_eq!(admitted.event.text(), example);
            assert_eq!(admitted.event.kind(), Some("com.example.someevent"));
            assert_eq!(admitted.event.source(), Some("/mycontext"));
            assert_eq!(admitted.facts.timestamp.0.as_deref(), Some("2018-04-05T17:31:00Z"));
        }
    }

    #[test]
    fn every_attribute_at_fault_is_named() {
        assert_eq!(fields_at_fault(r#"{"a":1}"#), ["/id", "/source", "/specversion", "/type"]);
        let rest = r#""specversion":"1.0","source":"/s""#;
        assert_eq!(fields_at_fault(&format!(r#"{{{rest},"id":null,"type":""}}"#)), ["/id", "/type"]);
        assert_eq!(fields_at_fault(&format!(r#"{{{rest},"id":5,"type":[{{}}]}}"#)), ["/id", "/type"]);
        let whole = r#""id":"1","type":"t","source":"/s""#;
        for (fields, fault) in [
            (r#""specversion":"0.3""#, "/specversion"),
            (r#""specversion":1.0"#, "/specversion"),
            (r#""specversion":"1.0","time":"yesterday""#, "/time"),
            (r#""specversion":"1.0","time":5"#, "/time"),
            (r#""specversion":"1.0","subject":"""#, "/subject"),
            (r#""specversion":"1.0","datacontenttype":5"#, "/datacontenttype"),
            (r#""specversion":"1.0","data":1,"data_base64":"AA==""#, "/data_base64"),
        ] {
            assert_eq!(fields_at_fault(&format!("{{{whole},{fields}}}")), [fault], "{fields}");
        }
    }

    #[test]
    fn what_is_no_event_at_all_is_told_as_ever() {
        for (text, error) in [("[1]", "Invalid event"), ("{}", "Invalid message data"), ("{", "Invalid JSON")]
        {
            assert_eq!(admitted(text).unwrap_err().error, error, "{text}");
        }
    }

    #[test]
    fn an_event_of_before_1970_is_one() {
        let text = r#"{"id":"1","type":"t","source":"/s","specversion":"1.0","time":"1969-07-20T20:17:40Z"}"#;
        assert!(admitted(text).is_ok());
    }

    #[test]
    fn its_own_traceparent_goes_before_that_of_the_request() {
        let trace = |last: u8| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333{last}-01");
        let (own, hop) = (trace(1), trace(2));
        let text =
            format!(r#"{{"id":"1","type":"t","source":"/s","specversion":"1.0","traceparent":"{own}"}}"#);
        let said =
            Said { body: text.as_bytes(), traceparent: Some(&hop), channel: Some("c"), ..Said::default() };
        let event = admit(&said, &mut Facts::default(), &LIMITS, &options(), NOW).unwrap().event;
        assert_eq!(event.extras().unwrap().traceparent.as_deref(), Some(&*own));
        let said = Said { body: EXAMPLES[2].as_bytes(), ..said };
        let event = admit(&said, &mut Facts::default(), &LIMITS, &options(), NOW).unwrap().event;
        assert_eq!(event.extras().unwrap().traceparent.as_deref(), Some(&*hop));
    }
}
