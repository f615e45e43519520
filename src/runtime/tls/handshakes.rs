//! The threads that do handshakes: a signature or a key exchange takes 30 us to 5 ms of a processor (measured, by key), and
//! a turn that did them would keep every subscriber of the shard waiting. They work in time that nobody else wants
//! (`SCHED_IDLE`, sched(7)): a shard that has something to do takes the core from them at once, in the midst of a step. With a
//! lower rank alone it waited for the step: with 1,000 RSA 2048 handshakes a second on two cores, p99 of live events was 1.6 to
//! 3.2 times the usual one, and is 1.3 to 1.7 times it. Where the shards leave no time, steps gather, and a thread of lower rank that
//! sleeps otherwise does them: newcomers get a quarter of a core then, and not nothing. A shard has so many steps under way; what is
//! beyond waits with the shard, in the order of arrival.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::process::setpriority_process;
use rustix::thread::{gettid, sched_yield};
use rustls::HandshakeKind;

use super::Conn;
use super::certificate::certified;
use super::keeper::{Certificates, Serving};
use super::records::{Advance, advance, farewell};
use crate::auth::Certified;
use crate::mailbox::doorbell::Doorbell;

/// Steps that one shard has under way: enough to keep all threads busy from turn to turn.
pub(super) const UNDER_WAY_MAX: usize = 64;

/// More threads than these would only take turns: 1,000 handshakes a second are a fifth of one core (P-256).
const THREADS_MAX: usize = 4;

/// So many steps wait when the threads have not enough time: some 20 ms of it (RSA 2048).
const BEHIND: usize = 32;

/// How far the thread for that case ranks below the shards, as nice(2) counts: a third of a shard's share where both want one
/// core.
const NICE: i32 = 5;

/// One step of one handshake.
pub(super) struct Job {
    pub token: u64,
    /// `None` before the first step.
    pub conn: Option<Box<Conn>>,
    /// What the peer has sent and no step has taken.
    pub incoming: Vec<u8>,
    pub done: Sender<Done>,
    pub doorbell: Arc<Doorbell>,
}

/// What came of it.
pub(super) struct Done {
    pub token: u64,
    pub conn: Option<Box<Conn>>,
    /// What is left of it.
    pub incoming: Vec<u8>,
    /// To be sent, whatever the verdict.
    pub outgoing: Vec<u8>,
    pub verdict: Verdict,
}

/// How far a handshake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The peer is to say more.
    Continues,
    /// It is done.
    Open { resumed: bool, certified: Option<Certified> },
    /// It failed; what is outgoing says so to the peer.
    Failed,
}

/// The way to the threads; they end when all of these are gone.
#[derive(Clone)]
pub(super) struct Threads {
    jobs: Sender<Job>,
    /// Wakes the one that helps.
    behind: Sender<()>,
}

impl Threads {
    /// Gives them a step to do. Their queue holds what all shards may have under way; that no thread is left is seen by the
    /// time limit of handshakes.
    pub fn give(&self, job: Job) {
        let _ = self.jobs.try_send(job);
        if self.jobs.len() >= BEHIND {
            // Awake already if it is full.
            let _ = self.behind.try_send(());
        }
    }
}

/// Starts the threads.
pub(super) fn start(shards: usize, certificates: &Arc<Certificates>) -> std::io::Result<Threads> {
    let (jobs, inbox) = bounded(shards * UNDER_WAY_MAX);
    let (behind, called) = bounded(1);
    for _ in 0..shards.clamp(1, THREADS_MAX) {
        let (inbox, mut hand) = (inbox.clone(), Hand::new(certificates));
        spawn(move || work_while_idle(&inbox, &mut hand))?;
    }
    let mut hand = Hand::new(certificates);
    spawn(move || help(&called, &inbox, &mut hand))?;
    Ok(Threads { jobs, behind })
}

fn spawn(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("handshakes".to_owned()).spawn(work).map(drop)
}

fn work_while_idle(inbox: &Receiver<Job>, hand: &mut Hand) {
    // Without it all works, and live delivery waits a little more.
    let _ = rank_as_idle();
    while let Ok(job) = inbox.recv() {
        hand.take(job);
    }
}

/// From now on this thread runs only where nobody else wants to.
#[allow(unsafe_code)]
fn rank_as_idle() -> std::io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: reads one struct that outlives the call; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Works until nothing waits, each time that too much does.
fn help(called: &Receiver<()>, inbox: &Receiver<Job>, hand: &mut Hand) {
    let _ = setpriority_process(Some(gettid()), NICE);
    while let Ok(()) = called.recv() {
        while let Ok(job) = inbox.try_recv() {
            hand.take(job);
            sched_yield();
        }
    }
}

/// What a thread works with.
struct Hand {
    certificates: Arc<Certificates>,
    seen: u64,
    serving: Option<Arc<Serving>>,
}

impl Hand {
    fn new(certificates: &Arc<Certificates>) -> Hand {
        Hand { certificates: Arc::clone(certificates), seen: 0, serving: None }
    }

    fn take(&mut self, job: Job) {
        let Hand { certificates, seen, serving } = self;
        *serving = certificates.serving.newer(seen).or(serving.take());
        let begin = || {
            let serving = serving.as_ref().expect("announced before the threads start");
            Conn::new(Arc::clone(&serving.config)).ok().map(Box::new)
        };
        let Job { token, conn, mut incoming, done, doorbell } = job;
        let step = catch_unwind(AssertUnwindSafe(|| {
            let mut conn = conn.or_else(begin);
            let mut outgoing = Vec::new();
            let verdict =
                conn.as_mut().map_or(Verdict::Failed, |conn| step(conn, &mut incoming, &mut outgoing));
            Done { token, conn, incoming, outgoing, verdict }
        }));
        let failed = || Done {
            token,
            conn: None,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            verdict: Verdict::Failed,
        };
        // A shard that is gone needs no answer.
        if done.send(step.unwrap_or_else(|_| failed())).is_ok() {
            doorbell.ring();
        }
    }
}

/// Goes as far as what has come allows.
fn step(conn: &mut Conn, incoming: &mut Vec<u8>, outgoing: &mut Vec<u8>) -> Verdict {
    loop {
        let (discard, advance) = advance(conn, incoming, outgoing);
        incoming.drain(..discard);
        match advance {
            Advance::Further => {}
            Advance::Halted if conn.is_handshaking() => return Verdict::Continues,
            Advance::Halted => {
                let certificate = conn.peer_certificates().and_then(<[_]>::first);
                return Verdict::Open {
                    resumed: conn.handshake_kind() == Some(HandshakeKind::Resumed),
                    certified: certificate.map(|certificate| certified(certificate)),
                };
            }
            Advance::Failed(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                farewell(conn, outgoing);
                return Verdict::Failed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_find_no_idle_time_are_done_by_the_thread_that_helps() {
        let (jobs, inbox) = bounded(UNDER_WAY_MAX);
        let (behind, called) = bounded(1);
        let threads = Threads { jobs, behind };
        let (done, ended) = bounded(UNDER_WAY_MAX);
        let doorbell = Doorbell::new().expect("descriptors are left");
        let give = |token| {
            let (done, doorbell) = (done.clone(), Arc::clone(&doorbell));
            threads.give(Job { token, conn: None, incoming: Vec::new(), done, doorbell });
        };
        (1..BEHIND as u64).for_each(give);
        assert!(threads.behind.is_empty(), "so many are not too many");
        give(BEHIND as u64);
        let mut hand = Hand::new(&Arc::default());
        let helper = std::thread::spawn(move || help(&called, &inbox, &mut hand));
        let tokens: Vec<u64> = ended.iter().take(BEHIND).map(|done| done.token).collect();
        assert_eq!(tokens, (1..=BEHIND as u64).collect::<Vec<_>>(), "in the order of arrival");
        drop(threads);
        helper.join().expect("it ends with those who call it");
    }
}
