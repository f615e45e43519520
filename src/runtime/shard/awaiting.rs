//! Connections that wait for owners to let them in: what the answers come to, also where rights have changed meanwhile.

use super::super::driver::Driver;
use super::Shard;
use super::connection::{Protocol, Waiting};
use crate::hub::Joined;
use crate::session::command::{Subscribe, Which};
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;
use std::ops::Range;

impl<D: Driver> Shard<D> {
    /// The owner of a channel, or every shard asked for a pattern, has answered.
    pub(super) fn join_answered(&mut self, driver: &mut D, joined: Joined, now: Now) {
        let key = joined.member;
        let Some(open) = self.open_at(key) else { return self.first_join_answered(driver, &joined, now) };
        let Some(Waiting::Join(join)) = open.waiting.as_deref_mut() else { return };
        join.first.missing -= 1;
        match joined.outcome {
            Ok(standing) => join.first.standing = join.first.standing.or(Some(standing)),
            Err(_) => join.first.full = joined.channel.as_ref().map(|channel| channel.as_str().into()),
        }
        if join.first.missing > 0 {
            return self.keep_held_within(key, now);
        }
        if let Some(Waiting::Join(join)) = open.waiting.take().map(|waiting| *waiting) {
            self.join_done(key, join, now);
            self.keep_held_within(key, now);
            self.go_on(driver, key, now);
        }
    }

    /// An owner has answered one of the joins with which a connection starts.
    fn first_join_answered(&mut self, driver: &mut D, joined: &Joined, now: Now) {
        let Some(connection) = self.connections.get_mut(joined.member) else { return };
        let Protocol::Opening(opening) = &mut connection.protocol else { return };
        opening.first.missing -= 1;
        match joined.outcome {
            Ok(standing) => opening.first.standing = opening.first.standing.or(Some(standing)),
            Err(_) => opening.first.full = joined.channel.as_ref().map(|channel| channel.as_str().into()),
        }
        match opening.first.missing {
            0 => self.opened(driver, joined.member, now),
            _ => self.keep_held_within(joined.member, now),
        }
    }

    /// Takes back what was let in of a subscription that does not come about.
    pub(super) fn take_back(&mut self, key: Key, wish: &Subscribe, tags: Range<u32>, now: Now) {
        for tag in tags {
            self.hub.leave(key, tag, now.steady_us);
        }
        if let Some(open) = self.open_at(key)
            && open.subscriber.keeps_book()
        {
            open.subscriber.book().strike(&Which::Id(wish.id.clone()));
        }
    }

    /// What somebody waits to be let in to: the tags of it.
    pub(super) fn awaited(&self, key: Key) -> Option<Range<u32>> {
        match &self.connections.get(key)?.protocol {
            Protocol::Opening(_) => Some(0..u32::MAX),
            Protocol::Socket(open) => match open.waiting.as_deref()? {
                Waiting::Join(join) => Some(join.tags.clone()),
                _ => None,
            },
            Protocol::Http(_) | Protocol::Ending(_) => None,
        }
    }

    /// Owners have answered somebody who waited while its rights changed.
    pub(super) fn keep_held_within(&mut self, key: Key, now: Now) {
        if self.suspects.is_held(key.slot) {
            let grants = self.pass_at(key).map(|pass| pass.grants().clone());
            self.keep_within(key, grants.as_deref(), now);
        }
    }

    /// Leaves what somebody was let in to of what it waits for, if it was, and notes that it is not to have the rest.
    pub(super) fn lose_awaited(&mut self, key: Key, tag: u32, now: Now) {
        if !self.hub.is_let_in(key, tag) {
            return;
        }
        self.hub.leave(key, tag, now.steady_us);
        match self.connections.get_mut(key).map(|connection| &mut connection.protocol) {
            Some(Protocol::Opening(opening)) => opening.first.lost = true,
            Some(Protocol::Socket(open)) => {
                if let Some(Waiting::Join(join)) = open.waiting.as_deref_mut() {
                    join.first.lost = true;
                }
            }
            _ => {}
        }
    }
}
