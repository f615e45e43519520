//! What history costs, and what a disk allows: publishes with so many in flight to Courier over HTTP or to a Redis stream
//! with `XADD`, and the disk's own time for an append of 4 KiB with fdatasync. `perf/history/run` starts the servers, calls
//! this for each, and makes one table of it.
//!
//! Each publish in flight has a connection of its own, as publishers have; the next goes out when the answer is there. Both
//! servers get the same event and are asked by the same loop, which spins, so that no server pays for waking a halted core.
mod disk;
#[allow(dead_code)] // the load tool uses all of it
#[path = "../load/event.rs"]
mod event;
mod load;
#[allow(dead_code)]
#[path = "../load/process.rs"]
mod process;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;

/// Longest time that is told apart, in nanoseconds.
const NS_MAX: u64 = 60_000_000_000;

/// Who is published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// `POST /publish/{channel}`
    Courier,
    /// `XADD stream * e EVENT`
    Redis,
}

/// What is measured. Prints one line of JSON.
#[derive(Parser)]
enum Measure {
    /// Publishes to a server.
    Load(Load),
    /// Appends 4 KiB and syncs, again and again.
    Sync {
        /// A folder on the disk.
        #[arg(long)]
        folder: PathBuf,
        /// How long, in seconds.
        #[arg(long, default_value_t = 0.5)]
        seconds: f64,
    },
}

/// A load.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// Whose words are spoken.
    #[arg(long, value_enum)]
    pub to: To,
    /// Port of the server on 127.0.0.1.
    #[arg(long)]
    pub port: u16,
    /// Process of the server, for its CPU time.
    #[arg(long)]
    pub pid: Vec<u32>,
    /// Publishes in flight, each on a connection of its own.
    #[arg(long, default_value_t = 1)]
    pub in_flight: usize,
    /// Channels or streams, in turn.
    #[arg(long, default_value_t = 64)]
    pub channels: usize,
    /// Bytes of an event.
    #[arg(long, default_value_t = 200)]
    pub size: usize,
    /// Measured part in seconds.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Part before it, which does not count, in seconds.
    #[arg(long, default_value_t = 0.5)]
    pub warmup: f64,
}

fn main() -> ExitCode {
    let measured = match Measure::parse() {
        Measure::Load(load) => load::run(&load),
        Measure::Sync { folder, seconds } => disk::run(&folder, seconds),
    };
    match measured {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("history: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Of times in nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NS_MAX, 3).expect("the bounds are in order")
}

/// Times as members of JSON, in microseconds.
pub fn members(times: &Histogram<u64>) -> String {
    let us = |ns: u64| ns as f64 / 1e3;
    let at = |quantile| us(times.value_at_quantile(quantile));
    format!("\"p50_us\":{:.1},\"p99_us\":{:.1},\"max_us\":{:.1}", at(0.5), at(0.99), us(times.max()))
}
