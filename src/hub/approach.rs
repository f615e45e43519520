//! What is looked at before it is needed. Of a thousand channels the one that is published to was last touched a thousand
//! events ago, and what is known of it lies outside the core's own cache, some 80 ns away: the channel's row, then what
//! this shard's members hear of it, each named by the one before. A plain look as soon as the name is known lets the core fetch
//! them while it reads the event, and several looks in a row are fetched together. Of requests that were gathered the names
//! are guessed before they are read, and what they name is looked at for all of them at once. Nothing is decided here.

use super::crowds::NONE;
use super::subscriptions::Subscriptions;
use super::{Hub, Outlet};
use crate::stdx::slab::Key;
use std::hint::black_box;

/// Where events of a channel go, as far as is known before there is one.
#[derive(Clone, Copy, Debug)]
pub struct Near {
    /// The shard that numbers them.
    pub(super) owner: usize,
    /// The channel, if this shard has it.
    pub(super) owned: Option<Key>,
    /// Where it is heard here.
    heard: Option<Heard>,
}

/// Where a channel is heard on the shard that owns it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// The local side: events are delivered there.
    pub local: u32,
    /// The crowd that somebody joined last, which may be gone: only where to look.
    pub crowd: u32,
}

/// Crowds whose members are looked at together before the first of them is sent to.
const AHEAD: usize = 16;

/// What was looked at for many publishes together.
#[derive(Default)]
pub(super) struct Guesses {
    /// Of each read in turn the channel's row; [`NONE`] for what names no channel that is here.
    rows: Vec<u32>,
    /// Which read is served now.
    at: usize,
}

impl Hub {
    /// Looks at where events of these channels most likely go, as far as this shard owns them: one step of the way for all,
    /// then the next, so that the core fetches what lies far away for many of them at a time. `None` for what names none.
    pub fn look_to<'n>(&mut self, names: impl Iterator<Item = Option<&'n [u8]>>) {
        let Guesses { rows, at } = &mut self.guesses;
        let row = |name: Option<&[u8]>| self.channels.by_name.likely(name?);
        *at = 0;
        rows.clear();
        rows.extend(names.map(|name| row(name).unwrap_or(NONE)));
        for owned in rows.iter().filter_map(|row| self.channels.slab.at(*row)) {
            black_box((owned.name.len(), owned.position.offset, owned.keep, owned.heard.is_some()));
        }
        for heard in rows.iter().filter_map(|row| self.channels.slab.at(*row)?.heard) {
            look_at(&self.subscriptions, heard);
        }
    }

    /// The read behind the one that was served now is served next.
    pub fn look_on(&mut self) {
        self.guesses.at += 1;
    }

    /// The channel's row, if it is the one that was guessed of what is served now.
    #[inline]
    fn guessed(&self, channel: &str) -> Option<u32> {
        let row = *self.guesses.rows.get(self.guesses.at)?;
        let owned = self.channels.slab.at(row)?;
        owned.name.is(channel, &owned.channel).then_some(row)
    }

    /// Finds where events of a channel go, for [`Hub::publish_near`]: as early as its name is known.
    pub fn approach(&self, channel: &str) -> Near {
        let owner = self.owner(channel);
        let find = || self.guessed(channel).or_else(|| self.channels.find(channel));
        let found = if owner == self.options.shard { find() } else { None };
        let Some((key, owned)) = found.and_then(|slot| self.channels.slab.entry_at(slot)) else {
            return Near { owner, owned: None, heard: None };
        };
        black_box((owned.position.offset, owned.keep));
        Near { owner, owned: Some(key), heard: owned.heard }
    }

    /// Looks at what a delivery begins with, some hundred instructions before it.
    pub fn look_near(&self, near: &Near) {
        if let Some(heard) = near.heard {
            look_at(&self.subscriptions, heard);
        }
    }
}

#[inline(always)]
fn look_at(subscriptions: &Subscriptions, Heard { local, crowd }: Heard) {
    let local = subscriptions.locals.at(local).map(|local| local.resolved);
    let crowd = subscriptions.crowds.at(crowd).map(|crowd| (crowd.generation, crowd.turn.len()));
    black_box((local, crowd));
}

impl Subscriptions {
    /// Looks at the sockets to which these crowds are sent first.
    pub(super) fn look_ahead(&self, crowds: &[Key], outlet: &impl Outlet) {
        let seats = crowds.iter().filter_map(|key| self.crowds.get(*key)?.direct.first());
        black_box(seats.filter(|seat| outlet.look(seat.member)).count());
    }

    /// In such parts the crowds of a turn are looked at and sent.
    pub(super) fn in_parts(crowds: &[Key]) -> impl Iterator<Item = &[Key]> {
        crowds.chunks(AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::event::{Event, Facts};
    use crate::stdx::slab::Key;

    struct Deaf;

    impl Outlet for Deaf {
        fn send(&mut self, _: u32, bytes: &[u8]) -> Sent {
            Sent::Bytes(bytes.len())
        }
        fn send_all(&mut self, _: u32, _: &[std::io::IoSlice<'_>]) -> Sent {
            Sent::Gone
        }
    }

    /// Between the two the token of the only subscriber may be found to have ended.
    #[test]
    fn a_channel_that_is_forgotten_after_it_was_approached_is_made_anew() {
        let mut epoch = 0;
        let draw = move || {
            epoch += 1;
            epoch
        };
        let options = super::super::tests::options();
        let mut hub = Hub::new(options, Box::new(draw));
        let member = Key { slot: 0, generation: 1 };
        hub.admit(member);
        hub.join(member, 0, &Wish { ephemeral: true, ..Wish::channel("a") }, 0);
        let near = hub.approach("a");
        hub.look_near(&near);
        hub.retire(member, 0);
        assert!(hub.approach("a").owned.is_none(), "it went with its last member");
        hub.look_near(&near);
        // Another one has its row now.
        hub.admit(Key { slot: 1, generation: 1 });
        hub.join(Key { slot: 1, generation: 1 }, 0, &Wish::channel("b"), 0);
        assert_eq!(hub.approach("b").owned.map(|key| key.slot), near.owned.map(|key| key.slot));
        let event = Event::new("{}", &Facts::default(), None, 0);
        let origin = Origin { connection: member, request: 0, item: 0 };
        let Publishing::Done(published) = hub.publish_near(near, "a", event, origin, 0, &mut Deaf) else {
            panic!("it is taken at once")
        };
        assert_eq!((published.position.epoch, published.position.offset, published.reached), (3, 1, 0));
    }

    /// Keys of two members and the rows of the channels `a` and `b` that they have joined.
    fn joined(hub: &mut Hub) -> [(Key, u32); 2] {
        [("a", 0), ("b", 1)].map(|(name, slot)| {
            let member = Key { slot, generation: 1 };
            hub.admit(member);
            hub.join(member, 0, &Wish { ephemeral: true, ..Wish::channel(name) }, 0);
            (member, hub.approach(name).owned.expect("it is here").slot)
        })
    }

    fn look_to(hub: &mut Hub, names: &[Option<&str>]) {
        hub.look_to(names.iter().map(|name| name.map(str::as_bytes)));
    }

    #[test]
    fn a_guess_serves_its_own_read_and_no_other_channel() {
        let mut hub = Hub::new(super::super::tests::options(), Box::new(|| 1));
        let rows = joined(&mut hub).map(|(_, row)| row);
        let names = [Some("b"), None, Some("a"), Some("c"), Some("")];
        look_to(&mut hub, &names);
        for read in names.into_iter().chain([None, None]) {
            for (name, row) in ["a", "b"].into_iter().zip(rows) {
                assert_eq!(hub.guessed(name), (read == Some(name)).then_some(row), "{name} at {read:?}");
                assert_eq!(hub.approach(name).owned.map(|key| key.slot), Some(row), "{name} at {read:?}");
            }
            assert!(hub.approach("c").owned.is_none(), "at {read:?}");
            hub.look_on();
        }
    }

    #[test]
    fn a_guess_whose_row_becomes_another_channels_is_none() {
        let mut hub = Hub::new(super::super::tests::options(), Box::new(|| 1));
        let [(first, row), (second, _)] = joined(&mut hub);
        look_to(&mut hub, &[Some("a")]);
        hub.retire(first, 0);
        assert_eq!(hub.guessed("a"), None, "its row is free");
        hub.join(second, 1, &Wish::channel("d"), 0);
        assert_eq!(hub.approach("d").owned.map(|key| key.slot), Some(row));
        assert_eq!(hub.guessed("a"), None, "its row is taken");
        assert!(hub.approach("a").owned.is_none());
    }
}
