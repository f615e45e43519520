//! How subscriptions move between the two lists of a crowd.

use super::crowds::{Entry, NONE, Seat};
use super::members::{Badge, Place, Subscribed};
use super::subscriptions::Subscriptions;
use crate::event::ConnectionId;
use std::rc::Rc;

impl Subscriptions {
    /// Moves a direct subscriber to the queued list, with what this turn holds for it. A direct member has one
    /// subscription only.
    pub(super) fn queue_if_direct(&mut self, slot: u32) {
        if let Some(tag) = self.members[slot as usize].subscribed.only(Place::Direct).map(|s| s.tag) {
            self.spill(slot, tag);
            self.move_to(slot, tag, Place::Queued);
        }
    }

    /// Makes sure that a connection's copies of an event all go by its outbox, where they can be held back. Answers its
    /// slot, if it is a member of this shard.
    pub(super) fn exclude(&mut self, id: ConnectionId) -> u32 {
        let slot = id.slot();
        let here = usize::from(id.shard) == self.shard && (slot as usize) < self.members.len();
        if !here || !id.is(self.key_of(slot)) {
            return NONE;
        }
        self.queue_if_direct(slot);
        slot
    }

    /// Moves a member that is owed nothing to the direct list, if it has one subscription, and that without a label.
    pub(super) fn direct_if_alone(&mut self, slot: u32) {
        let only = self.members[slot as usize].subscribed.only(Place::Queued);
        if let Some(tag) = only.filter(|s| s.label.is_none()).map(|s| s.tag) {
            self.move_to(slot, tag, Place::Direct);
        }
    }

    pub(super) fn move_to(&mut self, slot: u32, tag: u32, place: Place) {
        self.pull_place(slot, tag);
        let found = self.members[slot as usize].subscribed.find(tag).expect("pulled from its crowd");
        let (crowd, label) = (found.crowd, found.label.clone());
        let at = self.push_place(slot, tag, crowd, place, label);
        let found = self.members[slot as usize].subscribed.find(tag).expect("just seen");
        (found.at, found.place) = (at, place);
    }

    /// The place of a direct member.
    pub(super) fn seat(&mut self, slot: u32) -> Option<&mut Seat> {
        let only = self.members[slot as usize].subscribed.only(Place::Direct)?;
        self.crowds.at_mut(only.crowd)?.direct.get_mut(only.at as usize)
    }

    /// Appends the events of the crowd's turn that a direct subscriber has not been sent to its outbox.
    pub(super) fn spill(&mut self, slot: u32, tag: u32) {
        let found = self.members[slot as usize].subscribed.find(tag).expect("direct here");
        let crowd = self.crowds.at_mut(found.crowd).expect("a subscription keeps its crowd");
        let seat = &mut crowd.direct[found.at as usize];
        let from = seat.from();
        seat.set_from(crowd.turn.len());
        if from < crowd.turn.len() {
            seat.set_waiting(true);
            let outbox = self.members[slot as usize].outbox.get_or_insert_default();
            crowd.turn[from..].iter().for_each(|parcel| outbox.append(parcel.share(), tag));
            self.waiting.list(slot, outbox);
        }
    }

    pub(super) fn push_place(
        &mut self,
        member: u32,
        tag: u32,
        crowd: u32,
        place: Place,
        label: Option<Rc<Badge>>,
    ) -> u32 {
        let crowd = self.crowds.at_mut(crowd).expect("a subscription keeps its crowd");
        if place == Place::Direct {
            let waiting = self.members[member as usize].outbox.is_some();
            crowd.direct.push(Seat::new(member, crowd.turn.len(), waiting));
            crowd.direct.len() as u32 - 1
        } else {
            crowd.queued.push(Entry { member, tag, label });
            crowd.queued.len() as u32 - 1
        }
    }

    /// Takes a member's entry out of its list; the last entry fills the gap.
    pub(super) fn pull_place(&mut self, slot: u32, tag: u32) {
        let found = self.members[slot as usize].subscribed.find(tag).expect("asked for by its member");
        let (at, place) = (found.at, found.place);
        let crowd = self.crowds.at_mut(found.crowd).expect("a subscription keeps its crowd");
        if place == Place::Direct {
            crowd.direct.swap_remove(at as usize);
            if let Some(&moved) = crowd.direct.get(at as usize)
                && let Subscribed::One(one) = &mut self.members[moved.member as usize].subscribed
            {
                one.at = at;
            }
        } else {
            crowd.queued.swap_remove(at as usize);
            if let Some(moved) = crowd.queued.get(at as usize) {
                let found = self.members[moved.member as usize].subscribed.find(moved.tag);
                found.expect("listed, so subscribed").at = at;
            }
        }
    }
}
