//! What a client makes of what it is sent: answers in the order of its requests, replies in the order of what it said,
//! events only of what it hears, one close frame and nothing behind it.

use crate::client::{Ask, Client, Scene};
use crate::frames::{self, CLOSE, HttpAnswer, PING, PONG, TEXT};
use crate::model::{End, Model, Outcome};

impl Client {
    pub fn take_in(&mut self, bytes: &[u8], scene: &mut Scene<'_>) -> Option<usize> {
        if self.socket {
            let frame = frames::frame(bytes)?;
            self.frame(frame.opcode, frame.payload, scene);
            return Some(frame.len);
        }
        let (answer, len) = frames::http_answer(bytes)?;
        self.answer(answer, scene);
        Some(len)
    }

    fn answer(&mut self, answer: HttpAnswer, scene: &mut Scene<'_>) {
        let HttpAnswer { status, close, body } = answer;
        assert!(!self.refused, "client {}: an answer ({status}) after the one that closes", self.id);
        self.idle_since_us = scene.now_us;
        self.answers += 1;
        let Some(expected) = self.expected.pop_front() else {
            assert!(close && status == 408, "client {}: {status} for nothing", self.id);
            self.refused = true;
            return;
        };
        let early = expected.end > self.written;
        assert!(!early || close, "client {}: {status} for a request that it has not sent", self.id);
        match (expected.ask, status) {
            (Ask::Publish(n), 200) => scene.model.published(n, &body, scene.step),
            (Ask::Publish(n), 503 | 408) => scene.model.settle(n, Outcome::Refused),
            (Ask::Upgrade(channel), 101) => self.begin(channel, scene),
            (Ask::Upgrade(_), 400 | 503) => assert!(close),
            (Ask::Report, 200) => {}
            (Ask::Stats, 200) => self.stats = serde_json::from_slice(&body).ok(),
            (Ask::Channels, 200) => self.list(&body, scene.model),
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

    fn list(&mut self, body: &[u8], model: &Model) {
        let list: serde_json::Value = serde_json::from_slice(body).expect("a report is JSON");
        for (name, count) in list["channels"].as_object().expect("names") {
            let max = u64::from(model.channels[model.channel_named(name)].clients_max);
            assert!(max == 0 || count.as_u64() <= Some(max), "{name} has {count} members, more than {max}");
        }
        self.listed = Some(list);
    }

    fn begin(&mut self, channel: Option<usize>, scene: &mut Scene<'_>) {
        assert!(self.expected.is_empty(), "a 101 before other answers");
        (self.socket, self.upgrading) = (true, false);
        if let Some(channel) = channel {
            self.open(channel, scene);
        }
    }

    fn open(&mut self, channel: usize, scene: &mut Scene<'_>) {
        if self.sessions[channel].is_none() {
            let session = scene.model.open(self.id, channel, scene.step);
            self.sessions[channel] = Some(session);
            if self.close_sent || self.fin_sent {
                scene.model.end(session, End::Abnormal);
            }
        }
    }

    fn frame(&mut self, opcode: u8, payload: &[u8], scene: &mut Scene<'_>) {
        assert!(self.close_seen.is_none(), "client {}: a frame after the close", self.id);
        match opcode {
            TEXT => self.text(payload, scene),
            PING => {
                let pong = frames::client_frame(true, PONG, payload, scene.dice);
                self.say(&pong);
            }
            PONG => self.reply("PONG"),
            CLOSE => self.closed(payload, scene),
            other => panic!("client {}: opcode {other}", self.id),
        }
    }

    fn reply(&mut self, reply: &str) {
        let wanted = self.replies.pop_front();
        assert_eq!(wanted, Some(reply), "client {}: replies out of order", self.id);
    }

    fn text(&mut self, payload: &[u8], scene: &mut Scene<'_>) {
        if let Some(n) = Model::number_of(payload) {
            let channel = scene.model.events.get(n).expect("an event that was made").channel;
            let session = self.sessions[channel];
            let session =
                session.unwrap_or_else(|| panic!("client {}: event {n} without a subscription", self.id));
            return scene.model.heard(session, n, payload);
        }
        match payload {
            b"ping" | b"{\"type\":\"ping\"}" => return,
            b"pong" => return self.reply("pong"),
            b"{\"type\":\"pong\"}" => return self.reply("{\"type\":\"pong\"}"),
            _ => {}
        }
        let said: serde_json::Value = serde_json::from_slice(payload).expect("what a server says is JSON");
        match said["type"].as_str().expect("a type") {
            "ack" => self.reply("ack"),
            "subscribed" => {
                let channel = scene.model.channel_named(said["channel"].as_str().expect("a name"));
                self.open(channel, scene);
            }
            "unsubscribed" => {
                let channel = scene.model.channel_named(said["channel"].as_str().expect("a name"));
                let asked_at = self.left_at[channel].pop_front().expect("asked for");
                if let Some(session) = self.sessions[channel].take() {
                    scene.model.end(session, End::Left(asked_at));
                }
            }
            "shutdown" => assert!(scene.model.stopping),
            "error" => match said["code"].as_str().expect("a code") {
                "VALIDATION_ERROR" => self.reply("VALIDATION_ERROR"),
                "SUBSCRIPTION_LIMIT_EXCEEDED" | "CONNECTION_LIMIT_EXCEEDED" => self.turned_down = true,
                other => panic!("client {}: {other}", self.id),
            },
            other => panic!("client {}: {other}", self.id),
        }
    }

    fn closed(&mut self, payload: &[u8], scene: &mut Scene<'_>) {
        let code = u16::from_be_bytes(payload[..2].try_into().expect("a code"));
        let words = std::str::from_utf8(&payload[2..]).expect("words");
        self.close_seen = Some(code);
        match (code, words) {
            (1000 | 1003, _) => assert!(self.close_sent, "client {}: {code} out of nowhere", self.id),
            (1001, words) => {
                assert!(scene.model.stopping && words == crate::STOP_REASON);
            }
            (1008, _) => assert!(self.turned_down),
            (1013, _) => scene.model.cuts += 1,
            _ => panic!("client {}: closed with {code} {words}", self.id),
        }
        self.end_sessions(scene.model, if code == 1001 { End::Stopped } else { End::Abnormal });
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
        assert!(self.inbox.is_empty() || excused || late, "client {}: half a message", self.id);
        if self.socket {
            let told = self.close_seen.is_some();
            assert!(told || excused, "client {}: the socket ended without a close frame", self.id);
            self.end_sessions(scene.model, End::Abnormal);
        } else if let Some(first) = self.expected.front() {
            let waited = first.end <= self.written && !self.refused;
            // Who says too much before its socket is open may be dropped when the shard keeps too much already.
            let early = matches!(first.ask, Ask::Upgrade(_)) && self.queued > first.end;
            let stale = scene.now_us >= self.idle_since_us + scene.keep_alive_us;
            let excused = excused
                || early
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
