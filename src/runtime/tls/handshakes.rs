//! The threads that do handshakes: a signature or a key exchange takes 30 us to 5 ms of a processor (measured, by key), and
//! a turn that did them would keep every subscriber of the shard waiting. They rank below the shards, so that live
//! delivery goes first where there are more clients than cores; between two steps a thread steps back, so that a shard
//! on the same core waits for one step at most. A shard has so many steps under way; what is beyond waits with the
//! shard, in the order of arrival.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::process::setpriority_process;
use rustix::thread::{gettid, sched_yield};
use rustls::HandshakeKind;

use super::Conn;
use super::certificate::certified;
use super::keeper::Certificates;
use super::records::{Advance, advance, farewell};
use crate::auth::Certified;
use crate::mailbox::doorbell::Doorbell;

/// Steps that one shard has under way: enough to keep all threads busy from turn to turn.
pub(super) const UNDER_WAY_MAX: usize = 64;

/// More threads than these would only take turns: 1,000 handshakes a second are a fifth of one core (P-256).
const THREADS_MAX: usize = 4;

/// How far the threads rank below the shards, as nice(2) counts: a third of a shard's share where both want one core.
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

/// Starts the threads; they end when all senders are gone.
pub(super) fn start(shards: usize, certificates: &Arc<Certificates>) -> std::io::Result<Sender<Job>> {
    let (jobs, inbox) = bounded(shards * UNDER_WAY_MAX);
    for _ in 0..shards.clamp(1, THREADS_MAX) {
        let (inbox, certificates) = (inbox.clone(), Arc::clone(certificates));
        std::thread::Builder::new()
            .name("handshakes".to_owned())
            .spawn(move || work(&inbox, &certificates))?;
    }
    Ok(jobs)
}

fn work(inbox: &Receiver<Job>, certificates: &Certificates) {
    // Without the lower rank all works, and live delivery waits a little more.
    let _ = setpriority_process(Some(gettid()), NICE);
    let (mut seen, mut serving) = (0, None);
    while let Ok(job) = inbox.recv() {
        serving = certificates.serving.newer(&mut seen).or(serving);
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
        sched_yield();
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
