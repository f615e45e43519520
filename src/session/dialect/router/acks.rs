//! Acknowledgements in dialect `router`. The source has retry fields in its subscriptions and a status for them in its
//! events (`sources.md` 2.3), but no word by which a client could say that it has an event: `ack` and `nack` are Courier's,
//! and only a subscription that says `ack: true` is served by the fields, so that clients who always send them and never
//! acknowledge hear what they heard before.

use super::super::text::{plus_zero, write_string};
use super::super::uuid::{event_uuid, uuid_text};
use crate::event::{Attempt, Channel, Event, Position};
use crate::session::command::{Ack, AckOutcome, AckWish, Fault, Fields, Ref};
use serde_json::Value;

/// Retries, seconds before each and seconds to wait for an acknowledgement, where nobody says otherwise (sources 2.3).
const RETRIES: f64 = 3.0;
const DELAY_S: f64 = 1.0;
const TIMEOUT_S: f64 = 30.0;
/// As in `courier.v1`: an event comes at most a hundred times, and times end where a slip of the unit is more likely.
const RETRIES_MAX: f64 = 99.0;
const TIMEOUT_S_MIN: f64 = 0.1;
const TIME_S_MAX: f64 = 3_600.0;
/// Ids in one message.
const IDS_MAX: usize = 1_000;

/// What a subscription asks for; without `ack` its retry fields are not looked at.
pub(super) fn wish(fields: &Fields<'_>) -> Result<Option<AckWish>, Fault> {
    if !flag(fields, "ack")? {
        return Ok(None);
    }
    let number = |name: &str, min: f64, max: f64, other: f64| match fields.raw(name) {
        None => Ok(other),
        Some(json) => {
            let number = json.parse::<f64>().ok().filter(|number| (min..=max).contains(number));
            number.ok_or_else(|| Fault(format!("{name} must be {min} to {max}")))
        }
    };
    let retries = number("max_retries", 0.0, RETRIES_MAX, RETRIES)?;
    if retries.fract() != 0.0 {
        return Err(Fault("max_retries must be a whole number".to_owned()));
    }
    let delay_s = number("retry_delay", 0.0, TIME_S_MAX, DELAY_S)?;
    let timeout_s = number("timeout", TIMEOUT_S_MIN, TIME_S_MAX, TIMEOUT_S)?;
    let us = |seconds: f64| (seconds * 1e6) as u64;
    Ok(Some(AckWish { timeout_us: us(timeout_s), delay_us: us(delay_s), attempts_max: 1 + retries as u32 }))
}

fn flag(fields: &Fields<'_>, name: &str) -> Result<bool, Fault> {
    match fields.raw(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Fault(format!("{name} must be true or false"))),
    }
}

/// Reads `ack` and `nack`.
pub(super) fn read(fields: &Fields<'_>, is_nack: bool) -> Result<Ack, Fault> {
    let mut names: Vec<Box<str>> = fields.string("event_id")?.map(Into::into).into_iter().collect();
    names.extend(fields.strings("event_ids", IDS_MAX)?.into_iter().map(Into::into));
    if names.is_empty() {
        return Err(Fault("event_id or event_ids is required".to_owned()));
    }
    let outcome = match (is_nack, is_nack && flag(fields, "dead_letter")?) {
        (false, _) => AckOutcome::Taken,
        (true, false) => AckOutcome::Again,
        (true, true) => AckOutcome::Dead,
    };
    let subscription = fields.string("subscription_id")?.map(Into::into);
    let (reference, ids) = (Ref::default(), Vec::new());
    Ok(Ack { reference, channel: None, subscription, ids, names, up_to: None, outcome })
}

/// How an event begins that is to be acknowledged: with what stands for its delivery, as it was before this try.
pub fn heading(attempt: &Attempt<'_>) -> String {
    let status = if attempt.number > 1 { "retrying" } else { "pending" };
    let or_null = |text: Option<String>| text.map_or(Value::Null, Value::from);
    format!(
        "{{\"type\":\"event\",\"subscription_id\":{},\"event\":{{\"delivery_status\":\"{status}\",\
         \"delivery_attempts\":{},\"last_delivery_attempt\":{},\"delivery_error\":{},",
        attempt.subscription,
        attempt.number.saturating_sub(1),
        or_null(attempt.before_ms.map(plus_zero)),
        or_null(attempt.error.map(str::to_owned)),
    )
}

/// Whether an event goes out under this id here: one of the router's own has it in its text, as the first field.
pub fn is_named(event: &Event, channel: &Channel, position: Position, id: &str) -> bool {
    if event.extras().is_none_or(|extras| !extras.router) {
        return uuid_text(&event_uuid(channel, position)) == id;
    }
    let mut start = b"{\"id\":".to_vec();
    write_string(id, &mut start);
    start.push(b',');
    event.payload().starts_with(&start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Extras, Facts};
    use crate::session::dialect::forms::{RENDERERS, ROUTER_ACKED};
    use serde_json::json;

    const POSITION: Position = Position { epoch: 1, offset: 2 };

    fn event(text: &str, router: bool) -> Event {
        let extras = Extras { router, ..Extras::default() };
        Event::new(text, &Facts::read(text).unwrap(), Some(Box::new(extras)), 0)
    }

    #[test]
    fn a_router_event_is_named_by_its_own_id_and_another_by_its_position() {
        let channel = Channel::parse("a").unwrap();
        let own = event(r#"{"id":"x\"y","topic":"a"}"#, true);
        let named = |event: &Event, id: &str| is_named(event, &channel, POSITION, id);
        assert!(named(&own, "x\"y"));
        assert!(!named(&own, "x") && !named(&own, "") && !named(&own, "x\"y\",\"topic"));
        let other = event(r#"{"id":"z"}"#, false);
        assert!(!named(&other, "z") && named(&other, uuid_text(&event_uuid(&channel, POSITION))));
    }

    #[test]
    fn heading_and_rendering_are_one_message_that_says_its_delivery_once() {
        let attempt =
            Attempt { number: 3, subscription: r#""s\"t""#, before_ms: Some(1), error: Some("e\"r") };
        let channel = Channel::parse("a").unwrap();
        let own = r#"{"id":"i","topic":"a","payload":{"delivery_status":1},"version":"1.0","delivery_status":"failed",
            "delivery_attempts":9,"last_delivery_attempt":null,"delivery_error":"x,\"delivery_status\":"}"#;
        for (text, router) in [(own.replace("\n            ", ""), true), (r#"{"n":1}"#.to_owned(), false)] {
            let event = event(&text, router);
            let frame = &event.rendered(ROUTER_ACKED, &channel, POSITION, RENDERERS).bytes;
            let header = if frame[1] == 126 { 4 } else { 2 };
            assert_eq!(frame[header], b'{');
            let message = heading(&attempt) + std::str::from_utf8(&frame[header + 1..]).unwrap();
            for name in ["delivery_attempts", "last_delivery_attempt", "delivery_error"] {
                assert_eq!(message.matches(&format!("\"{name}\":")).count(), 1, "{message}");
            }
            let message: Value = serde_json::from_str(&message).unwrap();
            let told = &message["event"];
            assert_eq!((&message["type"], &message["subscription_id"]), (&json!("event"), &json!("s\"t")));
            assert_eq!(
                (&told["delivery_status"], &told["delivery_attempts"]),
                (&json!("retrying"), &json!(2))
            );
            assert_eq!(told["delivery_error"], "e\"r");
            assert_eq!(told["last_delivery_attempt"], "1970-01-01T00:00:00.001+00:00");
            assert_eq!((&told["topic"], &told["version"]), (&json!("a"), &json!("1.0")));
        }
    }
}
