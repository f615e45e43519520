//! What a client makes of what it is sent: answers in the order of its requests, replies in the order of what it said,
//! events only of what it hears, one close frame and nothing behind it.

use crate::client::{Ask, Client, Expected, Owed, Scene, Tongue};
use crate::frames::{self, CLOSE, HttpAnswer, PING, PONG, TEXT};
use crate::model::{End, Got, Model, Outcome};
use crate::rights::Moment;
use serde_json::Value;

impl Client {
    pub fn take_in(&mut self, bytes: &[u8], scene: &mut Scene<'_>) -> Option<usize> {
        if self.socket && self.tongue == Tongue::Stream {
            let (block, len) = frames::block(bytes)?;
            self.block(block, scene);
            return Some(len);
        }
        if self.socket {
            let frame = frames::frame(bytes)?;
            let payload = self.unzipped(&frame, scene);
            self.frame(frame.opcode, &payload, scene);
            return Some(frame.len);
        }
        let (answer, len) = frames::http_answer(bytes)?;
        self.answer(answer, scene);
        Some(len)
    }

    fn answer(&mut self, answer: HttpAnswer, scene: &mut Scene<'_>) {
        let HttpAnswer { status, close, stream, extensions, body } = answer;
        assert!(!self.refused, "client {}: an answer ({status}) after the one that closes", self.id);
        self.idle_since_us = scene.now_us;
        self.answers += 1;
        scene
            .model
            .note(|| format!("  client {} is answered {status} {}", self.id, String::from_utf8_lossy(&body)));
        let Some(expected) = self.expected.pop_front() else {
            assert!(close && status == 408, "client {}: {status} for nothing", self.id);
            self.refused = true;
            return;
        };
        let early = expected.end > self.written;
        if scene.model.rights.is_on && self.refused_by_rights(status, &expected, scene) {
            return;
        }
        assert!(!early || close, "client {}: {status} for a request that it has not sent", self.id);
        let Expected { ask, token, at, .. } = expected;
        match (ask, status) {
            (Ask::Publish(n), 200) => {
                self.assert_might_publish(n, token, true, at, scene.model);
                self.published(n, &json(&body), scene);
            }
            (Ask::Batch(items), 200) => self.batch_answered(&items, &body, token, at, scene),
            (Ask::Publish(n), 503 | 408) => scene.model.settle(n, Outcome::Refused),
            (Ask::Batch(items), 503 | 408) => {
                items.into_iter().for_each(|n| scene.model.settle(n, Outcome::Refused));
            }
            (Ask::Upgrade(Tongue::Stream, path), 200) => {
                assert!(close && stream, "client {}: no stream", self.id);
                self.begin(path, token, at, scene);
                return;
            }
            (Ask::Upgrade(_, path), 101) => {
                self.agree(extensions.as_deref(), scene);
                self.begin(path, token, at, scene);
            }
            (Ask::Upgrade(Tongue::Stream, _), 400 | 503) if !close => {
                (self.tongue, self.upgrading) = (Tongue::Http, false);
            }
            (Ask::Upgrade(..), 400 | 503) => assert!(close),
            (Ask::Report, 200) => {}
            (Ask::Stats, 200) => self.stats = serde_json::from_slice(&body).ok(),
            (Ask::Channels, 200) => self.list(&body, scene.model),
            (Ask::Letters, 200) => self.listed = Some(json(&body)),
            (Ask::Bad(wanted), status) if wanted == status => {}
            (_, 503) if close => {}
            (_, 408) if (early || self.ever_lazy) && close => {}
            (ask, status) => {
                panic!("client {}: {status} to {ask:?}: {}", self.id, String::from_utf8_lossy(&body))
            }
        }
        if close {
            self.refused = true;
            self.finish_requests(Outcome::Refused, scene.model);
        }
    }

    /// It was told that its event was published.
    pub fn published(&mut self, n: usize, body: &Value, scene: &mut Scene<'_>) {
        scene.model.published(n, body, scene.step);
        if scene.features.priorities && scene.model.events[n].totals.is_empty() {
            scene.model.events[n].totals = scene.net.totals();
        }
    }

    fn batch_answered(
        &mut self,
        items: &[usize],
        body: &[u8],
        token: Option<usize>,
        at: Moment,
        scene: &mut Scene<'_>,
    ) {
        let results = json(body);
        let results = results.as_array().expect("a result for each item");
        assert_eq!(results.len(), items.len(), "client {}: results of a batch", self.id);
        for (n, result) in items.iter().zip(results) {
            if result["status"] == "published" {
                self.assert_might_publish(*n, token, true, at, scene.model);
                self.published(*n, result, scene);
            } else {
                if result["code"] == 403 {
                    self.assert_might_publish(*n, token, false, at, scene.model);
                } else {
                    assert_eq!(result["code"], 503, "event {n}: {result}");
                }
                scene.model.settle(*n, Outcome::Refused);
            }
        }
    }

    fn list(&mut self, body: &[u8], model: &Model) {
        let list = json(body);
        for (name, count) in list["channels"].as_object().expect("names") {
            // Rooms are channels too.
            let Some(channel) = model.channels.iter().find(|channel| channel.name == *name) else { continue };
            let max = u64::from(channel.clients_max);
            assert!(max == 0 || count.as_u64() <= Some(max), "{name} has {count} members, more than {max}");
        }
        self.listed = Some(list);
    }

    fn begin(&mut self, path: Option<usize>, token: Option<usize>, at: Moment, scene: &mut Scene<'_>) {
        assert!(self.expected.is_empty(), "a 101 before other answers");
        (self.socket, self.upgrading) = (true, false);
        self.comes_in(token, at, scene.model);
        let Some(session) = path else { return };
        match self.tongue {
            Tongue::V1 | Tongue::Router => {}
            Tongue::Courier => {
                scene.model.open(session, scene.step);
                let channel = scene.model.sessions[session].names[0];
                self.sessions[channel] = Some(session);
            }
            _ => scene.model.open(session, scene.step),
        }
    }

    fn open(&mut self, channel: usize, scene: &mut Scene<'_>) {
        if self.sessions[channel].is_none() {
            self.assert_might_subscribe(channel, scene.model);
            let sieve = Default::default();
            let session = scene.model.ask(self.ear, 1 << channel, vec![channel], sieve, false);
            scene.model.open(session, scene.step);
            // Its words may have come long after it was asked for.
            scene.model.sessions[session].asked = self.since;
            scene.model.sessions[session].whole = !scene.model.has_holes(channel);
            self.sessions[channel] = Some(session);
            if self.close_sent || self.fin_sent {
                scene.model.end(session, End::Abnormal);
            }
        }
    }

    fn frame(&mut self, opcode: u8, payload: &[u8], scene: &mut Scene<'_>) {
        assert!(self.close_seen.is_none(), "client {}: a frame after the close", self.id);
        self.controls += u32::from(opcode != TEXT);
        if opcode != TEXT && std::mem::take(&mut self.refused_or_lost) {
            self.settle_refused(scene.model);
        }
        match opcode {
            TEXT => self.text(payload, scene),
            PING => {
                let pong = frames::client_frame(true, PONG, payload, scene.dice);
                self.say(&pong);
            }
            PONG if self.tongue == Tongue::Courier => self.reply("PONG"),
            PONG => self.pay(&Owed::Echo),
            CLOSE => self.closed(payload, scene),
            other => panic!("client {}: opcode {other}", self.id),
        }
    }

    fn reply(&mut self, reply: &str) {
        self.controls += 1;
        let wanted = self.replies.pop_front();
        assert_eq!(wanted, Some(reply), "client {}: replies out of order", self.id);
    }

    /// An event has come, as this text.
    pub fn hear(&mut self, ear: usize, n: usize, text: &[u8], scene: &mut Scene<'_>) {
        self.assert_zipped(n, scene);
        self.hear_plainly(ear, n, text, scene);
    }

    /// The same of one that is never compressed.
    pub fn hear_plainly(&mut self, ear: usize, n: usize, text: &[u8], scene: &mut Scene<'_>) {
        scene.model.assert_verbatim(n, text);
        let taken_us = scene.net.taken_at_us(self.pipe, self.before);
        scene.model.heard(ear, Got { event: n, offset: self.before, taken_us, controls: self.controls });
    }

    fn text(&mut self, payload: &[u8], scene: &mut Scene<'_>) {
        scene.model.note(|| format!("  client {} is told {}", self.id, String::from_utf8_lossy(payload)));
        match self.tongue {
            Tongue::V1 => return self.text_of_v1(payload, scene),
            Tongue::Router => return self.text_of_router(payload, scene),
            Tongue::FreqSearch => return self.text_of_freqsearch(payload, scene),
            Tongue::Events if self.owed.front() == Some(&Owed::Welcome) => {
                return self.welcome_of_events(payload, scene);
            }
            _ => {}
        }
        let is_news = payload.starts_with(b"{\"type\":\"presence.");
        if payload.starts_with(b"{\"n\":") || payload.starts_with(b"{\"id\":") || is_news {
            let n = scene.model.number_in(payload);
            return self.hear(self.ear, n, payload, scene);
        }
        assert_eq!(self.tongue, Tongue::Courier, "client {}: words", self.id);
        match payload {
            b"ping" | b"{\"type\":\"ping\"}" => self.controls += 1,
            b"pong" => self.reply("pong"),
            b"{\"type\":\"pong\"}" => self.reply("{\"type\":\"pong\"}"),
            _ => self.words(&json(payload), scene),
        }
    }

    fn words(&mut self, said: &Value, scene: &mut Scene<'_>) {
        self.controls += 1;
        match said["type"].as_str().expect("a type") {
            "ack" => self.reply("ack"),
            "subscribed" => {
                let channel = scene.model.channel_named(said["channel"].as_str().expect("a name"));
                self.open(channel, scene);
            }
            "unsubscribed" => {
                let channel = scene.model.channel_named(said["channel"].as_str().expect("a name"));
                let asked_at = self.left_at.pop_front().expect("asked for");
                if let Some(session) = self.sessions[channel].take() {
                    scene.model.close(session, End::Left(asked_at));
                }
            }
            "shutdown" => assert!(scene.model.stopping),
            "error" => match said["code"].as_str().expect("a code") {
                "VALIDATION_ERROR" => self.reply("VALIDATION_ERROR"),
                "SUBSCRIPTION_LIMIT_EXCEEDED" | "CONNECTION_LIMIT_EXCEEDED" => self.turned_down = true,
                "FORBIDDEN" if self.may_be_refused_some(scene.model) => self.turned_down = true,
                other => panic!("client {}: {other}", self.id),
            },
            other => panic!("client {}: {other}", self.id),
        }
    }

    fn closed(&mut self, payload: &[u8], scene: &mut Scene<'_>) {
        let code = u16::from_be_bytes(payload[..2].try_into().expect("a code"));
        let words = std::str::from_utf8(&payload[2..]).expect("words");
        self.close_seen = Some(code);
        let silent = matches!(self.tongue, Tongue::Events | Tongue::Router | Tongue::FreqSearch);
        let by_rights = code == 1008 && self.ended_by_rights(words, scene);
        match (code, words) {
            _ if by_rights => {}
            (1000 | 1003, _) => assert!(self.close_sent, "client {}: {code} out of nowhere", self.id),
            (1001, words) => {
                assert!(scene.model.stopping && words == crate::STOP_REASON);
            }
            (1008, _) => assert!(self.turned_down || silent),
            (1013, _) => scene.model.cuts += 1,
            _ => panic!("client {}: closed with {code} {words}", self.id),
        }
        let whole = code == 1001 || by_rights;
        if whole {
            self.leave_what_was_changed(scene.model);
        }
        self.end_sessions(scene.model, if whole { End::Stopped } else { End::Abnormal });
        if !self.close_sent {
            let answer = frames::client_frame(true, CLOSE, &payload[..2], scene.dice);
            self.say(&answer);
            self.close_sent = true;
        }
    }

    /// The server sends no more.
    pub fn ended(&mut self, scene: &mut Scene<'_>) {
        let excused = self.ever_lazy || self.fin_sent || self.mute;
        let late = scene.model.stopping && !self.socket && self.owed_at_stop != Some(self.answers);
        // Who says too much before its socket is open may be dropped when the shard keeps too much already. So may one whose
        // queue is full before all its channels are there. What of earlier answers was on its way goes with it.
        let early = |expected: &Expected| match expected.ask {
            Ask::Upgrade(Tongue::Stream | Tongue::FreqSearch, _) => true,
            Ask::Upgrade(..) => self.queued > expected.end,
            _ => false,
        };
        let early = !self.socket && self.expected.iter().any(early);
        assert!(
            self.inbox.is_empty() || excused || late || early,
            "client {}: half a message: {:?}",
            self.id,
            String::from_utf8_lossy(&self.inbox)
        );
        if self.socket {
            let told = self.close_seen.is_some();
            let silent = self.tongue == Tongue::Stream;
            assert!(told || excused || silent, "client {}: the socket ended without a close frame", self.id);
            self.end_sessions(scene.model, End::Abnormal);
        } else if let Some(first) = self.expected.front() {
            let waited = first.end <= self.written && !self.refused;
            let stale = scene.now_us >= self.idle_since_us + scene.keep_alive_us;
            let excused = excused
                || early
                || self.upgrading && self.may_have_ended(scene.model)
                || stale
                || scene.model.stopping
                || self.may_be_turned_away && self.answers == 0;
            assert!(
                !waited || excused,
                "client {}: the connection ended with {:?} unanswered",
                self.id,
                first.ask
            );
        }
        let outcome = if self.refused { Outcome::Refused } else { Outcome::Lost };
        self.finish_requests(outcome, scene.model);
        scene.net.client_close(self.pipe, false);
        self.over = true;
    }
}

pub fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| panic!("no JSON: {:?}", String::from_utf8_lossy(bytes)))
}
