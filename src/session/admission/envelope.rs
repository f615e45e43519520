//! The body of `POST /publish` and of a batch's items (contract 3.1): which channel, which event, and what else its
//! publisher says about it.

use super::{bad_event, field_faults, invalid_json};
use crate::event::{
    BadEvent, Channel, ConnectionId, Extras, Facts, PRIORITY_NAMES, Priority, Stray, Text, Walk,
    syntax_words, too_deep,
};
use crate::session::Refusal;
use crate::session::route::bad_channel;
use crate::stdx::clock::Now;
use serde_json::Value;
use std::borrow::Cow;

/// An idempotency key of a publisher, in characters: room for any UUID or hash, and small enough that the answers of
/// five minutes can be kept by it.
pub const KEY_CHARS_MAX: usize = 256;

/// An envelope's fields. Unknown ones are let through, for clients of a later version.
#[derive(Default)]
struct Envelope<'b> {
    channel: Option<Text<'b>>,
    /// The text of `data`, and whether it is an object.
    data: Option<(&'b str, bool)>,
    priority: Option<&'b str>,
    id: Option<&'b str>,
    ttl: Option<&'b str>,
    exclude: Option<&'b str>,
    keep: Option<&'b str>,
}

/// What an envelope holds.
pub struct Opened<'b> {
    pub channel: Cow<'b, str>,
    pub event: &'b str,
    /// `None` when the envelope asks for nothing beyond the ordinary.
    pub extras: Option<Box<Extras>>,
}

/// Opens an envelope, in one walk over its text. The facts of its event, which may still be empty, come into `facts`.
///
/// # Errors
/// 400 that names every field at fault.
pub fn open<'b>(text: &'b str, facts: &mut Facts<'b>, now: Now) -> Result<Opened<'b>, Refusal> {
    let mut walk = Walk::new(text);
    if walk.ahead() != b'{' {
        return Err(no_object(text));
    }
    let envelope = Envelope::read(&mut walk, facts).map_err(|fault| fault.refusal(text))?;
    let mut faults: Vec<(&str, String)> = Vec::new();
    let name_fault = match &envelope.channel {
        None => Some("Field required".to_owned()),
        Some(Text(None)) => Some("must be a string".to_owned()),
        Some(Text(Some(name))) => Channel::check(name).err().map(|why| why.to_string()),
    };
    faults.extend(name_fault.map(|why| ("/channel", why)));
    match &envelope.data {
        None => faults.push(("/data", "Field required".to_owned())),
        Some((_, false)) => faults.push(("/data", "must be an object".to_owned())),
        Some(_) => {}
    }
    let extras = envelope.extras(now, &mut faults);
    if !faults.is_empty() && matches!(&envelope.data, Some((_, true))) && facts.is_empty() {
        // Alone, it is told in words of its own by the check of the event.
        faults.push(("/data", "must not be empty".to_owned()));
    }
    match (envelope.channel, envelope.data, &faults[..]) {
        (Some(Text(Some(channel))), Some((event, true)), []) => Ok(Opened { channel, event, extras }),
        (Some(Text(Some(_))), _, [("/channel", why)]) => Err(bad_channel(why, "/channel")),
        _ => Err(field_faults("Invalid request", &faults)),
    }
}

fn no_object(text: &str) -> Refusal {
    if too_deep(text) {
        return bad_event(BadEvent::TooDeep);
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Err(error) => invalid_json(error),
        Ok(_) => {
            Refusal::new(400, "Invalid request", "The body must be a JSON object").at("", "must be an object")
        }
    }
}

/// Why an envelope could not be read.
enum Unreadable {
    Stray(Stray),
    /// A field is said twice.
    Twice(&'static str),
}

impl From<Stray> for Unreadable {
    fn from(stray: Stray) -> Unreadable {
        Unreadable::Stray(stray)
    }
}

impl Unreadable {
    fn refusal(self, text: &str) -> Refusal {
        match self {
            Unreadable::Stray(Stray::TooDeep) => bad_event(BadEvent::TooDeep),
            Unreadable::Stray(Stray::Syntax) => {
                let words = syntax_words(text);
                Refusal::new(400, "Invalid JSON", format!("The body is not valid JSON: {words}"))
            }
            Unreadable::Twice(field) => {
                Refusal::new(400, "Invalid request", format!("The body says {field} twice"))
                    .at(&format!("/{field}"), "is said twice")
            }
        }
    }
}

impl<'b> Envelope<'b> {
    fn read(walk: &mut Walk<'b>, facts: &mut Facts<'b>) -> Result<Envelope<'b>, Unreadable> {
        let mut envelope = Envelope::default();
        let mut more = walk.enter()?;
        while more {
            match &*walk.key()? {
                b"channel" => set(&mut envelope.channel, "channel", channel(walk)?)?,
                b"data" => set(&mut envelope.data, "data", data(walk, facts)?)?,
                b"priority" => set(&mut envelope.priority, "priority", unless_null(walk)?)?,
                b"id" => set(&mut envelope.id, "id", unless_null(walk)?)?,
                b"ttl" => set(&mut envelope.ttl, "ttl", unless_null(walk)?)?,
                b"exclude" => set(&mut envelope.exclude, "exclude", unless_null(walk)?)?,
                b"keep" => set(&mut envelope.keep, "keep", unless_null(walk)?)?,
                _ => walk.pass()?,
            }
            more = walk.more()?;
        }
        walk.end()?;
        Ok(envelope)
    }
}

/// A field that is `null` is not said.
fn set<T>(field: &mut Option<T>, name: &'static str, value: Option<T>) -> Result<(), Unreadable> {
    if field.is_some() && value.is_some() {
        return Err(Unreadable::Twice(name));
    }
    *field = value.or_else(|| field.take());
    Ok(())
}

fn channel<'b>(walk: &mut Walk<'b>) -> Result<Option<Text<'b>>, Stray> {
    if walk.ahead() == b'n' {
        return walk.value().map(|_| None);
    }
    let word = walk.string_value()?;
    Ok(Some(Text(word.and_then(|word| word.of(walk.text())))))
}

fn data<'b>(walk: &mut Walk<'b>, facts: &mut Facts<'b>) -> Result<Option<(&'b str, bool)>, Stray> {
    if walk.ahead() != b'{' {
        return Ok(unless_null(walk)?.map(|text| (text, false)));
    }
    let start = walk.at();
    facts.walk(walk)?;
    Ok(Some((walk.since(start), true)))
}

fn unless_null<'b>(walk: &mut Walk<'b>) -> Result<Option<&'b str>, Stray> {
    walk.value().map(|text| (text != "null").then_some(text))
}

impl Envelope<'_> {
    /// What is beyond the ordinary. Where a field is at fault the result is not used.
    fn extras(&self, now: Now, faults: &mut Vec<(&str, String)>) -> Option<Box<Extras>> {
        let given = [self.priority, self.id, self.ttl, self.exclude, self.keep];
        if given.iter().all(Option::is_none) {
            return None;
        }
        let mut extras = Extras::default();
        if let Some(text) = self.priority {
            match parse::<Value>(text).as_ref().and_then(Priority::parse) {
                Some(priority) => extras.priority = priority,
                None => faults.push(("/priority", priority_fault())),
            }
        }
        if let Some(text) = self.id {
            match parse::<String>(text).ok_or("must be a string").and_then(|id| key(&id).map(Into::into)) {
                Ok(id) => extras.id = Some(id),
                Err(why) => faults.push(("/id", why.to_owned())),
            }
        }
        if let Some(text) = self.ttl {
            match parse::<f64>(text).filter(|seconds| *seconds > 0.0) {
                // More than there will be counts as the last microsecond there is.
                Some(seconds) => {
                    extras.expires_us = Some(now.steady_us.saturating_add((seconds * 1e6) as u64));
                }
                None => faults.push(("/ttl", "must be a number of seconds above 0".to_owned())),
            }
        }
        if let Some(text) = self.exclude {
            extras.exclude = parse::<String>(text).as_deref().and_then(ConnectionId::parse);
            if extras.exclude.is_none() {
                faults.push(("/exclude", "must be a connection id: conn_ and 12 hex digits".to_owned()));
            }
        }
        match self.keep {
            None | Some("false") => {}
            Some("true") => extras.keep = true,
            Some(_) => faults.push(("/keep", "must be true or false".to_owned())),
        }
        (extras != Extras::default()).then(|| Box::new(extras))
    }
}

fn parse<'t, T: serde::Deserialize<'t>>(text: &'t str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn priority_fault() -> String {
    format!("must be 1 to 10, or {}", PRIORITY_NAMES.map(|(name, _)| name).join(", "))
}

/// Checks an idempotency key.
fn key(text: &str) -> Result<&str, &'static str> {
    match text.chars().count() {
        0 => Err("must not be empty"),
        1..=KEY_CHARS_MAX => Ok(text),
        _ => Err("must not be longer than 256 characters"),
    }
}

/// Reads the field `Idempotency-Key`: a string as RFC 9651 3.3.3 writes it, or, as most clients send it, bare. Printable
/// ASCII without quotes and, in all, at most [`KEY_CHARS_MAX`] bytes.
///
/// # Errors
/// 400 when it is anything else.
pub fn idempotency_key(field: &[u8]) -> Result<&str, Refusal> {
    let quoted = field.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let bare = quoted.unwrap_or(field);
    let plain = |b: &u8| matches!(b, b' '..=b'~') && *b != b'"';
    let sound = field.len() <= KEY_CHARS_MAX && !bare.is_empty() && bare.iter().all(plain);
    std::str::from_utf8(bare).ok().filter(|_| sound).ok_or_else(|| {
        let why = "must be 1 to 256 printable ASCII characters without quotes";
        Refusal::new(400, "Invalid Idempotency-Key", format!("Idempotency-Key {why}"))
            .at("/Idempotency-Key", why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { steady_us: 1_000_000, unix_ms: 0 };

    fn extras(fields: &str) -> Option<Box<Extras>> {
        let text = format!(r#"{{"channel":"a","data":{{"x":1}}{fields}}}"#);
        open(&text, &mut Facts::default(), NOW).unwrap_or_else(|refusal| panic!("{text}: {refusal:?}")).extras
    }

    #[test]
    fn what_a_publisher_says_of_an_event_goes_with_it() {
        let said = extras(r#","priority":"high","id":"k\u0065y","ttl":0.5,"exclude":"conn_00000a0b0c0d""#);
        let expected = Extras {
            priority: Priority::new(7).unwrap(),
            expires_us: Some(1_500_000),
            exclude: ConnectionId::parse("conn_00000a0b0c0d"),
            id: Some("key".into()),
            ..Extras::default()
        };
        assert_eq!(said, Some(Box::new(expected)));
        assert_eq!(extras(r#","ttl":1e300"#).unwrap().expires_us, Some(u64::MAX));
    }

    #[test]
    fn what_is_ordinary_costs_nothing_more() {
        assert_eq!(extras(""), None);
        assert_eq!(extras(r#","priority":5"#), None);
        assert_eq!(extras(r#","priority":null,"id":null,"ttl":null,"exclude":null,"other":1"#), None);
    }

    #[test]
    fn every_fault_of_the_optional_fields_is_named() {
        let long = "x".repeat(KEY_CHARS_MAX + 1);
        let id = format!("\"{long}\"");
        for (field, values) in [
            ("priority", &["0", "11", "5.5", "\"urgent\"", "[]", "{}"][..]),
            ("id", &["5", "\"\"", "[]", &id]),
            ("ttl", &["0", "-1", "\"soon\"", "[]"]),
            ("exclude", &["5", "\"me\"", "{}"]),
            ("keep", &["1", "\"true\"", "[]"]),
        ] {
            for value in values {
                let text = format!(r#"{{"channel":"a","data":{{"x":1}},"{field}":{value}}}"#);
                let refusal = open(&text, &mut Facts::default(), NOW)
                    .err()
                    .unwrap_or_else(|| panic!("{text} was taken"));
                let fault = &refusal.facts["validation_errors"][0];
                assert_eq!(fault["field"], format!("/{field}"), "{text}");
            }
        }
    }

    #[test]
    fn an_idempotency_key_may_be_quoted_and_is_bounded() {
        assert_eq!(idempotency_key(b"\"a b\"").unwrap(), "a b");
        assert_eq!(idempotency_key(b"a-b").unwrap(), "a-b");
        assert!(idempotency_key(&[b'x'; KEY_CHARS_MAX]).is_ok());
        for bad in [&b""[..], b"\"\"", b"\"", b"a\"b", b"\xc3\xa9", b"\t", &[b'x'; KEY_CHARS_MAX + 1]] {
            assert_eq!(idempotency_key(bad).unwrap_err().status, 400, "{bad:?}");
        }
    }
}
