//! What the kernel knows about a process: CPU time of all its threads and resident memory.

use std::fs;
use std::io::Read;

use rustix::time::{ClockId, clock_gettime};

/// Time of a process's threads, summed, in nanoseconds.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// On a core, user and system together.
    pub cpu_ns: u64,
    /// Ready to run while something else had the core: a measure of how shared the machine was.
    pub waited_ns: u64,
}

/// What all threads of `pids` used so far. A process that is gone counts nothing.
pub fn usage(pids: &[u32]) -> Usage {
    let threads = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    let mut sum = Usage::default();
    for task in threads.flatten().flatten() {
        let line = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let mut figures = line.split(' ').map(|figure| figure.parse::<u64>().unwrap_or(0));
        sum.cpu_ns += figures.next().unwrap_or(0);
        sum.waited_ns += figures.next().unwrap_or(0);
    }
    sum
}

/// CPU time in nanoseconds of all threads of `pids`.
pub fn cpu_ns(pids: &[u32]) -> u64 {
    usage(pids).cpu_ns
}

/// The step in which the kernel tells stolen time, nanoseconds: USER_HZ is 100 on every architecture that this runs on.
pub const STEAL_TICK_NS: u64 = 10_000_000;

/// How long the host let something else run on this machine's cores, nanoseconds since boot, all cores together: the
/// eighth figure of the first line of `/proc/stat` (proc_stat(5)). 0 where nothing is virtual.
pub fn stolen_ns() -> u64 {
    // The first line is all that is wanted of it.
    let mut start = [0; 256];
    let read = fs::File::open("/proc/stat").and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let line = std::str::from_utf8(&start[..read]).unwrap_or_default();
    let ticks = line.split_ascii_whitespace().nth(8).and_then(|figure| figure.parse::<u64>().ok());
    ticks.unwrap_or(0) * STEAL_TICK_NS
}

/// Resident memory in bytes of `pids`, as `smaps_rollup` counts it (exact, unlike `statm`).
pub fn resident_bytes(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| rollup_bytes(*pid)).sum()
}

fn rollup_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Monotonic time in nanoseconds.
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
