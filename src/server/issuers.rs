//! Token issuers that announce their keys at a URL: `bridge::key_sets` fetches them, and each change is a new gate for all
//! shards. Started with the first settings that name such a URL, at the start or by a reload; a reload may change which.

use crate::auth::{Key, Remote};
use crate::bridge::key_sets::Fetcher;
use crate::mailbox::notice::Notice;
use crate::runtime::shard::{Auth, Options, Shared};
use crossbeam_channel::{Sender, bounded};
use std::io;
use std::sync::Arc;

pub(super) struct Issuers {
    fetcher: Fetcher,
    keys: Arc<Notice<Vec<Key>>>,
    unknown_key: Sender<()>,
}

impl Issuers {
    /// Starts to fetch, if there is anything to fetch. `base` is what the shards run by until other options are announced.
    pub fn start(
        mut base: Options,
        remotes: Vec<Remote>,
        shared: &Arc<Shared>,
    ) -> io::Result<Option<Arc<Issuers>>> {
        let (unknown_key, nudges) = bounded(1);
        match &mut base.auth {
            Some(auth) if !remotes.is_empty() => auth.unknown_key = Some(unknown_key.clone()),
            _ => return Ok(None),
        }
        let keys = Arc::new(Notice::default());
        let (told, shared) = (Arc::clone(&keys), Arc::clone(shared));
        let fetcher = Fetcher::start(remotes, nudges, move |fetched: Vec<Key>| {
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
