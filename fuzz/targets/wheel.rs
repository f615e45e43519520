//! The timer wheel against a map from slot to deadline, under virtual time: set, move, cancel, and time that goes on by
//! little and by much. What expires, when, and what `next_deadline` promises must agree with the map at every step.
#![no_main]
use arbitrary::Arbitrary;
use courier::stdx::wheel::Wheel;
use std::collections::BTreeMap;

#[derive(Arbitrary, Debug)]
struct Input {
    granularity_us: u16,
    /// Up to 2^8, so that time goes round often and a far deadline is parked.
    buckets_log2: u8,
    start_us: u32,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    SetAfter { slot: u8, us: u16 },
    SetFarAfter { slot: u8, us: u64 },
    SetAt { slot: u8, us: u32 },
    Cancel { slot: u8 },
    Advance { us: u16 },
    AdvanceFar { us: u32 },
    AdvanceToNext,
}

struct Checked {
    wheel: Wheel,
    granularity_us: u64,
    now_us: u64,
    deadlines: BTreeMap<u32, u64>,
}

impl Checked {
    fn set(&mut self, slot: u8, deadline_us: u64) {
        self.wheel.set(slot.into(), deadline_us);
        self.deadlines.insert(slot.into(), deadline_us.min(u64::MAX - 1));
    }

    /// Lets the time go on and compares what expired: all that was due when the current tick began.
    fn advance(&mut self, us: u64) {
        self.now_us = self.now_us.saturating_add(us);
        let tick_began_us = self.now_us - self.now_us % self.granularity_us;
        let mut due = vec![u32::MAX];
        self.wheel.expired(self.now_us, &mut due);
        assert_eq!(due.remove(0), u32::MAX, "what the caller had is kept");
        due.sort_unstable();
        let expected: Vec<u32> =
            self.deadlines.iter().filter(|d| *d.1 <= tick_began_us).map(|d| *d.0).collect();
        assert_eq!(due, expected);
        self.deadlines.retain(|_, deadline_us| *deadline_us > tick_began_us);
    }

    fn advance_to_next(&mut self) {
        if let Some(next_us) = self.wheel.next_deadline(self.now_us) {
            self.advance(next_us - self.now_us);
            let again_us = self.wheel.next_deadline(self.now_us);
            let never_again = self.now_us >= u64::MAX - self.granularity_us;
            assert!(never_again || again_us.is_none_or(|again_us| again_us > self.now_us), "no spinning");
        }
    }

    fn check(&self) {
        for slot in 0..=u32::from(u8::MAX) {
            assert_eq!(self.wheel.deadline(slot), self.deadlines.get(&slot).copied());
        }
        let expires_us = self.deadlines.values().min().map(|deadline_us| {
            deadline_us.div_ceil(self.granularity_us).saturating_mul(self.granularity_us).max(self.now_us)
        });
        let next_us = self.wheel.next_deadline(self.now_us);
        assert_eq!(next_us.is_some(), expires_us.is_some());
        assert!(next_us <= expires_us, "the wake-up comes too late");
        assert!(next_us.is_none_or(|next_us| next_us >= self.now_us));
    }
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let granularity_us = u64::from(input.granularity_us).max(1);
    let wheel = Wheel::new(granularity_us, 1 << (input.buckets_log2 % 9));
    let mut checked = Checked { wheel, granularity_us, now_us: 0, deadlines: BTreeMap::new() };
    checked.advance(input.start_us.into());
    for step in input.steps {
        let now_us = checked.now_us;
        match step {
            Step::SetAfter { slot, us } => checked.set(slot, now_us.saturating_add(us.into())),
            Step::SetFarAfter { slot, us } => checked.set(slot, now_us.saturating_add(us)),
            Step::SetAt { slot, us } => checked.set(slot, us.into()),
            Step::Cancel { slot } => {
                checked.wheel.cancel(slot.into());
                checked.deadlines.remove(&slot.into());
            }
            Step::Advance { us } => checked.advance(us.into()),
            Step::AdvanceFar { us } => checked.advance(u64::from(us) << 10),
            Step::AdvanceToNext => checked.advance_to_next(),
        }
        checked.check();
    }
});
