//! Proves the runtime: two shards with sockets, cross-core mail, glommio timers and glommio file writes, busy and idle by
//! turns, alone or beside a CPU burner on the same cores. Prints how late everything was next to a control thread per
//! core that only sleeps and measures, and to how long the kernel kept each shard waiting for its core. Exit code 1 when a
//! shard was held up more than 20 ms longer than both explain.
//!
//! `perf/soak/run` builds and runs the whole proof (13 minutes); `perf/soak/run short` takes one to two. By hand:
//! `cargo run --profile proof --example soak -- --seconds 60 --burner`. Wrong parks of glommio are provoked by
//! `--hostile`, and `--no-watchdog` shows what they do when nobody ends them. `--idle` measures what
//! two shards cost that have nothing to do.
//!
//! | line of the report | from | to |
//! | --- | --- | --- |
//! | pickup | a client has written | its shard has read |
//! | hop | a shard has sent mail | the other one has received |
//! | timer | a glommio timer is due | its task runs |
//! | gap | a turn that found mail or several clients begins | the next turn begins |
//! | round trip | a client has written | the client has read the echo (its own lateness included) |
//! | file | create, write, fdatasync, rename, close, remove | all are done |
mod bystanders;
mod client;
mod report;
mod shard;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Parser;
use courier::mailbox::doorbell::Doorbell;
use courier::mailbox::lanes::mesh;
use courier::mailbox::pulse::Pulse;
use courier::runtime::executor::{self, Options, Plan, ShardError};
use courier::runtime::{listener, placement};
use courier::stdx::clock::Clock;
use rustix::thread::Pid;

use crate::bystanders::Bystanders;
use crate::report::{Expected, Records, Report, Verdict};
use crate::shard::{Beside, Soaked, Switches};

/// Two, however many cores there are: the promise is about two shards and their mail.
const SHARDS: usize = 2;

/// Batches in a lane between two shards; a full lane loses batches, which the soak does not mind.
const BATCHES_PER_LANE: usize = 1024;

/// End a task queue's time so early that it may be over before its first task runs, which is what makes a park wrong: the
/// earlier the more often, and every time where the way to the task takes longer. How long that takes is the machine's (some
/// 7 us on one), so each is tried in its turn until the watchdog has ended a wrong park.
const HOSTILE_PREEMPTS_US: [u64; 11] = [100, 70, 50, 35, 25, 18, 13, 9, 6, 4, 3];

/// Client threads, and connections of each.
const CLIENTS: usize = 3;
const CONNECTIONS: usize = 12;

/// Proves that the runtime is not held up, or shows what holds it up.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// How long to run, with each preempt timer.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// One thread per core that only computes.
    #[arg(long)]
    burner: bool,
    /// No glommio timers or files beside the sockets, so that the shards sleep in their own sets.
    #[arg(long)]
    bare: bool,
    /// Give glommio preempt timers that provoke its wrong parks, one after the other. Succeed once the watchdog had to
    /// wake an executor, or without a watchdog once the shards were held up for longer than a second.
    #[arg(long)]
    hostile: bool,
    /// Leave wrong parks alone, and run no glommio timers or files beside the sockets; but sleep in glommio.
    #[arg(long)]
    no_watchdog: bool,
    /// No clients, timers or files: measure what idle shards cost.
    #[arg(long)]
    idle: bool,
}

impl Arguments {
    /// To be tried in this order.
    fn preempt_timers(&self) -> Vec<Duration> {
        if self.hostile {
            HOSTILE_PREEMPTS_US.map(Duration::from_micros).to_vec()
        } else {
            vec![Options::default().preempt_timer]
        }
    }

    fn expected(&self) -> Expected {
        match self {
            Arguments { hostile: true, no_watchdog: true, .. } => Expected::Hang,
            Arguments { hostile: true, .. } => Expected::Kicks,
            _ => Expected::Nothing,
        }
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let arguments = Arguments::parse();
    for preempt_timer in arguments.preempt_timers() {
        println!("preempt timer {preempt_timer:?}");
        let report = match soak(&arguments, preempt_timer) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("the soak could not run: {error}");
                return ExitCode::FAILURE;
            }
        };
        match report.judge(arguments.expected()) {
            Verdict::Kept => return ExitCode::SUCCESS,
            Verdict::Broken => return ExitCode::FAILURE,
            Verdict::NothingProvoked => {}
        }
    }
    ExitCode::FAILURE
}

fn soak(arguments: &Arguments, preempt_timer: Duration) -> Result<Report, ShardError> {
    let clock = Clock::start();
    let placement = placement::place(SHARDS).map_err(ShardError::Turn)?;
    let listeners = listener::bind(([127, 0, 0, 1], 0).into(), SHARDS)
        .map_err(|e| ShardError::Executor(e.to_string()))?;
    let address = listeners[0].address();
    let doorbells =
        (0..SHARDS).map(|_| Doorbell::new()).collect::<io::Result<Vec<_>>>().map_err(ShardError::Turn)?;
    let pulses: Vec<Arc<Pulse>> = (0..SHARDS).map(|_| Pulse::new()).collect();
    let switches = Arc::new(Switches { busy: AtomicBool::new(false), stop: AtomicBool::new(false) });
    let files = scratch_folder().map_err(ShardError::Turn)?;
    let (hand_in, records) = channel::<Records>();

    let threads: Vec<Arc<OnceLock<Pid>>> = (0..SHARDS).map(|_| Arc::default()).collect();
    // Controls wake a thousand times a second, which would be most of what idle shards seem to cost.
    let beside: &[Option<usize>] = if arguments.idle { &[] } else { &placement.cores };
    let bystanders = Bystanders::start(clock, beside, arguments.burner, &threads);
    let ports = mesh(SHARDS, BATCHES_PER_LANE, &doorbells);
    let plans = ports.into_iter().zip(listeners).enumerate().map(|(shard, (port, listener))| {
        let (switches, hand_in) = (Arc::clone(&switches), hand_in.clone());
        let thread = Arc::clone(&threads[shard]);
        // Timers and files would end a hang sooner or later, which is not what --no-watchdog is to show.
        let beside = match arguments {
            Arguments { idle: true, .. } | Arguments { bare: true, .. } => Beside::Nothing,
            Arguments { no_watchdog: true, .. } => Beside::Sleeper,
            _ => Beside::Tasks(files.clone()),
        };
        Plan {
            core: placement.cores[shard],
            listeners: vec![listener],
            doorbell: Arc::clone(&doorbells[shard]),
            pulse: Arc::clone(&pulses[shard]),
            make: Box::new(move |seat| {
                thread.get_or_init(rustix::thread::gettid);
                Soaked::new(seat, port, switches, &beside, hand_in)
            }),
        }
    });
    let options = Options { watchdog: !arguments.no_watchdog, preempt_timer };
    let shards = executor::start(clock, plans.collect(), options)?;
    let usage = report::cpu_us();
    let clients = if arguments.idle { 1 } else { CLIENTS };
    let clients = client::start(clock, address, clients, CONNECTIONS, arguments.idle, &switches);

    bystanders::alternate(clock, arguments.seconds, arguments.idle, &switches);
    let cpu_us = report::cpu_us() - usage;
    switches.stop();
    let from_clients =
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect();
    for doorbell in &doorbells {
        doorbell.ring();
    }
    let hung = !report::all_ended(&pulses);
    if !hung {
        for end in shards.wait() {
            end?;
        }
    }
    drop(hand_in);
    let from_shards: Vec<Records> = if hung { Vec::new() } else { records.iter().collect() };
    let _ = fs::remove_dir_all(files);
    let kicks = pulses.iter().map(|pulse| pulse.kicks()).collect();
    let turns = pulses.iter().map(|pulse| pulse.turns()).collect();
    let seconds = arguments.seconds;
    Ok(Report { seconds, cpu_us, hung, kicks, turns, from_shards, from_clients, control: bystanders.stop() })
}

fn scratch_folder() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("courier-soak-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
