//! Acknowledgements in dialect `courier.v1`: the fields of `subscribe` that ask for them, and `ack` and `nack`.

use super::{Code, Refused};
use crate::event::{Attempt, Channel, Position};
use crate::session::command::{Ack, AckOutcome, AckWish, Fault, Fields, Ref};

/// Seconds after which an event comes again, when nobody says otherwise (sources 2.3).
const TIMEOUT_S: f64 = 30.0;
/// Below the first the timers could not keep up; beyond the second a slip of the unit is more likely.
const TIMEOUT_S_MIN: f64 = 0.1;
const TIMEOUT_S_MAX: f64 = 3_600.0;
/// How often an event comes, when nobody says otherwise: once, and three more times (sources 2.3).
const ATTEMPTS: u32 = 4;
const ATTEMPTS_MAX: u32 = 100;
/// Positions in one message: as many as a page of history has.
const IDS_MAX: usize = 1_000;

/// How an event that is to be acknowledged begins.
pub fn heading(attempt: &Attempt<'_>) -> String {
    format!("{{\"attempt\":{},\"subscription\":{},", attempt.number, attempt.subscription)
}

/// A field that is true or false; absent is false.
pub(super) fn flag(fields: &Fields<'_>, name: &str) -> Result<bool, Fault> {
    match fields.raw(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Fault(format!("{name} must be true or false"))),
    }
}

/// What a subscription asks for.
pub(super) fn wish(fields: &Fields<'_>) -> Result<Option<AckWish>, Fault> {
    let wants = flag(fields, "ack")?;
    let number = |name: &str, min: f64, max: f64, other: f64| match fields.raw(name) {
        None => Ok(other),
        Some(_) if !wants => Err(Fault(format!("{name} needs ack: true"))),
        Some(json) => {
            let number = json.parse::<f64>().ok().filter(|number| (min..=max).contains(number));
            number.ok_or_else(|| Fault(format!("{name} must be {min} to {max}")))
        }
    };
    let timeout_s = number("ack_timeout", TIMEOUT_S_MIN, TIMEOUT_S_MAX, TIMEOUT_S)?;
    let attempts = number("max_attempts", 1.0, ATTEMPTS_MAX.into(), ATTEMPTS.into())?;
    if attempts.fract() != 0.0 {
        return Err(Fault("max_attempts must be a whole number".to_owned()));
    }
    let wish = AckWish { timeout_us: (timeout_s * 1e6) as u64, delay_us: 0, attempts_max: attempts as u32 };
    Ok(wants.then_some(wish))
}

/// Reads `ack` and `nack`.
pub(super) fn ack(fields: &Fields<'_>, reference: Ref, outcome: AckOutcome) -> Result<Ack, Refused> {
    let position = |name: &str, text: &str| {
        Position::parse(text).ok_or_else(|| Fault(format!("{name} must be the id of an event: a position")))
    };
    let channel = match fields.string("channel")? {
        Some(name) => Some(
            Channel::parse(&name)
                .map_err(|why| (Code::InvalidChannel, format!("Invalid channel name: {why}")))?,
        ),
        None => None,
    };
    let given = ["id", "ids", "up_to"].iter().filter(|name| fields.raw(name).is_some()).count();
    if given != 1 {
        return Err((Code::InvalidMessage, "one of id, ids and up_to is required".to_owned()));
    }
    let one = |name: &str| fields.string(name)?.map(|text| position(name, &text)).transpose();
    let mut ids: Vec<Position> = one("id")?.into_iter().collect();
    for text in fields.strings("ids", IDS_MAX)? {
        ids.push(position("ids", &text)?);
    }
    let up_to = one("up_to")?;
    if ids.is_empty() && up_to.is_none() {
        return Err((Code::InvalidMessage, "ids must not be empty".to_owned()));
    }
    Ok(Ack { reference, channel, subscription: None, ids, names: Vec::new(), up_to, outcome })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, with};
    use super::*;
    use crate::session::command::Command;

    fn asked(more: &str) -> Option<AckWish> {
        let text = format!(r#"{{"type":"subscribe","channel":"a"{more}}}"#);
        with(&text, |command| match command {
            Command::Subscribe(wish) => wish.acks,
            other => panic!("{text}: {other:?}"),
        })
    }

    #[test]
    fn a_subscription_asks_for_acknowledgements_with_the_routers_defaults() {
        assert_eq!(asked(""), None);
        assert_eq!(asked(r#","ack":false"#), None);
        let wish = |timeout_us, attempts_max| Some(AckWish { timeout_us, delay_us: 0, attempts_max });
        assert_eq!(asked(r#","ack":true"#), wish(30_000_000, 4));
        assert_eq!(asked(r#","ack":true,"ack_timeout":0.5,"max_attempts":2"#), wish(500_000, 2));
    }

    #[test]
    fn what_is_wrong_is_told_and_nothing_is_acknowledged() {
        for more in [
            r#""ack":"yes""#,
            r#""ack":1"#,
            r#""ack_timeout":5"#,
            r#""ack":false,"max_attempts":5"#,
            r#""ack":true,"ack_timeout":0"#,
            r#""ack":true,"ack_timeout":3601"#,
            r#""ack":true,"ack_timeout":"5""#,
            r#""ack":true,"max_attempts":0"#,
            r#""ack":true,"max_attempts":101"#,
            r#""ack":true,"max_attempts":1.5"#,
        ] {
            let answer = answer(&format!(r#"{{"type":"subscribe","channel":"a",{more}}}"#));
            assert_eq!(answer["code"], "INVALID_MESSAGE", "{more}");
        }
        let answer_ = answer(r#"{"type":"subscribe","pattern":"a.*","ack":true}"#);
        assert_eq!(answer_["code"], "INVALID_MESSAGE");
        for fields in [
            "",
            r#","id":5"#,
            r#","id":"x""#,
            r#","ids":[]"#,
            r#","ids":[5]"#,
            r#","id":"000000ab-1","ids":["000000ab-1"]"#,
            r#","up_to":"x""#,
        ] {
            for kind in ["ack", "nack"] {
                let answer = answer(&format!(r#"{{"type":"{kind}"{fields}}}"#));
                assert_eq!(answer["code"], "INVALID_MESSAGE", "{kind} {fields}");
            }
        }
    }

    #[test]
    fn one_some_or_all_up_to_one_are_acknowledged() {
        let at = |offset| Position { epoch: 0xab, offset };
        let read = |text: &str| {
            with(text, |command| match command {
                Command::Ack(ack) => *ack,
                other => panic!("{text}: {other:?}"),
            })
        };
        let one = read(r#"{"type":"ack","id":"000000ab-1","channel":"a"}"#);
        assert_eq!((one.ids, one.channel.is_some(), one.outcome), (vec![at(1)], true, AckOutcome::Taken));
        let some = read(r#"{"type":"nack","ids":["000000ab-1","000000ab-3"]}"#);
        assert_eq!((some.ids, some.outcome), (vec![at(1), at(3)], AckOutcome::Again));
        let all = read(r#"{"type":"nack","up_to":"000000ab-9","dead":true}"#);
        assert_eq!((all.up_to, all.outcome), (Some(at(9)), AckOutcome::Dead));
    }
}
