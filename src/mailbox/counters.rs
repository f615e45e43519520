//! What is counted of peers with names, over all cores: for each name one value, of which there are at most so many. Who
//! looks one up holds the lock of its stripe meanwhile, so what is counted is exact whichever cores ask.
//!
//! The table is bounded though names are free to invent. A value that says the same as a new one (`is_idle`) makes way,
//! the longest unchanged first; no other ever does, so nobody gets rid of what was counted of him by making names up. While
//! all values of a stripe count, newcomers share one value: many names get together what one would.
use super::sync::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::PoisonError;

/// Locks; with a lock held for about 100 ns, cores that count at full speed meet at one of 64 rarely.
const STRIPES: usize = 64;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look<T> {
    /// What was found out.
    pub found: T,
    /// An idle value made way for this name's.
    pub evicted: bool,
    /// There was no room for this name: it shares a value with others.
    pub shared: bool,
}

/// Values by name; see the module.
pub struct Counters<V> {
    stripes: Box<[Mutex<Stripe<V>>]>,
    /// Names are kept as 128 bits of keyed hash, whatever their length: nobody can find two that are taken for one.
    keys: [RandomState; 2],
}

struct Stripe<V> {
    places: HashMap<u128, u32>,
    entries: Vec<Entry<V>>,
    entries_max: usize,
    /// The list of the entries in the order of their last changes.
    newest: u32,
    oldest: u32,
    shared: V,
}

struct Entry<V> {
    digest: u128,
    value: V,
    newer: u32,
    older: u32,
}

impl<V: Default> Counters<V> {
    /// Room for about so many names, in equal parts on the stripes. Nothing is allocated before names come.
    #[must_use]
    pub fn new(names_max: usize) -> Counters<V> {
        let stripe = || {
            Mutex::new(Stripe {
                places: HashMap::new(),
                entries: Vec::new(),
                entries_max: names_max.div_ceil(STRIPES),
                newest: NONE,
                oldest: NONE,
                shared: V::default(),
            })
        };
        Counters {
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            keys: [RandomState::new(), RandomState::new()],
        }
    }

    /// Looks at the value of `name`. `act` answers what it found and whether it changed the value.
    pub fn look<T>(
        &self,
        name: &impl Hash,
        is_idle: impl Fn(&V) -> bool,
        act: impl FnOnce(&mut V) -> (T, bool),
    ) -> Look<T> {
        let [high, low] = [0, 1].map(|i: usize| u128::from(self.keys[i].hash_one(name)));
        let digest = high << 64 | low;
        lock(&self.stripes[low as usize % STRIPES]).look(digest, is_idle, act)
    }

    /// How many names have a value of their own.
    #[must_use]
    pub fn names(&self) -> usize {
        self.stripes.iter().map(|stripe| lock(stripe).entries.len()).sum()
    }
}

/// A panic under the lock would leave one value half changed, and no list: those change before and after it.
fn lock<V>(stripe: &Mutex<Stripe<V>>) -> MutexGuard<'_, Stripe<V>> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V: Default> Stripe<V> {
    fn look<T>(
        &mut self,
        digest: u128,
        is_idle: impl Fn(&V) -> bool,
        act: impl FnOnce(&mut V) -> (T, bool),
    ) -> Look<T> {
        let known = self.places.get(&digest).copied();
        let full = known.is_none() && self.entries.len() == self.entries_max;
        let place = match known {
            Some(place) => place,
            None if !full => self.add(digest),
            None => match self.take_over(digest, is_idle) {
                Some(place) => place,
                None => return Look { found: act(&mut self.shared).0, evicted: false, shared: true },
            },
        };
        let (found, changed) = act(&mut self.entries[place as usize].value);
        if changed && self.newest != place {
            self.unlink(place);
            self.link_newest(place);
        }
        Look { found, evicted: full, shared: false }
    }

    fn add(&mut self, digest: u128) -> u32 {
        let place = self.entries.len() as u32;
        self.entries.push(Entry { digest, value: V::default(), newer: NONE, older: NONE });
        self.link_newest(place);
        self.places.insert(digest, place);
        place
    }

    /// Gives the place of the longest unchanged value to a newcomer, if it is idle; those that changed later are not
    /// then either.
    fn take_over(&mut self, digest: u128, is_idle: impl Fn(&V) -> bool) -> Option<u32> {
        let place = self.oldest;
        let entry = self.entries.get_mut(place as usize).filter(|entry| is_idle(&entry.value))?;
        self.places.remove(&entry.digest);
        (entry.digest, entry.value) = (digest, V::default());
        self.places.insert(digest, place);
        Some(place)
    }

    fn unlink(&mut self, place: u32) {
        let Entry { newer, older, .. } = self.entries[place as usize];
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, place: u32) {
        let older = std::mem::replace(&mut self.newest, place);
        let entry = &mut self.entries[place as usize];
        (entry.newer, entry.older) = (NONE, older);
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = place,
            None => self.oldest = place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Counts one up unless it is at 3 already; idle at 0.
    fn count(counters: &Counters<u32>, name: &str) -> Look<bool> {
        let up = |value: &mut u32| {
            let may = *value < 3;
            *value += u32::from(may);
            (may, may)
        };
        counters.look(&name, |value| *value == 0, up)
    }

    fn forget(counters: &Counters<u32>, name: &str) {
        counters.look(&name, |_| false, |value| (*value = 0, false));
    }

    const OWN: Look<bool> = Look { found: true, evicted: false, shared: false };

    #[test]
    fn each_name_has_its_own_value() {
        let counters = Counters::new(1_000);
        for _ in 0..3 {
            assert_eq!([count(&counters, "a"), count(&counters, "b")], [OWN, OWN]);
        }
        assert_eq!(count(&counters, "a"), Look { found: false, ..OWN });
        assert_eq!((count(&counters, "c"), counters.names()), (OWN, 3));
    }

    #[test]
    fn while_all_count_newcomers_share_and_nobody_makes_way() {
        // One name per stripe, so that all stripes are full after some names.
        let counters = Counters::new(STRIPES);
        let kept: HashSet<usize> =
            (0..10_000).filter(|i| !count(&counters, &format!("old {i}")).shared).collect();
        assert_eq!((kept.len(), counters.names()), (STRIPES, STRIPES));
        // The shared values are used up by then, whatever names are made up.
        assert!((0..1_000).all(|i| {
            count(&counters, &format!("new {i}")) == Look { found: false, evicted: false, shared: true }
        }));
        for i in kept {
            let name = format!("old {i}");
            let granted = (0..5).filter(|_| count(&counters, &name).found).count();
            assert_eq!(granted, 2, "one was counted, and is not forgotten");
        }
    }

    #[test]
    fn an_idle_value_makes_way_and_the_longest_unchanged_first() {
        let mut stripe = Stripe {
            places: HashMap::new(),
            entries: Vec::new(),
            entries_max: 3,
            newest: NONE,
            oldest: NONE,
            shared: 0_u32,
        };
        let mut touch = |digest: u128, idle_at: u32, value: u32| {
            stripe.look(digest, |value| *value <= idle_at, |own| (std::mem::replace(own, value), true))
        };
        let look = |found, evicted, shared| Look { found, evicted, shared };
        for digest in [1, 2, 3] {
            assert_eq!(touch(digest, 0, digest as u32), look(0, false, false));
        }
        assert_eq!(touch(1, 0, 9), look(1, false, false), "now the newest");
        assert_eq!(touch(4, 1, 4), look(0, false, true), "2 is the oldest and counts");
        assert_eq!(touch(4, 2, 4), look(0, true, false), "2 made way");
        assert_eq!(touch(2, 2, 5), look(4, false, true), "3 is the oldest and counts");
        assert_eq!(touch(1, 0, 1), look(9, false, false), "1 is as it was");
        assert_eq!(touch(5, 9, 5), look(0, true, false), "3 made way");
        assert_eq!(touch(6, 9, 6), look(0, true, false), "then 4");
        assert_eq!(touch(7, 9, 7), look(0, true, false), "then 1");
    }

    #[test]
    fn ten_million_names_take_no_more_memory_than_the_bound() {
        /// Fewer without optimization, which takes as long.
        const NAMES: u64 = if cfg!(debug_assertions) { 300_000 } else { 10_000_000 };
        const NAMES_MAX: usize = 4_096;
        let counters: Counters<u32> = Counters::new(NAMES_MAX);
        let mut evicted = 0_u64;
        for name in 0..NAMES {
            // Counted and forgotten at once, as windows are after a while.
            evicted += u64::from(counters.look(&name, |_| true, |value| (*value += 1, true)).evicted);
        }
        assert_eq!((counters.names(), evicted), (NAMES_MAX, NAMES - NAMES_MAX as u64));
        for stripe in &counters.stripes {
            let stripe = lock(stripe);
            assert!(stripe.entries.capacity() <= 2 * NAMES_MAX / STRIPES);
            assert!(stripe.places.capacity() <= 4 * NAMES_MAX / STRIPES);
        }
    }

    #[test]
    fn cores_that_race_count_exactly() {
        let counters = Counters::new(1_000);
        let granted: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..300).filter(|i| count(&counters, &format!("name {}", i % 50)).found).count()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().expect("it only counts")).sum()
        });
        assert_eq!(granted, 50 * 3);
        forget(&counters, "name 7");
        assert!(count(&counters, "name 7").found);
    }
}
