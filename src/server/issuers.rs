//! Token issuers that announce their keys at a URL: `bridge::key_sets` fetches them, and each change is a new gate for all
//! shards. Started with the server if the settings name such a URL; a reload may change which.

use super::build;
use crate::auth::{Key, Policy, Remote};
use crate::bridge::key_sets::Fetcher;
use crate::config::Settings;
use crate::mailbox::notice::Notice;
use crate::runtime::shard::{Auth, Shared};
use crate::stdx::clock::Now;
use crossbeam_channel::{Sender, bounded};
use std::io;
use std::sync::Arc;

pub(super) struct Issuers {
    fetcher: Fetcher,
    keys: Arc<Notice<Vec<Key>>>,
    unknown_key: Sender<()>,
}

impl Issuers {
    /// Starts to fetch, if there is anything to fetch.
    pub fn start(
        settings: &Settings,
        policy: &Policy,
        shared: &Arc<Shared>,
    ) -> io::Result<Option<Arc<Issuers>>> {
        let Some(mut auth) = build::auth(settings, policy.clone()).filter(|_| !policy.remotes.is_empty())
        else {
            return Ok(None);
        };
        let (unknown_key, nudges) = bounded(1);
        auth.unknown_key = Some(unknown_key.clone());
        let unset = Now { steady_us: 0, unix_ms: 0 };
        let mut base = build::options(settings, 0, shared.doorbells.len(), unset);
        base.auth = Some(auth);
        let keys = Arc::new(Notice::default());
        let (told, shared) = (Arc::clone(&keys), Arc::clone(shared));
        let fetcher = Fetcher::start(policy.remotes.clone(), nudges, move |fetched: Vec<Key>| {
            told.announce(fetched.clone());
            shared.reload.amend(|last| {
                let mut options = last.unwrap_or(&base).clone();
                if let Some(auth) = &mut options.auth {
                    auth.gate = Arc::new(auth.gate.with_fetched(fetched));
                }
                options
            });
            shared.ring_all();
        })?;
        Ok(Some(Arc::new(Issuers { fetcher, keys, unknown_key })))
    }

    /// Gives a new gate the keys that were fetched, so that no connection is cut for want of them.
    pub fn equip(&self, auth: &mut Auth) {
        auth.unknown_key = Some(self.unknown_key.clone());
        if let Some(keys) = self.keys.newer(&mut 0) {
            auth.gate = Arc::new(auth.gate.with_fetched(Vec::clone(&keys)));
        }
    }

    /// Fetches these from now on; the keys of those that are no longer named go at once.
    pub fn set(&self, remotes: Vec<Remote>) {
        self.fetcher.set(remotes);
    }
}
