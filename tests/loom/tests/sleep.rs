//! A shard that sleeps is woken for every message: the doorbell's latch, with a counter in place of the eventfd, and a
//! word per lane in place of the queue.
use courier_loom::{real, weak};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// What the scenario needs of a latch, so that the real and the weakened one run through the same.
trait Latch: Default + Send + Sync + 'static {
    fn park(&self);
    fn unpark(&self);
    fn claim(&self) -> bool;
}

macro_rules! is_a_latch {
    ($latch:ty) => {
        impl Latch for $latch {
            fn park(&self) {
                <$latch>::park(self);
            }
            fn unpark(&self) {
                <$latch>::unpark(self);
            }
            fn claim(&self) -> bool {
                <$latch>::claim(self)
            }
        }
    };
}
is_a_latch!(real::latch::Latch);
is_a_latch!(weak::latch::Latch);

struct Shard<L> {
    latch: L,
    /// Messages pushed so far, per lane. Released and acquired, as a queue does, and no more.
    lanes: Vec<AtomicUsize>,
    /// In place of the eventfd: the sleeper waits until it grows.
    writes: AtomicUsize,
}

impl<L: Latch> Shard<L> {
    fn new(senders: usize) -> Arc<Shard<L>> {
        Arc::new(Shard {
            latch: L::default(),
            lanes: (0..senders).map(|_| AtomicUsize::new(0)).collect(),
            writes: AtomicUsize::new(0),
        })
    }

    fn push(&self, lane: usize, count: usize) {
        self.lanes[lane].store(count, Ordering::Release);
        if self.latch.claim() {
            self.writes.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn pushed(&self) -> usize {
        self.lanes.iter().map(|lane| lane.load(Ordering::Acquire)).sum()
    }

    /// Turns, parks and wakes until `messages` are there, or until it sleeps and no write has come yet.
    fn receive(&self, messages: usize, last_look: bool) -> Received {
        let mut owner = Received { messages: self.pushed(), parks: 0, writes: 0 };
        while owner.messages < messages {
            self.latch.park();
            owner.parks += 1;
            if !last_look || self.pushed() == owner.messages {
                let writes = self.writes.load(Ordering::Acquire);
                if writes == owner.writes {
                    break;
                }
                owner.writes = writes;
            }
            self.latch.unpark();
            owner.messages = self.pushed();
        }
        owner
    }
}

/// Where the owner stood when it finished or fell asleep.
struct Received {
    messages: usize,
    parks: usize,
    /// Those that it has seen.
    writes: usize,
}

/// Nobody blocks here: it is enough to look, after all is done, whether a sleeper with messages has a write to wake it.
/// What it does after that is what it does in the runs in which the write came just before its sleep.
fn no_wake_is_lost<L: Latch>(
    senders: usize,
    messages_each: usize,
    last_look: bool,
    preemptions: Option<usize>,
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let shard = Shard::<L>::new(senders);
        let threads: Vec<_> = (0..senders)
            .map(|lane| {
                let shard = Arc::clone(&shard);
                thread::spawn(move || (1..=messages_each).for_each(|count| shard.push(lane, count)))
            })
            .collect();
        let owner = shard.receive(senders * messages_each, last_look);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let writes = shard.writes.load(Ordering::Acquire);
        assert!(owner.messages == senders * messages_each || writes > owner.writes, "a wake is lost");
        assert!(writes <= owner.parks, "at most one write per park");
    });
}

/// The larger scenarios have too many interleavings to try all: those with up to so many switches away from a thread
/// that could go on. Two suffice to lose a wake in the weakened copies.
const PREEMPTIONS_MAX: Option<usize> = Some(4);

#[test]
fn a_sender_that_goes_on_never_leaves_a_parked_shard_asleep() {
    no_wake_is_lost::<real::latch::Latch>(1, 2, true, None);
    no_wake_is_lost::<real::latch::Latch>(1, 3, true, PREEMPTIONS_MAX);
}

#[test]
fn two_senders_never_leave_a_parked_shard_asleep() {
    no_wake_is_lost::<real::latch::Latch>(2, 1, true, PREEMPTIONS_MAX);
}

#[test]
#[should_panic(expected = "a wake is lost")]
fn without_the_fences_a_wake_is_lost() {
    no_wake_is_lost::<weak::latch::Latch>(1, 1, true, Some(2));
}

#[test]
#[should_panic(expected = "a wake is lost")]
fn without_the_last_look_a_wake_is_lost() {
    no_wake_is_lost::<real::latch::Latch>(1, 1, false, Some(2));
}
