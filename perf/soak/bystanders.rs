//! The threads beside the shards: one control per core that only sleeps and measures how late it wakes, and, if wanted,
//! one burner per core. Also the pace of busy and idle phases.
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use courier::stdx::clock::Clock;
use rustix::thread::{CpuSet, Pid, sched_setaffinity};
use rustix::time::Timespec;

use crate::report::{Records, What};
use crate::shard::Switches;

/// What the control sleeps for, again and again.
const CONTROL_SLEEP_US: u64 = 1_000;

/// Busy and idle by turns: long enough to settle, short enough for many changes.
const BUSY_MS: u64 = 6_000;
const IDLE_MS: u64 = 4_000;

/// The running bystanders.
pub struct Bystanders {
    stop: Arc<AtomicBool>,
    controls: Vec<JoinHandle<Records>>,
    burners: Vec<JoinHandle<u64>>,
}

impl Bystanders {
    /// `shards` are the threads beside which they run, once those have started.
    pub fn start(
        clock: Clock,
        cores: &[Option<usize>],
        burner: bool,
        shards: &[Arc<OnceLock<Pid>>],
    ) -> Bystanders {
        let stop = Arc::new(AtomicBool::new(false));
        let start_control = |(shard, &core): (usize, &Option<usize>)| {
            let (stop, beside) = (Arc::clone(&stop), Arc::clone(&shards[shard]));
            thread::spawn(move || control(clock, shard, core, &beside, &stop))
        };
        let controls = cores.iter().enumerate().map(start_control).collect();
        let start_burner = |&core: &Option<usize>| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || burn(core, &stop))
        };
        let burners = if burner { cores.iter().map(start_burner).collect() } else { Vec::new() };
        Bystanders { stop, controls, burners }
    }

    /// Ends them; answers what the controls have measured.
    pub fn stop(self) -> Vec<Records> {
        self.stop.store(true, Ordering::Relaxed);
        for burner in self.burners {
            burner.join().expect("it only computes");
        }
        self.controls.into_iter().map(|control| control.join().expect("it only sleeps")).collect()
    }
}

fn control(
    clock: Clock,
    shard: usize,
    core: Option<usize>,
    beside: &OnceLock<Pid>,
    stop: &AtomicBool,
) -> Records {
    pin(core);
    let mut records = Records::new(Some(shard));
    let mut looked_us = clock.now().steady_us;
    let mut denied_us = 0;
    while !stop.load(Ordering::Relaxed) {
        let due_us = clock.now().steady_us + CONTROL_SLEEP_US;
        sleep_us(CONTROL_SLEEP_US);
        let now_us = clock.now().steady_us;
        records.late(What::Control, due_us, now_us);
        let denied_before_us =
            std::mem::replace(&mut denied_us, beside.get().map_or(0, |&shard| core_denied_us(shard)));
        records.core_denied(looked_us, now_us, denied_us - denied_before_us.min(denied_us));
        looked_us = now_us;
    }
    records
}

/// How long the kernel has kept a runnable thread waiting for a core, in all (proc_pid_schedstat, second field).
fn core_denied_us(thread: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero()));
    let denied_ns = stat.ok().and_then(|stat| stat.split(' ').nth(1)?.parse::<u64>().ok());
    denied_ns.unwrap_or(0) / 1_000
}

fn burn(core: Option<usize>, stop: &AtomicBool) -> u64 {
    pin(core);
    let mut sum = 1_u64;
    while !stop.load(Ordering::Relaxed) {
        for step in 0..100_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step));
        }
    }
    sum
}

/// Changes between busy and idle until the time is over.
pub fn alternate(clock: Clock, seconds: u64, always_idle: bool, switches: &Switches) {
    let end_us = clock.now().steady_us + seconds * 1_000_000;
    let mut busy = true;
    loop {
        switches.busy.store(busy && !always_idle, Ordering::Relaxed);
        let left_us = end_us.saturating_sub(clock.now().steady_us);
        if left_us == 0 {
            return;
        }
        let phase_ms = if busy { BUSY_MS } else { IDLE_MS };
        sleep_us(left_us.min(phase_ms * 1_000));
        busy = !busy;
    }
}

fn sleep_us(us: u64) {
    let wait = Timespec { tv_sec: (us / 1_000_000) as i64, tv_nsec: (us % 1_000_000 * 1_000) as i64 };
    let _ = rustix::thread::nanosleep(&wait);
}

fn pin(core: Option<usize>) {
    let Some(core) = core else { return };
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("the shard runs there too");
}
