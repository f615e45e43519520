//! The course of a run: random actions, then everybody is let come to rest, and the world is compared with the model.

use crate::acks;
use crate::client::{Ask, Tongue};
use crate::frames;
use crate::model::Model;
use crate::plan::{DRAIN_US, EPHEMERAL_IDLE_US, EVENT_BYTES_MAX};
use crate::presence;
use crate::publish::publish;
use crate::tokens;
use crate::verdict;
use crate::words;
use crate::world::World;
use serde_json::Value;

/// A socket that was told good-bye is forgotten after so long, in microseconds.
const LINGER_US: u64 = 5_000_000;

/// A socket of dialect `freqsearch` is given up after a minute of silence, later than any other; and a second more.
const SILENCE_US_MAX: u64 = 61_000_000;

pub struct Sum {
    pub events: u64,
    pub cuts: u64,
    pub drains: u64,
    pub digest: u64,
}

pub fn run(mut world: World) -> Sum {
    let steps = world.plan.steps;
    presence::begin(&mut world);
    while world.step < steps && !world.is_done() {
        world.step += 1;
        world.now_us += world.dice.range(0, 300);
        if world.model.stopping && world.dice.chance(4) {
            world.now_us += world.dice.skewed(200_000);
        }
        if world.plan.stop_at.is_some_and(|at| at <= world.step) && !world.model.stopping {
            world.begin_stop();
        }
        step(&mut world);
        presence::watch(&mut world);
    }
    let drains = u64::from(world.model.stopping);
    if world.model.stopping {
        finish_stop(&mut world);
    } else {
        finish(&mut world);
    }
    let Model { deliveries: events, cuts, .. } = world.model;
    Sum { events, cuts, drains, digest: world.net.digest() }
}

fn step(world: &mut World) {
    let may_turn: Vec<usize> = (0..world.plan.shards).filter(|number| world.may_turn(*number)).collect();
    match world.dice.below(1000) {
        0..380 if !may_turn.is_empty() => {
            let number = *world.dice.pick(&may_turn);
            world.turn(number, false);
        }
        0..620 => in_and_out(world),
        620..640 => drowse(world),
        640..650 => leave(world),
        650..652 => {
            // The ids of repeats are known for five minutes.
            let us = world.dice.skewed(if world.plan.features.repeats { 5_000_000 } else { 40_000_000 });
            world.pass(us);
        }
        652..655 if world.plan.features.auth => tokens::change(world),
        // Nobody runs for a while, as on a machine that is too busy.
        652..657 => world.now_us += world.dice.skewed(200_000),
        657..660 => spurious(world),
        660..760 if world.clients.iter().filter(|client| !client.over).count() < world.plan.clients_max => {
            arrive(world);
        }
        _ => speak(world),
    }
}

fn anyone(world: &mut World) -> Option<usize> {
    let alive: Vec<usize> =
        world.clients.iter().filter(|client| !client.over).map(|client| client.id).collect();
    if alive.is_empty() { None } else { Some(*world.dice.pick(&alive)) }
}

/// Bytes move between a client and the kernel.
fn in_and_out(world: &mut World) {
    let Some(id) = anyone(world) else { return };
    let write = if world.dice.chance(70) { usize::MAX } else { world.dice.range(1, 60) as usize };
    let read = if world.dice.chance(70) { usize::MAX } else { world.dice.range(1, 60) as usize };
    world.note(|| format!("client {id} writes {write} and reads {read}"));
    world.with(id, |client, scene| {
        if !client.mute {
            client.write(write, scene);
        }
        client.read(read.min(client.lazy.unwrap_or(usize::MAX)), scene);
    });
}

/// Some stop reading for a while, or read slowly.
fn drowse(world: &mut World) {
    let Some(id) = anyone(world).filter(|id| world.watcher != Some(*id)) else { return };
    let lazy = world.dice.chance(world.plan.lazy);
    let slow = if world.dice.chance(50) { 0 } else { world.dice.range(1, 30) as usize };
    let mute = lazy && world.dice.chance(20);
    world.note(|| format!("client {id}: lazy {lazy} {slow}, mute {mute}"));
    let client = &mut world.clients[id];
    client.lazy = lazy.then_some(slow);
    client.ever_lazy |= lazy;
    client.mute = mute;
}

fn leave(world: &mut World) {
    let Some(id) = anyone(world).filter(|id| world.watcher != Some(*id)) else { return };
    let how = world.dice.below(10);
    world.note(|| format!("client {id} leaves in way {how}"));
    world.with(id, |client, scene| match how {
        // Of a peer that says nothing anyway only the kernel notices that it is gone.
        0 if client.tongue != Tongue::Stream => client.vanish(None, scene),
        0 => client.vanish(Some(true), scene),
        1 => client.vanish(Some(true), scene),
        2 => client.vanish(Some(false), scene),
        3 => client.fin(scene),
        _ if !client.speaks_frames() || client.close_sent => {}
        4 if client.tongue != Tongue::FreqSearch => client.send_binary(scene),
        _ => client.send_close(scene),
    });
}

/// The kernel may tell of what is no news.
fn spurious(world: &mut World) {
    if let Some(id) = anyone(world) {
        let pipe = world.clients[id].pipe;
        world.net.raise(pipe);
    }
}

fn arrive(world: &mut World) {
    let id = world.connect();
    if world.dice.chance(60) {
        words::upgrade(world, id);
    }
}

fn speak(world: &mut World) {
    let Some(id) = anyone(world).filter(|id| world.watcher != Some(*id)) else { return };
    let client = &world.clients[id];
    if client.tongue == Tongue::Stream {
        return;
    }
    if client.socket || client.upgrading {
        match client.tongue {
            _ if client.close_sent => {}
            Tongue::Courier => speak_on_socket(world, id),
            _ => words::speak(world, id),
        }
        return;
    }
    if world.dice.chance(world.plan.bursts) {
        return (0..world.dice.range(70, 150)).for_each(|_| publish(world, id));
    }
    if world.plan.features.auth && world.dice.chance(10) {
        let token = tokens::some_token(world);
        world.clients[id].show(token, &world.model);
    }
    match world.dice.below(100) {
        0..4 => words::upgrade(world, id),
        4..12 => ask_for_report(world, id),
        12..18 => ask_badly(world, id),
        18..35 => (0..world.dice.range(2, 6)).for_each(|_| publish(world, id)),
        _ => publish(world, id),
    }
}

fn speak_on_socket(world: &mut World, id: usize) {
    let channel = world.dice.below(world.model.channels.len());
    let name = world.model.channels[channel].name.clone();
    let what = world.dice.below(10);
    world.note(|| format!("client {id} says {what} about {name}"));
    world.with(id, |client, scene| match what {
        0..4 => client.subscribe(channel, &name, scene),
        4..6 => client.unsubscribe(channel, &name, scene),
        6..9 => client.chat(scene),
        _ => {
            client.unsubscribe(channel, &name, scene);
            client.subscribe(channel, &name, scene);
        }
    });
}

fn ask_for_report(world: &mut World, id: usize) {
    let (ask, path) = world.dice.pick(&[
        (Ask::Stats, "/stats"),
        (Ask::Channels, "/channels"),
        (Ask::Report, "/health/live"),
    ]);
    let at = world.moment();
    world.clients[id].request(ask.clone(), &frames::get(path), at);
    world.note(|| format!("client {id} asks for {path}"));
}

fn ask_badly(world: &mut World, id: usize) {
    let dice = &mut world.dice;
    let large = "x".repeat(EVENT_BYTES_MAX + 1);
    let (status, bytes) = match dice.below(8) {
        0 => (400, frames::post("/publish/plain.0", b"{\"n\":", dice)),
        1 => (400, frames::post("/publish/plain.0", b"{}", dice)),
        2 => (400, frames::post("/publish", b"[1]", dice)),
        3 => (400, frames::post("/publish/a%20b", b"{\"n\":1}", dice)),
        4 => (404, frames::get("/nothing")),
        5 => (405, frames::get("/publish")),
        6 => (413, frames::post("/publish/plain.0", large.as_bytes(), dice)),
        _ => (400, b"NO REQUEST\r\n\r\n".to_vec()),
    };
    let at = world.moment();
    world.clients[id].request(Ask::Bad(status), &bytes, at);
    world.note(|| format!("client {id} asks for a {status}"));
}

fn wake_all(world: &mut World) {
    for client in &mut world.clients {
        (client.lazy, client.mute, client.diligent) = (None, false, true);
    }
    world.settle();
}

/// Everybody reads again and is served; then the reports must say what the model says.
fn finish(world: &mut World) {
    wake_all(world);
    // Those that vanished without a word are noticed by their silence.
    let patience_us =
        5 * world.plan.heartbeat_us + LINGER_US + world.plan.keep_alive_us + world.plan.request_us;
    world.pass(patience_us.max(SILENCE_US_MAX));
    world.model.at = world.moment();
    for client in &mut world.clients {
        if std::mem::take(&mut client.refused_or_lost) && !client.over {
            client.settle_refused(&mut world.model);
        }
        client.assert_served(&world.model);
    }
    compare(world);
    presence::judge(world);
    verdict::judge(&mut world.model, &world.clients, world.plan.features);
    part(world);
}

pub fn ask(world: &mut World, ask: Ask, path: &str) -> Value {
    let id = world.connect();
    let at = world.moment();
    if world.plan.features.auth {
        world.clients[id].show(Some(tokens::ADMIN), &world.model);
    }
    world.clients[id].request(ask, &frames::get(path), at);
    world.settle();
    let client = &mut world.clients[id];
    let answer = client.stats.take().or(client.listed.take());
    let answer = answer.unwrap_or_else(|| panic!("{path} was not answered"));
    world.with(id, |client, scene| client.vanish(Some(false), scene));
    world.settle();
    answer
}

fn compare(world: &mut World) {
    if world
        .cores
        .iter()
        .flat_map(|core| &core.shard)
        .any(|shard| shard.connections() + 2 > world.plan.connections_max as usize)
    {
        return;
    }
    acks::judge(world);
    let stats = ask(world, Ask::Stats, "/stats");
    let sockets = world.clients.iter().filter(|client| client.socket && !client.over).count();
    assert_eq!(stats["active_clients"], sockets, "active_clients");
    assert!(stats["total_messages_sent"].as_u64() >= Some(world.model.deliveries), "total_messages_sent");
    let published: u64 = stats["shards"]
        .as_array()
        .expect("shards")
        .iter()
        .map(|shard| shard["published"].as_u64().unwrap_or(0))
        .sum();
    assert!(published >= world.model.published, "published");
    for (channel, plan) in world.model.channels.iter().enumerate() {
        let there = world.clients.iter().filter(|client| !client.over && !client.close_sent);
        let open: usize = there.map(|client| client.counted(&world.model, channel)).sum();
        let told = stats["channels"][&plan.name]["active_clients"].as_u64().unwrap_or(0);
        assert_eq!(told, open as u64, "active_clients of {}", plan.name);
    }
    channels_within(world, &stats);
}

fn channels_within(world: &World, stats: &Value) {
    let total = stats["active_channels"].as_u64().expect("a number") as usize;
    let channels = stats["channels"].as_object().expect("names");
    assert_eq!(channels.len(), total, "active_channels");
    let used = channels.values().filter(|channel| channel["active_clients"] != 0).count();
    let max = world.plan.channels_max;
    // The channel of dead letters is never forgotten.
    let letters = usize::from(channels.contains_key("courier.dead"));
    assert!(
        max == 0 || total <= max.max(used + letters),
        "{total} channels, {used} of them used, at most {max} wanted"
    );
}

/// All clients leave; nothing may be left of them.
fn part(world: &mut World) {
    for id in 0..world.clients.len() {
        let how = world.dice.below(3);
        world.with(id, |client, scene| match how {
            _ if client.over => {}
            0 if client.speaks_frames() && !client.close_sent => client.send_close(scene),
            1 => client.vanish(Some(true), scene),
            _ => client.vanish(Some(false), scene),
        });
    }
    world.pass(LINGER_US + EPHEMERAL_IDLE_US + 3_000_000);
    for core in &world.cores {
        let shard = core.shard.as_ref().expect("nobody stopped it");
        assert_eq!(shard.connections(), 0, "connections are left");
        assert_eq!(shard.kept_bytes(), 0, "bytes are kept for nobody");
        assert_eq!(shard.hub().heard(), 0, "channels are heard by nobody");
        assert_eq!(shard.hub().outboxes().count(), 0, "queues of nobody");
        assert_eq!(shard.hub().pending(), 0, "publishes wait for ever");
    }
    assert_eq!(world.shared.census.total(), 0);
    for (from, to) in (0..world.plan.shards).flat_map(|from| (0..world.plan.shards).map(move |to| (from, to)))
    {
        assert_eq!(world.shared.loads.of(from, to), (0, 0), "the lane from {from} to {to}");
    }
    assert_eq!(world.shared.history.over(), 0, "more is kept than may be");
    let stats = ask(world, Ask::Stats, "/stats");
    channels_within(world, &stats);
    for channel in world.model.channels.iter().filter(|channel| channel.ephemeral) {
        assert!(stats["channels"].get(&channel.name).is_none(), "{} is still there", channel.name);
    }
}

/// The stop goes on until every shard is done, within its time.
fn finish_stop(world: &mut World) {
    let began_us = world.now_us;
    while !world.is_done() {
        assert!(world.now_us - began_us <= DRAIN_US + 1_000_000, "the stop does not end");
        world.pass(100_000);
    }
    wake_all(world);
    for client in &world.clients {
        let told = client.close_seen.is_some() || !client.socket || client.over && client.ever_lazy;
        assert!(told || client.over, "client {} was not sent away", client.id);
    }
    verdict::judge(&mut world.model, &world.clients, world.plan.features);
}
