//! The whole of the hub from one seed: several real shards on fake sockets, under virtual time, among clients that
//! connect, publish, subscribe, read slowly and vanish. Order, exactly-once, counts and bounds are checked as it goes
//! (`model`, `world`) and at the end (`verdict`); what is drawn from the seed is in `plan` and `play`.
//!
//! ```text
//! cargo simulate                           2,000 seeds
//! cargo simulate --seeds 100000 --from 7   so many others
//! cargo simulate --seed 42 --trace         one again, step by step
//! cargo simulate --survey                  every way in which seeds fail, once
//! ```

mod acks;
mod client;
mod dice;
mod ears;
mod entry;
mod features;
mod frames;
mod model;
mod net;
mod places;
mod plan;
mod play;
mod presence;
mod publish;
mod rights;
mod sieve;
mod tokens;
mod tongues;
mod verdict;
mod words;
mod world;
mod zip;

use courier::event::Channel;
use model::Trace;
use play::Sum;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use world::World;

/// What a stop says to sockets.
pub const STOP_REASON: &str = "bye";

const SEEDS: u64 = 2000;
const THREADS: u64 = 2;
/// One seed in so many is played twice: each time every hash map is seeded anew, and nothing may depend on that.
const TWICE_EVERY: u64 = 16;
/// Actions shown of a run that failed.
const TAIL: usize = 50;

thread_local! {
    static WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Asked {
    one: Option<u64>,
    from: u64,
    seeds: u64,
    trace: bool,
    survey: bool,
}

fn asked() -> Asked {
    let mut asked = Asked { one: None, from: 1, seeds: SEEDS, trace: false, survey: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{word} N"));
        match word.as_str() {
            "--seed" => asked.one = Some(number()),
            "--seeds" => asked.seeds = number(),
            "--from" => asked.from = number(),
            "--trace" => asked.trace = true,
            "--survey" => asked.survey = true,
            _ => {} // what the test runner gives to every test
        }
    }
    asked
}

fn play(seed: u64, trace: Option<Trace>) -> Result<Sum, String> {
    catch_unwind(AssertUnwindSafe(|| play::run(World::new(seed, trace))))
        .map_err(|_| WORDS.with(|words| words.borrow().clone()))
}

/// As [`play`]; twice, at times, which must go the same way.
fn play_surely(seed: u64) -> Result<Sum, String> {
    let sum = play(seed, None)?;
    if seed.is_multiple_of(TWICE_EVERY) && play(seed, None)?.digest != sum.digest {
        return Err("played again it went another way".to_owned());
    }
    Ok(sum)
}

/// Plays a seed again and shows how it went wrong.
fn explain(seed: u64, words: &str) {
    let tail = Rc::new(RefCell::new(VecDeque::new()));
    let kept = Rc::clone(&tail);
    let keep = move |line| {
        let mut tail = kept.borrow_mut();
        tail.push_back(line);
        if tail.len() > TAIL {
            tail.pop_front();
        }
    };
    let again = play(seed, Some(Rc::new(RefCell::new(keep))));
    tail.borrow().iter().for_each(|line| println!("  {line}"));
    println!("simulation: seed {seed} failed: {words}");
    if again.as_ref().err().map(String::as_str) != Some(words) {
        println!("simulation: played again it went another way: {:?}", again.err());
    }
    println!("simulation: cargo simulate --seed {seed}");
}

fn main() -> ExitCode {
    let asked = asked();
    assert!(Channel::fix_owners(), "nobody has asked for an owner yet");
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let words = info.payload_as_str().unwrap_or("a panic without words");
        WORDS.with(|kept| *kept.borrow_mut() = format!("{words}{place}"));
    }));
    if let Some(seed) = asked.one {
        let print: Trace = Rc::new(RefCell::new(|line| println!("{line}")));
        let trace = asked.trace.then_some(print);
        return match play(seed, trace) {
            Ok(sum) => {
                let Sum { events, cuts, digest, .. } = sum;
                println!(
                    "simulation: seed {seed}, {events} events delivered, {cuts} cuts, digest {digest:016x}"
                );
                ExitCode::SUCCESS
            }
            Err(words) => {
                explain(seed, &words);
                ExitCode::FAILURE
            }
        };
    }
    play_many(asked.from, asked.seeds, asked.survey)
}

fn play_many(from: u64, seeds: u64, survey: bool) -> ExitCode {
    let next = AtomicU64::new(from);
    let sums = [const { AtomicU64::new(0) }; 3];
    let digest = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let ways = Mutex::new(BTreeMap::<String, (u64, u64, String)>::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !failed.load(Relaxed) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    match play_surely(seed) {
                        Ok(sum) => {
                            digest.fetch_xor(sum.digest, Relaxed);
                            for (total, part) in sums.iter().zip([sum.events, sum.cuts, sum.drains]) {
                                total.fetch_add(part, Relaxed);
                            }
                        }
                        Err(words) if survey => {
                            // The same but for its numbers is the same way to fail.
                            let way = words.replace(|c: char| c.is_ascii_hexdigit(), "");
                            let mut ways = ways.lock().expect("nobody panics here");
                            ways.entry(way).or_insert((seed, 0, words)).1 += 1;
                        }
                        Err(words) if !failed.swap(true, Relaxed) => explain(seed, &words),
                        Err(_) => {}
                    }
                }
            });
        }
    });
    let ways = ways.into_inner().expect("nobody panicked");
    ways.values().for_each(|(seed, count, words)| println!("{count} seeds, such as {seed}: {words}"));
    if failed.into_inner() || !ways.is_empty() {
        return ExitCode::FAILURE;
    }
    let [events, cuts, drains] = sums.map(AtomicU64::into_inner);
    println!(
        "simulation: {seeds} seeds, {events} events delivered, {cuts} cuts, {drains} drains, digest {:016x}",
        digest.into_inner()
    );
    ExitCode::SUCCESS
}
