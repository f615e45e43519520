//! What a client makes of what it is sent in the dialects with envelopes, and in a stream: each envelope is taken
//! apart to the byte, and the event in it goes to the model.

use crate::client::{Client, Named, Owed, Scene, Tongue};
use crate::ears::json;
use crate::model::{End, Model, Outcome, Place, Stage, place};
use serde_json::Value;

/// The length of a UUID, and of a time.
const UUID: usize = 36;
const TIME: usize = 24;

/// Takes the fixed words before and behind a part.
fn between<'b>(bytes: &'b [u8], head: &str, tail: &str) -> Option<&'b [u8]> {
    bytes.strip_prefix(head.as_bytes())?.strip_suffix(tail.as_bytes())
}

/// Cuts at the first of some words.
fn cut<'b>(bytes: &'b [u8], words: &str) -> (&'b str, &'b [u8]) {
    let words = words.as_bytes();
    let at = bytes.windows(words.len()).position(|found| found == words).expect("an envelope");
    (std::str::from_utf8(&bytes[..at]).expect("text"), &bytes[at + words.len()..])
}

impl Client {
    pub fn pay(&mut self, owed: &Owed) {
        self.controls += 1;
        let wanted = self.owed.pop_front();
        assert_eq!(wanted.as_ref(), Some(owed), "client {}: answers out of order", self.id);
    }

    fn next_owed(&mut self, what: &Value) -> Owed {
        self.owed.pop_front().unwrap_or_else(|| panic!("client {}: not asked for: {what}", self.id))
    }

    pub fn text_of_v1(&mut self, payload: &[u8], scene: &mut Scene<'_>) {
        if let Some(inner) = between(payload, "{\"type\":\"event\",\"channel\":\"", "}") {
            let (name, rest) = cut(inner, "\",\"id\":\"");
            let (id, text) = cut(rest, "\",\"event\":");
            let n = scene.model.number_in(text);
            assert_eq!(scene.model.channel_named(name), scene.model.events[n].channel, "event {n}");
            scene.model.place(n, place(id));
            return self.hear(self.ear, n, text, scene);
        }
        if let Some(inner) = between(payload, "{\"attempt\":", "}") {
            let (attempt, rest) = cut(inner, ",\"subscription\":\"");
            let (subscription, rest) = cut(rest, "\",\"type\":\"event\",\"channel\":\"");
            let (name, rest) = cut(rest, "\",\"id\":\"");
            let (id, text) = cut(rest, "\",\"event\":");
            let n = scene.model.number_in(text);
            assert_eq!(scene.model.channel_named(name), scene.model.events[n].channel, "event {n}");
            scene.model.place(n, place(id));
            return self.attempted(attempt.parse().expect("a number"), subscription, n, text, scene);
        }
        self.controls += 1;
        let said = json(payload);
        match said["type"].as_str().expect("a type") {
            "welcome" => {
                assert_eq!(self.owed.pop_front(), Some(Owed::Welcome), "client {}", self.id);
                self.name = said["connection"].as_str().map(str::to_owned);
                scene.model.names.extend(self.name.clone().map(|name| (name, self.id)));
            }
            "ping" => {}
            "pong" => assert_eq!(self.owed.pop_front(), Some(Owed::Pong), "client {}", self.id),
            "subscribed" => {
                let Owed::Subscribed(at) = self.next_owed(&said) else { panic!("out of order: {said}") };
                assert_eq!(said["id"], self.named[at].id.as_str());
                assert_eq!(said["channel"], self.named[at].target.as_str());
                self.let_in(at, said["position"].as_str().map(place), scene);
                self.resumed(at, &said, scene);
            }
            "unsubscribed" if std::mem::take(&mut self.loses) => {
                self.lose(said["id"].as_str().expect("an id"), scene.model);
            }
            "unsubscribed" => {
                assert!(matches!(self.next_owed(&said), Owed::Unsubscribed(..)), "out of order: {said}");
                self.let_go(said["id"].as_str().expect("an id"), scene);
            }
            "authenticated" => {
                let Owed::Renewed(token) = self.next_owed(&said) else { panic!("out of order: {said}") };
                self.renewed(token, scene.model);
            }
            "expiring" => self.assert_expiring(said["in_seconds"].as_u64().expect("a number"), scene.model),
            "published" => {
                let Owed::Published(n, _) = self.next_owed(&said) else { panic!("out of order: {said}") };
                assert_eq!(said["ref"], n);
                self.assert_might_say(n, true, scene.model);
                self.published(n, &said, scene);
            }
            "presence" => self.present(&said, scene),
            "acked" => {
                let Owed::Acked(acked) = self.next_owed(&said) else { panic!("out of order: {said}") };
                self.acked(&acked, &said, scene);
            }
            "gap" => self.gap(&said, scene.model),
            "shutdown" => assert!(scene.model.stopping),
            "error" => self.error(said["code"].as_str().expect("a code"), &said, scene),
            other => panic!("client {}: {other}", self.id),
        }
    }

    fn gap(&mut self, said: &Value, model: &mut Model) {
        let position = |name: &str| place(said[name].as_str().expect("a position"));
        let channel = model.channel_named(said["channel"].as_str().expect("a name"));
        let (from, to): (Place, Place) = (position("from"), position("to"));
        if from.0 != to.0 {
            // The place that it named is of an earlier life of the channel: what is missing has no numbers.
            return;
        }
        assert!(from.1 <= to.1, "client {}: {said}", self.id);
        let Some(own) = self.acking_ear(channel, model) else {
            return model.ears[self.ear].gaps.push((channel, from, to));
        };
        // Which of both it is about is not told.
        for ear in [own, self.ear] {
            let ear = &mut model.ears[ear];
            ear.gaps.push((channel, from, to));
            ear.unsure |= 1 << channel;
        }
        for number in model.ears[own].sessions.clone() {
            model.sessions[number].whole = false;
        }
    }

    /// A command of dialect `courier.v1` or `router` was not carried out.
    fn error(&mut self, why: &str, said: &Value, scene: &mut Scene<'_>) {
        let is_full = why == "CHANNEL_FULL" || why == "UNAVAILABLE" && said["ref"].is_null();
        if is_full && said["ref"].is_null() {
            // Of the path; a close follows.
            self.turned_down = true;
            self.owed.clear();
            return;
        }
        let is_forbidden = why == "FORBIDDEN" || why.ends_with("Unauthorized access to channel");
        if is_forbidden && self.tongue == Tongue::V1 && said["ref"].is_null() {
            assert!(!self.loses, "client {}: nothing ends", self.id);
            self.loses = true;
            return;
        }
        if is_forbidden && self.tongue == Tongue::Router {
            self.refused_or_lost = true;
            return;
        }
        match self.next_owed(said) {
            Owed::Subscribed(at) => {
                assert!(
                    ["CHANNEL_FULL", "SUBSCRIPTION_LIMIT_EXCEEDED"].contains(&why)
                        || is_forbidden && self.may_be_refused(at, scene.model)
                        || self.tongue == Tongue::Router,
                    "client {}: {said}",
                    self.id
                );
                self.turned_down = true;
                scene.model.close(self.named[at].session, End::Abnormal);
            }
            Owed::Unsubscribed(at, oldest) => {
                assert!(
                    why == "NOT_SUBSCRIBED" || why == "Subscription not found",
                    "client {}: {said}",
                    self.id
                );
                let is_it = |named: &Named| match oldest {
                    true => named.target == self.named[at].target,
                    false => named.id == self.named[at].id,
                };
                let open = |named: &Named| scene.model.sessions[named.session].stage == Stage::Open;
                assert!(!self.named.iter().any(|n| is_it(n) && open(n)), "client {}: {said}", self.id);
                self.left_at.pop_front();
            }
            Owed::Renewed(token) => self.not_renewed(token, why, scene.model),
            Owed::Presence(channel, at) => self.not_present(channel, at, why, scene.model),
            Owed::Published(n, _) => {
                let is_forbidden = is_forbidden || why.contains("does not allow");
                if is_forbidden {
                    self.assert_might_say(n, false, scene.model);
                }
                let known = why == "UNAVAILABLE" || is_forbidden || self.tongue == Tongue::Router;
                assert!(known, "client {}: {said}", self.id);
                scene.model.settle(n, Outcome::Refused);
            }
            Owed::Error => {}
            other => panic!("client {}: {other:?} is owed, not {said}", self.id),
        }
    }

    fn let_in(&mut self, at: usize, from: Option<Place>, scene: &mut Scene<'_>) {
        let session = self.named[at].session;
        for name in scene.model.sessions[session].names.clone() {
            self.assert_might_subscribe(name, scene.model);
        }
        scene.model.open(session, scene.step);
        scene.model.sessions[session].from = from;
    }

    /// What it is told of the past is true: as many events as there are numbers, or something is missing.
    fn resumed(&mut self, at: usize, said: &Value, scene: &mut Scene<'_>) {
        let session = &mut scene.model.sessions[self.named[at].session];
        let Some((epoch, offset)) = session.resume else {
            assert_eq!((&said["recovered"], &said["replayed"]), (&Value::Bool(false), &Value::from(0)));
            return;
        };
        let now = place(said["position"].as_str().expect("a channel has one"));
        session.known = Some(now);
        match said["recovered"].as_bool().expect("a word of truth") {
            true => {
                assert_eq!((now.0, now.1 - offset), (epoch, said["replayed"].as_u64().expect("a count")));
                session.from = Some((epoch, offset));
            }
            // From where on nothing is missing is not told.
            false => session.from = None,
        }
    }

    fn let_go(&mut self, id: &str, scene: &mut Scene<'_>) {
        let asked_at = self.left_at.pop_front().expect("asked for");
        let named = self.named.iter().rfind(|named| named.id == id).expect("one of its own");
        scene.model.close(named.session, End::Left(asked_at));
    }

    pub fn text_of_router(&mut self, payload: &[u8], scene: &mut Scene<'_>) {
        if let Some(inner) = between(payload, "{\"type\":\"event\",\"event\":", "\"}") {
            let (object, id) = inner.split_at(inner.len() - UUID);
            let object = object.strip_suffix(b",\"subscription_id\":\"").expect("a subscription's id");
            let id = std::str::from_utf8(id).expect("hex");
            let named = self.named.iter().find(|named| named.id == id);
            let session = named.unwrap_or_else(|| panic!("client {}: no subscription {id}", self.id)).session;
            let ear = scene.model.sessions[session].ear;
            let n = scene.model.number_in(object);
            if scene.model.events[n].is_routers {
                return self.hear(ear, n, object, scene);
            }
            let (head, rest) = cut(object, ",\"payload\":");
            let end = scene.model.events[n].bytes.len().min(rest.len());
            assert!(rest[end..].starts_with(b",\"metadata\":"), "event {n} is cut");
            self.assert_head(n, &json(format!("{head}}}").as_bytes()), scene.model);
            return self.hear(ear, n, &rest[..end], scene);
        }
        self.controls += 1;
        let said = json(payload);
        if std::mem::take(&mut self.refused_or_lost) && self.was_lost(&said, scene) {
            return;
        }
        match said["type"].as_str().expect("a type") {
            "welcome" => assert_eq!(self.owed.pop_front(), Some(Owed::Welcome), "client {}", self.id),
            "pong" | "health" => assert_eq!(self.owed.pop_front(), Some(Owed::Pong), "client {}", self.id),
            "subscribed" => {
                let Owed::Subscribed(at) = self.next_owed(&said) else { panic!("out of order: {said}") };
                assert_eq!(said["subscription_id"], self.named[at].id.as_str());
                self.let_in(at, None, scene);
            }
            "unsubscribed" => {
                assert!(matches!(self.next_owed(&said), Owed::Unsubscribed(..)), "out of order: {said}");
                self.let_go(said["subscription_id"].as_str().expect("an id"), scene);
            }
            "published" => {
                let Owed::Published(n, _) = self.next_owed(&said) else { panic!("out of order: {said}") };
                assert_eq!(said["event_id"], format!("e{n}"));
                self.assert_might_say(n, true, scene.model);
                match said["status"].as_str() {
                    Some("queued") => scene.model.taken(n, None, scene.step),
                    Some("dropped") => scene.model.dropped(n, scene.features.replays),
                    _ => panic!("client {}: {said}", self.id),
                }
            }
            "error" => self.error(said["error"].as_str().expect("words"), &said, scene),
            other => panic!("client {}: {other}", self.id),
        }
    }

    /// What the router's form says of an event of another dialect.
    fn assert_head(&self, n: usize, head: &Value, model: &Model) {
        let event = &model.events[n];
        let known = crate::words::TYPES.contains(&&*event.kind);
        assert_eq!(head["topic"], model.channels[event.channel].name.as_str(), "event {n}");
        assert_eq!(head["type"], if known { &*event.kind } else { "custom" }, "event {n}");
        assert_eq!(head["priority"], event.priority, "event {n}");
        assert_eq!(head["source"], event.source.unwrap_or("courier"), "event {n}");
    }

    pub fn text_of_freqsearch(&mut self, payload: &[u8], scene: &mut Scene<'_>) {
        if payload == b"pong" {
            self.controls += 1;
            match self.owed.pop_front() {
                Some(Owed::Pong) => {}
                Some(Owed::Changed(old, new)) => {
                    let asked_at = self.left_at.pop_front().expect("asked for");
                    scene.model.close(old, End::Left(asked_at));
                    scene.model.open(new, scene.step);
                }
                other => panic!("client {}: a pong, where {other:?} is owed", self.id),
            }
            return;
        }
        let inner = between(payload, "{\"type\":\"", "\"}").expect("an envelope");
        let (kind, rest) = cut(inner, "\",\"data\":");
        let (text, _) = rest.split_at(rest.len() - TIME);
        let text = text.strip_suffix(b",\"timestamp\":\"").expect("a time");
        let n = scene.model.number_in(text);
        assert_eq!(kind, scene.model.events[n].kind, "event {n}");
        self.hear(self.ear, n, text, scene);
    }

    /// Dialect `freqsearch`: its socket ends, and what it has changed last may have been taken without the word behind it.
    pub fn leave_what_was_changed(&mut self, model: &mut Model) {
        let changes = self.owed.iter().filter_map(|owed| match owed {
            Owed::Changed(old, _) => Some(*old),
            _ => None,
        });
        for (old, asked_at) in changes.zip(&self.left_at) {
            model.end(old, End::Left(*asked_at));
        }
    }

    pub fn welcome_of_events(&mut self, payload: &[u8], scene: &mut Scene<'_>) {
        let said = json(payload);
        self.pay(&Owed::Welcome);
        let channel = scene.model.channel_named(said["channel"].as_str().expect("a name"));
        let max = u64::from(scene.model.channels[channel].clients_max);
        let count = said["subscribers"].as_u64().expect("a number");
        assert!(said["type"] == "connection" && count >= 1 && (max == 0 || count <= max), "{said}");
    }

    /// A block of a stream (WHATWG HTML 9.2.6).
    pub fn block(&mut self, block: &str, scene: &mut Scene<'_>) {
        let Some(rest) = block.strip_prefix("id: ") else {
            self.controls += 1;
            return assert!(block.starts_with(':') || block.starts_with("retry: "), "{block:?}");
        };
        let (id, rest) = rest.split_once("\nevent: ").expect("a type");
        let (kind, text) = rest.split_once("\ndata: ").expect("data");
        let n = scene.model.number_in(text.as_bytes());
        assert_eq!(kind, scene.model.events[n].kind, "event {n}");
        // A stream of several channels has a place in each; the one that has moved is the event's. Others move with it when
        // events of theirs were queued and have expired or were lost.
        let last: Vec<&str> = self.last_id.split(',').collect();
        let moved = id.split(',').enumerate().filter(|(nth, part)| last.get(*nth) != Some(part));
        let moved: Vec<&str> = moved.map(|(_, part)| part).collect();
        if !id.contains(',') {
            scene.model.place(n, place(id));
        } else if !self.last_id.is_empty() {
            match (&moved[..], scene.model.events[n].place) {
                ([], _) => panic!("event {n} moved no place of {id}"),
                ([own], _) => scene.model.place(n, place(own)),
                (several, Some(own)) => {
                    assert!(several.iter().any(|part| place(part) == own), "event {n}: {id}")
                }
                (_, None) => {}
            }
        }
        id.clone_into(&mut self.last_id);
        self.hear(self.ear, n, text.as_bytes(), scene);
    }

    /// The subscriptions that a client may still ask to end.
    pub fn live(&self, model: &Model) -> Vec<usize> {
        let live = |at: &usize| {
            let named = &self.named[*at];
            !named.asked_to_end && model.sessions[named.session].stage != Stage::Over
        };
        (0..self.named.len()).filter(live).collect()
    }
}
