//! The certificates that new sessions begin with: one thread looks every second whether their files have changed, and
//! takes them anew when a reload says so. What is bad is logged and counted, and the old ones stay. Sessions that are
//! open keep what they have.
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::ProducesTickets;

use super::end::Setup;
use super::files::{Files, Loaded, concern, load};
use super::handshakes::{self, Threads};
use crate::mailbox::doorbell::Doorbell;
use crate::mailbox::notice::Notice;
use crate::metrics;
use crate::stdx::clock::Clock;

/// Between two looks at the files: three calls, on no shard.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reloads that may wait; one more is as good as the last of them.
const RELOADS_MAX: usize = 4;

/// What new sessions begin with, for all threads that begin some.
#[derive(Default)]
pub struct Certificates {
    /// The newest; the first is there before anybody asks.
    pub(super) serving: Notice<Serving>,
}

impl Certificates {
    /// What is served now, and how it came to be.
    pub fn state(&self) -> metrics::Certificates {
        metrics::Certificates {
            expires_ms: self.serving.newer(&mut 0).and_then(|serving| serving.expires_ms),
            reloads: self.serving.revision().saturating_sub(1),
            reloads_failed: self.serving.refusals(),
        }
    }
}

/// One set of them.
pub(super) struct Serving {
    pub config: Arc<ServerConfig>,
    expires_ms: Option<u64>,
}

/// A handle to the threads of TLS. Dropping the last one ends that of the certificates.
#[derive(Clone)]
pub struct Keeper {
    certificates: Arc<Certificates>,
    reloads: Sender<Files>,
    threads: Threads,
}

impl Keeper {
    /// Takes these files, whether they have changed or not.
    pub fn reload(&self, files: Files) {
        // A full queue holds reloads that will read the same files.
        let _ = self.reloads.try_send(files);
    }

    /// What a shard's end is made from; `doors` tells by the number of the listener whether it is encrypted.
    #[must_use]
    pub fn end(&self, doors: Vec<bool>, doorbell: &Arc<Doorbell>) -> Setup {
        Setup {
            threads: self.threads.clone(),
            certificates: Arc::clone(&self.certificates),
            doors,
            doorbell: Arc::clone(doorbell),
        }
    }
}

/// Reads the files, and starts this thread and those of the handshakes.
///
/// # Errors
/// All that is wrong with the files, or no thread is left.
pub fn start(files: &Files, shards: usize, clock: Clock) -> Result<Keeper, String> {
    let loaded = load(files).map_err(|mistakes| {
        mistakes.into_iter().map(|mistake| mistake.text).collect::<Vec<_>>().join("; ")
    })?;
    let certificates = Arc::new(Certificates::default());
    let (reloads, inbox) = bounded(RELOADS_MAX);
    let mut watch = Watch {
        seen: look(files),
        files: files.clone(),
        certificates: Arc::clone(&certificates),
        ticketer: ticketer(),
        authority: loaded.authority.clone(),
        clock,
    };
    watch.take(&loaded);
    let threads = handshakes::start(shards, &certificates).map_err(|error| error.to_string())?;
    let thread = std::thread::Builder::new().name("certificates".to_owned());
    thread.spawn(move || watch.run(&inbox)).map_err(|error| error.to_string())?;
    Ok(Keeper { certificates, reloads, threads })
}

fn ticketer() -> Arc<dyn ProducesTickets> {
    Ticketer::new().expect("the kernel's random source never fails after boot")
}

/// Inode, length and time of change of each file; a link is followed.
type Look = [Option<(u64, u64, i64, i64)>; 3];

fn look(files: &Files) -> Look {
    [&files.cert, &files.key, &files.client_ca].map(|path| {
        let about = fs::metadata(path).ok()?;
        Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
    })
}

struct Watch {
    files: Files,
    seen: Look,
    certificates: Arc<Certificates>,
    ticketer: Arc<dyn ProducesTickets>,
    authority: Vec<CertificateDer<'static>>,
    clock: Clock,
}

impl Watch {
    fn run(&mut self, inbox: &Receiver<Files>) {
        loop {
            match inbox.recv_timeout(LOOK_EVERY) {
                Ok(files) => {
                    self.files = files;
                    self.renew();
                }
                Err(RecvTimeoutError::Timeout) if look(&self.files) != self.seen => self.renew(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn renew(&mut self) {
        // Before they are read: what changes meanwhile is seen as a change the next time.
        self.seen = look(&self.files);
        match load(&self.files) {
            Ok(loaded) => {
                self.take(&loaded);
                tracing::info!(cert = %self.files.cert.display(), "certificates reloaded");
            }
            Err(mistakes) => {
                self.certificates.serving.refuse();
                for mistake in mistakes {
                    let (part, text) = (mistake.part, mistake.text);
                    tracing::error!(?part, "the certificates stay as they were: {text}");
                }
            }
        }
    }

    fn take(&mut self, loaded: &Loaded) {
        if loaded.authority != self.authority {
            // Tickets carry the client's certificate, which the new authority has not seen.
            self.ticketer = ticketer();
            self.authority.clone_from(&loaded.authority);
        }
        if let Some(concern) = concern(loaded, self.clock.now().unix_ms) {
            tracing::warn!("{concern}");
        }
        let config = Arc::new(loaded.config(Arc::clone(&self.ticketer)));
        let expires_ms = loaded.validity_ms().map(|(_, until)| until);
        self.certificates.serving.announce(Serving { config, expires_ms });
    }
}
