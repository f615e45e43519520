//! SIGHUP: reads the settings again and hands them to the running shards. No client is dropped; mistakes change
//! nothing.

use super::build;
use super::issuers::Issuers;
use super::logging::LogControl;
use super::schemas;
use super::signals::Read;
use crate::config::{Settings, changes};
use crate::runtime::shard::Shared;
use crate::runtime::tls::Keeper;
use crate::stdx::clock::Now;
use std::sync::Arc;

/// What takes effect only at a start: they shape memory and sockets that are made once.
const AT_START_ONLY: [&str; 11] = [
    "host",
    "port",
    "shards",
    "listeners",
    "mailbox.batches",
    "history.durable",
    "storage.dir",
    "storage.fsync",
    "storage.fsync_interval_ms",
    "storage.segment_bytes",
    "storage.max_bytes",
];

pub(super) struct Reload {
    shared: Arc<Shared>,
    current: Settings,
    logs: LogControl,
    read: Read,
    certificates: Option<Keeper>,
    issuers: Option<Arc<Issuers>>,
}

impl Reload {
    pub fn new(
        shared: Arc<Shared>,
        current: Settings,
        logs: LogControl,
        read: Read,
        certificates: Option<Keeper>,
        issuers: Option<Arc<Issuers>>,
    ) -> Reload {
        Reload { shared, current, logs, read, certificates, issuers }
    }

    /// Reads again and applies.
    pub fn run(&mut self) {
        let loaded = match (self.read)() {
            Ok(loaded) => loaded,
            Err(mistakes) => {
                tracing::error!("the settings have mistakes and were not reloaded:\n{mistakes}");
                return;
            }
        };
        let mut settings = loaded.settings;
        let checked = match schemas::policy(&settings) {
            Ok(checked) => checked,
            Err(mistakes) => {
                let lines = schemas::lines(&mistakes);
                tracing::error!("the schemas have mistakes and nothing was reloaded:\n{lines}");
                return;
            }
        };
        let later = self.takes_effect_later(&mut settings);
        if let Some(address) = settings.open_to_strangers() {
            tracing::error!(
                "nothing was reloaded: without auth this server would go on listening on {address}, open to anybody; keep \
                 `auth: required`, write `auth: insecure`, or restart it with the new host and listeners"
            );
            return;
        }
        for key in later {
            tracing::warn!("{key} takes effect at the next start");
        }
        match (&self.certificates, settings.tls_files()) {
            (Some(keeper), Some(files)) => keeper.reload(files),
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => {
                tracing::warn!("tls is switched on or off at the next start");
                settings.tls.clone_from(&self.current.tls);
            }
        }
        self.shared.census.set_limits(settings.max_total_connections, settings.max_connections_per_address);
        self.shared.routers.set_limits(settings.router.max_clients, 0);
        self.shared.users.set_limit(settings.max_connections_per_user);
        self.shared.kept.set_max(build::kept_bytes_max(&settings));
        self.shared.backlog.set_max(build::backlog_bytes_max(&settings));
        self.shared.history.set_max(build::history_bytes_max(&settings));
        let shards = self.shared.doorbells.len();
        // Each shard keeps its own number and the moment of the start.
        let unset = Now { steady_us: 0, unix_ms: 0 };
        let mut options = build::options(&settings, 0, shards, unset);
        options.session.schemas = checked;
        let remotes = loaded.policy.remotes.clone();
        options.auth = build::auth(&settings, loaded.policy);
        if self.issuers.is_none() {
            self.issuers =
                Issuers::start(options.clone(), remotes.clone(), &self.shared).unwrap_or_else(|error| {
                    tracing::error!("the keys of auth.jwt.jwks are not fetched; reload again: {error}");
                    None
                });
        }
        if let (Some(issuers), Some(auth)) = (&self.issuers, &mut options.auth) {
            issuers.equip(auth);
        }
        self.shared.reload.announce(options);
        self.shared.ring_all();
        // Announces all keys once more: those that came in between were a part of other options.
        if let Some(issuers) = &self.issuers {
            issuers.set(remotes);
        }
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        self.logs.set(&settings);
        self.current = settings;
        tracing::info!("settings reloaded");
    }

    /// Puts back what stays as it was started: what is bound, and the log. Connections are known by the number of their
    /// listener, so those that are open keep what is spoken there. Answers the keys that differ.
    fn takes_effect_later(&self, settings: &mut Settings) -> Vec<&'static str> {
        let (before, after) = (changes(&self.current), changes(settings));
        let value = |list: &[(String, String)], key: &str| list.iter().find(|(name, _)| name == key).cloned();
        settings.host.clone_from(&self.current.host);
        settings.port = self.current.port;
        settings.listeners.clone_from(&self.current.listeners);
        settings.storage.clone_from(&self.current.storage);
        settings.history.durable = self.current.history.durable;
        AT_START_ONLY.into_iter().filter(|key| value(&before, key) != value(&after, key)).collect()
    }
}
