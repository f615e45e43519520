//! A list of channels without members, the longest idle first: touching, removing and finding the first cost
//! the same however many there are.

const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
    since_us: u64,
    listed: bool,
}

const UNLISTED: Link = Link { before: NOWHERE, after: NOWHERE, since_us: 0, listed: false };

/// A doubly linked list through slots.
pub(super) struct Idle {
    links: Vec<Link>,
    first: u32,
    last: u32,
}

impl Default for Idle {
    fn default() -> Idle {
        Idle { links: Vec::new(), first: NOWHERE, last: NOWHERE }
    }
}

impl Idle {
    /// Puts `slot` at the end.
    pub fn touch(&mut self, slot: u32, now_us: u64) {
        self.remove(slot);
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, UNLISTED);
        }
        let link = Link { before: self.last, after: NOWHERE, since_us: now_us, listed: true };
        self.links[slot as usize] = link;
        match self.last {
            NOWHERE => self.first = slot,
            last => self.links[last as usize].after = slot,
        }
        self.last = slot;
    }

    /// Takes `slot` out, if it is listed. Answers whether it was.
    pub fn remove(&mut self, slot: u32) -> bool {
        let Some(&link) = self.links.get(slot as usize).filter(|link| link.listed) else { return false };
        match link.before {
            NOWHERE => self.first = link.after,
            before => self.links[before as usize].after = link.after,
        }
        match link.after {
            NOWHERE => self.last = link.before,
            after => self.links[after as usize].before = link.before,
        }
        self.links[slot as usize] = UNLISTED;
        true
    }

    /// The slot that was touched the longest ago, and when.
    pub fn first(&self) -> Option<(u32, u64)> {
        (self.first != NOWHERE).then(|| (self.first, self.links[self.first as usize].since_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_last_touch() {
        let mut idle = Idle::default();
        for (slot, now) in [(3, 1), (0, 2), (7, 3), (3, 4), (0, 5)] {
            idle.touch(slot, now);
        }
        idle.remove(5);
        let mut order = Vec::new();
        while let Some((slot, since)) = idle.first() {
            order.push((slot, since));
            idle.remove(slot);
        }
        assert_eq!(order, [(7, 3), (3, 4), (0, 5)]);
    }
}
