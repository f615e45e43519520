//! One timer per slot of a slab: heartbeats, idle limits, graces. A hashed wheel: time is cut into ticks, a timer hangs
//! in the bucket of the tick in which it is due, and buckets are doubly linked lists threaded through the slots, so
//! setting and cancelling touch a few words. The shard calls [`Wheel::expired`] each turn with its own time; the wheel
//! reads no clock and calls nobody back.
//!
//! ```text
//!   cursor (last tick done)            one turn of the wheel = `buckets` ticks
//!      v
//!   .. | +1 | +2 | ... | +buckets |    a deadline farther off is parked in the last bucket
//!                                      and hung up anew when that comes round
//!   overdue                            set in the past: given out by the next call
//! ```

/// Ends a list.
const NONE: u32 = u32::MAX;
/// In `prev` of a list's first timer: the other bits are its bucket. So slots and buckets stay below 2^31.
const FIRST: u32 = 1 << 31;
/// In `deadline_us`: no timer is set.
const UNSET: u64 = u64::MAX;
/// Upper bound of buckets: 4 bytes each, and `next_deadline` reads a bit of each. 2^20 ticks of 1 ms are 17 minutes.
const BUCKETS_MAX: usize = 1 << 20;

/// 16 bytes, and there is one for each slot ever used.
#[derive(Clone, Copy)]
struct Timer {
    deadline_us: u64,
    prev: u32,
    next: u32,
}

/// Timers by slot; see the module.
pub struct Wheel {
    granularity_us: u64,
    timers: Vec<Timer>,
    /// First timer of each bucket, and after them the one of the overdue list.
    first: Vec<u32>,
    /// A bit per bucket that has a timer; the overdue list is not in it.
    occupied: Vec<u64>,
    /// All ticks up to this one are done: what was due then has been given out.
    cursor: u64,
}

impl Wheel {
    /// A wheel whose ticks last `granularity_us`, with `buckets` of them to a turn (a power of two).
    ///
    /// # Panics
    /// If the granularity is 0, or `buckets` is not a power of two up to 2^20.
    #[must_use]
    pub fn new(granularity_us: u64, buckets: usize) -> Wheel {
        assert!(granularity_us > 0, "a tick lasts at least a microsecond");
        assert!(
            buckets.is_power_of_two() && buckets <= BUCKETS_MAX,
            "buckets: a power of two up to {BUCKETS_MAX}"
        );
        Wheel {
            granularity_us,
            timers: Vec::new(),
            first: vec![NONE; buckets + 1],
            occupied: vec![0; buckets.div_ceil(64)],
            cursor: 0,
        }
    }

    /// Sets the slot's timer, or moves it. A deadline in the past is given out by the next call of `expired`.
    /// `u64::MAX` is taken for one microsecond less.
    ///
    /// # Panics
    /// If the slot is 2^31 or more.
    pub fn set(&mut self, slot: u32, deadline_us: u64) {
        assert!(slot < FIRST, "slots are below 2^31");
        let index = slot as usize;
        if index >= self.timers.len() {
            self.timers.resize(index + 1, Timer { deadline_us: UNSET, prev: NONE, next: NONE });
        }
        self.cancel(slot);
        self.timers[index].deadline_us = deadline_us.min(UNSET - 1);
        self.hang(slot);
    }

    /// Stops the slot's timer, if one is set.
    pub fn cancel(&mut self, slot: u32) {
        if self.deadline(slot).is_some() {
            self.unhang(slot);
            self.timers[slot as usize].deadline_us = UNSET;
        }
    }

    /// When the slot's timer is due, if one is set.
    #[must_use]
    pub fn deadline(&self, slot: u32) -> Option<u64> {
        self.timers
            .get(slot as usize)
            .map(|timer| timer.deadline_us)
            .filter(|&deadline_us| deadline_us != UNSET)
    }

    /// Appends the slots whose timers are due, in no promised order, and stops these timers. Never early, and at most
    /// one granularity late. Costs next to nothing while the tick of `now_us` is the one of the call before.
    pub fn expired(&mut self, now_us: u64, due: &mut Vec<u32>) {
        self.empty(self.buckets(), due);
        let now_tick = now_us / self.granularity_us;
        if now_tick <= self.cursor {
            return;
        }
        let last = now_tick.min(self.horizon());
        let mut tick = self.cursor + 1;
        // Moved first: what is hung up anew below must find its place as seen from now.
        self.cursor = now_tick;
        while let Some(distance) = self.distance_to_occupied(tick) {
            tick += distance;
            if tick > last {
                break;
            }
            self.empty(self.bucket_of(tick), due);
            tick += 1;
        }
    }

    /// The earliest time at which `expired` may have something to give out; never before `now_us`, never after the true
    /// one. `None` while no timer is set. For arming a wake-up: waking then and finding nothing is possible (a parked
    /// deadline came round), but not twice for the same time.
    #[must_use]
    pub fn next_deadline(&self, now_us: u64) -> Option<u64> {
        if self.first[self.buckets()] != NONE {
            return Some(now_us);
        }
        let distance = self.distance_to_occupied(self.cursor + 1)?;
        let tick = self.cursor + 1 + distance;
        Some(tick.saturating_mul(self.granularity_us).max(now_us))
    }

    fn buckets(&self) -> usize {
        self.first.len() - 1
    }

    fn bucket_of(&self, tick: u64) -> usize {
        tick as usize & (self.buckets() - 1)
    }

    /// The farthest tick that has a bucket.
    fn horizon(&self) -> u64 {
        self.cursor.saturating_add(self.buckets() as u64)
    }

    /// The tick at whose beginning the deadline has passed.
    fn tick_of(&self, deadline_us: u64) -> u64 {
        deadline_us.div_ceil(self.granularity_us)
    }

    /// Takes all timers out of a bucket: the due ones are given out, the parked ones are hung up anew. When the call
    /// of `expired` comes round to such a one again, it hangs it up once more, no harm done: each bucket is visited once.
    fn empty(&mut self, bucket: usize, due: &mut Vec<u32>) {
        let mut slot = std::mem::replace(&mut self.first[bucket], NONE);
        self.mark(bucket, false);
        while slot != NONE {
            let Timer { deadline_us, next, .. } = self.timers[slot as usize];
            if self.tick_of(deadline_us) <= self.cursor {
                self.timers[slot as usize].deadline_us = UNSET;
                due.push(slot);
            } else {
                self.hang(slot);
            }
            slot = next;
        }
    }

    /// Puts a timer whose deadline is written, and which hangs nowhere, first into its bucket.
    fn hang(&mut self, slot: u32) {
        let tick = self.tick_of(self.timers[slot as usize].deadline_us);
        let bucket =
            if tick <= self.cursor { self.buckets() } else { self.bucket_of(tick.min(self.horizon())) };
        let next = std::mem::replace(&mut self.first[bucket], slot);
        if next == NONE {
            self.mark(bucket, true);
        } else {
            self.timers[next as usize].prev = slot;
        }
        let timer = &mut self.timers[slot as usize];
        timer.prev = FIRST | bucket as u32;
        timer.next = next;
    }

    fn unhang(&mut self, slot: u32) {
        let Timer { prev, next, .. } = self.timers[slot as usize];
        if next != NONE {
            self.timers[next as usize].prev = prev;
        }
        if prev & FIRST == 0 {
            self.timers[prev as usize].next = next;
            return;
        }
        let bucket = (prev & !FIRST) as usize;
        self.first[bucket] = next;
        if next == NONE {
            self.mark(bucket, false);
        }
    }

    fn mark(&mut self, bucket: usize, occupied: bool) {
        if bucket == self.buckets() {
            return;
        }
        let bit = 1 << (bucket % 64);
        if occupied {
            self.occupied[bucket / 64] |= bit;
        } else {
            self.occupied[bucket / 64] &= !bit;
        }
    }

    /// How many ticks from this one on to the first bucket that has a timer, going round once.
    fn distance_to_occupied(&self, tick: u64) -> Option<u64> {
        let start = self.bucket_of(tick);
        let words = self.occupied.len();
        let before_start = (1 << (start % 64)) - 1;
        // The first word is read twice: from the start on at the beginning, up to the start at the end.
        for step in 0..=words {
            let index = (start / 64 + step) % words;
            let mut word = self.occupied[index];
            if step == 0 {
                word &= !before_start;
            } else if step == words {
                word &= before_start;
            }
            if word != 0 {
                let bucket = index * 64 + word.trailing_zeros() as usize;
                return Some(self.bucket_of((bucket + self.buckets() - start) as u64) as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_US: u64 = 1_000;

    fn expired(wheel: &mut Wheel, now_us: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expired(now_us, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn a_timer_expires_never_early_and_at_most_one_tick_late() {
        for deadline_us in [1, 999, 1_000, 1_001, 7_999, 8_000, 8_001, 64_000, 1_000_000] {
            let mut wheel = Wheel::new(TICK_US, 8);
            wheel.set(3, deadline_us);
            for now_us in (0..deadline_us).step_by(97).chain([deadline_us - 1]) {
                assert_eq!(expired(&mut wheel, now_us), [0u32; 0], "{deadline_us} at {now_us}");
            }
            assert_eq!(expired(&mut wheel, deadline_us + TICK_US - 1), [3], "{deadline_us}");
            assert_eq!(wheel.deadline(3), None);
        }
    }

    #[test]
    fn following_next_deadline_alone_finds_every_timer_on_time() {
        let mut wheel = Wheel::new(TICK_US, 128);
        let deadlines = [5, 1_500, 90_000, 127_000, 128_000, 129_000, 500_000, 40_000_000];
        deadlines.iter().zip(0..).for_each(|(&deadline_us, slot)| wheel.set(slot, deadline_us));
        let (mut now_us, mut seen, mut wakes) = (0, 0, 0);
        while let Some(next_us) = wheel.next_deadline(now_us) {
            assert!(next_us > now_us, "no spinning");
            now_us = next_us;
            wakes += 1;
            for slot in expired(&mut wheel, now_us) {
                assert!((deadlines[slot as usize]..deadlines[slot as usize] + TICK_US).contains(&now_us));
                seen += 1;
            }
        }
        assert_eq!(seen, deadlines.len());
        assert!(wakes < 340, "a far deadline costs a wake per turn of the wheel, not per tick: {wakes}");
    }

    #[test]
    fn moving_or_cancelling_a_timer_leaves_its_neighbours_in_place() {
        let mut wheel = Wheel::new(TICK_US, 8);
        (0..5).for_each(|slot| wheel.set(slot, 2_000));
        wheel.cancel(2);
        wheel.set(4, 3_000);
        wheel.set(0, 3_000);
        assert_eq!(expired(&mut wheel, 2_000), [1, 3]);
        assert_eq!(expired(&mut wheel, 3_000), [0, 4]);
        assert_eq!(wheel.next_deadline(3_000), None);
    }

    #[test]
    fn a_deadline_in_the_past_is_given_out_by_the_next_call() {
        let mut wheel = Wheel::new(TICK_US, 8);
        assert_eq!(expired(&mut wheel, 50_500), [0u32; 0]);
        wheel.set(1, 50_000);
        wheel.set(2, 0);
        wheel.set(3, 0);
        wheel.cancel(3);
        assert_eq!(wheel.next_deadline(50_500), Some(50_500));
        assert_eq!(expired(&mut wheel, 50_500), [1, 2]);
    }

    #[test]
    fn a_pause_of_many_turns_gives_everything_due_out_in_one_call() {
        let mut wheel = Wheel::new(TICK_US, 64);
        (0..300).for_each(|slot| wheel.set(slot, u64::from(slot) * 1_700));
        wheel.set(300, 10_000_000_000);
        assert_eq!(expired(&mut wheel, 9_999_999_999), (0..300).collect::<Vec<u32>>());
        assert_eq!(expired(&mut wheel, 10_000_000_000), [300]);
    }

    #[test]
    fn the_end_of_time_is_a_deadline_like_any_other() {
        let mut wheel = Wheel::new(1, 1);
        wheel.set(0, u64::MAX);
        assert_eq!(expired(&mut wheel, u64::MAX - 2), [0u32; 0]);
        assert_eq!(wheel.next_deadline(u64::MAX - 2), Some(u64::MAX - 1));
        assert_eq!(expired(&mut wheel, u64::MAX - 1), [0]);
    }

    #[test]
    fn a_slot_costs_16_bytes() {
        assert_eq!(size_of::<Timer>(), 16);
    }
}
