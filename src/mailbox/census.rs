//! Connection limits that hold over all cores: how many are in, together and per address. A shard enters a connection
//! before it serves it and leaves when it has closed it. Exact: never more than the limit, and nobody is refused while a
//! place is free, even when all shards race. Where addresses are not counted no lock is taken.
use super::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::PoisonError;

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// That of all connections together.
    Total,
    /// That of the peer's address.
    Address,
}

/// One per process; see the module.
pub struct Census {
    total: AtomicUsize,
    total_max: AtomicUsize,
    ever: AtomicU64,
    per_address_max: AtomicUsize,
    /// How many are in by address; those without any are forgotten, so its size is bounded by the open descriptors.
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

impl Census {
    /// At most `total_max` connections, at most `per_address_max` of one address; 0 is no limit.
    #[must_use]
    pub fn new(total_max: usize, per_address_max: usize) -> Census {
        Census {
            total: AtomicUsize::new(0),
            total_max: AtomicUsize::new(limit(total_max)),
            ever: AtomicU64::new(0),
            per_address_max: AtomicUsize::new(limit(per_address_max)),
            addresses: Mutex::new(HashMap::new()),
        }
    }

    /// Other limits from now on; those who are in stay.
    pub fn set_limits(&self, total_max: usize, per_address_max: usize) {
        self.total_max.store(limit(total_max), Ordering::Relaxed);
        self.per_address_max.store(limit(per_address_max), Ordering::Relaxed);
    }

    /// Whether there is a limit per address.
    #[must_use]
    pub fn limits_addresses(&self) -> bool {
        self.per_address_max.load(Ordering::Relaxed) != usize::MAX
    }

    /// A connection comes in; with its address, if it is to be counted by that too. After `Ok` it must [`Census::leave`]
    /// once, with the same. IPv4-mapped IPv6 addresses count as the IPv4 address that they carry (RFC 4291 section
    /// 2.5.5.2).
    ///
    /// # Errors
    /// The limit that it would exceed; then nothing is counted.
    pub fn enter(&self, address: Option<IpAddr>) -> Result<(), Refused> {
        match address.map(|address| address.to_canonical()) {
            None => self.enter_total()?,
            Some(address) => {
                // Both counts change under the lock: a place taken and given back would look taken to others meanwhile.
                let mut inside = self.addresses();
                let known = inside.get(&address).copied().unwrap_or(0);
                if known >= self.per_address_max.load(Ordering::Relaxed) {
                    return Err(Refused::Address);
                }
                self.enter_total()?;
                inside.insert(address, known + 1);
            }
        }
        self.ever.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A connection that is in without its address is counted by it from now on, whatever the limit.
    pub fn adopt(&self, address: IpAddr) {
        *self.addresses().entry(address.to_canonical()).or_insert(0) += 1;
    }

    /// A connection that was let in is gone.
    pub fn leave(&self, address: Option<IpAddr>) {
        let Some(address) = address.map(|address| address.to_canonical()) else { return self.leave_total() };
        let mut inside = self.addresses();
        self.leave_total();
        let known = inside.get_mut(&address).expect("who leaves has entered with this address");
        *known -= 1;
        if *known == 0 {
            inside.remove(&address);
        }
    }

    /// A panic under this lock can only be the broken invariant in `leave`, before anything was changed.
    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are in.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// How many were ever let in.
    #[must_use]
    pub fn ever(&self) -> u64 {
        self.ever.load(Ordering::Relaxed)
    }

    /// Compares before it counts: adding first and taking back would refuse others in between.
    fn enter_total(&self) -> Result<(), Refused> {
        let mut total = self.total.load(Ordering::Relaxed);
        while total < self.total_max.load(Ordering::Relaxed) {
            match self.total.compare_exchange_weak(total, total + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => total = now,
            }
        }
        Err(Refused::Total)
    }

    fn leave_total(&self) {
        let before = self.total.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "who leaves has entered");
    }
}

/// 0 is no limit.
fn limit(max: usize) -> usize {
    if max == 0 { usize::MAX } else { max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[test]
    fn both_limits_hold_and_a_refusal_counts_nothing() {
        let census = Census::new(3, 2);
        assert_eq!([(); 3].map(|()| census.enter(Some(HERE))), [Ok(()), Ok(()), Err(Refused::Address)]);
        assert_eq!([(); 2].map(|()| census.enter(Some(THERE))), [Ok(()), Err(Refused::Total)]);
        assert_eq!((census.total(), census.ever()), (3, 3));
        census.leave(Some(HERE));
        assert_eq!((census.enter(Some(THERE)), census.total(), census.ever()), (Ok(()), 3, 4));
    }

    #[test]
    fn without_limits_everybody_is_let_in_and_counted() {
        let census = Census::new(0, 0);
        (0..1_000).for_each(|_| census.enter(Some(HERE)).expect("no limit"));
        (0..400).for_each(|_| census.leave(Some(HERE)));
        assert_eq!((census.total(), census.ever()), (600, 1_000));
    }

    #[test]
    fn an_address_that_has_left_is_forgotten() {
        let census = Census::new(0, 5);
        for _ in 0..3 {
            census.enter(Some(HERE)).expect("below");
            census.enter(Some(THERE)).expect("below");
            census.leave(Some(HERE));
        }
        assert_eq!(census.addresses().keys().collect::<Vec<&IpAddr>>(), [&THERE]);
    }

    #[test]
    fn who_is_in_already_counts_once_addresses_are_counted() {
        let census = Census::new(0, 0);
        (0..3).for_each(|_| census.enter(None).expect("no limit"));
        census.set_limits(0, 3);
        assert!(census.limits_addresses());
        (0..3).for_each(|_| census.adopt(HERE));
        assert_eq!(census.enter(Some(HERE)), Err(Refused::Address));
        census.leave(Some(HERE));
        assert_eq!((census.enter(Some(HERE)), census.total()), (Ok(()), 3));
    }

    #[test]
    fn an_address_counts_the_same_in_both_forms() {
        let census = Census::new(0, 1);
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        assert_eq!((census.enter(Some(HERE)), census.enter(Some(mapped))), (Ok(()), Err(Refused::Address)));
        census.leave(Some(mapped));
        assert_eq!(census.enter(Some(mapped)), Ok(()));
    }

    #[test]
    fn racing_threads_never_exceed_the_limit_and_fill_it() {
        const MAX: usize = 5;
        for (per_address_max, address) in [(0, None), (MAX, Some(HERE))] {
            let census = Census::new(MAX, per_address_max);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| come_and_go(&census, address, MAX));
                }
            });
            assert_eq!(census.total(), 0);
            assert_eq!((0..2 * MAX).filter(|_| census.enter(address).is_ok()).count(), MAX);
        }
    }

    fn come_and_go(census: &Census, address: Option<IpAddr>, max: usize) {
        for _ in 0..5_000 {
            let entered = (0..2).filter(|_| census.enter(address).is_ok()).count();
            assert!(census.total() <= max);
            (0..entered).for_each(|_| census.leave(address));
        }
    }
}
