//! Proves resume: thousands of `courier.v1` clients are cut at random, again and again, while events flow; each comes back
//! behind the last event that it has seen. Prints what was delivered, how long a return took until its replay had caught up,
//! and how late events were for a hundred clients that nobody cuts, in the storm and before it.
//!
//! `perf/storm/run` is the whole proof (10,000 clients, ten cuts each, two minutes); `perf/storm/run short` takes some seconds and
//! judges only what a busy machine cannot blur. The tool starts the server itself. With one shard the server has the first core and
//! the tool the second; with more they share all cores. The crowd's thread gives way to those that measure.
//!
//! | line of the report | from | to |
//! | --- | --- | --- |
//! | return | a client that was away connects | it has received the event at the position that `subscribed` told |
//! | replay | it has sent `subscribe` | the same |
//! | live, usual / storm | an event is sent | a client that is never cut has it |
//!
//! For the usual time to be like the storm in all but the cuts, as many clients stay away in it as are away in the storm on
//! average, and every client has been cut once before it: the server sends to those who have come back last, so that before
//! the first cut those whom nobody cuts, who come last, wait the longest.
mod client;
mod crowd;
#[allow(dead_code)] // the load tool uses all of it
#[path = "../load/event.rs"]
mod event;
#[path = "../load/frame.rs"]
mod frame;
#[allow(dead_code)]
#[path = "../load/process.rs"]
mod process;
mod report;
mod server;
mod wire;
mod witness;

use std::io::Result;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Parser;
use rustix::process::nice;
use rustix::thread::set_current_timer_slack;

use crate::crowd::Crowd;
use crate::process::now_ns;
use crate::report::Report;
use crate::server::Server;

/// Between the last change to the crowd and the usual time.
const CALM_NS: u64 = 500_000_000;
/// The crowd yields to the witnesses and the publisher, which measure.
const CROWD_NICENESS: i32 = 10;

/// Cuts clients at random and proves that they miss nothing.
#[derive(Clone, Debug, Parser)]
pub struct Arguments {
    /// The server's binary.
    #[arg(long, default_value = "target/release/courier")]
    pub binary: PathBuf,
    /// Shards of the server. With one it gets a core of its own.
    #[arg(long, default_value_t = 1)]
    pub shards: usize,
    /// Clients that are cut.
    #[arg(long, default_value_t = 10_000)]
    pub clients: usize,
    /// How often each is cut.
    #[arg(long, default_value_t = 10)]
    pub cuts: u32,
    /// Clients that are not cut, on which lateness is measured.
    #[arg(long, default_value_t = 100)]
    pub witnesses: usize,
    /// Channels, over which clients and events are spread evenly.
    #[arg(long, default_value_t = 20)]
    pub channels: usize,
    /// Events per second over all channels.
    #[arg(long, default_value_t = 100)]
    pub rate: u64,
    /// Bytes of an event.
    #[arg(long, default_value_t = 200)]
    pub size: usize,
    /// Seconds before the storm, for the usual lateness.
    #[arg(long, default_value_t = 20)]
    pub usual: u64,
    /// Seconds of the storm.
    #[arg(long, default_value_t = 60)]
    pub storm: u64,
    /// Longest time away, in milliseconds; each time is chosen anew.
    #[arg(long, default_value_t = 3_000)]
    pub away_ms: u64,
    /// Cut all at the same moment, and let them return within this many milliseconds.
    #[arg(long)]
    pub together_ms: Option<u64>,
    /// Judge only delivery and the time of a return.
    #[arg(long)]
    pub short: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match storm(&arguments) {
        Ok(report) => report.judge(arguments.short),
        Err(error) => {
            eprintln!("storm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn storm(arguments: &Arguments) -> Result<Report> {
    set_current_timer_slack(Some(std::num::NonZeroU64::MIN))?;
    let server = Server::start(arguments)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut crowd = Crowd::gather(arguments, server.port)?;
    let witnesses = witness::open(arguments, server.port)?;
    let watching = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || witness::watch(witnesses, &stop))
    };
    let quiet = Arc::new(AtomicBool::new(false));
    let publishing = {
        let (arguments, port, quiet) = (arguments.clone(), server.port, Arc::clone(&quiet));
        thread::spawn(move || witness::publish(&arguments, port, &quiet))
    };
    // After the others were started, which inherit it.
    nice(CROWD_NICENESS)?;
    crowd.shake(arguments)?;
    let thinned = crowd.thin(arguments);
    crowd.run_until(now_ns() + CALM_NS)?;
    let usual_ns = now_ns();
    crowd.run_until(usual_ns + arguments.usual * 1_000_000_000)?;
    let storm = crowd.weather(arguments)?;
    quiet.store(true, Ordering::Relaxed);
    let published = publishing.join().expect("the publisher does not panic")?;
    let missing = crowd.settle(&published.per_channel)?;
    stop.store(true, Ordering::Relaxed);
    let watched = watching.join().expect("the witnesses do not panic")?;
    let (cpu_ns, resident) = server.usage();
    server.stop()?;
    Ok(Report {
        published,
        watched,
        usual_ns,
        thinned,
        storm,
        missing,
        crowd: crowd.figures,
        cpu_ns,
        resident,
        arguments: arguments.clone(),
    })
}
