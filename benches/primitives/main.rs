//! The hot primitives, one operation each, beside the rival or naive form where there is one.
//!
//! `cargo bench --bench primitives [FILTER]` prints nanoseconds per operation, which are noisy on a shared machine.
//! `benches/run` runs the same operations under callgrind and holds their instruction counts to `instructions.txt`.
//! To add one: write a setup that returns the operation, and name it in its file's `PRIMITIVES`.

mod admission;
mod auth;
mod event;
mod features;
mod hub;
mod json;
mod mailbox;
mod rate;
mod schema;
mod shard;
mod stdx;
mod wire;

use rustix::time::{ClockId, clock_gettime};

/// One repetition of what is measured. What it needs was made by its setup, so it allocates only if the primitive does.
pub type Operation = Box<dyn FnMut()>;

/// A primitive's name (`room.what`) and its setup.
pub type Primitive = (&'static str, fn() -> Operation);

/// Operations before the measured ones: buffers reach their size, branches and caches are warm.
const WARM_OPERATIONS: u64 = 1_000;
/// A timed batch lasts about so long, nanoseconds: far above the clock's own cost.
const BATCH_NS: u64 = 2_000_000;
/// Timed batches per primitive; the median is printed.
const BATCHES: usize = 15;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--list"] => primitives().for_each(|(name, _)| println!("{name}")),
        ["--features"] => features::names().for_each(|name| println!("{name}")),
        ["--count", name, operations] => {
            let known = primitives().find(|(known, _)| known == &name).map(|(_, setup)| setup());
            let operation =
                known.or_else(|| features::operation(name)).expect("a name from --list or --features");
            count(operation, operations.parse().expect("a number of operations"));
        }
        _ => {
            let filter = words.first().copied().unwrap_or_default();
            for (name, setup) in primitives().filter(|(name, _)| name.contains(filter)) {
                println!("{name:34} {:10.1} ns", nanoseconds_each(setup()));
            }
        }
    }
}

fn primitives() -> impl Iterator<Item = Primitive> {
    [
        wire::PRIMITIVES,
        event::PRIMITIVES,
        admission::PRIMITIVES,
        auth::PRIMITIVES,
        hub::PRIMITIVES,
        shard::PRIMITIVES,
        mailbox::PRIMITIVES,
        rate::PRIMITIVES,
        stdx::PRIMITIVES,
        json::PRIMITIVES,
        schema::PRIMITIVES,
    ]
    .concat()
    .into_iter()
}

/// Runs `operations` inside the one function that callgrind is told to collect.
fn count(mut operation: Operation, operations: u64) {
    (0..WARM_OPERATIONS).for_each(|_| operation());
    collected_operations(&mut operation, operations);
}

#[inline(never)]
fn collected_operations(operation: &mut Operation, operations: u64) {
    for _ in 0..operations {
        operation();
    }
}

fn nanoseconds_each(mut operation: Operation) -> f64 {
    (0..WARM_OPERATIONS).for_each(|_| operation());
    let mut batch = WARM_OPERATIONS;
    while timed(&mut operation, batch) < BATCH_NS {
        batch *= 2;
    }
    let mut times: Vec<u64> = (0..BATCHES).map(|_| timed(&mut operation, batch)).collect();
    times.sort_unstable();
    times[BATCHES / 2] as f64 / batch as f64
}

fn timed(operation: &mut Operation, operations: u64) -> u64 {
    let start = now_ns();
    collected_operations(operation, operations);
    now_ns() - start
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
