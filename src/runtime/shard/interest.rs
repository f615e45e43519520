//! What a socket of dialect `freqsearch` hears changes: other types, other rooms.

use super::super::driver::Driver;
use super::Shard;
use super::connection::{First, Join};
use super::guard::bounded;
use super::talk::plain_wish;
use crate::session::command::Target;
use crate::session::dialect::Dialect;
use crate::session::dialect::freqsearch::Change;
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;

impl<D: Driver> Shard<D> {
    /// Dialect `freqsearch`: other types are another filter, other rooms other subscriptions.
    pub(super) fn change_interest(&mut self, key: Key, change: &Change, now: Now) {
        let Some(open) = self.open_at(key) else { return };
        let changed = open.subscriber.interest().apply(change);
        let filter = open.subscriber.interest().filter();
        let targets = open.subscriber.interest().targets();
        let grants = open.subscriber.pass().map(|pass| pass.grants().clone());
        // What of a room may be heard; what may not be is no error here, and is passed over.
        let heard = |target: &Target| bounded(grants.as_deref(), target, filter.clone());
        if !changed.targets {
            let tags = open.subscriber.interest_tags();
            if changed.filter {
                for (tag, target) in tags.zip(&targets) {
                    if let Ok(filter) = heard(target) {
                        self.hub.refilter(key, tag, filter);
                    }
                }
            }
            return;
        }
        let tags = open.subscriber.tags(targets.len());
        let before = open.subscriber.serve_interest(tags.clone());
        let form = open.subscriber.form(Dialect::FreqSearch.manners().form);
        let mut join = Join { wish: None, tags: tags.clone(), first: First::default() };
        for (tag, target) in tags.zip(&targets) {
            let Ok(filter) = heard(target) else { continue };
            let wish = plain_wish(target, form, filter);
            self.join(key, tag, target.as_str(), &wish, &mut join.first, now);
        }
        for tag in before {
            self.hub.leave(key, tag, now.steady_us);
        }
        self.await_join(key, join, now);
    }
}
