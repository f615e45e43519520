//! Who hears a channel, where its option `presence` is on: what the server tells of those who come and go, on the channel
//! and to whoever asks. A watcher hears every channel through a pattern from the first step on, reads whatever comes, and
//! is none of those it hears of; so what it was told must add up, and must be what is so at the end.

use crate::client::{Ask, Client, Named, Owed, Scene, Tongue};
use crate::ears::json;
use crate::frames;
use crate::model::{Event, Model, NORMAL, Outcome, Stage};
use crate::rights::Moment;
use crate::sieve::Sieve;
use crate::tokens;
use crate::world::World;
use courier::runtime::shard::Shard;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where the router's form has the text.
const PAYLOAD: &[u8] = b"\"payload\":";
const NEWS: &[u8] = b"{\"type\":\"presence.";

/// Events of the server's, which nobody published, by their text. No two are the same: a channel has one of a kind in a turn,
/// and a turn has its own millisecond.
pub type News = BTreeMap<Vec<u8>, usize>;

impl Model {
    /// The number of the event in a text of any kind.
    pub fn number_in(&mut self, text: &[u8]) -> usize {
        if let Some(n) = Model::number_of(text) {
            return n;
        }
        let payload = text.windows(PAYLOAD.len()).position(|bytes| bytes == PAYLOAD);
        let inner = payload.map_or(text, |at| &text[at + PAYLOAD.len()..]);
        let found = Model::number_of(inner).or_else(|| self.news_in(inner));
        found.unwrap_or_else(|| panic!("no event: {}", String::from_utf8_lossy(text)))
    }

    fn news_in(&mut self, text: &[u8]) -> Option<usize> {
        // Behind it there is more in the router's form; the text itself has only one object.
        let end = text.iter().position(|byte| *byte == b'}')? + 1;
        let text = text.starts_with(NEWS).then_some(&text[..end])?;
        if let Some(n) = self.news.get(text) {
            return Some(*n);
        }
        let said = json(text);
        let channel = self.channel_named(said["channel"].as_str().expect("a name"));
        assert!(self.channels[channel].presence, "nobody asked for {said}");
        let kind = said["type"].as_str().expect("a type").to_owned();
        let n = self.events.len();
        self.events.push(Event {
            channel,
            client: usize::MAX,
            kind,
            priority: NORMAL,
            bytes: text.to_vec(),
            sent: Some(0),
            // Nobody is told that it was taken.
            outcome: Outcome::Lost,
            attempts: 1,
            ..Event::default()
        });
        self.news.insert(text.to_vec(), n);
        Some(n)
    }
}

/// Opens the watcher's socket, before anybody else comes.
pub fn begin(world: &mut World) {
    if !world.plan.features.presence {
        return;
    }
    let id = world.connect();
    let at = world.moment();
    if world.plan.features.auth {
        world.clients[id].show(Some(tokens::ADMIN), &world.model);
    }
    world.watcher = Some(id);
    let all = "**".to_owned();
    let client = &mut world.clients[id];
    client.tongue = Tongue::V1;
    client.owed.push_back(Owed::Welcome);
    client.request(Ask::Upgrade(Tongue::V1, None), &frames::upgrade("/ws", Some("courier.v1")), at);
    world.settle();
    world.with(id, |client, scene| {
        let session = client.ask(std::slice::from_ref(&all), Sieve::default(), scene);
        client.named.push(Named { id: "all".to_owned(), target: all, session, asked_to_end: false });
        client.owed.push_back(Owed::Subscribed(0));
        client.tell("{\"type\":\"subscribe\",\"ref\":0,\"id\":\"all\",\"pattern\":\"**\"}", scene);
    });
    world.settle();
}

/// It takes what comes.
pub fn watch(world: &mut World) {
    if let Some(id) = world.watcher {
        world.with(id, |client, scene| {
            client.write(usize::MAX, scene);
            client.read(usize::MAX, scene);
        });
    }
}

/// A client of dialect `courier.v1` asks who hears a channel.
pub fn ask(world: &mut World, id: usize) {
    let channel = world.dice.below(world.model.channels.len());
    let name = world.model.channels[channel].name.clone();
    let at = world.moment();
    world.with(id, |client, scene| {
        client.owed.push_back(Owed::Presence(channel, at));
        client.tell(&json!({ "type": "presence", "ref": channel, "channel": name }).to_string(), scene);
    });
}

impl Client {
    /// The answer to that: of those that are named each has asked for the channel, by its name.
    pub fn present(&mut self, said: &Value, scene: &mut Scene<'_>) {
        let Some(Owed::Presence(channel, at)) = self.owed.pop_front() else { panic!("out of order: {said}") };
        let model = &scene.model;
        let plan = &model.channels[channel];
        assert!(plan.presence && said["channel"] == plan.name.as_str() && said["ref"] == channel, "{said}");
        let may = model.rights.may_have(self.id, &plan.name, false, at, model.at);
        assert!(may, "client {}: it may not know who hears {}", self.id, plan.name);
        let listed = listed(said, said["count"].as_u64());
        for name in &listed {
            assert!(
                model.names.get(name).is_none_or(|other| {
                    let mut sessions = model.sessions.iter().filter(|session| session.client == *other);
                    sessions.any(|session| session.names.contains(&channel))
                }),
                "client {}: {name} is said to hear {}",
                self.id,
                plan.name
            );
        }
        self.present = Some(listed);
    }

    /// It is not told who hears a channel.
    pub fn not_present(&self, channel: usize, at: Moment, why: &str, model: &Model) {
        let plan = &model.channels[channel];
        let rightly = match why {
            "NOT_AVAILABLE" => !plan.presence,
            "FORBIDDEN" => model.rights.may_lack(self.id, &plan.name, false, at, model.at),
            _ => false,
        };
        assert!(rightly, "client {}: {why} to who hears {}", self.id, plan.name);
    }
}

/// Those that are named, none twice, as many as are counted.
fn listed(said: &Value, count: Option<u64>) -> BTreeSet<String> {
    let list = said["connections"].as_array().expect("a list");
    let names: BTreeSet<String> = list.iter().map(|name| name.as_str().expect("a name").to_owned()).collect();
    assert!(names.len() == list.len() && count == Some(names.len() as u64), "{said}");
    assert!(said["total"] == names.len() && said["truncated"] == false, "{said}");
    names
}

/// Whether the watcher was told everything: it was not cut off, lost nothing, and no shard had to leave anything out.
fn is_sure(world: &World, watcher: &Client) -> bool {
    let shards = world.cores.iter().filter_map(|core| core.shard.as_ref());
    let dropped: u64 = shards.map(Shard::hub).map(|hub| hub.counters.presence_dropped).sum();
    let open = watcher.named.iter().all(|named| world.model.sessions[named.session].stage == Stage::Open);
    dropped == 0
        && !watcher.over
        && watcher.close_seen.is_none()
        && open
        && !watcher.named.is_empty()
        && world.model.ears[watcher.ear].gaps.is_empty()
}

/// What the watcher was told adds up; who is there at the end, by what it was told, by what the owner answers and by what
/// clients know, are the same.
pub fn judge(world: &mut World) {
    let Some(id) = world.watcher.filter(|id| is_sure(world, &world.clients[*id])) else { return };
    for channel in 0..world.model.channels.len() {
        if !world.model.channels[channel].presence {
            continue;
        }
        let told = told_of(&world.model, world.clients[id].ear, channel);
        let at = world.moment();
        let name = world.model.channels[channel].name.clone();
        let text = json!({ "type": "presence", "ref": channel, "channel": name }).to_string();
        world.with(id, |client, scene| {
            client.owed.push_back(Owed::Presence(channel, at));
            client.tell(&text, scene);
        });
        world.settle();
        let answered = world.clients[id].present.take().expect("an answer");
        assert_eq!(told, answered, "who hears {name}: as was told, and as is answered");
        let there = world.clients.iter().filter(|client| !client.over && !client.close_sent);
        let there: Vec<&Client> = there.filter(|client| client.counted(&world.model, channel) > 0).collect();
        assert_eq!(answered.len(), there.len(), "so many hear {name}: as is answered, and as is so");
        for name in there.iter().filter_map(|client| client.name.as_ref()) {
            assert!(answered.contains(name), "{name} hears {channel} and is not known to");
        }
    }
}

/// Who hears a channel, by what was told.
fn told_of(model: &Model, ear: usize, channel: usize) -> BTreeSet<String> {
    let mut here: BTreeSet<String> = BTreeSet::new();
    let got = model.ears[ear].got.iter().map(|got| &model.events[got.event]);
    let news = got.filter(|event| event.channel == channel && event.client == usize::MAX);
    let mut news = news.map(|event| json(&event.bytes)).peekable();
    while let Some(said) = news.next() {
        let named = listed(&said, said["total"].as_u64());
        assert_eq!(
            said["connection"].as_str(),
            named.first().filter(|_| named.len() == 1).map(|name| &**name)
        );
        for name in named {
            let is_news = match said["type"] == "presence.joined" {
                true => here.insert(name.clone()),
                false => here.remove(&name),
            };
            assert!(is_news, "{name} is told once more: {said}");
        }
        // Of those who came and those who went in one turn the count is one.
        if news.peek().is_none_or(|next| next["timestamp"] != said["timestamp"]) {
            assert_eq!(said["count"], here.len(), "{said}, and {here:?} are here");
        }
    }
    here
}
