//! Assembly: from settings to running shards, and back to silence. Start order: limits of the process, the
//! machine's preflight, listeners, shards, signals. Stop order: the stages of a drain, which the shards take
//! together.

pub mod build; // for benches/, which count a whole shard's instructions
mod describe;
mod issuers;
mod logging;
mod reload;
pub mod schemas;
mod signals;

pub use logging::{LogControl, log_panics, start as start_logging};

use crate::auth::Policy;
use crate::config::{Dialect, Settings};
use crate::mailbox::doorbell::Doorbell;
use crate::mailbox::drain::Stage;
use crate::mailbox::pulse::Pulse;
use crate::runtime::edge::{Edge, Net};
use crate::runtime::executor::{self, Plan, Shards};
use crate::runtime::listener::{self, BindError, Listener};
use crate::runtime::log::{self, Keeper};
use crate::runtime::placement::place;
use crate::runtime::preflight::{self, Needs, Verdict};
use crate::runtime::shard::{Shard, Shared};
use crate::runtime::tls::{self, TlsEnd};
use crate::stdx::clock::Clock;
use issuers::Issuers;
use ring::rand::SecureRandom;
use std::net::SocketAddr;
use std::sync::Arc;

/// Why the server did not start, or ended otherwise than by a stop: one sentence with the mend.
#[derive(Debug)]
pub struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure(error.to_string())
}

/// One address that is served.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// With the port that was chosen if none was given.
    pub at: SocketAddr,
    /// Whether it speaks TLS.
    pub encrypted: bool,
    /// What is spoken there.
    pub dialect: Dialect,
}

/// A server that serves.
pub struct Server {
    /// Where: the first address, then the further ones.
    pub addresses: Vec<Address>,
    /// How many shards.
    pub shards: usize,
    shared: Arc<Shared>,
    running: Shards,
    keeper: Option<Keeper>,
    certificates: Option<tls::Keeper>,
    issuers: Option<Arc<Issuers>>,
}

/// What the machine must give for these settings.
pub fn needs(settings: &Settings) -> Needs {
    Needs {
        shards: settings.shards,
        addresses: settings.addresses().collect(),
        connections: settings.max_total_connections as u64,
    }
}

impl Server {
    /// Binds, starts the shards and serves.
    ///
    /// # Errors
    /// The machine lacks something, the port is taken, or a shard cannot start.
    pub fn start(settings: &Settings, policy: Policy) -> Result<Server, Failure> {
        preflight::raise_limits();
        let checked = schemas::policy(settings).map_err(|mistakes| failure(schemas::lines(&mistakes)))?;
        let placement = place(settings.shards).map_err(failure)?;
        if let Some(note) = &placement.note {
            tracing::warn!("{note}");
        }
        let shards = placement.cores.len();
        look_at_machine(settings, shards)?;
        let listeners = bind(settings, shards).map_err(failure)?;
        let addresses = addresses(settings, &listeners[0]);
        let doorbells: Vec<Arc<Doorbell>> =
            (0..shards).map(|_| Doorbell::new()).collect::<Result<_, _>>().map_err(failure)?;
        let shared = Arc::new(build::shared(settings, shards, doorbells));
        let clock = Clock::start();
        let ports = build::ports(settings, &shared);
        let setup = build::log(settings, draw);
        let log =
            setup.map(|setup| log::start(setup, &shared.doorbells, clock)).transpose().map_err(failure)?;
        let (keeper, ends, restored) = match log {
            Some(log::Started { keeper, ends, restored }) => (Some(keeper), ends, restored),
            None => Default::default(),
        };
        let certificates = certificates(settings, shards, clock)?;
        let (restored, mut ends) = (Arc::new(restored), ends.into_iter());
        let remotes = policy.remotes.clone();
        let mut base = build::options(settings, 0, shards, clock.now());
        base.session.schemas.clone_from(&checked);
        base.auth = build::auth(settings, policy);
        let mut auth = base.auth.clone();
        let issuers = Issuers::start(base, remotes, &shared).map_err(failure)?;
        if let (Some(issuers), Some(auth)) = (&issuers, &mut auth) {
            issuers.equip(auth);
        }
        let mut plans = Vec::new();
        for (shard, (listeners, port)) in listeners.into_iter().zip(ports).enumerate() {
            let mut options = build::options(settings, shard, shards, clock.now());
            options.session.schemas.clone_from(&checked);
            options.auth.clone_from(&auth);
            let (shared, pulse) = (Arc::clone(&shared), Pulse::new());
            let seen = Arc::clone(&pulse);
            let (restored, log_end) = (Arc::clone(&restored), ends.next());
            let doors = settings.encrypted().collect();
            let tls_end = certificates.as_ref().map(|keeper| keeper.end(doors, &shared.doorbells[shard]));
            plans.push(Plan {
                core: placement.cores[shard],
                listeners,
                doorbell: Arc::clone(&shared.doorbells[shard]),
                pulse,
                make: Box::new(move |seat| {
                    let draw = Box::new(draw);
                    let mut shard = Shard::new(options, shared, port, seen, draw);
                    shard.restore(restored.to_vec(), seat.clock.now());
                    Edge::new(shard, Net::new(log_end, tls_end.map(TlsEnd::new)), seat.clock)
                }),
            });
        }
        let running = executor::start(clock, plans, executor::Options::default()).map_err(failure)?;
        Ok(Server { addresses, shards, shared, running, keeper, certificates, issuers })
    }

    /// Begins to stop on SIGTERM or SIGINT, the second of which ends the process at once (contract 19), and takes new
    /// settings on SIGHUP (contract 17), which `read` brings.
    ///
    /// # Errors
    /// The signals cannot be watched.
    pub fn follow_signals(
        &self,
        settings: &Settings,
        logs: LogControl,
        read: signals::Read,
    ) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        let issuers = self.issuers.clone();
        let reload =
            reload::Reload::new(shared, settings.clone(), logs, read, self.certificates.clone(), issuers);
        signals::watch(Arc::clone(&self.shared), reload).map_err(failure)
    }

    /// Blocks until the server has stopped.
    ///
    /// # Errors
    /// A shard ended before it was told to.
    pub fn wait(self) -> Result<(), Failure> {
        // One shard that ends by a fault takes its channels with it: stop rather than serve half of them.
        if self.running.next_end().is_some() && self.shared.drain.stage() < Stage::Done {
            tracing::error!("a shard ended by a fault: stopping");
            self.shared.drain.lose();
            self.shared.drain.begin();
            self.shared.ring_all();
        }
        let ends = self.running.wait();
        // Every shard has dropped its end: the log stores what is left, and stops.
        let stored = self.keeper.map_or(Ok(()), Keeper::wait);
        for (shard, end) in ends.into_iter().enumerate() {
            end.map_err(|error| Failure(format!("shard {shard}: {error}")))?;
        }
        // What was answered as stored is; it is only that the log could not note the stop, and so takes the next start for
        // one after a crash.
        if let Err(error) = stored {
            tracing::error!(%error, "the log of durable channels could not be closed");
        }
        Ok(())
    }
}

/// For each shard its ends of all addresses, in the order of the settings.
fn bind(settings: &Settings, shards: usize) -> Result<Vec<Vec<Listener>>, BindError> {
    let mut of_shards: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
    for address in settings.addresses() {
        for (own, listener) in of_shards.iter_mut().zip(listener::bind(address, shards)?) {
            own.push(listener);
        }
    }
    Ok(of_shards)
}

/// Where one shard's listeners are, and what is spoken there.
fn addresses(settings: &Settings, listeners: &[Listener]) -> Vec<Address> {
    let further = settings.listeners.iter().map(|listener| listener.dialect);
    let dialects = std::iter::once(Dialect::Courier).chain(further).zip(settings.encrypted());
    let at = listeners.iter().map(Listener::address);
    at.zip(dialects).map(|(at, (dialect, encrypted))| Address { at, encrypted, dialect }).collect()
}

/// Certificates and the threads that use them, if an address is encrypted.
fn certificates(settings: &Settings, shards: usize, clock: Clock) -> Result<Option<tls::Keeper>, Failure> {
    let Some(files) = settings.tls_files() else { return Ok(None) };
    tls::start(&files, shards, clock).map(Some).map_err(|error| Failure(format!("tls: {error}")))
}

fn look_at_machine(settings: &Settings, shards: usize) -> Result<(), Failure> {
    let mut needs = needs(settings);
    needs.shards = shards;
    let mut hard = Vec::new();
    for finding in preflight::look(&needs) {
        match finding.verdict {
            Verdict::Fine => {}
            Verdict::Short => tracing::warn!(subject = finding.subject, "{}", finding.text),
            Verdict::Hard => hard.push(finding.text),
        }
    }
    if hard.is_empty() { Ok(()) } else { Err(Failure(hard.join("\n"))) }
}

/// A random number from the kernel, for epochs: two servers must not number a channel alike.
fn draw() -> u32 {
    let mut bytes = [0; 4];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .expect("the kernel's random source never fails after boot");
    u32::from_ne_bytes(bytes)
}
