//! Measures what TLS costs a running server beside plain sockets; started by `perf/tls/run`.
//!
//! ```text
//! tls costs FOLDER NAME…                  what a handshake costs, by key (`costs`)
//! tls load PID PLAIN_PORT TLS_PORT        CPU per delivery and idle memory, plain and TLS
//! tls live PID PLAIN_PORT TLS_PORT RATE   latency without and with RATE new TLS clients per second
//! ```

mod costs;
#[path = "../load/event.rs"]
#[allow(dead_code)]
mod event;
#[path = "../load/frame.rs"]
mod frame;
mod peer;
#[path = "../load/process.rs"]
#[allow(dead_code)]
mod process;

use peer::{Peer, config};
use process::{cpu_ns, now_ns, resident_bytes};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::park_timeout;
use std::time::Duration;

const EVENT_BYTES: usize = 200;
const SUBSCRIBERS: usize = 1000;
/// Publishes that are under way in C.
const IN_FLIGHT: usize = 32;
const LOAD_SECONDS: u64 = 6;
const LIVE_SECONDS: u64 = 12;
/// In `live`, half of them over TLS.
const LIVE_SUBSCRIBERS: usize = 100;
const LIVE_RATE: u64 = 500;
const FLOOD_THREADS: u64 = 2;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words[at].parse::<u64>().expect("a number");
    let local = |port: u64| SocketAddr::from(([127, 0, 0, 1], port as u16));
    match words[0].as_str() {
        "costs" => costs::print(Path::new(&words[1]), &words[2..]),
        "load" => load(number(1) as u32, local(number(2)), local(number(3))),
        "live" => live(local(number(2)), local(number(3)), number(4)),
        other => panic!("no command {other}"),
    }
}

fn since(began_ns: u64) -> Duration {
    Duration::from_nanos(now_ns() - began_ns)
}

fn wait_until(ns: u64) {
    while let Some(left) = ns.checked_sub(now_ns()).filter(|left| *left > 0) {
        park_timeout(Duration::from_nanos(left));
    }
}

/// Subscribers and the set that tells which have something to read.
struct Crowd {
    peers: Vec<Peer>,
    set: OwnedFd,
}

impl Crowd {
    fn new() -> Crowd {
        Crowd { peers: Vec::new(), set: epoll::create(CreateFlags::CLOEXEC).expect("descriptors are left") }
    }

    fn add(&mut self, address: SocketAddr, tls: Option<&Arc<ClientConfig>>, path: &str) {
        let mut peer = Peer::connect(address, tls).expect("the server listens");
        peer.subscribe(path).expect("the server upgrades");
        let data = EventData::new_u64(self.peers.len() as u64);
        epoll::add(&self.set, &peer.stream, data, EventFlags::IN).expect("an open socket");
        self.peers.push(peer);
    }

    /// Reads until `count` events have come, or for a while; answers how many have.
    fn read(&mut self, count: usize, patience: Duration, mut take: impl FnMut(&[u8])) -> usize {
        let (mut seen, began) = (0, now_ns());
        let mut ready = Vec::with_capacity(256);
        while seen < count && since(began) < patience {
            ready.clear();
            let limit = rustix::time::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let buffer = rustix::buffer::spare_capacity(&mut ready);
            let _ = epoll::wait(&self.set, buffer, Some(&limit));
            for event in &ready {
                let index = event.data.u64() as usize;
                seen += self.peers[index].events(&mut take).expect("the server goes on");
            }
        }
        seen
    }
}

fn publish(publisher: &mut Peer, channel: &str, event: &[u8]) {
    let head = format!(
        "POST /publish/{channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        event.len()
    );
    publisher.send(&[head.as_bytes(), event].concat()).expect("the server reads");
}

/// CPU per delivery in the workloads A and C of `perf/run`, and memory per idle subscriber.
fn load(pid: u32, plain: SocketAddr, encrypted: SocketAddr) {
    let tls = config(false);
    println!("{:<10}{:>16}{:>16}{:>20}", "", "A: CPU ns/del.", "C: CPU ns/del.", "idle bytes resident");
    let mut rows = Vec::new();
    for (name, address, config) in [("plain", plain, None), ("TLS 1.3", encrypted, Some(&tls))] {
        let before = resident_bytes(&[pid]);
        let mut crowd = Crowd::new();
        (0..SUBSCRIBERS).for_each(|_| crowd.add(address, config, "/ws/fan"));
        let each = resident_bytes(&[pid]).saturating_sub(before) / SUBSCRIBERS as u64;
        let one_at_a_time = measured(pid, &mut crowd, plain, 1, SUBSCRIBERS, |_| "fan".to_owned());
        drop(crowd);
        let mut crowd = Crowd::new();
        (0..SUBSCRIBERS).for_each(|n| crowd.add(address, config, &format!("/ws/own.{n}")));
        let own = measured(pid, &mut crowd, plain, IN_FLIGHT, 1, |n| format!("own.{}", n % SUBSCRIBERS));
        println!("{name:<10}{one_at_a_time:>16}{own:>16}{each:>20}");
        rows.push((one_at_a_time as f64, own as f64));
    }
    println!("{:<10}{:>16.2}{:>16.2}", "ratio", rows[1].0 / rows[0].0, rows[1].1 / rows[0].1);
}

/// Publishes for a while, so many at once, each to so many subscribers; CPU of the server in ns per delivery.
fn measured(
    pid: u32,
    crowd: &mut Crowd,
    plain: SocketAddr,
    at_once: usize,
    reach: usize,
    channel: impl Fn(usize) -> String,
) -> u64 {
    let mut publisher = Peer::connect(plain, None).expect("the server listens");
    let event = event::template(0, EVENT_BYTES);
    let (mut sent, mut delivered, mut began, mut cpu) = (0, 0, now_ns(), cpu_ns(&[pid]));
    let mut answers = [0; 65_536];
    let mut warm = false;
    while since(began) < Duration::from_secs(LOAD_SECONDS) {
        for _ in 0..at_once {
            publish(&mut publisher, &channel(sent), &event);
            sent += 1;
        }
        let seen = crowd.read(at_once * reach, Duration::from_secs(10), |_| {});
        assert_eq!(seen, at_once * reach, "events were lost");
        // The answers are there by now, and nobody looks at them.
        std::io::Read::read(&mut publisher.stream, &mut answers).expect("the server answers");
        delivered += seen;
        if !warm && since(began) > Duration::from_secs(1) {
            (warm, delivered, began, cpu) = (true, 0, now_ns(), cpu_ns(&[pid]));
        }
    }
    (cpu_ns(&[pid]) - cpu) / delivered as u64
}

/// Latency of live events, plain and over TLS, without and with new TLS clients.
fn live(plain: SocketAddr, encrypted: SocketAddr, rate: u64) {
    let tls = config(false);
    let mut crowd = Crowd::new();
    for n in 0..LIVE_SUBSCRIBERS {
        let (address, config) = if n % 2 == 0 { (plain, None) } else { (encrypted, Some(&tls)) };
        crowd.add(address, config, "/ws/live");
    }
    println!(
        "{:<28}{:>10}{:>10}{:>10}{:>16}",
        "new TLS clients", "p50 us", "p99 us", "max us", "done/s, failed"
    );
    let usual = latency(&mut crowd, plain, || "0".to_owned());
    let (stop, flooded) = flood(encrypted, rate);
    let with = latency(&mut crowd, plain, || {
        for stop in &stop {
            // One that has ended by itself needs no telling.
            let _ = stop.send(());
        }
        let (rate, failed) = flooded.iter().fold((0.0, 0), |sum, (r, f)| (sum.0 + r, sum.1 + f));
        format!("{rate:.0}, {failed}")
    });
    println!("p99 with them is {:.2} times the usual one", with / usual);
}

/// Prints a row; answers the p99 in microseconds. `new` ends what ran beside and says what it did.
fn latency(crowd: &mut Crowd, plain: SocketAddr, new: impl FnOnce() -> String) -> f64 {
    let publisher = std::thread::spawn(move || {
        let mut publisher = Peer::connect(plain, None).expect("the server listens");
        let mut event = event::template(0, EVENT_BYTES);
        let (gap_ns, began) = (1_000_000_000 / LIVE_RATE, now_ns());
        let mut answer = [0; 4096];
        for n in 0..LIVE_RATE * LIVE_SECONDS {
            wait_until(began + gap_ns * n);
            event::write(&mut event, 0, n as u32, now_ns());
            publish(&mut publisher, "live", &event);
            std::io::Read::read(&mut publisher.stream, &mut answer).expect("the server answers");
        }
    });
    let mut late_us: Vec<u64> = Vec::new();
    let all = (LIVE_RATE * LIVE_SECONDS) as usize * LIVE_SUBSCRIBERS;
    let patience = Duration::from_secs(LIVE_SECONDS + 10);
    let seen = crowd.read(all, patience, |text| {
        let stamp = event::read(text, EVENT_BYTES).expect("our event");
        late_us.push(now_ns().saturating_sub(stamp.at_ns) / 1000);
    });
    publisher.join().expect("it only sends");
    assert_eq!(seen, all, "events were lost");
    let beside = new();
    late_us.sort_unstable();
    let at = |share: f64| late_us[((late_us.len() - 1) as f64 * share) as usize];
    let clients = if beside == "0" { "none" } else { "as many as were asked for" };
    println!("{clients:<28}{:>10}{:>10}{:>10}{beside:>16}", at(0.5), at(0.99), at(1.0));
    at(0.99) as f64
}

type Flood = (Vec<std::sync::mpsc::Sender<()>>, Receiver<(f64, u64)>);

/// Threads that connect, shake hands and leave, at a rate; each tells in the end how many did in a second, and how many did
/// not at all.
fn flood(address: SocketAddr, rate: u64) -> Flood {
    let (tell, told) = channel();
    let stops = (0..FLOOD_THREADS).map(|_| {
        let (stop, stopped) = channel();
        let (tell, config) = (tell.clone(), config(false));
        std::thread::spawn(move || {
            let gap_ns = 1_000_000_000 * FLOOD_THREADS / rate;
            let (mut done, mut failed, began) = (0_u32, 0, now_ns());
            let mut next = began;
            while stopped.try_recv().is_err() && since(began) < Duration::from_secs(2 * LIVE_SECONDS) {
                match Peer::connect(address, Some(&config)) {
                    Ok(_) => done += 1,
                    Err(_) => failed += 1,
                }
                // Who is late does not catch up in a burst.
                next = (next + gap_ns).max(now_ns() - gap_ns);
                wait_until(next);
            }
            let _ = tell.send((f64::from(done) / since(began).as_secs_f64(), failed));
        });
        stop
    });
    (stops.collect(), told)
}
