//! What a client makes of being let in, turned away, or told that what it may do has changed: each of it must be by the
//! rights that it had at some moment since it asked.

use crate::client::{Ask, Client, Expected, Owed, Scene};
use crate::model::{End, Model, Outcome, Session};
use crate::rights::{EVER, Moment};
use crate::world::{JUDGED_WITHIN_US, UNIX_MS};
use serde_json::Value;

/// Before a token ends its holder is told so many seconds ahead.
const TOLD_BEFORE_S: u64 = 60;

impl Client {
    /// Whether a request was refused by the rights of who sent it, and was so rightly.
    pub fn refused_by_rights(&mut self, status: u16, expected: &Expected, scene: &mut Scene<'_>) -> bool {
        if status != 401 && status != 403 {
            return false;
        }
        let Expected { ask, token, at, .. } = expected;
        let (model, now) = (&*scene.model, scene.model.at);
        let rightly = match (status, ask) {
            (401, _) => model.rights.may_fail(self.id, *token, *at, now),
            (_, Ask::Publish(n)) => {
                self.assert_might_publish(*n, *token, false, *at, model);
                true
            }
            (_, Ask::Upgrade(_, Some(session))) => {
                let mut names = model.names(model.sessions[*session].covers);
                names.any(|name| model.rights.may_not_read(self.id, *token, name, *at, now))
            }
            _ => false,
        };
        assert!(rightly, "client {}: {status} to {ask:?} with token {token:?} of {at:?}", self.id);
        match ask {
            Ask::Publish(n) => scene.model.settle(*n, Outcome::Refused),
            Ask::Batch(items) => items.iter().for_each(|n| scene.model.settle(*n, Outcome::Refused)),
            // What it said behind is not for such a connection.
            Ask::Upgrade(..) => self.vanish(Some(false), scene),
            _ => {}
        }
        true
    }

    /// Over HTTP, the holder of this token might publish an event (`wanted`), or might not.
    pub fn assert_might_publish(
        &self,
        n: usize,
        token: Option<usize>,
        wanted: bool,
        at: Moment,
        model: &Model,
    ) {
        let name = &model.channels[model.events[n].channel].name;
        assert!(
            model.rights.may_publish(self.id, token, name, wanted, (at, model.at)),
            "client {}: event {n} to {name}, published: {wanted}, with token {token:?} of {at:?}",
            self.id
        );
    }

    /// The same on a socket.
    pub fn assert_might_say(&self, n: usize, wanted: bool, model: &Model) {
        let event = &model.events[n];
        let name = &model.channels[event.channel].name;
        let sent = Moment { step: event.sent.unwrap_or(0), us: event.sent_us };
        let rightly = match wanted {
            true => model.rights.may_have(self.id, name, true, sent, model.at),
            false => model.rights.may_lack(self.id, name, true, sent, model.at),
        };
        assert!(rightly, "client {}: event {n} to {name}, published: {wanted}", self.id);
    }

    /// It is let in with a token: what that grants it has from now on.
    pub fn comes_in(&mut self, token: Option<usize>, at: Moment, model: &mut Model) {
        (self.since, self.let_in_us) = (at, model.at.us);
        if let (true, Some(token)) = (model.rights.is_on, token) {
            model.rights.hold(self.id, token, at, model.at);
        }
    }

    pub fn renewed(&mut self, token: usize, model: &mut Model) {
        let (before, new) =
            (self.token.map(|before| &model.rights.tokens[before]), &model.rights.tokens[token]);
        assert!(
            before.is_some_and(|b| !b.is_key && b.user == new.user),
            "client {}: another's token",
            self.id
        );
        assert!(
            model.rights.may_pass(self.id, Some(token), Moment::default(), model.at),
            "client {}: token {token} does not hold",
            self.id
        );
        self.token = Some(token);
        model.rights.renewed(self.id, token, model.at);
    }

    pub fn not_renewed(&mut self, token: usize, why: &str, model: &mut Model) {
        let (before, new) =
            (self.token.map(|before| &model.rights.tokens[before]), &model.rights.tokens[token]);
        let other = before.is_none_or(|b| b.is_key || b.user != new.user);
        let bad = model.rights.may_fail(self.id, Some(token), Moment::default(), model.at);
        assert!(why == "FORBIDDEN" && (other || bad), "client {}: token {token} is refused", self.id);
        model.rights.not_renewed(self.id, token);
    }

    pub fn assert_expiring(&self, in_s: u64, model: &Model) {
        assert!(model.rights.is_on && in_s <= TOLD_BEFORE_S, "client {}: {in_s} s", self.id);
    }

    /// A subscription that a socket asked for may be refused: at some moment nothing of it might be read.
    pub fn may_be_refused(&self, at: usize, model: &Model) -> bool {
        let session = &model.sessions[self.named[at].session];
        model.rights.may_lack_all(self.id, model.names(session.covers), session.asked, model.at)
    }

    /// Some channel that a plain socket asked for might not be read.
    pub fn may_be_refused_some(&self, model: &Model) -> bool {
        let mut names = model.names(self.asked);
        names.any(|name| model.rights.may_lack(self.id, name, false, self.since, model.at))
    }

    /// A channel whose subscription was confirmed might be read.
    pub fn assert_might_subscribe(&self, channel: usize, model: &Model) {
        let name = &model.channels[channel].name;
        assert!(
            model.rights.may_have(self.id, name, false, self.since, model.at),
            "client {}: subscribed to {name}, which it might never read",
            self.id
        );
    }

    fn may_lack_some(&self, session: &Session, model: &Model) -> bool {
        let mut names = model.names(session.covers);
        names.any(|name| model.rights.may_lack(self.id, name, false, session.asked, model.at))
    }

    /// A subscription has ended with the rights to it.
    pub fn lose(&mut self, id: &str, model: &mut Model) {
        let named = self.named.iter().rfind(|named| named.id == id).expect("one of its own");
        let session = &model.sessions[named.session];
        let rightly = session.hollow || self.may_lack_some(session, model);
        assert!(rightly, "client {}: lost {id}, all of which it might read", self.id);
        model.lose(named.session);
    }

    /// Dialect `router`: behind words that both have, the end of a subscription was not asked for; or, if it is something else
    /// that follows, a subscription was refused.
    pub fn was_lost(&mut self, said: &Value, scene: &mut Scene<'_>) -> bool {
        if said["type"] == "unsubscribed" {
            self.lose(said["subscription_id"].as_str().expect("an id"), scene.model);
            return true;
        }
        self.settle_refused(scene.model);
        false
    }

    /// Dialect `router`: the oldest subscription that is not answered was refused.
    pub fn settle_refused(&mut self, model: &mut Model) {
        let Some(Owed::Subscribed(at)) = self.owed.pop_front() else {
            panic!("client {}: refused, and asked for nothing", self.id)
        };
        let session = &model.sessions[self.named[at].session];
        let rightly = session.hollow || self.may_lack_some(session, model);
        assert!(rightly, "client {}: subscription {at} is refused, all of which it might read", self.id);
        self.turned_down = true;
        model.close(self.named[at].session, End::Abnormal);
    }

    /// Whether what it showed may have ended by now.
    pub fn may_have_ended(&self, model: &Model) -> bool {
        model.rights.is_on && model.rights.may_fail(self.id, self.token, self.since, EVER)
    }

    /// Whether a socket is closed because of its rights, with the right words, and soon after they have ended.
    pub fn ended_by_rights(&self, words: &str, scene: &mut Scene<'_>) -> bool {
        let (rights, now) = (&scene.model.rights, scene.model.at);
        if !rights.is_on {
            return false;
        }
        match words {
            "Authentication token required" => self.token.is_none(),
            "Token expired" if rights.may_have_ended(self.id, now) => {
                let end_ms = rights.ends_ms(self.id).expect("something has ended");
                let taken_us = scene.net.taken_at_us(self.pipe, self.before);
                let from_ms = end_ms.max(UNIX_MS + self.let_in_us / 1000);
                let late = UNIX_MS + taken_us / 1000 > from_ms + JUDGED_WITHIN_US / 1000;
                let excused = self.ever_lazy || end_ms <= self.since.unix_ms();
                assert!(
                    !late || excused,
                    "client {}: told at {taken_us} us that it ended at {end_ms}",
                    self.id
                );
                true
            }
            "Invalid token" => rights.may_be_revoked(self.id, self.since, now),
            "Unauthorized access to channel" => self.may_be_refused_some(scene.model),
            _ => false,
        }
    }
}
