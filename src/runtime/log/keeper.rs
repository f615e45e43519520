//! The thread that has the log: takes all that waits, commits it, tells how that ended, then reads one piece for
//! somebody, syncs and removes what is due. Ends when every shard has dropped its end, with everything synced.

use super::{Folder, LogEnd, News, Request};
use crate::event::Position;
use crate::hub::{Fsync, LogEpoch, LogFound, LogFrom, LogOutcome, LogRead, LogWrite, Logged, Restored};
use crate::log::{self, Entry, Findings, From, Known, Log, Wanted};
use crate::mailbox::doorbell::Doorbell;
use crate::stdx::clock::Clock;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Requests of all shards that may wait: each is a turn's writes.
const REQUESTS_MAX: usize = 1024;
/// News that may wait for one shard; then the log waits for it.
const NEWS_MAX: usize = 1024;
/// How often old segments are looked for.
const RETAIN_EVERY_US: u64 = 1_000_000;

/// How the log is run.
pub struct Setup {
    /// Where it is.
    pub dir: PathBuf,
    /// How it is kept.
    pub options: log::Options,
    /// When it is synced.
    pub fsync: Fsync,
    /// Between two syncs, with [`Fsync::Interval`].
    pub interval_us: u64,
    /// Random numbers, for segments and for epochs.
    pub draw: fn() -> u32,
}

/// A log that runs.
pub struct Started {
    /// Its thread.
    pub keeper: Keeper,
    /// For each shard.
    pub ends: Vec<LogEnd>,
    /// Every channel that is in it.
    pub restored: Vec<Restored>,
}

/// The thread.
pub struct Keeper(JoinHandle<io::Result<()>>);

impl Keeper {
    /// Waits until everything is stored, which it is soon after every shard has ended.
    ///
    /// # Errors
    /// The end could not be written; what was not synced may be lost.
    pub fn wait(self) -> io::Result<()> {
        self.0.join().unwrap_or_else(|_| Err(io::Error::other("the thread of the log panicked")))
    }
}

/// Opens the log and starts its thread, with one end for each doorbell. Blocks while the segments are read.
///
/// # Errors
/// One sentence for the operator.
pub fn start(setup: Setup, doorbells: &[Arc<Doorbell>], clock: Clock) -> Result<Started, String> {
    let Setup { dir, options, fsync, interval_us, draw } = setup;
    let folder = Folder::take(&dir)?;
    let draws = Box::new(move || u64::from(draw()) << 32 | u64::from(draw()));
    let (log, findings) = log::open(folder, options, draws, clock.now())
        .map_err(|error| format!("storage.dir: {}: {error}", dir.display()))?;
    tell(&findings);
    let restored = log.channels().map(|known| restored(known, draw)).collect();
    let (requests, asked) = bounded(REQUESTS_MAX);
    let (mut ends, mut shards) = (Vec::new(), Vec::new());
    for (shard, doorbell) in doorbells.iter().enumerate() {
        let (tell, news) = bounded(NEWS_MAX);
        ends.push(LogEnd::new(shard, requests.clone(), news));
        shards.push(Told { tell, doorbell: Arc::clone(doorbell), up_to: 0, told: 0 });
    }
    let now_us = clock.now().steady_us;
    let round = Round {
        log,
        fsync,
        interval_us,
        clock,
        asked,
        shards,
        reads: VecDeque::new(),
        sync_us: now_us,
        retain_us: now_us,
        down: false,
    };
    let spawned = thread::Builder::new().name("log".to_owned()).spawn(move || round.run());
    let keeper = Keeper(spawned.map_err(|error| format!("the thread of the log cannot be made: {error}"))?);
    Ok(Started { keeper, ends, restored })
}

/// What was found, for the operator.
fn tell(findings: &Findings) {
    let Findings { segments, events, stopped, damaged, torn, foreign, unwritable } = findings;
    tracing::info!(segments, events, stopped, "the log is open");
    for hole in damaged {
        tracing::error!(
            segment = hole.name,
            from = hole.from,
            to = hole.to,
            "bytes of the log are damaged: the events there are lost; `courier log check` shows all segments"
        );
    }
    for hole in torn {
        tracing::warn!(
            segment = hole.name,
            from = hole.from,
            to = hole.to,
            "a write was cut off when the server ended: what it left is passed over, nothing before it is lost"
        );
    }
    for name in foreign {
        tracing::error!(segment = name, "not a segment of a log, or its headers are damaged: left alone");
    }
    if let Some(cause) = unwritable {
        tracing::error!(cause, "the log cannot be written: events are delivered and not stored");
    }
}

fn restored(known: Known, draw: fn() -> u32) -> Restored {
    let Known { channel, last, last_ms, epochs, continues } = known;
    let epoch = if continues { last.epoch } else { draw() };
    let epochs = epochs.iter().map(|log| LogEpoch { epoch: log.epoch, first: log.first, last: log.last });
    Restored { channel, position: Position { epoch, offset: last.offset }, epochs: epochs.collect(), last_ms }
}

/// A shard, as the log sees it.
struct Told {
    tell: Sender<News>,
    doorbell: Arc<Doorbell>,
    /// The last write in the batch.
    up_to: u64,
    /// The last that it was told of.
    told: u64,
}

impl Told {
    /// One that has ended hears nothing any more.
    fn tell(&self, news: News) {
        if self.tell.send(news).is_ok() {
            self.doorbell.ring();
        }
    }
}

struct Round {
    log: Log<Folder>,
    fsync: Fsync,
    interval_us: u64,
    clock: Clock,
    asked: Receiver<Request>,
    shards: Vec<Told>,
    reads: VecDeque<(usize, LogRead)>,
    sync_us: u64,
    retain_us: u64,
    /// The last batch could not be stored.
    down: bool,
}

impl Round {
    fn run(mut self) -> io::Result<()> {
        loop {
            match self.asked.recv_timeout(self.pause()) {
                Ok(request) => self.take(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while !self.log.batch_is_full()
                && let Ok(request) = self.asked.try_recv()
            {
                self.take(request);
            }
            self.commit();
            self.read();
            self.sync();
            self.retain();
        }
        let outcome = self.log.stop(self.clock.now());
        if let Err(error) = &outcome {
            tracing::error!(%error, "the log's end could not be written");
        }
        outcome
    }

    /// How long nothing is due.
    fn pause(&self) -> Duration {
        if !self.reads.is_empty() {
            return Duration::ZERO;
        }
        let syncs = self.fsync == Fsync::Interval && !self.log.is_synced();
        let due_us = if syncs { self.sync_us.min(self.retain_us) } else { self.retain_us };
        Duration::from_micros(due_us.saturating_sub(self.clock.now().steady_us))
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Read { shard, read } => self.reads.push_back((shard, read)),
            Request::Write { shard, writes } => {
                let now = self.clock.now();
                for LogWrite { sequence, channel, position, event } in writes {
                    if self.log.batch_is_full() {
                        self.commit();
                    }
                    self.log.append(&channel, &Entry::of(&event, channel.as_str(), position, now));
                    self.shards[shard].up_to = sequence;
                }
            }
        }
    }

    fn commit(&mut self) {
        if self.log.batch_bytes() == 0 {
            return;
        }
        let was_synced = self.log.is_synced();
        let outcome = self.log.commit(self.clock.now(), self.fsync == Fsync::Always);
        if was_synced {
            self.sync_us = self.clock.now().steady_us + self.interval_us;
        }
        self.note(&outcome);
        let outcome = if outcome.is_ok() { LogOutcome::Stored } else { LogOutcome::Failed };
        for shard in self.shards.iter_mut().filter(|shard| shard.told < shard.up_to) {
            shard.told = shard.up_to;
            shard.tell(News::Logged(Logged { up_to: shard.up_to, outcome }));
        }
    }

    /// Told once when it begins and once when it ends.
    fn note(&mut self, outcome: &io::Result<()>) {
        match outcome {
            Err(error) if !self.down => {
                tracing::error!(%error, "events cannot be stored: they are delivered, and publishers get 507");
            }
            Ok(()) if self.down => tracing::info!("events are stored again"),
            _ => {}
        }
        self.down = outcome.is_err();
    }

    /// One piece for one who asked, so that writes wait for no more than that.
    fn read(&mut self) {
        let Some((shard, read)) = self.reads.pop_front() else { return };
        let now = self.clock.now();
        let LogRead { key, channel, from, below, events_max, bytes_max } = read;
        let from = match from {
            LogFrom::Offset(offset) => From::Offset(offset),
            LogFrom::Since(since_ms) => From::Since(since_ms),
        };
        let mut events = Vec::new();
        let wanted = Wanted { from, below, events_max, bytes_max };
        let outcome = self.log.read(channel.as_str(), wanted, |entry| {
            events.extend(entry.event(now).map(|event| (entry.position, event)));
        });
        let next = outcome.unwrap_or_else(|error| {
            tracing::error!(%channel, %error, "the log cannot be read back");
            below
        });
        self.shards[shard].tell(News::Found(LogFound { key, events, next }));
    }

    fn sync(&mut self) {
        if self.fsync != Fsync::Interval || self.log.is_synced() {
            return;
        }
        let now_us = self.clock.now().steady_us;
        if now_us >= self.sync_us {
            self.sync_us = now_us + self.interval_us;
            let outcome = self.log.sync();
            self.note(&outcome);
        }
    }

    fn retain(&mut self) {
        let now = self.clock.now();
        if now.steady_us < self.retain_us {
            return;
        }
        self.retain_us = now.steady_us + RETAIN_EVERY_US;
        match self.log.retain(now) {
            Ok(trimmed) if trimmed.is_empty() => {}
            Ok(trimmed) => self.shards.iter().for_each(|shard| shard.tell(News::Trimmed(trimmed.clone()))),
            Err(error) => tracing::error!(%error, "an old segment of the log cannot be removed"),
        }
    }
}
