//! What clients say to subscribe: the first line that opens a socket or a stream, and the commands of each dialect.

use crate::acks;
use crate::client::{Ask, Client, Mark, Named, Owed, Scene, Tongue};
use crate::dice::Dice;
use crate::features::Features;
use crate::frames::{self, PING};
use crate::model::{Model, Stage};
use crate::sieve::{Sieve, covers};
use crate::tokens;
use crate::world::World;
use crate::zip;
use serde_json::json;

/// Types that the router knows (sources 2.3), and one that it does not.
pub const TYPES: [&str; 3] = ["task.created", "task.failed", "agent.started"];
pub const KINDS: [&str; 4] = [TYPES[0], TYPES[1], TYPES[2], "order.new"];
pub const SOURCES: [&str; 2] = ["s1", "s2"];

/// Subscriptions that one client asks for at most.
const NAMED_MAX: usize = 6;

/// The words of a filter: types may end in a star, or are exact, and those of the router are its own.
fn sieve(dice: &mut Dice, features: Features, tongue: Tongue) -> Sieve {
    let mut sieve = Sieve::default();
    if !features.filters || dice.chance(40) {
        return sieve;
    }
    let mut some = |words: &[&str]| -> Vec<String> {
        let count = dice.below(3);
        (0..count).map(|_| (*dice.pick(words)).to_owned()).collect()
    };
    sieve.types =
        some(if tongue == Tongue::Router { &TYPES } else { &["task.*", KINDS[0], KINDS[3], "task"] });
    sieve.sources = some(&SOURCES);
    if features.priorities && dice.chance(50) {
        let first = dice.range(1, 10) as u8;
        sieve.priorities = match tongue {
            Tongue::Router => (first..=10).collect(),
            _ => vec![first, dice.range(1, 10) as u8],
        };
    }
    if dice.chance(50) {
        sieve.sources.clear();
    }
    sieve
}

/// As a query writes it, behind a first mark.
fn query(sieve: &Sieve) -> String {
    let numbers: Vec<String> = sieve.priorities.iter().map(u8::to_string).collect();
    let lists = [("types", &sieve.types), ("priorities", &numbers), ("sources", &sieve.sources)];
    let given = lists.iter().filter(|(_, words)| !words.is_empty());
    given.map(|(name, words)| format!("&{name}={}", words.join(","))).collect()
}

/// Which channels a list of names and patterns covers, and which of the names are heard as such: one that a pattern of
/// the list covers is not.
fn targets(model: &Model, list: &[String]) -> (u64, Vec<usize>) {
    let covered = |name: &str| list.iter().any(|pattern| covers(pattern, name));
    let mask = |(at, channel): (usize, &crate::plan::ChannelPlan)| u64::from(covered(&channel.name)) << at;
    let named = |channel: &crate::plan::ChannelPlan| {
        let starred = list.iter().any(|pattern| pattern.contains('*') && covers(pattern, &channel.name));
        list.contains(&channel.name) && !starred
    };
    let channels = model.channels.iter().enumerate();
    let names = channels.clone().filter(|(_, channel)| named(channel)).map(|(at, _)| at);
    (channels.map(mask).sum(), names.collect())
}

/// A channel's name, or a pattern that may cover it.
fn target(world: &mut World) -> String {
    let channel = world.dice.below(world.model.channels.len());
    let name = world.model.channels[channel].name.clone();
    if !world.plan.features.patterns || world.dice.chance(40) {
        return name;
    }
    let (family, number) = name.rsplit_once('.').expect("two segments at least");
    let patterns = [
        "*".to_owned(),
        "**".to_owned(),
        "*.*".to_owned(),
        format!("{family}.*"),
        format!("{family}.**"),
        format!("*.{number}"),
        "forge.**".to_owned(),
        "forge.*".to_owned(),
        "*.job.*".to_owned(),
        "plain.**".to_owned(),
    ];
    world.dice.pick(&patterns).clone()
}

/// A client asks for a socket or a stream.
pub fn upgrade(world: &mut World, id: usize) {
    let features = world.plan.features;
    let mut tongues = vec![Tongue::Courier; 2];
    for (on, tongue) in [
        (features.v1, Tongue::V1),
        (features.v1, Tongue::V1),
        (features.acks, Tongue::V1),
        (features.acks, Tongue::V1),
        (features.router, Tongue::Router),
        (features.router, Tongue::Router),
        (features.freqsearch, Tongue::FreqSearch),
        (features.events, Tongue::Events),
        (features.streams, Tongue::Stream),
    ] {
        tongues.extend(on.then_some(tongue));
    }
    let tongue = *world.dice.pick(&tongues);
    let channel = world.dice.below(world.model.channels.len());
    let name = world.model.channels[channel].name.clone();
    let sieve = match tongue {
        Tongue::Router | Tongue::FreqSearch => Sieve::default(),
        _ => sieve(&mut world.dice, features, tongue),
    };
    let words = query(&sieve);
    let (path, list) = match tongue {
        Tongue::Router => (["/", "/router"][world.dice.below(2)].to_owned(), vec![]),
        Tongue::FreqSearch => match features.patterns && world.dice.chance(40) {
            true => rooms(&name),
            false => ("/api/v1/ws/events".to_owned(), vec!["*".to_owned()]),
        },
        Tongue::Events => (format!("/ws/events/{name}?{words}"), vec![name]),
        Tongue::Stream if world.dice.chance(50) => {
            let other = world.dice.below(world.model.channels.len());
            let other = world.model.channels[other].name.clone();
            (format!("/sse?channel={name}&channel={other}{words}"), vec![name, other])
        }
        Tongue::Stream => (format!("/sse/{name}?{words}"), vec![name]),
        _ if world.dice.chance(75) => (format!("/ws/{name}?{words}"), vec![name]),
        _ => ("/ws".to_owned(), vec![]),
    };
    world.note(|| format!("client {id} asks for {path} in {tongue:?}"));
    world.clients[id].tongue = tongue;
    let session = (!list.is_empty()).then(|| world.with(id, |client, scene| client.ask(&list, sieve, scene)));
    let at = world.moment();
    let client = &mut world.clients[id];
    if matches!(tongue, Tongue::V1 | Tongue::Router | Tongue::Events) {
        client.owed.push_back(Owed::Welcome);
    }
    match (tongue, session) {
        (Tongue::Courier, Some(_)) => client.wants[channel] = true,
        (Tongue::FreqSearch, Some(session)) => client.interest = session,
        (Tongue::V1, Some(session)) => {
            client.owed.push_back(Owed::Subscribed(0));
            let id = list[0].clone();
            client.named.push(Named { target: id.clone(), id, session, asked_to_end: false });
        }
        _ => {}
    }
    let bytes = match tongue {
        Tongue::Stream => frames::get(&path),
        Tongue::V1 => frames::upgrade(&path, Some("courier.v1")),
        _ => frames::upgrade(&path, None),
    };
    let offers = if features.zip_bytes_min.is_some() { 60 } else { 5 };
    let offer =
        (tongue != Tongue::Stream && world.dice.chance(offers)).then(|| zip::some_offer(&mut world.dice));
    let bytes = offer.map_or(bytes.clone(), |offer| frames::with_field(&bytes, &zip::field(offer)));
    let client = &mut world.clients[id];
    client.offer = offer;
    client.request(Ask::Upgrade(tongue, session), &bytes, at);
}

/// The first segment of a name: a room of dialect `freqsearch`.
fn rooms(name: &str) -> (String, Vec<String>) {
    let (room, _) = name.split_once('.').expect("two segments at least");
    (format!("/api/v1/ws/events?rooms={room}"), vec![room.to_owned(), format!("{room}.**")])
}

/// A client says something on its socket.
pub fn speak(world: &mut World, id: usize) {
    let what = world.dice.below(10);
    let tongue = world.clients[id].tongue;
    world.note(|| format!("client {id} says {what}"));
    if tongue == Tongue::V1 && world.plan.features.auth && world.dice.chance(20) {
        return renew(world, id);
    }
    match (tongue, what) {
        (Tongue::V1 | Tongue::Router, 0..4) => subscribe(world, id),
        (Tongue::V1 | Tongue::Router, 4..6) => unsubscribe(world, id),
        (Tongue::V1 | Tongue::Router, 6..8) if world.plan.features.said => crate::publish::say(world, id),
        (Tongue::V1, 8..10) if world.plan.features.presence => crate::presence::ask(world, id),
        (Tongue::FreqSearch, 0..6) => change(world, id),
        (Tongue::Events, _) => world.with(id, |client, scene| client.tell("whatever", scene)),
        _ => world.with(id, |client, scene| client.small_talk(scene)),
    }
}

fn subscribe(world: &mut World, id: usize) {
    let at = world.clients[id].named.len();
    if at >= NAMED_MAX {
        return;
    }
    let tongue = world.clients[id].tongue;
    let sieve = sieve(&mut world.dice, world.plan.features, tongue);
    let count = if tongue == Tongue::V1 { 1 } else { world.dice.below(4) };
    let acks = tongue == Tongue::V1 && world.plan.features.acks && world.dice.chance(60);
    let list: Vec<String> = match acks {
        true => vec![world.dice.pick(&world.model.channels).name.clone()],
        false => (0..count).map(|_| target(world)).collect(),
    };
    let mut words = json!({ "types": sieve.types, "priorities": sieve.priorities, "sources": sieve.sources });
    let (mut covered, mut resume, mut attempts_max) = (list.clone(), None, None);
    let (name, text) = match tongue {
        Tongue::V1 => {
            let name = format!("c{id}s{at}");
            (words["type"], words["ref"], words["id"]) = (json!("subscribe"), json!(at), json!(name));
            words[if list[0].contains('*') { "pattern" } else { "channel" }] = json!(list[0]);
            let wanted = world.plan.features.replays && !list[0].contains('*') && world.dice.chance(60);
            let channel = world.model.channels.iter().position(|channel| wanted && channel.name == list[0]);
            let any = world.dice.below(1000);
            resume =
                channel.and_then(|channel| world.model.place_to_resume(world.clients[id].ear, channel, any));
            let channel = world.model.channels.iter().position(|channel| acks && channel.name == list[0]);
            let may_ask = |at: &usize| acks::may_ask(&world.clients[id], *at, &world.model.channels[*at]);
            if channel.is_some_and(|at| may_ask(&at)) {
                attempts_max = Some(acks::wish(world, &mut words));
            }
            if let Some((epoch, offset)) = resume {
                words["after"] = json!(format!("{epoch:08x}-{offset}"));
            }
            (name, words.to_string())
        }
        _ => {
            let name = format!("{id:08x}-0000-4000-8000-{at:012x}");
            (words["id"], words["topics"]) = (json!(name), json!(list));
            if list.is_empty() {
                covered.push("*".to_owned());
            }
            (name, json!({ "type": "subscribe", "subscription": words }).to_string())
        }
    };
    world.with(id, |client, scene| {
        let session = match attempts_max {
            Some(max) => client.ask_acked(&covered, sieve, &name, max, scene),
            None => client.ask(&covered, sieve, scene),
        };
        scene.model.sessions[session].resume = resume;
        scene.model.mind_overlaps(session);
        let target = covered[0].clone();
        client.named.push(Named { id: name, target, session, asked_to_end: false });
        client.owed.push_back(Owed::Subscribed(at));
        client.tell(&text, scene);
    });
}

fn unsubscribe(world: &mut World, id: usize) {
    let live = world.clients[id].live(&world.model);
    // In dialect `router` it could not be told which of both an answer is for.
    let features = world.plan.features;
    let asks = world.clients[id].owed.iter().any(|owed| matches!(owed, Owed::Subscribed(_)));
    if live.is_empty() || asks && features.auth && world.clients[id].tongue == Tongue::Router {
        return;
    }
    let at = *world.dice.pick(&live);
    let oldest = world.dice.chance(30);
    world.with(id, |client, scene| {
        let Named { id, target, .. } = &client.named[at];
        let text = match client.tongue {
            Tongue::V1 if oldest => json!({ "type": "unsubscribe", "channel": target }),
            Tongue::V1 => json!({ "type": "unsubscribe", "id": id }),
            _ => json!({ "type": "unsubscribe", "subscription_id": id }),
        };
        let named = client.tongue != Tongue::V1 || !oldest;
        client.named[at].asked_to_end |= named;
        client.owed.push_back(Owed::Unsubscribed(at, !named));
        client.tell_leaving(&text.to_string(), scene);
    });
}

/// A client wants to stay with another token, often for less than it may now, which now and then is not its own.
fn renew(world: &mut World, id: usize) {
    let own = world.clients[id].token.filter(|token| !world.model.rights.tokens[*token].is_key);
    let token = match own.filter(|_| world.dice.chance(85)) {
        Some(own) if world.dice.chance(60) => tokens::lesser(world, own),
        Some(own) => tokens::token(world, Some(world.model.rights.tokens[own].user)),
        None => tokens::token(world, None),
    };
    let now = world.moment();
    world.model.rights.ask(id, token, now);
    world.with(id, |client, scene| {
        let text = &scene.model.rights.tokens[token].text;
        let words = json!({ "type": "auth", "ref": token, "token": text }).to_string();
        client.tell(&words, scene);
        client.owed.push_back(Owed::Renewed(token));
    });
}

/// Dialect `freqsearch`: other types, and a `ping` behind them, because they are not answered.
fn change(world: &mut World, id: usize) {
    let kind = (*world.dice.pick(&KINDS)).to_owned();
    let adds = world.dice.chance(60);
    world.with(id, |client, scene| {
        if adds {
            client.types.insert(kind.clone())
        } else {
            client.types.remove(&kind)
        };
        let old = client.interest;
        let (covers, names) = (scene.model.sessions[old].covers, scene.model.sessions[old].names.clone());
        let sieve = Sieve { types: client.types.iter().cloned().collect(), ..Sieve::default() };
        client.interest = scene.model.ask(client.ear, covers, names, sieve, true);
        scene.model.sessions[old].heir = Some(client.interest);
        let action = if adds { "subscribe" } else { "unsubscribe" };
        client.tell(&json!({ "action": action, "event_types": [kind] }).to_string(), scene);
        client.marks.push_back((client.queued, Mark::Left));
        client.tell("ping", scene);
        client.owed.push_back(Owed::Changed(old, client.interest));
    });
}

impl Client {
    /// Notes that it asks for a subscription to all of a list.
    pub fn ask(&mut self, list: &[String], sieve: Sieve, scene: &mut Scene<'_>) -> usize {
        let (covers, names) = targets(scene.model, list);
        let ear = if self.tongue == Tongue::Router { scene.model.ear(self.id) } else { self.ear };
        let plain = sieve.is_open() && names.len() == 1 && covers.count_ones() == 1;
        let early = matches!(self.tongue, Tongue::Router);
        let session = scene.model.ask(ear, covers, names, sieve, early);
        let is_hollow = |pattern: &String| targets(scene.model, std::slice::from_ref(pattern)).0 == 0;
        scene.model.sessions[session].hollow = list.iter().any(is_hollow);
        let whole = plain
            && self.tongue != Tongue::Router
            && !scene.model.has_holes(covers.trailing_zeros() as usize);
        // Where an event comes to it through another subscription, which acknowledges, it does not come to this.
        let shares = scene.features.exclude || scene.features.acks;
        scene.model.sessions[session].whole = whole && (self.tongue != Tongue::V1 || !shares);
        self.asked |= covers;
        session
    }

    /// Says something that changes nothing and is answered at once.
    fn small_talk(&mut self, scene: &mut Scene<'_>) {
        let (text, owed) = match (self.tongue, scene.dice.below(4)) {
            (_, 0) => {
                self.owed.push_back(Owed::Echo);
                return self.say(&frames::client_frame(true, PING, b"are you there", scene.dice));
            }
            (Tongue::FreqSearch, 1) => ("ping", Owed::Pong),
            (Tongue::FreqSearch, _) => return self.tell("{\"action\":\"dance\"}", scene),
            (Tongue::V1, 1) => ("{\"type\":\"dance\",\"ref\":1}", Owed::Error),
            (Tongue::V1, _) => ("{\"type\":\"ping\",\"ref\":1}", Owed::Pong),
            (_, 1) => ("ping", Owed::Error),
            (_, 2) => ("{\"type\":\"get_health\"}", Owed::Pong),
            _ => ("{\"type\":\"ping\"}", Owed::Pong),
        };
        self.owed.push_back(owed);
        self.tell(text, scene);
    }

    /// The subscriptions of channels by name that the server should count for it.
    pub fn counted(&self, model: &Model, channel: usize) -> usize {
        let open = model.sessions.iter().filter(|s| s.client == self.id && s.stage == Stage::Open);
        open.map(|session| session.names.iter().filter(|name| **name == channel).count()).sum()
    }
}
