//! What comes out of the hub is handed to whom it concerns.

use super::super::driver::Driver;
use super::Shard;
use crate::stdx::clock::Now;

impl<D: Driver> Shard<D> {
    /// Acts on what came out of the hub. Most turns nothing did, and look at no more than that.
    pub(super) fn effects(&mut self, driver: &mut D, now: Now) {
        if !self.hub.effects.is_empty() {
            self.hand_on(driver, now);
        }
    }

    #[inline(never)]
    fn hand_on(&mut self, driver: &mut D, now: Now) {
        while let Some(answer) = self.hub.effects.answers.pop() {
            self.publish_answered(driver, answer, now);
        }
        while let Some(joined) = self.hub.next_joined() {
            self.join_answered(driver, joined, now);
        }
        while let Some(gap) = self.hub.effects.gaps.pop() {
            self.tell_gap(&gap);
        }
        while let Some((origin, present)) = self.hub.effects.present.pop() {
            self.presence_answered(driver, origin, &present, now);
        }
        while let Some((origin, page)) = self.hub.effects.pages.pop() {
            self.page_answered(driver, origin, &page, now);
        }
        while let Some((origin, answer)) = self.hub.effects.letters.pop() {
            self.letters_answered(driver, origin, &answer, now);
        }
        while let Some(order) = self.hub.effects.retries.pop() {
            self.retry_letters(driver, order, now);
        }
        while let Some((to, key, names)) = self.hub.effects.asked.pop() {
            let own = self.state();
            self.hub.answer_gather(to, key, &names, own);
        }
        while let Some((origin, snapshot)) = self.hub.effects.gathered.pop() {
            self.gather_answered(driver, origin, &snapshot, now);
        }
    }
}
