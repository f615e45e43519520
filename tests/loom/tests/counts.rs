//! The census is exact, no waker is lost, and who sees a shard's phase sees its turns.
use courier_loom::{real, weak};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::net::{IpAddr, Ipv4Addr};
use std::task::{Wake, Waker};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// What the scenarios need of a census.
trait Census: Send + Sync + 'static {
    fn limited(total_max: usize, per_address_max: usize) -> Self;
    fn enter(&self, address: IpAddr) -> bool;
    fn leave(&self, address: IpAddr);
}

macro_rules! is_a_census {
    ($census:ty) => {
        impl Census for $census {
            fn limited(total_max: usize, per_address_max: usize) -> Self {
                <$census>::new(total_max, per_address_max)
            }
            fn enter(&self, address: IpAddr) -> bool {
                <$census>::enter(self, self.limits_addresses().then_some(address)).is_ok()
            }
            fn leave(&self, address: IpAddr) {
                <$census>::leave(self, self.limits_addresses().then_some(address));
            }
        }
    };
}
is_a_census!(real::census::Census);
is_a_census!(weak::census::Census);

/// The tempting way: count, look, take back. Refuses while a place is free.
struct CountsFirst {
    total: AtomicUsize,
    here: AtomicUsize,
    total_max: usize,
    per_address_max: usize,
}

impl Census for CountsFirst {
    fn limited(total_max: usize, per_address_max: usize) -> Self {
        CountsFirst { total: AtomicUsize::new(0), here: AtomicUsize::new(0), total_max, per_address_max }
    }
    fn enter(&self, address: IpAddr) -> bool {
        let too_many = self.total.fetch_add(1, Ordering::AcqRel) >= self.total_max;
        let too_many_here =
            address == HERE && self.here.fetch_add(1, Ordering::AcqRel) >= self.per_address_max;
        if too_many || too_many_here {
            self.leave(address);
        }
        !(too_many || too_many_here)
    }
    fn leave(&self, address: IpAddr) {
        self.total.fetch_sub(1, Ordering::AcqRel);
        if address == HERE {
            self.here.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Three connections race for two places; one of those that got in leaves and its place is taken again.
fn never_more_than_the_limit<C: Census>(per_address_max: usize) {
    loom::model(move || {
        let census = Arc::new(C::limited(2, per_address_max));
        let inside = Arc::new(AtomicUsize::new(0));
        assert!(census.enter(HERE));
        inside.fetch_add(1, Ordering::AcqRel);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (census, inside) = (Arc::clone(&census), Arc::clone(&inside));
                thread::spawn(move || {
                    let entered = census.enter(HERE);
                    if entered {
                        assert!(inside.fetch_add(1, Ordering::AcqRel) < 2, "more than the limit");
                    }
                    entered
                })
            })
            .collect();
        inside.fetch_sub(1, Ordering::AcqRel);
        census.leave(HERE);
        let entered = threads.into_iter().map(|thread| thread.join().unwrap());
        let entered = entered.filter(|&entered| entered).count();
        assert!((1..=2).contains(&entered), "one place was free all the time");
        assert_eq!(
            [(); 2].map(|()| census.enter(HERE)),
            [entered < 2, false],
            "the count is exact afterwards"
        );
    });
}

/// One of two places is free, and of `HERE` one is in already. Who is refused for its address must not take the free
/// place away from `THERE`, not even for a moment.
fn a_refusal_takes_no_place<C: Census>() {
    loom::model(|| {
        let census = Arc::new(C::limited(2, 1));
        assert!(census.enter(HERE));
        let other = Arc::clone(&census);
        let refused = thread::spawn(move || assert!(!other.enter(HERE), "the address has its one"));
        assert!(census.enter(THERE), "a place was free");
        refused.join().unwrap();
        census.leave(HERE);
        assert!(census.enter(HERE));
    });
}

#[test]
fn the_total_is_never_exceeded_and_always_filled() {
    never_more_than_the_limit::<real::census::Census>(0);
}

#[test]
fn the_total_is_never_exceeded_and_always_filled_with_addresses_counted() {
    never_more_than_the_limit::<real::census::Census>(2);
}

#[test]
fn a_connection_refused_for_its_address_takes_no_place_meanwhile() {
    a_refusal_takes_no_place::<real::census::Census>();
}

#[test]
#[should_panic(expected = "the count is exact afterwards")]
fn counting_in_two_steps_loses_count() {
    never_more_than_the_limit::<weak::census::Census>(0);
}

#[test]
#[should_panic(expected = "a place was free")]
fn counting_first_and_taking_back_refuses_while_a_place_is_free() {
    a_refusal_takes_no_place::<CountsFirst>();
}

/// What the scenario needs of the wakers' place.
trait Wakers: Default + Send + Sync + 'static {
    fn register(&self, waker: Waker);
    fn take(&self) -> Option<Waker>;
}

impl Wakers for real::wakers::Wakers {
    fn register(&self, waker: Waker) {
        real::wakers::Wakers::register(self, waker);
    }
    fn take(&self) -> Option<Waker> {
        real::wakers::Wakers::take(self)
    }
}

/// Room for one: the second task evicts the first.
struct OneWaker(Mutex<Option<Waker>>);

impl Default for OneWaker {
    fn default() -> OneWaker {
        OneWaker(Mutex::new(None))
    }
}

impl Wakers for OneWaker {
    fn register(&self, waker: Waker) {
        *self.0.lock().unwrap() = Some(waker);
    }
    fn take(&self) -> Option<Waker> {
        self.0.lock().unwrap().take()
    }
}

#[derive(Default)]
struct Task(std::sync::atomic::AtomicUsize);

impl Wake for Task {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Two tasks register while the watchdog takes; what it does not get then, it finds afterwards.
fn each_task_is_woken_once<W: Wakers>() {
    loom::model(|| {
        let wakers = Arc::new(W::default());
        let tasks = [std::sync::Arc::<Task>::default(), std::sync::Arc::default()];
        let threads = tasks.clone().map(|task| {
            let wakers = Arc::clone(&wakers);
            thread::spawn(move || wakers.register(Waker::from(task)))
        });
        (0..2).filter_map(|_| wakers.take()).for_each(Waker::wake);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        while let Some(waker) = wakers.take() {
            waker.wake();
        }
        assert_eq!(
            tasks.map(|task| task.0.load(std::sync::atomic::Ordering::Relaxed)),
            [1, 1],
            "woken once each"
        );
    });
}

#[test]
fn no_waker_is_lost_or_given_out_twice() {
    each_task_is_woken_once::<real::wakers::Wakers>();
}

#[test]
#[should_panic(expected = "woken once each")]
fn a_place_for_one_waker_loses_one() {
    each_task_is_woken_once::<OneWaker>();
}

macro_rules! who_sees_the_phase_sees_the_turns {
    ($pulse:path) => {{
        use $pulse::{Phase, Pulse};
        loom::model(|| {
            let pulse = Pulse::new();
            let shard = std::sync::Arc::clone(&pulse);
            let shard = thread::spawn(move || {
                shard.turn();
                shard.turn();
                shard.set(Phase::Parked);
            });
            let parked = pulse.phase() == Phase::Parked;
            assert!(!parked || pulse.turns() == 2, "turns behind the phase");
            shard.join().unwrap();
        });
    }};
}

#[test]
fn who_sees_the_phase_sees_the_turns_before_it() {
    who_sees_the_phase_sees_the_turns!(real::pulse);
}

#[test]
#[should_panic(expected = "turns behind the phase")]
fn without_release_and_acquire_the_turns_lag_behind_the_phase() {
    who_sees_the_phase_sees_the_turns!(weak::pulse);
}
