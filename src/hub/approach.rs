//! What is looked at before it is needed. Of a thousand channels the one that is published to was last touched a thousand
//! events ago, and what is known of it lies outside the core's own cache, some 80 ns away: the channel's row, then what
//! this shard's members hear of it, each named by the one before. A plain look as soon as the name is known lets the core fetch
//! them while it reads the event, and several looks in a row are fetched together. Nothing is decided here.

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

impl Hub {
    /// Finds where events of a channel go, for [`Hub::publish_near`]: as early as its name is known.
    pub fn approach(&self, channel: &str) -> Near {
        let owner = self.owner(channel);
        let found = if owner == self.options.shard { self.channels.find(channel) } else { None };
        let Some((key, owned)) = found.and_then(|slot| self.channels.slab.entry_at(slot)) else {
            return Near { owner, owned: None, heard: None };
        };
        black_box((owned.position.offset, owned.keep));
        Near { owner, owned: Some(key), heard: owned.heard }
    }

    /// Looks at what a delivery begins with, some hundred instructions before it.
    pub fn look_near(&self, near: &Near) {
        if let Some(Heard { local, crowd }) = near.heard {
            let local = self.subscriptions.locals.at(local).map(|local| local.resolved);
            let crowd = self.subscriptions.crowds.at(crowd).map(|crowd| (crowd.generation, crowd.turn.len()));
            black_box((local, crowd));
        }
    }
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
}
