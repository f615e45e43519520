//! One OS thread per shard with a glommio executor, and the watchdog beside them. Started once by the server with
//! everything bound and placed; ends when every core is done. Knows how executors are built, not what shards do.
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::thread::{Pid, gettid};

use crate::mailbox::doorbell::Doorbell;
use crate::mailbox::pulse::{Phase, Pulse};
use crate::mailbox::wakers::Wakers;
use crate::runtime::core::Core;
use crate::runtime::guests::Guests;
use crate::runtime::listener::Listener;
use crate::runtime::readiness::Readiness;
use crate::runtime::ring;
use crate::runtime::turn::{Bells, Turn};
use crate::runtime::watchdog::{self, Watchdog};
use crate::stdx::blocks;
use crate::stdx::clock::Clock;

/// glommio's timer that takes a task queue off the core. Short ones make it park with runnable tasks; a turn lasts far
/// less than a second and paces itself.
const PREEMPT_TIMER: Duration = Duration::from_secs(1);

/// Bytes that glommio registers for its file I/O; it takes 64 KiB at least. The default pins 10 MiB per executor.
const IO_MEMORY: usize = 0;

/// Entries of each of glommio's rings: sockets do not pass through them, file writes and timers do.
const RING_DEPTH: usize = 128;

/// What a shard is started with.
pub struct Plan<C> {
    /// The core to pin it to.
    pub core: Option<usize>,
    /// Its end of each port; the number of a newcomer's door is the place in this list.
    pub listeners: Vec<Listener>,
    /// Rung by others after they have put mail into an empty lane.
    pub doorbell: Arc<Doorbell>,
    /// What the watchdog and the metrics see of its turns.
    pub pulse: Arc<Pulse>,
    /// Makes the core, on the shard's own thread.
    pub make: Box<dyn FnOnce(Seat) -> C + Send>,
}

/// What a core may keep of its surroundings.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Number of the shard, from 0.
    pub shard: usize,
    /// The process clock.
    pub clock: Clock,
    /// Where glommio tasks announce themselves.
    pub guests: Guests,
}

/// How the shards are run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Off only in the soak, to show the hang that it ends.
    pub watchdog: bool,
    /// glommio's preempt timer; short only in the soak, to provoke the wrong parks that the watchdog is there for.
    pub preempt_timer: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { watchdog: true, preempt_timer: PREEMPT_TIMER }
    }
}

/// Why a shard did not start or has ended before it was done.
#[derive(Debug)]
pub enum ShardError {
    /// Its executor could not be made; [`crate::runtime::preflight`] knows the usual reasons.
    Executor(String),
    /// A system call of the turn failed.
    Turn(io::Error),
    /// Its thread panicked; the message went to the panic hook.
    Panicked,
}

impl fmt::Display for ShardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardError::Executor(cause) => {
                write!(
                    f,
                    "the executor could not start: {cause}; `courier doctor` shows what the machine lacks"
                )
            }
            ShardError::Turn(cause) => write!(f, "the shard ended on a system error: {cause}"),
            ShardError::Panicked => write!(f, "the shard panicked"),
        }
    }
}

impl std::error::Error for ShardError {}

/// The running shards.
pub struct Shards {
    handles: Vec<ExecutorJoinHandle<io::Result<()>>>,
    ended: Receiver<usize>,
    watchdog: Option<Watchdog>,
}

/// Starts all shards. When one cannot start, those that run already are left behind; the process is expected to end.
///
/// # Errors
/// A thread, a ring or a descriptor could not be made.
pub fn start<C: Core + 'static>(
    clock: Clock,
    plans: Vec<Plan<C>>,
    options: Options,
) -> Result<Shards, ShardError> {
    let bell = Doorbell::new().map_err(ShardError::Turn)?;
    let (tell, ended) = channel();
    let mut handles = Vec::new();
    let mut watched = Vec::new();
    for (shard, plan) in plans.into_iter().enumerate() {
        let set = Readiness::new().map_err(ShardError::Turn)?;
        let wakers = Arc::new(Wakers::new());
        let thread = Arc::new(OnceLock::new());
        let pulse = Arc::clone(&plan.pulse);
        let handle = set.handle().map_err(ShardError::Turn)?;
        watched.push(watchdog::Watched {
            shard,
            pulse,
            wakers: Arc::clone(&wakers),
            set: handle,
            thread: Arc::clone(&thread),
        });
        let end = End { shard, pulse: Arc::clone(&plan.pulse), tell: tell.clone() };
        let bells = Bells { doorbell: plan.doorbell, pulse: plan.pulse, watchdog: Arc::clone(&bell) };
        let (core, seat) = (plan.core, (shard, clock));
        let fit = Outfit { seat, set, bells, wakers, thread, end };
        handles.push(spawn(core, options.preempt_timer, fit, plan.listeners, plan.make)?);
    }
    let watchdog = options.watchdog.then(|| Watchdog::start(clock, watched, bell)).transpose();
    Ok(Shards { handles, ended, watchdog: watchdog.map_err(ShardError::Turn)? })
}

impl Shards {
    /// Blocks until one more shard has ended, for whatever reason, and answers its number; `None` when all have.
    pub fn next_end(&self) -> Option<usize> {
        self.ended.recv().ok()
    }

    /// Blocks until all shards have ended, and answers how, in their order. Also ends the watchdog.
    pub fn wait(self) -> Vec<Result<(), ShardError>> {
        let ends = self.handles.into_iter().map(end_of).collect();
        if let Some(watchdog) = self.watchdog {
            watchdog.stop();
        }
        ends
    }
}

fn end_of(handle: ExecutorJoinHandle<io::Result<()>>) -> Result<(), ShardError> {
    use glommio::{BuilderErrorKind, GlommioError};
    match handle.join() {
        Ok(end) => end.map_err(ShardError::Turn),
        Err(GlommioError::BuilderError(BuilderErrorKind::ThreadPanic(_))) => Err(ShardError::Panicked),
        Err(error) => Err(ShardError::Executor(error.to_string())),
    }
}

/// What the shard's thread takes along.
struct Outfit {
    seat: (usize, Clock),
    set: Readiness,
    bells: Bells,
    wakers: Arc<Wakers>,
    thread: Arc<OnceLock<Pid>>,
    end: End,
}

/// Tells that the shard is gone.
struct End {
    shard: usize,
    pulse: Arc<Pulse>,
    tell: Sender<usize>,
}

thread_local! {
    /// Dropped with the thread, however that ends: a panic in a glommio task unwinds the executor and forgets the future of
    /// the shard without dropping it.
    static END: RefCell<Option<End>> = const { RefCell::new(None) };
}

impl Drop for End {
    fn drop(&mut self) {
        self.pulse.set(Phase::Gone);
        // Nobody listens when the process did not care to.
        let _ = self.tell.send(self.shard);
    }
}

fn spawn<C: Core + 'static>(
    core: Option<usize>,
    preempt_timer: Duration,
    outfit: Outfit,
    listeners: Vec<Listener>,
    make: Box<dyn FnOnce(Seat) -> C + Send>,
) -> Result<ExecutorJoinHandle<io::Result<()>>, ShardError> {
    LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
        .name("shard")
        .io_memory(IO_MEMORY)
        .ring_depth(RING_DEPTH)
        .preempt_timer(preempt_timer)
        .spawn(move || live(outfit, listeners, make))
        .map_err(|error| ShardError::Executor(error.to_string()))
}

async fn live<C: Core>(
    outfit: Outfit,
    listeners: Vec<Listener>,
    make: Box<dyn FnOnce(Seat) -> C + Send>,
) -> io::Result<()> {
    let Outfit { seat: (shard, clock), set, bells, wakers, thread, end } = outfit;
    END.set(Some(end));
    blocks::keep_here();
    thread.get_or_init(gettid);
    let watched = ring::Watched::start(&wakers);
    let guests = Guests::default();
    let core = make(Seat { shard, clock, guests: guests.clone() });
    let ended = Turn::new(core, set, clock, bells.clone(), guests, listeners)?.run().await;
    // The last waits are glommio's too, and it can oversleep them as any other: the watchdog goes on watching.
    bells.pulse.set(Phase::Visiting);
    bells.watchdog.ring();
    watched.stop().await;
    bells.pulse.set(Phase::Turning);
    ended
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::os::fd::OwnedFd;
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::runtime::core::{Next, Ready};
    use crate::runtime::listener;
    use crate::stdx::clock::Now;

    /// Echoes bytes, panics on `!`; done when a letter says so, or at its deadline.
    struct Echo {
        sockets: Vec<Option<TcpStream>>,
        letters: Letters,
        deadline_us: Option<u64>,
        done: bool,
    }

    type Letters = Arc<Mutex<Vec<&'static str>>>;

    impl Core for Echo {
        fn accepted(&mut self, set: &Readiness, socket: OwnedFd, _peer: SocketAddr, _: usize, _now: Now) {
            set.add(&socket, self.sockets.len() as u64).expect("it is open");
            self.sockets.push(Some(TcpStream::from(socket)));
        }

        fn ready(&mut self, _set: &Readiness, token: u64, _what: Ready, _now: Now) {
            let Some(mut socket) = self.sockets[token as usize].as_ref() else { return };
            let mut bytes = [0; 64];
            let length = socket.read(&mut bytes).unwrap_or(0);
            assert!(!bytes[..length].contains(&b'!'), "the connection asked for a panic");
            socket.write_all(&bytes[..length]).expect("there is room");
        }

        fn mail(&mut self, _set: &Readiness, _now: Now) -> bool {
            let letters = std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner));
            self.done |= letters.contains(&"stop");
            !letters.is_empty()
        }

        fn end_turn(&mut self, _set: &Readiness, now: Now) -> Next {
            let late = self.deadline_us.is_some_and(|due_us| due_us <= now.steady_us);
            Next { deadline_us: self.deadline_us, done: self.done || late, ..Next::IDLE }
        }

        fn mail_waiting(&self) -> bool {
            !self.letters.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
        }

        fn panicked(&mut self, _set: &Readiness, token: u64) {
            self.sockets[token as usize] = None;
        }
    }

    struct Running {
        shards: Shards,
        address: SocketAddr,
        doorbell: Arc<Doorbell>,
        letters: Letters,
    }

    fn one_shard(deadline_us: Option<u64>) -> Running {
        let mut listeners = listener::bind(([127, 0, 0, 1], 0).into(), 1).expect("loopback has a free port");
        let (address, letters) = (listeners[0].address(), Letters::default());
        let doorbell = Doorbell::new().expect("descriptors are left");
        let theirs = Arc::clone(&letters);
        let plan = Plan {
            core: None,
            listeners: vec![listeners.remove(0)],
            doorbell: Arc::clone(&doorbell),
            pulse: Pulse::new(),
            make: Box::new(move |_| Echo { sockets: Vec::new(), letters: theirs, deadline_us, done: false }),
        };
        let shards =
            start(Clock::start(), vec![plan], Options::default()).expect("this machine runs glommio");
        Running { shards, address, doorbell, letters }
    }

    impl Running {
        fn stop(self) {
            self.letters.lock().expect("nobody panics under it").push("stop");
            self.doorbell.ring();
            assert!(self.shards.wait().into_iter().all(|end| end.is_ok()));
        }
    }

    fn echoes(mut socket: &TcpStream, text: &[u8]) {
        socket.write_all(text).expect("the shard reads");
        let mut back = vec![0; text.len()];
        socket.read_exact(&mut back).expect("the echo comes");
        assert_eq!(back, text);
    }

    #[test]
    fn a_panic_in_one_connection_closes_it_and_nothing_else() {
        let running = one_shard(None);
        let good = TcpStream::connect(running.address).expect("it listens");
        let mut bad = TcpStream::connect(running.address).expect("it listens");
        echoes(&good, b"before");
        bad.write_all(b"!").expect("the shard reads");
        assert_eq!(bad.read(&mut [0; 8]).unwrap_or(0), 0, "closed or reset");
        echoes(&good, b"after");
        running.stop();
    }

    #[test]
    fn a_letter_from_another_thread_ends_a_parked_shard() {
        let running = one_shard(None);
        echoes(&TcpStream::connect(running.address).expect("it listens"), b"it turns");
        running.stop();
    }

    #[test]
    fn an_idle_shard_turns_at_its_deadline() {
        let running = one_shard(Some(30_000));
        assert_eq!(running.shards.next_end(), Some(0));
        assert!(running.shards.wait().into_iter().all(|end| end.is_ok()));
    }
}
