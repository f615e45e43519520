//! Client threads: each holds several connections, writes frames at random moments, and reads what comes back. Half of the
//! frames ask for an echo, half are published to every connection on both shards.
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use courier::stdx::clock::Clock;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::report::{Records, What};
use crate::shard::{ECHO, FRAME_BYTES, PUBLISH, Switches, frame, sent_us};

/// Pauses between bursts, chosen evenly: busy keeps a shard between parks and turns, idle lets it park each time.
const BUSY_PAUSE_US_MAX: u64 = 3_000;
const IDLE_PAUSE_US_MAX: u64 = 400_000;

/// Frames of a burst while busy; one while idle.
const BURST_MAX: u64 = 16;

/// Starts `clients` threads. Silent ones connect and wait for the end.
pub fn start(
    clock: Clock,
    address: SocketAddr,
    clients: usize,
    connections: usize,
    silent: bool,
    switches: &Arc<Switches>,
) -> Vec<JoinHandle<Records>> {
    let one = |number: usize| {
        let switches = Arc::clone(switches);
        let sockets = (0..connections).map(|_| connect(address)).collect();
        let dice = Dice(number as u64 + 1);
        let mut client = Client { clock, sockets, dice, records: Records::new(None), silent };
        thread::spawn(move || {
            client.run(&switches);
            client.records
        })
    };
    (0..clients).map(one).collect()
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the shards listen");
    socket.set_nonblocking(true).expect("a socket");
    socket.set_nodelay(true).expect("a socket");
    socket
}

struct Client {
    clock: Clock,
    sockets: Vec<TcpStream>,
    dice: Dice,
    records: Records,
    silent: bool,
}

impl Client {
    fn run(&mut self, switches: &Switches) {
        let mut next_us = 0;
        while !switches.stop.load(Ordering::Relaxed) {
            let now_us = self.clock.now().steady_us;
            if now_us >= next_us {
                let busy = switches.busy.load(Ordering::Relaxed);
                self.burst(busy);
                let pause_us_max = if busy { BUSY_PAUSE_US_MAX } else { IDLE_PAUSE_US_MAX };
                next_us = now_us + self.dice.below(pause_us_max);
            }
            self.read_until(next_us);
        }
    }

    fn burst(&mut self, busy: bool) {
        if self.silent {
            return;
        }
        let frames = if busy { 1 + self.dice.below(BURST_MAX) } else { 1 };
        for _ in 0..frames {
            let index = self.dice.below(self.sockets.len() as u64) as usize;
            // One publish fans out to every connection, so they are the rarer kind.
            let kind = if self.dice.below(16) == 0 { PUBLISH } else { ECHO };
            let bytes = frame(kind, self.clock.now().steady_us);
            // A full socket means that the shard is behind; the next burst comes anyway.
            let _ = self.sockets[index].write(&bytes);
        }
    }

    fn read_until(&mut self, until_us: u64) {
        let wait_us = until_us.saturating_sub(self.clock.now().steady_us).clamp(1, 100_000);
        let limit = Timespec { tv_sec: 0, tv_nsec: (wait_us * 1_000) as i64 };
        let mut fds: Vec<PollFd> =
            self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        if poll(&mut fds, Some(&limit)).unwrap_or(0) == 0 {
            return;
        }
        let ready: Vec<usize> = (0..fds.len()).filter(|&index| !fds[index].revents().is_empty()).collect();
        for index in ready {
            self.read(index);
        }
    }

    fn read(&mut self, index: usize) {
        // Frames are small and written whole; loopback splits them only when a buffer is full, which this one is not.
        let mut buffer = [0; 4096 * FRAME_BYTES];
        let length = match (&self.sockets[index]).read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("the shard closed a connection: {error}"),
        };
        let now_us = self.clock.now().steady_us;
        for bytes in buffer[..length].chunks_exact(FRAME_BYTES) {
            if bytes[0] == ECHO {
                self.records.late(What::RoundTrip, sent_us(bytes), now_us);
            }
        }
    }
}

/// Numbers that look random and repeat from run to run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
