//! Dialect `courier.v1` (contract 5): what the client libraries speak. Every message of the server is one JSON object
//! with `type`; every answer carries the client's `ref`.

mod answers;

pub use answers::*;

use super::forms;
use super::text::{write_string, write_text_frame};
use super::uuid::{random_uuid, uuid_text};
use crate::event::{Channel, Event, Form, Pattern, Position};
use crate::session::command::{
    Body, Command, Context, Fault, Fields, History, NotFields, PriorityMode, Publish, Ref, Subscribe, Target,
    Unsubscribe, Which, cut, read_filter, read_start,
};
use crate::session::history::{PAGE_DEFAULT, PAGE_MAX};
use crate::session::query::Start;
use std::borrow::Cow;

/// What a client offers in `Sec-WebSocket-Protocol` to speak this.
pub const SUBPROTOCOL: &str = "courier.v1";

/// Bytes of the longest subscription id.
pub const ID_BYTES_MAX: usize = 100;

const NAMES: [&str; 14] = [
    "type",
    "ref",
    "channel",
    "pattern",
    "since",
    "after",
    "types",
    "priorities",
    "sources",
    "id",
    "token",
    "format",
    "limit",
    "order",
];

/// A message that is not carried out.
type Refused = (Code, String);

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        (Code::InvalidMessage, fault.0)
    }
}

/// Reads one message.
pub fn read<'t>(text: &'t str, context: &mut Context<'_>) -> Command<'t> {
    if text == "ping" {
        return Command::Answer(pong(&Ref::default()));
    }
    let none = Ref::default();
    let fields = match Fields::read(text, &NAMES) {
        Ok(fields) => fields,
        Err(NotFields::Syntax(words)) => return Command::Answer(error(&none, Code::InvalidJson, &words)),
        Err(other) => return Command::Answer(error(&none, Code::InvalidMessage, &other.to_string())),
    };
    let Some(reference) = fields.given("ref").map_or(Some(none), Ref::parse) else {
        let words =
            format!("ref must be a string, a number, a boolean or null, of at most {} bytes", Ref::BYTES_MAX);
        return Command::Answer(error(&Ref::default(), Code::InvalidMessage, &words));
    };
    command(text, &fields, &reference, context)
        .unwrap_or_else(|(code, words)| Command::Answer(error(&reference, code, &words)))
}

fn command<'t>(
    text: &'t str,
    fields: &Fields<'t>,
    reference: &Ref,
    context: &mut Context<'_>,
) -> Result<Command<'t>, Refused> {
    let reference = reference.clone();
    let kind = fields.string("type")?.ok_or_else(|| (Code::InvalidMessage, "type is required".to_owned()))?;
    Ok(match &*kind {
        "ping" => Command::Answer(pong(&reference)),
        "pong" => Command::Ignore,
        "subscribe" => Command::Subscribe(Box::new(subscribe(fields, reference, context)?)),
        "unsubscribe" => Command::Unsubscribe(Unsubscribe { reference, which: which(fields)? }),
        "publish" => Command::Publish(Box::new(Publish { reference, body: Body::Envelope(text) })),
        "auth" => Command::Auth { reference, token: required(fields, "token")?.into_owned() },
        "history" => Command::History(Box::new(history(fields, reference)?)),
        "presence" => Command::Presence { reference, channel: channel(fields)? },
        other => return Err((Code::UnknownType, format!("Unknown message type: {}", cut(other)))),
    })
}

fn subscribe(fields: &Fields<'_>, reference: Ref, context: &mut Context<'_>) -> Result<Subscribe, Refused> {
    let id = match fields.string("id")? {
        Some(id) if id.is_empty() || id.len() > ID_BYTES_MAX => {
            return Err((Code::InvalidMessage, format!("id must have 1 to {ID_BYTES_MAX} bytes")));
        }
        Some(id) => id.into(),
        None => uuid_text(&random_uuid(context.draw)).into(),
    };
    let (target, from) = (target(fields)?, read_start(fields)?);
    if let (Target::Pattern(_), Start::Since(_) | Start::After(_)) = (&target, from) {
        let words = "since and after need a channel: each channel of a pattern has its own positions";
        return Err((Code::InvalidMessage, words.to_owned()));
    }
    Ok(Subscribe {
        reference,
        id,
        targets: vec![target],
        filter: read_filter(fields, PriorityMode::Exact)?,
        from,
        form: form(fields)?,
        topics: "".into(),
    })
}

fn target(fields: &Fields<'_>) -> Result<Target, Refused> {
    match fields.string("pattern")? {
        Some(_) if fields.raw("channel").is_some() => {
            Err((Code::InvalidMessage, "channel and pattern exclude each other".to_owned()))
        }
        // Without a star it covers the channel of its name and nothing else.
        Some(pattern) if !pattern.contains('*') => parse_channel(&pattern).map(Target::Channel),
        Some(pattern) => match Pattern::parse(&pattern) {
            Ok(pattern) => Ok(Target::Pattern(pattern)),
            Err(why) => Err((Code::InvalidPattern, format!("Invalid pattern: {why}"))),
        },
        None if fields.raw("channel").is_none() => {
            Err((Code::InvalidMessage, "channel or pattern is required".to_owned()))
        }
        None => channel(fields).map(Target::Channel),
    }
}

fn form(fields: &Fields<'_>) -> Result<Form, Refused> {
    match fields.string("format")?.as_deref() {
        None | Some("json") => Ok(forms::V1),
        Some("cloudevents") => Ok(forms::V1_CLOUD),
        Some(_) => Err((Code::InvalidMessage, "format must be json or cloudevents".to_owned())),
    }
}

fn which(fields: &Fields<'_>) -> Result<Which, Refused> {
    let name = |name| -> Result<Option<Cow<'_, str>>, Fault> { fields.string(name) };
    Ok(match (name("id")?, name("channel")?.or(name("pattern")?)) {
        (Some(id), _) => Which::Id(id.into()),
        (None, Some(channel)) => Which::Channel(channel.into()),
        (None, None) => return Err((Code::InvalidMessage, "id or channel is required".to_owned())),
    })
}

fn history(fields: &Fields<'_>, reference: Ref) -> Result<History, Refused> {
    let limit = match fields.raw("limit") {
        None => PAGE_DEFAULT,
        Some(json) => json
            .parse()
            .ok()
            .filter(|limit| (1..=PAGE_MAX).contains(limit))
            .ok_or_else(|| (Code::InvalidMessage, format!("limit must be 1 to {PAGE_MAX}")))?,
    };
    let newest_first = match fields.string("order")?.as_deref() {
        None | Some("oldest") => false,
        Some("newest") => true,
        Some(_) => return Err((Code::InvalidMessage, "order must be oldest or newest".to_owned())),
    };
    Ok(History { reference, channel: channel(fields)?, from: read_start(fields)?, limit, newest_first })
}

fn channel(fields: &Fields<'_>) -> Result<Channel, Refused> {
    parse_channel(&required(fields, "channel")?)
}

fn parse_channel(name: &str) -> Result<Channel, Refused> {
    Channel::parse(name).map_err(|why| (Code::InvalidChannel, format!("Invalid channel name: {why}")))
}

fn required<'t>(fields: &Fields<'t>, name: &str) -> Result<Cow<'t, str>, Refused> {
    fields.string(name)?.ok_or_else(|| (Code::InvalidMessage, format!("{name} is required")))
}

/// Appends an event as `{"type":"event","channel","id","event"}`.
pub fn render(event: &Event, channel: &Channel, position: Position, out: &mut Vec<u8>) -> Option<u32> {
    write_text_frame(0, out, |out| {
        write_envelope(channel, position, out, |out| out.extend_from_slice(event.text().as_bytes()));
    });
    None
}

/// The envelope around what `event` writes.
pub(super) fn write_envelope(
    channel: &Channel,
    position: Position,
    out: &mut Vec<u8>,
    event: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(b"{\"type\":\"event\",\"channel\":");
    write_string(channel.as_str(), out);
    out.extend_from_slice(b",\"id\":\"");
    position.write(out);
    out.extend_from_slice(b"\",\"event\":");
    event(out);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Facts, Priorities, Priority};
    use serde_json::{Value, json};

    fn with<T>(text: &str, look: impl FnOnce(Command<'_>) -> T) -> T {
        let mut draw = || 0;
        look(read(text, &mut Context { client_id: "c", unix_ms: 0, topics_max: 9, draw: &mut draw }))
    }

    fn answer(text: &str) -> Value {
        with(text, |command| match command {
            Command::Answer(answer) => serde_json::from_str(&answer).expect("answers are JSON"),
            other => panic!("{text}: {other:?}"),
        })
    }

    fn subscribe(text: &str) -> Subscribe {
        with(text, |command| match command {
            Command::Subscribe(wish) => *wish,
            other => panic!("{text}: {other:?}"),
        })
    }

    #[test]
    fn a_subscription_says_what_of_which_channel_from_where() {
        let wish = subscribe(
            r#"{"type":"subscribe","ref":"r","id":"mine","channel":"a.b","types":["x.*"],"priorities":["HIGH"],
                "sources":["s"],"after":"000000ab-7","format":"cloudevents","later":1}"#,
        );
        assert_eq!((wish.reference.json(), &*wish.id), ("\"r\"", "mine"));
        assert_eq!(wish.targets[0].as_str(), "a.b");
        let only = Priorities::only([Priority::new(7).unwrap()]);
        let filter = crate::event::Filter::new(vec!["x.*".to_owned()], only, vec!["s".to_owned()]);
        assert_eq!(wish.filter, filter);
        assert_eq!(wish.from, Start::After(Position { epoch: 0xab, offset: 7 }));
        assert_eq!(wish.form, forms::V1_CLOUD);
    }

    #[test]
    fn a_pattern_may_be_plain_and_an_id_is_made_when_none_is_given() {
        let wish = subscribe(r#"{"type":"subscribe","pattern":"a.*"}"#);
        assert!(matches!(&wish.targets[..], [Target::Pattern(pattern)] if pattern.as_str() == "a.*"));
        assert_eq!((wish.from, wish.id.len(), wish.reference.json()), (Start::Live, 36, "null"));
        let wish = subscribe(r#"{"type":"subscribe","pattern":"a.b","since":"1970-01-01T00:00:01Z"}"#);
        assert!(matches!(&wish.targets[..], [Target::Channel(_)]));
        assert_eq!(wish.from, Start::Since(1000));
    }

    #[test]
    fn the_other_commands_are_read() {
        with(r#"{"type":"unsubscribe","id":"i","ref":1}"#, |command| {
            let expected = Unsubscribe { reference: Ref::parse("1").unwrap(), which: Which::Id("i".into()) };
            assert!(matches!(command, Command::Unsubscribe(end) if end == expected));
        });
        for text in [r#"{"type":"unsubscribe","channel":"c.*"}"#, r#"{"type":"unsubscribe","pattern":"c.*"}"#]
        {
            with(text, |command| {
                assert!(
                    matches!(command, Command::Unsubscribe(end) if end.which == Which::Channel("c.*".into()))
                );
            });
        }
        let publish = r#"{"type":"publish","channel":"c","data":{"x":1.0}}"#;
        with(publish, |command| match command {
            Command::Publish(publish_) => {
                assert!(matches!(publish_.body, Body::Envelope(text) if text == publish))
            }
            other => panic!("{other:?}"),
        });
        with(r#"{"type":"auth","token":"t"}"#, |command| {
            assert!(matches!(command, Command::Auth { token, .. } if token == "t"));
        });
        with(r#"{"type":"history","channel":"c","limit":5,"order":"newest"}"#, |command| {
            assert!(matches!(command, Command::History(h) if h.limit == 5 && h.newest_first));
        });
        with(r#"{"type":"presence","channel":"c"}"#, |command| {
            assert!(matches!(command, Command::Presence { channel, .. } if channel.as_str() == "c"));
        });
        with(r#"{"type":"pong"}"#, |command| assert!(matches!(command, Command::Ignore)));
    }

    #[test]
    fn pings_are_answered_with_their_mark() {
        assert_eq!(answer(r#"{"type":"ping","ref":false}"#), json!({"type":"pong","ref":false}));
        assert_eq!(answer("ping"), json!({"type":"pong","ref":null}));
    }

    #[test]
    fn what_is_not_understood_is_told_with_code_and_mark() {
        let stars = format!(r#"{{"type":"subscribe","pattern":"{}"}}"#, ["*"; 100].join("."));
        let deep = format!(r#"{{"type":"ping","a":{}"#, "[".repeat(100_000));
        let many = format!(r#"{{"type":"subscribe","channel":[{}"a"]}}"#, "\"a\",".repeat(10_000));
        for (text, code) in [
            ("", "INVALID_JSON"),
            ("pong", "INVALID_JSON"),
            ("[]", "INVALID_MESSAGE"),
            (&deep, "INVALID_MESSAGE"),
            ("{}", "INVALID_MESSAGE"),
            (r#"{"type":1}"#, "INVALID_MESSAGE"),
            (r#"{"type":"dance"}"#, "UNKNOWN_TYPE"),
            (r#"{"type":"ping","ref":{}}"#, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe"}"#, "INVALID_MESSAGE"),
            (&many, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe","channel":"a","pattern":"b.*"}"#, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe","channel":"a","id":""}"#, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe","channel":"a","since":"now"}"#, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe","channel":"a","after":"ab-7"}"#, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe","channel":"a","after":"+00000ab-7"}"#, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe","pattern":"a.*","since":"1970-01-01T00:00:01Z"}"#, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe","pattern":"a.*","after":"000000ab-7"}"#, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe","channel":"a","priorities":[0]}"#, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe","channel":"a","format":"xml"}"#, "INVALID_MESSAGE"),
            (r#"{"type":"subscribe","channel":"a.*"}"#, "INVALID_CHANNEL"),
            (&stars, "INVALID_PATTERN"),
            (r#"{"type":"unsubscribe"}"#, "INVALID_MESSAGE"),
            (r#"{"type":"auth"}"#, "INVALID_MESSAGE"),
            (r#"{"type":"history","channel":"a","limit":1001}"#, "INVALID_MESSAGE"),
            (r#"{"type":"history","channel":"a","limit":0}"#, "INVALID_MESSAGE"),
            (r#"{"type":"presence","channel":""}"#, "INVALID_CHANNEL"),
        ] {
            let answer = answer(text);
            assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)), "{text}");
            assert_eq!(answer["ref"], Value::Null);
            assert_eq!(answer.as_object().unwrap().len(), 5);
        }
        assert_eq!(answer(r#"{"type":"dance","ref":"r"}"#)["ref"], "r");
    }

    #[test]
    fn an_event_comes_in_an_envelope_as_it_was() {
        let text = r#"{"type":"t", "n":1.0}"#;
        let event = Event::new(text, &Facts::read(text).unwrap(), None, 0);
        let mut out = Vec::new();
        render(&event, &Channel::parse("a.b").unwrap(), Position { epoch: 0xab, offset: 7 }, &mut out);
        let expected = format!(r#"{{"type":"event","channel":"a.b","id":"000000ab-7","event":{text}}}"#);
        assert_eq!(&out[2..], expected.as_bytes());
    }
}
