//! Ends the sleeps that glommio should not have begun. glommio 0.9.0 can put an executor to sleep although tasks are runnable;
//! one thread looks every few milliseconds whether each shard with something to do has turned, and wakes the executor
//! with a foreign waker when it has not and its thread sleeps. Blocks while all shards are idle. It never touches a
//! shard's state: a kick that was not needed does nothing. A shard without guests sleeps in its own set, where nothing
//! can go wrong, and is not watched at all.
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::thread::Pid;
use rustix::time::Timespec;

use crate::mailbox::doorbell::Doorbell;
use crate::mailbox::pulse::{Phase, Pulse};
use crate::mailbox::wakers::Wakers;
use crate::stdx::clock::Clock;

/// A shard that has not turned for this long, with something to do, while its thread sleeps, is woken.
const STALL_US: u64 = 6_000;

/// The pace of looking while any shard is in glommio's hands: a wrong park ends after 6 to 12 ms, well below the promised 20.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 3_000_000 };

/// Looks that find all shards idle before the watchdog blocks (about 50 ms), so that it does not wake for every event
/// of a shard that works now and then.
const IDLE_LOOKS: u32 = 16;

/// At most one line of log per second; the count is in the line.
const LOG_EVERY_US: u64 = 1_000_000;

/// What the watchdog knows of a shard.
pub(crate) struct Watched {
    pub(crate) shard: usize,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) wakers: Arc<Wakers>,
    /// A second handle to the shard's epoll set.
    pub(crate) set: OwnedFd,
    /// The thread of the executor, once it runs.
    pub(crate) thread: Arc<OnceLock<Pid>>,
}

/// The running watchdog.
pub(crate) struct Watchdog {
    stop: OwnedFd,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// Starts the thread. `bell` is rung by shards before they wait for anything that their set cannot show.
    pub(crate) fn start(clock: Clock, watched: Vec<Watched>, bell: Arc<Doorbell>) -> io::Result<Watchdog> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let watches = watched.into_iter().map(Watch::new).collect();
        let mut round = Round { clock, watches, bell, stopped, logged_us: None };
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(move || round.run())?;
        Ok(Watchdog { stop, thread })
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        let told = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if told.is_err() || self.thread.join().is_err() {
            tracing::error!("the watchdog did not end cleanly");
        }
    }
}

struct Round {
    clock: Clock,
    watches: Vec<Watch>,
    bell: Arc<Doorbell>,
    stopped: OwnedFd,
    logged_us: Option<u64>,
}

/// How one shard looked last time.
struct Watch {
    shard: Watched,
    turns: u64,
    /// Since when it has had something to do without turning, in microseconds of the clock.
    waiting_since_us: Option<u64>,
    /// The waker of the last kick, used again when the executor has not run a watch task since.
    last_waker: Option<Waker>,
}

/// What one look found.
enum Seen {
    Idle,
    Busy,
    Asleep,
}

impl Round {
    fn run(&mut self) {
        let mut idle_looks = 0;
        loop {
            let block = idle_looks >= IDLE_LOOKS;
            if self.wait(block) {
                return;
            }
            idle_looks = if self.look() { idle_looks + 1 } else { 0 };
        }
    }

    /// Waits for the next look: a few milliseconds, or until any shard may have something to do. Answers whether to stop.
    fn wait(&self, block: bool) -> bool {
        if !block {
            return poll_stop(&mut [PollFd::new(&self.stopped, PollFlags::IN)], Some(&LOOK_EVERY));
        }
        self.bell.park();
        let phases: Vec<Phase> = self.watches.iter().map(|watch| watch.shard.pulse.phase()).collect();
        let visiting = phases.contains(&Phase::Visiting);
        let parked = self.watches.iter().zip(&phases).filter(|(_, phase)| **phase == Phase::Parked);
        let mut all = vec![PollFd::new(&self.stopped, PollFlags::IN)];
        let bell = self.bell.fd();
        all.push(PollFd::from_borrowed_fd(bell, PollFlags::IN));
        all.extend(parked.map(|(watch, _)| PollFd::new(&watch.shard.set, PollFlags::IN)));
        let stop = !visiting && poll_stop(&mut all, None);
        self.bell.unpark();
        // Its eventfd counts rings until it is read; EAGAIN says that there was none.
        let _ = rustix::io::read(bell, &mut [0; 8]);
        stop
    }

    /// Looks at every shard; answers whether all are idle.
    fn look(&mut self) -> bool {
        let now_us = self.clock.now().steady_us;
        let mut idle = true;
        let mut kicked = None;
        for watch in &mut self.watches {
            let seen = watch.look(now_us);
            idle &= matches!(seen, Seen::Idle);
            if matches!(seen, Seen::Asleep) {
                watch.kick(now_us);
                kicked = Some((watch.shard.shard, watch.shard.pulse.kicks()));
            }
        }
        if let Some((shard, kicks)) = kicked {
            self.log(now_us, shard, kicks);
        }
        idle
    }

    fn log(&mut self, now_us: u64, shard: usize, kicks: u64) {
        if self.logged_us.is_none_or(|logged_us| now_us >= logged_us + LOG_EVERY_US) {
            self.logged_us = Some(now_us);
            tracing::warn!(shard, kicks, "an executor slept with work to do and was woken");
        }
    }
}

impl Watch {
    fn new(shard: Watched) -> Watch {
        Watch { shard, turns: 0, waiting_since_us: None, last_waker: None }
    }

    fn look(&mut self, now_us: u64) -> Seen {
        let turns = self.shard.pulse.turns();
        let turned = turns != self.turns;
        self.turns = turns;
        let seen = match self.shard.pulse.phase() {
            Phase::Visiting => Seen::Asleep,
            Phase::Parked if readable(&self.shard.set) => Seen::Asleep,
            Phase::Parked | Phase::Turning | Phase::Waiting | Phase::Gone => Seen::Idle,
        };
        if turned || matches!(seen, Seen::Idle) {
            self.waiting_since_us = None;
            return if matches!(seen, Seen::Idle) { Seen::Idle } else { Seen::Busy };
        }
        let since_us = *self.waiting_since_us.get_or_insert(now_us);
        if now_us < since_us + STALL_US || !self.thread_sleeps() { Seen::Busy } else { Seen::Asleep }
    }

    /// A thread that waits for its core needs no kick: it is late because of others.
    fn thread_sleeps(&self) -> bool {
        let Some(thread) = self.shard.thread.get() else { return false };
        let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", thread.as_raw_nonzero()));
        // proc_pid_stat(5): the state follows the command in parentheses, which may itself contain some.
        stat.map_or(true, |stat| stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('S')))
    }

    fn kick(&mut self, now_us: u64) {
        if let Some(fresh) = self.shard.wakers.take() {
            self.last_waker = Some(fresh);
        }
        if let Some(waker) = &self.last_waker {
            waker.wake_by_ref();
            self.shard.pulse.kicked();
        }
        self.waiting_since_us = Some(now_us);
    }
}

fn readable(set: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(set, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// Whether the first descriptor became readable.
fn poll_stop(all: &mut [PollFd<'_>], limit: Option<&Timespec>) -> bool {
    // An interrupted wait is an early look.
    let _ = poll(all, limit);
    !all[0].revents().is_empty()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Wake;

    use rustix::thread::gettid;

    use super::*;
    use crate::runtime::readiness::Readiness;

    struct Bell(Sender<()>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.send(()).expect("the test listens");
        }
    }

    /// A shard whose thread sleeps until the sender is dropped, or is the one that asks.
    fn watch(asleep: bool) -> (Watch, Receiver<()>, Sender<()>) {
        let (keep, wait) = channel::<()>();
        let (tell, rung) = channel();
        let thread = Arc::new(OnceLock::new());
        if asleep {
            let theirs = Arc::clone(&thread);
            thread::spawn(move || {
                theirs.get_or_init(gettid);
                wait.recv()
            });
            thread.wait();
        } else {
            thread.get_or_init(gettid);
        }
        let wakers = Arc::new(Wakers::new());
        wakers.register(Waker::from(Arc::new(Bell(tell))));
        let set = Readiness::new().and_then(|set| set.handle()).expect("descriptors are left");
        let shard = Watched { shard: 0, pulse: Pulse::new(), wakers, set, thread };
        (Watch::new(shard), rung, keep)
    }

    /// Looks twice, as far apart as a wrong park is tolerated.
    fn look_after_a_stall(watch: &mut Watch) -> Seen {
        watch.look(0);
        watch.look(STALL_US)
    }

    #[test]
    fn a_shard_that_sleeps_in_a_visit_is_woken_and_woken_again() {
        let (mut watch, rung, _keep) = watch(true);
        watch.shard.pulse.set(Phase::Visiting);
        while !watch.thread_sleeps() {
            thread::yield_now();
        }
        assert!(matches!(look_after_a_stall(&mut watch), Seen::Asleep));
        watch.kick(STALL_US);
        watch.kick(2 * STALL_US);
        assert_eq!(rung.try_iter().count(), 2, "the last waker serves again when no fresh one came");
        assert_eq!(watch.shard.pulse.kicks(), 2);
    }

    #[test]
    fn a_shard_that_turns_or_waits_for_a_core_or_has_nothing_to_do_is_left_alone() {
        let (mut running, _rung, _keep) = watch(false);
        running.shard.pulse.set(Phase::Visiting);
        assert!(matches!(look_after_a_stall(&mut running), Seen::Busy), "its thread runs");
        let (mut watch, _rung, _keep) = watch(true);
        assert!(matches!(look_after_a_stall(&mut watch), Seen::Idle), "a long turn");
        watch.shard.pulse.set(Phase::Waiting);
        assert!(matches!(look_after_a_stall(&mut watch), Seen::Idle), "in its own set");
        watch.shard.pulse.set(Phase::Parked);
        assert!(matches!(look_after_a_stall(&mut watch), Seen::Idle), "nothing is ready");
    }
}
