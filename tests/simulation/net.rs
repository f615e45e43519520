//! Sockets as the kernel makes them: two bounded buffers per connection, short writes, readiness told once per
//! change (edge-triggered), resets and half-closes. The shards act through [`Net`]; clients hold the other end.

use crate::dice::Dice;
use courier::hub::Sent;
use courier::runtime::core::Ready;
use courier::runtime::driver::{Driver, Received};
use foldhash::quality::{FixedState, FoldHasher};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::io::IoSlice;
use std::rc::Rc;

pub struct Pipe {
    pub shard: usize,
    /// Under which the shard knows it; none before it is accepted.
    pub token: Option<u64>,
    to_server: VecDeque<u8>,
    to_server_max: usize,
    to_client: VecDeque<u8>,
    to_client_max: usize,
    /// The client sends no more.
    client_fin: bool,
    /// The client is gone altogether.
    client_gone: bool,
    reset: bool,
    server_fin: bool,
    pub server_gone: bool,
    /// A send was cut short, so room will be told.
    no_space: bool,
    edge: bool,
    /// Bytes that the kernel ever took for the client.
    pub taken: u64,
    /// When it took them: up to which byte, at what time.
    times: VecDeque<(u64, u64)>,
}

/// The server's end. Dropping it closes it.
pub struct Fd {
    pipe: usize,
    dropped: Rc<RefCell<Vec<usize>>>,
}

impl Drop for Fd {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(self.pipe);
    }
}

pub struct Net {
    pub pipes: Vec<Pipe>,
    /// Pipes with news, by shard.
    pub edges: Vec<Vec<usize>>,
    dropped: Rc<RefCell<Vec<usize>>>,
    dice: Dice,
    pipe_min: u64,
    pipe_max: u64,
    short_sends: u64,
    /// Told before each turn.
    pub now_us: u64,
    /// Of every byte that went over any pipe, and when.
    digest: FoldHasher<'static>,
}

impl Net {
    pub fn new(shards: usize, (pipe_min, pipe_max): (u64, u64), short_sends: u64, dice: Dice) -> Net {
        let edges = vec![Vec::new(); shards];
        Net {
            pipes: Vec::new(),
            edges,
            dropped: Rc::default(),
            dice,
            pipe_min,
            pipe_max,
            short_sends,
            now_us: 0,
            digest: FixedState::default().build_hasher(),
        }
    }

    fn note(&mut self, pipe: usize, bytes: &[u8]) {
        self.digest.write_usize(pipe);
        self.digest.write_u64(self.now_us);
        self.digest.write(bytes);
    }

    /// Two runs that went the same way have the same.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// A client connects; the server's end waits to be accepted.
    pub fn connect(&mut self, shard: usize) -> (usize, Fd) {
        let min = self.pipe_min;
        let room = |dice: &mut Dice, max: u64| {
            if dice.chance(50) { dice.range(min, max) as usize } else { (min + dice.skewed(max)) as usize }
        };
        self.pipes.push(Pipe {
            shard,
            token: None,
            to_server: VecDeque::new(),
            to_server_max: room(&mut self.dice, self.pipe_max),
            to_client: VecDeque::new(),
            to_client_max: room(&mut self.dice, self.pipe_max),
            client_fin: false,
            client_gone: false,
            reset: false,
            server_fin: false,
            server_gone: false,
            no_space: false,
            edge: false,
            taken: 0,
            times: VecDeque::new(),
        });
        let pipe = self.pipes.len() - 1;
        (pipe, Fd { pipe, dropped: Rc::clone(&self.dropped) })
    }

    pub fn pipe_of(fd: &Fd) -> usize {
        fd.pipe
    }

    /// Adds a connection to the shard's set: what it is now is told at once.
    pub fn watch(&mut self, pipe: usize, token: u64) {
        self.pipes[pipe].token = Some(token);
        self.raise(pipe);
    }

    pub fn raise(&mut self, pipe: usize) {
        let found = &mut self.pipes[pipe];
        if found.token.is_some() && !found.server_gone && !found.edge {
            found.edge = true;
            self.edges[found.shard].push(pipe);
        }
    }

    /// What the set tells of a pipe with news: everything that is so now.
    pub fn take_edge(&mut self, pipe: usize) -> (u64, Ready) {
        let found = &mut self.pipes[pipe];
        found.edge = false;
        let hangup = found.client_fin || found.reset || found.client_gone;
        let readable = !found.to_server.is_empty() || hangup;
        let writable = found.to_client.len() < found.to_client_max || found.reset;
        (found.token.unwrap_or(0), Ready::new(readable, writable, hangup))
    }

    /// Closes what the shards have dropped.
    pub fn reap(&mut self) {
        for pipe in self.dropped.take() {
            let found = &mut self.pipes[pipe];
            found.server_gone = true;
            if found.edge {
                found.edge = false;
                self.edges[found.shard].retain(|other| *other != pipe);
            }
        }
    }

    /// The client writes; answers how much was taken.
    pub fn client_write(&mut self, pipe: usize, bytes: &[u8]) -> usize {
        let found = &mut self.pipes[pipe];
        if found.server_gone {
            return bytes.len();
        }
        let n = bytes.len().min(found.to_server_max - found.to_server.len());
        found.to_server.extend(&bytes[..n]);
        if n > 0 {
            self.note(pipe, &bytes[..n]);
            self.raise(pipe);
        }
        n
    }

    pub fn client_read(&mut self, pipe: usize, max: usize, into: &mut Vec<u8>) -> usize {
        let found = &mut self.pipes[pipe];
        let n = max.min(found.to_client.len());
        into.extend(found.to_client.drain(..n));
        // The kernel tells of room only when there is some worth of it, and only to who was refused.
        let room = found.to_client_max - found.to_client.len();
        if found.no_space && n > 0 && (room * 3 >= found.to_client_max || found.to_client.is_empty()) {
            found.no_space = false;
            self.raise(pipe);
        }
        n
    }

    /// When the kernel took the byte at `offset` of a pipe's stream; asked for in the order of the stream.
    pub fn taken_at_us(&mut self, pipe: usize, offset: u64) -> u64 {
        let times = &mut self.pipes[pipe].times;
        while times.front().is_some_and(|(end, _)| *end <= offset) {
            times.pop_front();
        }
        times.front().expect("what was read was taken").1
    }

    /// Of each pipe, how many bytes the kernel took for the client so far.
    pub fn totals(&self) -> Box<[u64]> {
        self.pipes.iter().map(|pipe| pipe.taken).collect()
    }

    pub fn readable_bytes(&self, pipe: usize) -> usize {
        self.pipes[pipe].to_client.len()
    }

    pub fn writable_bytes(&self, pipe: usize) -> usize {
        let found = &self.pipes[pipe];
        if found.server_gone { usize::MAX } else { found.to_server_max - found.to_server.len() }
    }

    /// Whether the client has read all that the server will ever send.
    pub fn at_end(&self, pipe: usize) -> bool {
        let found = &self.pipes[pipe];
        found.to_client.is_empty() && (found.server_fin || found.server_gone)
    }

    pub fn client_fin(&mut self, pipe: usize) {
        self.pipes[pipe].client_fin = true;
        self.raise(pipe);
    }

    /// The client closes, and reads nothing more.
    pub fn client_close(&mut self, pipe: usize, reset: bool) {
        let found = &mut self.pipes[pipe];
        found.client_fin = true;
        found.client_gone = true;
        found.reset |= reset;
        if reset {
            found.to_server.clear();
        }
        found.to_client.clear();
        self.raise(pipe);
    }
}

impl Net {
    fn take(&mut self, pipe: usize, slices: &[&[u8]]) -> Sent {
        let short = self.dice.chance(self.short_sends);
        let share = self.dice.range(0, 100) as usize;
        let found = &mut self.pipes[pipe];
        assert!(!found.server_fin, "a send after the half-close");
        if found.reset {
            return Sent::Gone;
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        if found.client_gone {
            // The first send to a closed peer is taken, and answered by a reset.
            found.reset = true;
            self.raise(pipe);
            return Sent::Bytes(offered);
        }
        let mut room = found.to_client_max - found.to_client.len();
        if short {
            room = room * share / 100;
        }
        let taken = offered.min(room);
        let mut left = taken;
        for slice in slices {
            let n = slice.len().min(left);
            found.to_client.extend(&slice[..n]);
            self.digest.write(&slice[..n]);
            left -= n;
        }
        if taken > 0 {
            found.taken += taken as u64;
            found.times.push_back((found.taken, self.now_us));
            self.digest.write_u64(found.taken);
            self.digest.write_u64(self.now_us);
        }
        if taken < offered {
            found.no_space = true;
            if found.to_client.is_empty() {
                // Cut short for want of memory: the kernel tells when it has some again.
                found.no_space = false;
                self.raise(pipe);
            }
        }
        Sent::Bytes(taken)
    }
}

impl Driver for Net {
    type Socket = Fd;

    fn receive(&mut self, socket: &Fd, into: &mut [u8]) -> Received {
        let found = &mut self.pipes[socket.pipe];
        let n = into.len().min(found.to_server.len());
        if n == 0 {
            let end = found.client_fin || found.reset;
            return if end { Received::End } else { Received::Empty };
        }
        for (to, from) in into.iter_mut().zip(found.to_server.drain(..n)) {
            *to = from;
        }
        Received::Bytes(n)
    }

    fn send(&mut self, socket: &Fd, bytes: &[u8]) -> Sent {
        assert!(!bytes.is_empty(), "an empty send");
        self.take(socket.pipe, &[bytes])
    }

    fn send_all(&mut self, socket: &Fd, slices: &[IoSlice<'_>]) -> Sent {
        let slices: Vec<&[u8]> = slices.iter().map(|slice| &**slice).collect();
        assert!(slices.iter().any(|slice| !slice.is_empty()), "an empty send");
        self.take(socket.pipe, &slices)
    }

    fn half_close(&mut self, socket: &Fd) {
        self.pipes[socket.pipe].server_fin = true;
    }
}
