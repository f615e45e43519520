//! Dialect `courier.v1` (contract 5): what the client libraries speak. Every message of the server is one JSON object
//! with `type`; every answer carries the client's `ref`.

mod acks;
mod answers;

pub use answers::*;

use acks::ack;
pub use acks::heading;

use super::forms;
use super::text::{write_string, write_text_frame};
use super::uuid::{random_uuid, uuid_text};
use crate::event::{Channel, Event, Form, Pattern, Position};
use crate::session::command::{
    AckOutcome, Body, Command, Context, FILTER_WORDS_MAX, Fault, Fields, History, NotFields, PriorityMode,
    Publish, Ref, Subscribe, Target, Unsubscribe, Which, cut, read_filter, read_start,
};
use crate::session::history::{PAGE_DEFAULT, PAGE_MAX};
use crate::session::query::{Start, is_type_filter};
use std::borrow::Cow;

/// What a client offers in `Sec-WebSocket-Protocol` to speak this.
pub const SUBPROTOCOL: &str = "courier.v1";

/// Bytes of the longest subscription id.
pub const ID_BYTES_MAX: usize = 100;

const NAMES: [&str; 20] = [
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
    "ack",
    "ack_timeout",
    "max_attempts",
    "ids",
    "up_to",
    "dead",
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
        "ack" => Command::Ack(Box::new(ack(fields, reference, AckOutcome::Taken)?)),
        "nack" => {
            let dead = acks::flag(fields, "dead")?;
            let outcome = if dead { AckOutcome::Dead } else { AckOutcome::Again };
            Command::Ack(Box::new(ack(fields, reference, outcome)?))
        }
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
    let acks = acks::wish(fields)?;
    if let (Target::Pattern(_), Some(_)) = (&target, acks) {
        let words = "ack needs a channel: each channel of a pattern has its own positions";
        return Err((Code::InvalidMessage, words.to_owned()));
    }
    check_types(fields)?;
    Ok(Subscribe {
        reference,
        id,
        targets: vec![target],
        filter: read_filter(fields, PriorityMode::Exact)?,
        from,
        form: form(fields)?,
        acks,
        topics: "".into(),
    })
}

/// A star anywhere else would quietly match nothing; a query is refused for it too.
fn check_types(fields: &Fields<'_>) -> Result<(), Fault> {
    match fields.strings("types", FILTER_WORDS_MAX)?.iter().find(|kind| !is_type_filter(kind)) {
        Some(kind) => Err(Fault(format!("types: '{}': a star may only follow the last dot", cut(kind)))),
        None => Ok(()),
    }
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
mod tests;
