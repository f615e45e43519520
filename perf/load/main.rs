//! `load`: opens subscribers, publishes over HTTP, and tells what arrived, how late, and what it cost the
//! server. One thread, one epoll set. Prints one JSON object; at a gate, where `perf/run` keeps it for many short parts, one
//! for each.

mod crowd;
mod dialect;
mod drive;
mod event;
mod frame;
mod ledger;
mod nats;
mod options;
mod process;
mod publisher;
mod reader;
mod stall;
mod subscriber;

use std::io::{BufRead, Result};
use std::num::NonZeroU64;

use clap::Parser;
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};
use serde_json::{Value, json};

use crowd::Crowd;
use drive::Drive;
use options::Options;
use process::{cpu_ns, now_ns, resident_bytes, usage};

/// Connections opened before the measured ones, so that first-use memory of the server is not counted per connection.
const WARM_CONNECTIONS: usize = 256;

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    if let Err(error) = options.check().map_err(std::io::Error::other).and_then(|()| run(&options)) {
        eprintln!("load: {error}");
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}

fn run(options: &Options) -> Result<()> {
    // The kernel may otherwise wake this thread 50 us late, which would count as the server's latency.
    set_current_timer_slack(NonZeroU64::new(1))?;
    if let Some(core) = options.core {
        let mut cores = CpuSet::new();
        cores.set(core);
        sched_setaffinity(None, &cores)?;
    }
    let mut drive = Drive::new(options)?;
    if options.idle { idle(options, &mut drive) } else { publish(options, &mut drive) }
}

/// Measures once; at a gate as often as asked, and the sockets stay open meanwhile and until standard input ends.
fn measured(options: &Options, mut part: impl FnMut() -> Result<Value>) -> Result<()> {
    if !options.gate {
        println!("{}", part()?);
        return Ok(());
    }
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        line?;
        println!("{}", part()?);
    }
    Ok(())
}

/// Workload F: what a connection costs while nothing is sent on it. Connects once, so there is one part to measure.
fn idle(options: &Options, drive: &mut Drive) -> Result<()> {
    let warm = WARM_CONNECTIONS.min(options.subscribers / 2);
    drive.connect(warm)?;
    settle(drive, options.warmup)?;
    measured(options, || idle_part(options, drive, options.subscribers - warm))
}

fn idle_part(options: &Options, drive: &mut Drive, opened: usize) -> Result<Value> {
    let opened = opened as f64;
    let (cpu, resident) = (cpu_ns(&options.pid), resident_bytes(&options.pid));
    drive.connect(options.subscribers)?;
    // Some servers finish a handshake after they have answered it.
    settle(drive, options.warmup)?;
    let connect_cpu = cpu_ns(&options.pid) - cpu;
    let resident_each = resident_bytes(&options.pid).saturating_sub(resident) as f64 / opened;
    let (start, quiet_cpu) = (now_ns(), cpu_ns(&options.pid));
    settle(drive, options.seconds)?;
    let quiet_share = (cpu_ns(&options.pid) - quiet_cpu) as f64 / (now_ns() - start) as f64;
    Ok(json!({
        "connections": options.subscribers,
        "cpu_us_per_connect": connect_cpu as f64 / 1e3 / opened,
        "resident_bytes_each": resident_each,
        "resident_bytes": resident_bytes(&options.pid),
        "idle_cpu_share": quiet_share,
        "closed": drive.faults.closed,
    }))
}

/// Serves the sockets for `seconds` without publishing.
fn settle(drive: &mut Drive, seconds: f64) -> Result<()> {
    let end = now_ns() + (seconds * 1e9) as u64;
    while now_ns() < end {
        drive.turn(end)?;
    }
    Ok(())
}

/// Every other workload: a warm-up, then measured parts that begin and end with nothing under way.
fn publish(options: &Options, drive: &mut Drive) -> Result<()> {
    let mut crowd = Crowd::gather(options)?;
    drive.connect(options.subscribers)?;
    drive.connect_publishers()?;
    drive.run(options.warmup)?;
    measured(options, || publish_part(options, drive, &mut crowd))
}

fn publish_part(options: &Options, drive: &mut Drive, crowd: &mut Crowd) -> Result<Value> {
    drive.run(options.lead_in)?;
    drive.latency.reset();
    drive.stall.reset();
    let (published, delivered) = (drive.published, drive.ledger.delivered);
    let (start, before, slack) = (now_ns(), usage(&options.pid), drive.slack_ns);
    drive.run(options.seconds)?;
    let wall = (now_ns() - start) as f64;
    let after = usage(&options.pid);
    drive.stall.settle(now_ns);
    let cpu = (after.cpu_ns - before.cpu_ns) as f64;
    let waited = (after.waited_ns - before.waited_ns) as f64;
    let own = wall - (drive.slack_ns - slack) as f64;
    let published = drive.published - published;
    let delivered = drive.ledger.delivered - delivered;
    let millis = |ns: u64| ns as f64 / 1e6;
    let micros = |quantile| drive.latency.value_at_quantile(quantile) as f64 / 1e3;
    let (balance, faults) = (drive.ledger.close(), std::mem::take(&mut drive.faults));
    Ok(json!({
        "published": published,
        "delivered": delivered,
        "publishes_per_s": published as f64 / wall * 1e9,
        "deliveries_per_s": delivered as f64 / wall * 1e9,
        "cpu_ns_per_delivery": cpu / delivered as f64,
        "cpu_us_per_publish": cpu / 1e3 / published as f64,
        "p50_us": micros(0.5), "p99_us": micros(0.99), "p999_us": micros(0.999), "max_us": micros(1.0),
        "stall_ms": millis(drive.stall.stall_ns), "gap_ms": millis(drive.stall.gap_ns),
        "stall_server_waited_ms": millis(drive.stall.server_waited_ns),
        "stall_stolen_ms": millis(drive.stall.stolen_ns), "late_ms": millis(drive.stall.late_ns),
        "server_share": cpu / wall, "server_waited": waited / wall, "load_share": own / wall,
        "resident_bytes": resident_bytes(&options.pid),
        "lost": balance.lost, "doubled": balance.doubled, "out_of_order": balance.out_of_order,
        "misrouted": balance.misrouted, "disagreeing": balance.disagreeing,
        "refused": faults.refused, "closed": faults.closed + crowd.take_closed(), "other": faults.other,
        "overdue": faults.overdue,
    }))
}
