//! The stages of a stop, taken together by all shards: a stage begins only when every shard has done its part of
//! the one before.
use super::sync::{AtomicUsize, Ordering};

/// How far the stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No stop.
    Serving,
    /// Nothing new is taken; what was taken is brought to its end.
    Settling,
    /// No event is on its way any more: subscribers are sent away.
    Parting,
    /// Nobody is left.
    Done,
}

const STAGES: [Stage; 4] = [Stage::Serving, Stage::Settling, Stage::Parting, Stage::Done];

/// One for all shards.
pub struct Drain {
    shards: AtomicUsize,
    stage: AtomicUsize,
    arrived: [AtomicUsize; 4],
}

impl Drain {
    /// Serving.
    #[must_use]
    pub fn new(shards: usize) -> Drain {
        Drain { shards: AtomicUsize::new(shards), stage: AtomicUsize::new(0), arrived: Default::default() }
    }

    /// The stage that holds for all.
    #[must_use]
    pub fn stage(&self) -> Stage {
        STAGES[self.stage.load(Ordering::Acquire)]
    }

    /// Begins the stop. Answers false when it had begun already.
    pub fn begin(&self) -> bool {
        self.stage.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// One shard has done its part of `stage`; called once per shard and stage. Answers whether this was the last,
    /// so that the next stage has begun and all shards want to be woken.
    pub fn arrive(&self, stage: Stage) -> bool {
        let done = self.arrived[stage as usize].fetch_add(1, Ordering::AcqRel) + 1;
        done >= self.shards.load(Ordering::Acquire) && self.advance(stage)
    }

    /// A shard has ended by a fault: nobody waits for it any more.
    pub fn lose(&self) {
        self.shards.fetch_sub(1, Ordering::AcqRel);
    }

    /// Ends `stage` without waiting for the others: time is up. Answers whether the next stage has begun by this.
    pub fn advance(&self, stage: Stage) -> bool {
        let (from, to) = (stage as usize, (stage as usize + 1).min(3));
        self.stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_stage_ends_when_all_have_arrived() {
        let drain = Drain::new(2);
        assert_eq!(drain.stage(), Stage::Serving);
        assert!(drain.begin());
        assert!(!drain.begin());
        assert!(!drain.arrive(Stage::Settling));
        assert_eq!(drain.stage(), Stage::Settling);
        assert!(drain.arrive(Stage::Settling));
        assert_eq!(drain.stage(), Stage::Parting);
        assert!(drain.advance(Stage::Parting));
        assert!(!drain.arrive(Stage::Parting));
        assert!(!drain.arrive(Stage::Parting));
        assert_eq!(drain.stage(), Stage::Done);
    }
}
