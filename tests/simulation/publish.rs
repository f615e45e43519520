//! What publishers say: an event alone, in an envelope, in a batch, or on a socket; with what else is said of it.

use crate::client::{Ask, Mark, Owed, Tongue};
use crate::frames;
use crate::model::{Draft, NORMAL};
use crate::words::{KINDS, SOURCES, TYPES};
use crate::world::World;
use serde_json::json;

/// Bytes of padding where a whole message has a bound near by.
const SMALL: usize = 200;
/// Of a batch's body.
const BATCH_BYTES_MAX: usize = 2500;
/// Events among which a repeat finds one.
const RECENT: usize = 12;

/// An hour, in microseconds: longer than a run.
pub const LONG_US: u64 = 3_600_000_000;

fn draft(world: &mut World, client: usize, padding_max: usize, is_routers: bool) -> usize {
    let features = world.plan.features;
    let dice = &mut world.dice;
    let mut draft = Draft { client, priority: NORMAL, is_routers, ..Draft::default() };
    draft.channel = dice.below(world.model.channels.len());
    draft.padding = (dice.skewed(world.plan.payload_max) as usize).min(padding_max);
    draft.kind = format!("t{}", world.model.events.len());
    if features.filters && dice.chance(70) {
        draft.kind = (*dice.pick(&KINDS)).to_owned();
        draft.source = dice.chance(60).then(|| *dice.pick(&SOURCES));
    }
    if features.priorities && dice.chance(60) {
        draft.priority = dice.range(1, 10) as u8;
    }
    if is_routers {
        draft.source = draft.source.or(Some(SOURCES[0]));
        if !TYPES.contains(&&*draft.kind) {
            draft.kind = "custom".to_owned();
        }
        return world.model.event(draft);
    }
    if features.keys > 0 && dice.chance(80) {
        draft.key = Some(dice.below(features.keys as usize) as u64);
    }
    if features.ttl && dice.chance(40) {
        draft.ttl_us = Some(if dice.chance(40) { LONG_US } else { dice.range(1, 300) * 1000 });
    }
    draft.has_id = features.repeats && dice.chance(40);
    if features.exclude && dice.chance(50) {
        let named: Vec<usize> = world.clients.iter().filter(|c| c.name.is_some()).map(|c| c.id).collect();
        draft.exclude = (!named.is_empty()).then(|| *world.dice.pick(&named));
    }
    world.model.event(draft)
}

/// A new event, or at times one that was published already.
fn some_event(world: &mut World, client: usize, padding_max: usize) -> usize {
    let recent = world.model.events.len().saturating_sub(RECENT)..world.model.events.len();
    let again: Vec<usize> = recent.filter(|n| world.model.events[*n].has_id).collect();
    if world.plan.features.repeats && !again.is_empty() && world.dice.chance(25) {
        let n = *world.dice.pick(&again);
        if world.model.events[n].bytes.len() <= padding_max + SMALL {
            world.model.repeat(n);
            return n;
        }
    }
    draft(world, client, padding_max, false)
}

/// The body of contract 3.1.
fn envelope(world: &mut World, n: usize, head: &str) -> String {
    let event = &world.model.events[n];
    let name = &world.model.channels[event.channel].name;
    let data = std::str::from_utf8(&event.bytes).expect("made of text");
    let mut text = format!("{{{head}\"data\": {data} , \"channel\":\"{name}\"");
    match event.priority {
        NORMAL => {}
        7 => text += ",\"priority\":\"high\"",
        number => text += &format!(",\"priority\":{number}"),
    }
    if let Some(ttl_us) = event.ttl_us {
        text += &format!(",\"ttl\":{}", ttl_us as f64 / 1e6);
    }
    if event.has_id {
        text += &format!(",\"id\":\"once-{n}\"");
    }
    if let Some(name) = event.exclude.and_then(|client| world.clients[client].name.as_ref()) {
        text += &format!(",\"exclude\":\"{name}\"");
    }
    text + "}"
}

fn is_plain(world: &World, n: usize) -> bool {
    let event = &world.model.events[n];
    event.priority == NORMAL && event.ttl_us.is_none() && !event.has_id && event.exclude.is_none()
}

/// By a request.
pub fn publish(world: &mut World, id: usize) {
    if world.plan.features.batches && world.dice.chance(20) {
        return batch(world, id);
    }
    let n = some_event(world, id, usize::MAX - SMALL);
    let bytes = if is_plain(world, n) && world.dice.chance(50) {
        let event = &world.model.events[n];
        let path = format!("/publish/{}", world.model.channels[event.channel].name);
        frames::post(&path, &event.bytes, &mut world.dice)
    } else {
        let body = envelope(world, n, "");
        frames::post("/publish", body.as_bytes(), &mut world.dice)
    };
    let at = world.moment();
    world.clients[id].request(Ask::Publish(n), &bytes, at);
    note(world, id, n);
}

fn batch(world: &mut World, id: usize) {
    let lines = world.dice.chance(50);
    let (mut items, mut texts, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..world.dice.range(1, 6) {
        let n = some_event(world, id, SMALL);
        let text = envelope(world, n, "");
        bytes += text.len() + 1;
        items.push(n);
        texts.push(text);
        note(world, id, n);
        if bytes + 2 * SMALL + 200 > BATCH_BYTES_MAX {
            break;
        }
    }
    let body = if lines { texts.join("\n") } else { format!("[{}]", texts.join(",")) };
    let bytes = frames::post("/publish/batch", body.as_bytes(), &mut world.dice);
    let at = world.moment();
    world.clients[id].request(Ask::Batch(items), &bytes, at);
}

/// On a socket.
pub fn say(world: &mut World, id: usize) {
    let (n, text) = match world.clients[id].tongue {
        Tongue::Router => {
            let n = draft(world, id, SMALL, true);
            let event = &world.model.events[n];
            let kind = if event.kind == "custom" { "odd" } else { &event.kind };
            let payload: serde_json::Value = serde_json::from_slice(&event.bytes).expect("made as JSON");
            let text = json!({ "type": "publish", "event": { "id": format!("e{n}"), "type": kind,
                "topic": world.model.channels[event.channel].name, "priority": event.priority,
                "source": event.source, "payload": payload } });
            (n, text.to_string())
        }
        _ => {
            let n = some_event(world, id, SMALL);
            (n, envelope(world, n, &format!("\"type\":\"publish\",\"ref\":{n},")))
        }
    };
    note(world, id, n);
    world.with(id, |client, scene| {
        client.tell(&text, scene);
        client.marks.push_back((client.queued, Mark::Sent(n)));
        client.owed.push_back(Owed::Published(n, client.queued));
    });
}

fn note(world: &mut World, id: usize, n: usize) {
    let event = &world.model.events[n];
    let (name, text) = (&world.model.channels[event.channel].name, String::from_utf8_lossy(&event.bytes));
    let more = format!("ttl {:?}, excludes {:?}, priority {}", event.ttl_us, event.exclude, event.priority);
    let words = format!("client {id} publishes event {n} to {name}: {text}, {more}");
    world.note(|| words);
}
