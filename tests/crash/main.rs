//! The log from a seed: a disk that loses power, tears, forgets, fills up and rots; several lives of a server on it. After
//! each life everything is read back, and must hold:
//!
//! * every event that was answered as stored is there, in order, once, as it was published;
//! * what is damaged is found, never delivered, and costs only itself;
//! * no position ever names two events that somebody saw.
//!
//! `cargo test --profile proof --test crash -- --seeds 5000`, `-- --seed 17` for one.

#[path = "../simulation/dice.rs"]
mod dice;
mod disk;
mod life;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const THREADS: usize = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(seed) = number("--seed") {
        println!("crash: seed {seed}: {:?}", life::play(seed, true));
        return ExitCode::SUCCESS;
    }
    let (from, seeds) = (number("--from").unwrap_or(0), number("--seeds").unwrap_or(2_000));
    let (next, failed) = (AtomicU64::new(from), AtomicBool::new(false));
    let sums = [const { AtomicU64::new(0) }; 6];
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds || failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let Ok(sum) = std::panic::catch_unwind(|| life::play(seed, false)) else {
                        failed.store(true, Ordering::Relaxed);
                        println!("crash: seed {seed} failed; `cargo test --test crash -- --seed {seed}`");
                        return;
                    };
                    let parts = [sum.stored, sum.lives, sum.torn, sum.damaged, sum.full, sum.unsynced];
                    for (total, part) in sums.iter().zip(parts) {
                        total.fetch_add(part, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    if failed.into_inner() {
        return ExitCode::FAILURE;
    }
    let [stored, lives, torn, damaged, full, unsynced] = sums.map(AtomicU64::into_inner);
    println!(
        "crash: {seeds} seeds, {stored} events stored in {lives} lives, {torn} torn tails, {damaged} flipped bits, \
         {full} batches refused by a full disk, {unsynced} by a failed sync"
    );
    ExitCode::SUCCESS
}
