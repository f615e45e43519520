//! A bounded set of numbers most of which follow one another, kept as ranges in order.

use std::collections::VecDeque;

/// The set has as many ranges as it may.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// First and last of each range; between two of them there is a number that is not in the set.
#[derive(Debug, Default)]
pub struct Ranges(VecDeque<(u64, u64)>);

impl Ranges {
    /// Adds a number.
    ///
    /// # Errors
    /// [`Full`] when there would be more than `ranges_max` ranges; the number is not taken.
    pub fn insert(&mut self, n: u64, ranges_max: usize) -> Result<(), Full> {
        let at = self.reaching(n);
        let next = self.0.get(at).copied();
        if next.is_some_and(|(first, _)| first <= n) {
            return Ok(());
        }
        let follows = at > 0 && self.0[at - 1].1 + 1 == n;
        match next.filter(|(first, _)| *first == n + 1) {
            Some((_, last)) if follows => {
                self.0[at - 1].1 = last;
                self.0.remove(at);
            }
            Some(_) => self.0[at].0 = n,
            None if follows => self.0[at - 1].1 = n,
            None if self.0.len() >= ranges_max => return Err(Full),
            None => self.0.insert(at, (n, n)),
        }
        Ok(())
    }

    /// Whether a number is in the set.
    pub fn contains(&self, n: u64) -> bool {
        self.0.get(self.reaching(n)).is_some_and(|(first, _)| *first <= n)
    }

    /// Forgets the ranges that end below a number.
    pub fn forget_below(&mut self, n: u64) {
        self.0.drain(..self.reaching(n));
    }

    /// The first range that does not end below a number.
    fn reaching(&self, n: u64) -> usize {
        self.0.partition_point(|(_, last)| *last < n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn holds_what_a_plain_set_holds_and_no_more_ranges_than_it_may() {
        let (mut ranges, mut plain, mut state) = (Ranges::default(), BTreeSet::new(), 1_u64);
        for step in 0..3_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = step / 20 + (state >> 33) % 40;
            if ranges.insert(n, 6).is_ok() {
                plain.insert(n);
            } else {
                assert_eq!(ranges.0.len(), 6);
            }
            if step % 50 == 0 {
                ranges.forget_below(step / 20);
            }
            assert!((step / 20..step / 20 + 45).all(|n| ranges.contains(n) == plain.contains(&n)));
            let apart = ranges.0.iter().zip(ranges.0.iter().skip(1)).all(|(one, next)| one.1 + 1 < next.0);
            assert!(apart && ranges.0.iter().all(|(first, last)| first <= last));
        }
    }
}
